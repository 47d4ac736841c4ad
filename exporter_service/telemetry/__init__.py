"""What the exporter counts and times, for Prometheus and traces."""
