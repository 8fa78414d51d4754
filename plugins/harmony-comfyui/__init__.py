"""What ComfyUI loads from `custom_nodes`. It does so by path, under a name of its own, so the
package beside this file is put on the path.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from harmony_sync_nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
