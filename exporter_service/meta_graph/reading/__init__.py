"""A training graph as it is read: nodes, ops, variables, constants, parameters."""
