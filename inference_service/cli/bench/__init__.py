"""Load for a running server, and what is measured of it."""
