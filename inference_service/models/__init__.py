"""The models that are served: versions, labels, leases, and the choice of a card."""
