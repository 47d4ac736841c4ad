"""What the inference service counts, for Prometheus."""
