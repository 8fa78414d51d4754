"""Collect these tests only if TRITON_INTERPRET=1, which tests/kernels/test_kernels.py sets."""

from __future__ import annotations

import os

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
