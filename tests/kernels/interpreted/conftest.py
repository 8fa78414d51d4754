"""These run in a process that was started with TRITON_INTERPRET=1, as tests/kernels/test_kernels.py
does, and are left out of any other.
"""

from __future__ import annotations

import os

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
