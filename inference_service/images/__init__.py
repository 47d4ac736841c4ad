"""Encoded images: JPEG and PNG become pixels of the model's size."""
