"""Processes that run tasks: started ahead, limited, watched and ended."""
