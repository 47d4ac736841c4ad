"""What the inference port speaks; each protocol only converts messages."""
