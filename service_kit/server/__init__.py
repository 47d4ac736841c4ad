"""The gRPC server: listening, calls, streams, health, and an orderly end."""
