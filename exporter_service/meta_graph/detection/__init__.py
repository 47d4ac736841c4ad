"""What is found in a training graph: feeds, heads, averages, leftovers."""
