"""ComfyUI's modules are a stand-in here, unless HARMONY_COMFYUI names a checkout of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

if not os.environ.get("HARMONY_COMFYUI"):
    import comfy_stand_in

    comfy_stand_in.install()
