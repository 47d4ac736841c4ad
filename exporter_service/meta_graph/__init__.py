"""From a `.meta` alone: a training graph becomes an inference graph, by data flow."""
