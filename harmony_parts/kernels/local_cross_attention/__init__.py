"""Local cross-attention as a Triton operator: README.md has the derivation, naive.py the same in
plain PyTorch.
"""
