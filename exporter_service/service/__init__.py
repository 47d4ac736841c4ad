"""The gRPC service: requests decoded, checked, queued and answered."""
