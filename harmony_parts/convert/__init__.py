"""Weights of other projects to this library's and back."""
