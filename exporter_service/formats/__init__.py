"""Formats that a frozen graph is written in besides its own, and what proves them."""
