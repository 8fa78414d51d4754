"""A guidance chosen by name, with changed settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony_parts.guidance.protocol import Guidance


def choose_guidance(name: str | None, overrides: tuple[str, ...], default: Guidance) -> Guidance:
    """The guidance called `name`, else `default`, with settings changed. Raises AssemblyError."""
    if name is None and not overrides:
        return default
    from harmony_parts.assembly.overrides import apply_overrides
    from harmony_parts.assembly.tables import structure, unstructure
    from harmony_parts.guidance.protocol import Guidance

    where = f"the guidance {name}" if name else "the recipe's guidance"
    table = {"use": name} if name else unstructure(default, kind="guidance")
    table = apply_overrides(table, overrides, Guidance)
    chosen: Guidance = structure(table, Guidance, name=where)  # type: ignore[type-abstract]
    return chosen
