"""Sparse layers and networks against dense ones and stock CSR: see `__main__`."""
