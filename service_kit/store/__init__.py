"""The artifact store, on disk or in a bucket: reading, publishing, caching."""
