"""Guidances of harmony_parts as nodes of ComfyUI, for models of video and sound."""

from typing import Any


async def comfy_entrypoint() -> Any:
    """The pack's nodes, as ComfyUI asks for them. Only this imports anything of ComfyUI."""
    from harmony_sync_nodes.nodes import HarmonyExtension

    return HarmonyExtension()
