"""Architectures that can be built from their name and parameters."""
