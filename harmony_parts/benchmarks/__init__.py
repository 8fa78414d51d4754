"""Benchmarks: `python -m harmony_parts.benchmarks.NAME`."""
