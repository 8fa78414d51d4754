"""Local cross-attention in Triton: README.md is the derivation, naive.py the plain PyTorch."""
