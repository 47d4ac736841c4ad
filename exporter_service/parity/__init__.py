"""The proof that a frozen graph computes what the checkpoint does."""
