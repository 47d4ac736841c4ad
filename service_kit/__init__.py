"""Ground floor of both services: errors, status, server, logs, manifest, artifact store.

Nothing in here imports TensorFlow.
"""

__version__ = "0.1.0"
