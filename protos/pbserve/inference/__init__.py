"""Wire contract of pbserve, generated from the `.proto` files beside the stubs."""
