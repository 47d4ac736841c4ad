"""Changes of a graph that make a training graph one for inference."""
