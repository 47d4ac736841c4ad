"""Tensors and classes as the protocols and the client write them."""
