"""A page for people: what is served, how it does, and a form that asks a model about one image."""
