"""What an artifact is: its manifest, names, labels and digests."""
