"""A guidance chosen by name, with settings changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony_parts.guidance.protocol import Guidance


def choose(name: str | None, overrides: tuple[str, ...], own: Guidance) -> Guidance:
    """The guidance of that name, else `own`, with some settings changed. Raises AssemblyError."""
    if name is None and not overrides:
        return own
    from harmony_parts.assembly.overrides import apply_overrides
    from harmony_parts.assembly.tables import structure, unstructure
    from harmony_parts.guidance.protocol import Guidance

    where = f"the guidance {name}" if name else "the recipe's guidance"
    table = {"use": name} if name else unstructure(own, kind="guidance")
    changed: Guidance = structure(
        apply_overrides(table, overrides, Guidance), Guidance, where=where
    )  # type: ignore[type-abstract]
    return changed
