"""Files of settings: strict YAML, and files that are read again when they change."""
