"""Names that have a meaning of their own."""

from __future__ import annotations

# In place of an architecture's name.
META_GRAPH = "META_GRAPH"
FROZEN_GRAPH = "FROZEN_GRAPH"
