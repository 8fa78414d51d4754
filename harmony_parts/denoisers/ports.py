"""Ports: by which stream each condition enters the denoiser, and how."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import How
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.protocol import Port
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError

PORTS = {
    "caption": Port("video", "context"),
    "image": Port("video", "clean_tokens"),
    "speech": Port("audio", "context"),
    "sound": Port("audio", "context"),
    "voice": Port("audio", "clean_tokens"),
}
"""Harmony's own conditions: caption and reference image enter the video branch; transcript, sound
caption and reference audio the audio branch.
"""


def accepted(
    encoders: Mapping[str, Encoder], ports: Mapping[str, Port], codecs: AV[VideoCodec | AudioCodec]
) -> dict[str, tuple[Port, int]]:
    """Port and width of every condition that the encoders produce.

    The denoiser's streams are those of `codecs`. Raises AssemblyError, naming each condition that
    has no port or can't enter by it.
    """
    _check_built(encoders, codecs)
    if wrong := [name for name, port in ports.items() if not isinstance(port, Port)]:
        raise AssemblyError(
            [
                f"$.denoiser.ports.{name}: expected Port(stream, how), not {ports[name]!r}"
                for name in wrong
            ]
        )
    produced: dict[str, int] = {
        name: width for encoder in encoders.values() for name, width in encoder.produces.items()
    }
    ports = {**PORTS, **ports}
    if missing := [_no_port(name, ports) for name in produced if name not in ports]:
        raise AssemblyError(missing)
    if faults := [*_unfit(produced, ports, codecs)]:
        raise AssemblyError(faults)
    return {name: (ports[name], width) for name, width in produced.items()}


def _check_built(encoders: Mapping[str, Encoder], codecs: AV[VideoCodec | AudioCodec]) -> None:
    """Raise AssemblyError for settings in place of the part that their `build` makes."""
    if not isinstance(encoders, Mapping):
        raise AssemblyError(
            f"encoders: expected a mapping of names to encoders, not a {type(encoders).__name__}"
        )
    parts: dict[str, object] = {f"codecs.{stream}": codecs[stream] for stream in codecs}
    parts |= {f"encoders.{name}": encoder for name, encoder in encoders.items()}
    if faults := [
        f"{path}: {part!r} are settings; pass what their `build` makes"
        for path, part in parts.items()
        if callable(getattr(part, "build", None))
    ]:
        raise AssemblyError(faults, "denoiser")


def entering(conditions: Mapping[str, tuple[Port, int]], stream: str) -> dict[str, tuple[How, int]]:
    """How the conditions of one stream enter, and their widths."""
    return {
        name: (port.how, width)
        for name, (port, width) in conditions.items()
        if port.stream == stream
    }


def _unfit(
    produced: Mapping[str, int], ports: Mapping[str, Port], codecs: AV[VideoCodec | AudioCodec]
) -> Iterator[str]:
    """Faults: a stream that the model lacks; two clean references, or of another width."""
    for name in produced:
        if ports[name].stream not in tuple(codecs):
            yield (
                f"$.denoiser: the condition {name!r} enters by the {ports[name].stream} stream,"
                " which this model doesn't have; remove its encoder"
            )
    for stream in STREAMS:
        clean = [name for name in produced if ports[name] == Port(stream, "clean_tokens")]
        if len(clean) > 1:
            yield (
                f"$.denoiser.ports: {' and '.join(clean)} would both be the clean tokens of the"
                f" {stream} stream; keep one"
            )
        for name in clean if stream in tuple(codecs) else ():
            if produced[name] != codecs[stream].channels:
                yield (
                    f"$.denoiser.ports.{name}: clean tokens are latents of the {stream} stream,"
                    f" which have {codecs[stream].channels} channels; this condition has"
                    f" {produced[name]}"
                )


def _no_port(name: str, ports: Collection[str]) -> str:
    near = get_close_matches(name, ports, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return (
        f"$.denoiser.ports: no port for the condition {name!r}{hint}; add ports.{name} = {{ stream"
        " = ..., how = ... }"
    )
