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
    yield part(
        "bounce",
        "harmony_parts.scenes.bounce:Bounce",
        summary="A ball of rubber, wood, steel or glass bounces; its material is seen and heard.",
        source="this project",
    )
    yield part(
        "string",
        "harmony_parts.scenes.string:String",
        summary="A plectrum plucks the strings of a zither, by Karplus and Strong.",
        source="this project",
    )
    yield part(
        "drum",
        "harmony_parts.scenes.drum:Drum",
        summary="Two sticks play a drum or a snare drum.",
        source="this project",
    )
    yield part(
        "bell",
        "harmony_parts.scenes.bell:Bell",
        summary="A hammer strikes a hanging bell, which swings.",
        source="this project",
    )
    yield part(
        "steps",
        "harmony_parts.scenes.steps:Steps",
        summary="Somebody walks on gravel, wood or snow.",
        source="this project",
    )
    yield part(
        "rain",
        "harmony_parts.scenes.rain:Rain",
        summary="Drops hit a window at night.",
        source="this project",
    )
    yield part(
        "melody",
        "harmony_parts.scenes.melody:Melody",
        summary="Falling notes play a melody on a keyboard.",
        source="this project",
    )
    yield part(
        "ambient",
        "harmony_parts.scenes.ambient:Ambient",
        summary="The ambient set: any scene, with distractors, outside sounds and silences.",
        source="this project",
    )
    yield part(
        "hard",
        "harmony_parts.scenes.hard:Hard",
        summary="The ambient set, harder by one number: more events, distractors and shake.",
        source="this project",
    )
    yield part(
        "talk",
        "harmony_parts.scenes.talk:Talk",
        summary="The speech set: one person talks, or two take turns.",
        source="this project",
    )
    yield part(
        "complex",
        "harmony_parts.scenes.complex:Complex",
        summary="The complex set: somebody talks in front of an ambient scene.",
        source="this project",
    )
