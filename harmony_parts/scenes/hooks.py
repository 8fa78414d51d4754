"""Declarations of the built-in scenes."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_scene() -> Iterator[PartDeclaration]:
    yield part(
        "ball",
        "harmony_parts.scenes.ball:Ball",
        summary="A ball bounces on stone, wood or grass: a flash and a thud.",
        source="this project",
    )
    yield part(
        "hammer",
        "harmony_parts.scenes.hammer:Hammer",
        summary="A hammer strikes an anvil: sparks and a clang.",
        source="this project",
    )
    yield part(
        "bar",
        "harmony_parts.scenes.bar:Bar",
        summary="A mallet strikes chime bars, which light up; the pitch tells which.",
        source="this project",
    )
