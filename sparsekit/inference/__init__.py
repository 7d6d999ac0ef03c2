"""Sparse networks as they are used: layers, kernels, and what an export is read by.

Imports PyTorch and safetensors, nothing of training.
"""
