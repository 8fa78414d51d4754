"""Triton kernels, each in a folder with its derivation and a plain PyTorch version."""
