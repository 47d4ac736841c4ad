"""pbserve's own protocol, `pbserve.inference.v1`."""
