"""How fast a network is here: dense, compiled, as stock CSR, in onnxruntime, and made sparse."""
