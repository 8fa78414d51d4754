"""Guidances side by side, on the same prompts and from the same noise: `harmony compare`."""
