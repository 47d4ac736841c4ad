"""Inference service: hot-loads frozen graphs and streams predictions from their cards."""
