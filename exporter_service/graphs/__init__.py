"""TensorFlow graphs: towers built, restored and frozen."""
