"""What both clients share: connections, calls, retries, tokens and TLS."""
