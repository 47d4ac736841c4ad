"""Hot loading: what the store has, what to load or unload, and the loading itself."""
