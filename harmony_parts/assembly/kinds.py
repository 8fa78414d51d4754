"""The kinds of part: the hook, protocol and folder of each."""

from __future__ import annotations

from typing import Any

import attrs

from harmony_parts.errors import UnknownPart, nearest


@attrs.frozen
class Kind:
    """A kind of part.

    `hook` is the name of its hook. `protocol` ("module:Class") annotates the settings that take a
    part of this kind. `folder` holds the built-in parts.
    """

    hook: str
    protocol: str
    folder: str

    @property
    def builds(self) -> bool:
        """True if the working part is made by `build(...)`, False if the settings are the part."""
        return self.protocol.endswith("Spec")

    def __str__(self) -> str:
        return self.hook.removeprefix("harmony_").replace("_", "-")


def _kind(name: str, folder: str, protocol: str) -> tuple[str, Kind]:
    return name, Kind(f"harmony_{name}", f"harmony_parts.{folder}.protocol:{protocol}", folder)


KINDS: dict[str, Kind] = dict(
    (
        _kind("video_codec", "codecs", "VideoCodecSpec"),
        _kind("audio_codec", "codecs", "AudioCodecSpec"),
        _kind("encoder", "encoders", "EncoderSpec"),
        _kind("video_branch", "branches", "VideoBranchSpec"),
        _kind("audio_branch", "branches", "AudioBranchSpec"),
        _kind("interaction", "interaction", "InteractionSpec"),
        _kind("attention", "attention", "LocalAttention"),
        _kind("style", "style", "StyleSpec"),
        _kind("denoiser", "denoisers", "DenoiserSpec"),
        _kind("path", "flow", "Path"),
        _kind("shift", "flow", "Shift"),
        _kind("density", "flow", "Density"),
        _kind("solver", "flow", "Solver"),
        _kind("task", "tasks", "Task"),
        _kind("anchor", "anchors", "Anchor"),
        _kind("guidance", "guidance", "Guidance"),
        _kind("scene", "scenes", "StageScene"),
        _kind("reference", "references", "VoiceReference"),
        _kind("data", "data", "DataSpec"),
        _kind("metric", "metrics", "MetricSpec"),
        _kind("source", "sources", "SourceSpec"),
        _kind("filter", "filters", "FilterSpec"),
        _kind("optimizer", "optimizers", "OptimizerSpec"),
        _kind("schedule", "schedules", "Schedule"),
        _kind("trainable", "trainable", "Trainable"),
        _kind("strategy", "strategies", "StrategySpec"),
        _kind("callback", "callbacks", "CallbackSpec"),
    )
)
"""Name -> kind. Names have underscores here and in hooks, hyphens in documents and on the command
line.
"""
_BY_PROTOCOL = {kind.protocol: name for name, kind in KINDS.items()}


def kind_name(kind: str) -> str:
    """The key in `KINDS` for either spelling: "video-codec" or "video_codec".

    Raises UnknownPart if there is no such kind.
    """
    name = kind.replace("-", "_")
    if name not in KINDS:
        raise UnknownPart(
            f"there is no kind of part called {kind!r}{nearest(name, KINDS)}; kinds:"
            f" {', '.join(map(str, KINDS.values()))}"
        )
    return name


def kind_of(annotation: Any) -> str | None:
    """The kind that this annotation is the protocol of, or None for any other type."""
    return _BY_PROTOCOL.get(
        f"{getattr(annotation, '__module__', '')}:{getattr(annotation, '__qualname__', '')}"
    )
