"""The Open Inference Protocol v2, as Triton and KServe speak it: a thin edge over the core."""
