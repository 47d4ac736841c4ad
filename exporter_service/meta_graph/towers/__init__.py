"""From a read `.meta` to restored towers, and the survey that describes it."""
