"""Checkpoints as files: their tensors, keys and averages, and what may be read."""
