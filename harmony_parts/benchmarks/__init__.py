"""Benchmarks that anyone can repeat: `python -m harmony_parts.benchmarks.NAME --help`."""
