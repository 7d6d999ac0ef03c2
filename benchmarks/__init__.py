"""Measurements of this package against plain PyTorch; see README.md."""
