"""The library's own tests see its own parts alone, whatever plugins are installed beside it."""

from __future__ import annotations

import os

os.environ["HARMONY_PARTS_PLUGINS"] = "none"
