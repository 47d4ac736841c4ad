"""Exporter service: from TensorFlow 1 training checkpoints to frozen graphs."""
