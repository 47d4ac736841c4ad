"""What both services do alike with a frozen graph: import it, check its ops and its rows.

The exporter proves a graph through the code that the inference service loads it with, so what was
proven will be served. TensorFlow is imported inside the functions that need it.
"""
