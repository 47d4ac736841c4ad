"""The core of every protocol: a request is checked, computed and answered."""
