"""The HTTP port: its server, its guard, and the page of metrics."""
