"""reference/surface.txt: hooks, protocols and public names with their signatures.

A change of this file is a change for everybody who builds on the library.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import harmony_parts as hp
from harmony_parts.assembly.discovery import HOOKS
from harmony_parts.assembly.kinds import KINDS
from harmony_parts.testing import contracts

FOR_PLUGINS = (
    "plugin",
    "errors",
    "guidance.scales",
    "guidance.active_streams",
    "guidance.demands",
    "tasks.entries",
    "denoisers.known_latents",
    "models.offload",
    "assembly.build",
    "assembly.tables",
    "assembly.catalogue",
    "models.folder",
    "data.rendering",
    "scenes.canvas",
    "scenes.captions",
    "scenes.mixer",
    "scenes.rhythm",
    "generate.checks",
    "cli.command",
    "cli.completion",
    "cli.options",
)
"""Modules that plugins may import, besides protocols, `harmony_parts.testing` and the names of
`import harmony_parts`.
"""

BESIDES = {
    "harmony_parts.codecs.protocol:VideoCodec",
    "harmony_parts.codecs.protocol:AudioCodec",
    "harmony_parts.encoders.protocol:Encoder",
    "harmony_parts.branches.protocol:Branch",
    "harmony_parts.branches.protocol:BranchBlock",
    "harmony_parts.denoisers.protocol:Denoiser",
    "harmony_parts.branches.protocol:Tokens",
    "harmony_parts.interaction.protocol:Interaction",
    "harmony_parts.interaction.protocol:Exchange",
    "harmony_parts.interaction.protocol:Layout",
    "harmony_parts.guidance.protocol:Pass",
    "harmony_parts.guidance.protocol:StepTimes",
    "harmony_parts.tasks.protocol:Plan",
    "harmony_parts.av:Times",
    "harmony_parts.anchors.protocol:Scene",
    "harmony_parts.scenes.protocol:Take",
    "harmony_parts.scenes.protocol:Spoken",
}
"""Classes besides the protocols of the kinds: what parts build, take and return."""


def surface() -> str:
    """The text of the file."""
    lines = [f"hooks version {HOOKS}", "", "hooks"]
    lines += [f"  {kind.hook} -> {kind.protocol}" for kind in KINDS.values()]
    lines += ["", "protocols"]
    for target in sorted({kind.protocol for kind in KINDS.values()} | BESIDES):
        module, _, name = target.partition(":")
        cls = getattr(importlib.import_module(module), name)
        lines += [f"  {target}", *(f"    {member}" for member in members(cls))]
    lines += ["", "import harmony_parts as hp"]
    lines += [f"  {public}{signature(getattr(hp, public))}" for public in sorted(hp._NAMES)]
    helpers = (importlib.import_module(f"harmony_parts.{helper}") for helper in FOR_PLUGINS)
    for module_ in (contracts, *helpers):
        names = getattr(module_, "__all__", None) or own_names(module_)
        lines += ["", module_.__name__]
        lines += [f"  {name}{signature(vars(module_)[name])}" for name in names]
    return "\n".join(lines) + "\n"


def own_names(module: ModuleType) -> list[str]:
    """The public classes and functions that a module defines."""
    return sorted(
        name
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    )


def members(cls: type) -> Iterator[str]:
    """The fields and methods that a class itself defines, in order."""
    for field, annotation in vars(cls).get("__annotations__", {}).items():
        yield f"{field}: {annotation}"
    for name, function in vars(cls).items():
        if inspect.isfunction(function) and (not name.startswith("_") or name == "__call__"):
            yield f"{name}{signature(function)}"


def signature(function: Any) -> str:
    """The signature as written, "" if there is none."""
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(function)))
    except (ValueError, TypeError):
        return ""
