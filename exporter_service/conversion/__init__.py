"""The tasks of a worker: convert a checkpoint, adopt a graph, inspect."""
