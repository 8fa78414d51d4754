"""The plan of a conversion: the model's recipe, and the rules for each checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
from torch import Tensor

from harmony_parts.convert.foreign_weights import ForeignWeights
from harmony_parts.convert.layouts import OVI, WAN, WAN_DIFFUSERS, Rule, as_mmdit, of_stream
from harmony_parts.convert.sizes import Tower, audio_tower, read_configs, video_tower
from harmony_parts.errors import RunError
from harmony_parts.layers.rope import OVI_CONSTANT

Layout = Literal["ovi", "wan"]
Init = Literal["gldi", "global", "mmdit"]

Configs = Mapping[str, Sequence[Mapping[str, Any]]]
"""Configurations of a model by its streams, video and audio."""

FUSION = "*.cross_attn.*fusion.*"
STITCHED = {
    "gldi": "the interaction gldi is initialised to zero",
    "global": "the interaction global is initialised to zero",
    "mmdit": "the audio branch becomes an mmdit, and the interaction gldi is initialised to zero",
}
LICENCES = {
    "wan": "Wan-AI publishes Wan2.2's weights under Apache-2.0",
    "ovi": "Character AI publishes Ovi's weights under Apache-2.0",
}


@attrs.frozen(eq=False)
class WeightSource:
    """The weights of a checkpoint, the rules for their names, and patterns of unused names."""

    weights: ForeignWeights
    rules: tuple[Rule, ...]
    licence: str
    unused: tuple[str, ...] = ()

    def matched(self) -> Iterator[tuple[str, str, Rule]]:
        """(their name, our name, rule) of every tensor that a rule applies to."""
        for name in self.weights.shapes:
            for rule in self.rules:
                if (ours := rule.to_ours(name)) is not None:
                    yield name, ours, rule
                    break

    def their_names(self) -> dict[str, str]:
        """Our name -> their name, of every tensor that a rule applies to."""
        return {ours: name for name, ours, _ in self.matched()}


@attrs.frozen(eq=False)
class ConversionPlan:
    """`table` is the recipe; `fresh` are patterns of our tensors that no source has to have."""

    table: dict[str, Any]
    sources: tuple[WeightSource, ...]
    fresh: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen and left out of the checkpoints, a line each."""
        return tuple(
            dict.fromkeys(
                f"{source.weights.path.name}: {note}"
                for source in self.sources
                for note in source.weights.notes
            )
        )


def make_plan(
    layout: Layout,
    checkpoint: Path,
    base: Mapping[str, Any],
    *,
    audio: Path | None,
    init: Init | None,
    configs: Sequence[Path],
    key: str | None = None,
) -> ConversionPlan:
    """The plan of a conversion; codecs, encoders and everything else come from the recipe `base`.

    Raises RunError if the checkpoints and arguments don't fit together.
    """
    if layout == "wan" and (audio is None) != (init is None):
        raise RunError(
            "a Wan checkpoint becomes a video-only model, or a pair with `init` and `audio` (an Ovi"
            " checkpoint); give both or neither"
        )
    if layout == "ovi" and audio is not None:
        raise RunError(
            "an Ovi checkpoint has its own audio tower; leave out `audio`, or convert a Wan"
            " checkpoint with it"
        )
    first = ForeignWeights(checkpoint, key)
    if layout == "wan" and init is None:
        found = _configs(configs, first)
        if found["audio"]:
            raise RunError(
                "a configuration is for an audio tower (its patches have one axis), but Wan's model"
                " has none"
            )
        return _wan(first, base, found)
    second = first if audio is None else ForeignWeights(audio)
    found = _configs(configs, first, second)
    if init is None:
        return _ovi(first, base, found)
    return _pair(layout, first, second, base, init, found)


def _configs(files: Sequence[Path], *checkpoints: ForeignWeights) -> Configs:
    """The given configurations, and those in the checkpoints' folders."""
    beside = [
        checkpoint.files[0].parent / "config.json"
        for checkpoint in checkpoints
        if checkpoint.path.is_dir()
    ]
    return read_configs([*(file for file in dict.fromkeys(beside) if file.is_file()), *files])


def _wan(
    checkpoint: ForeignWeights,
    base: Mapping[str, Any],
    configs: Configs,
) -> ConversionPlan:
    source = WeightSource(checkpoint, wan_rules(checkpoint.shapes), LICENCES["wan"])
    tower = video_tower(checkpoint.shapes, source.their_names(), configs["video"])
    old = _table(base.get("denoiser"))
    denoiser = {
        **_settings(old, "video-only", "video"),
        "layers": tower.layers,
        "video": _video(old, tower, "float32"),
    }
    return ConversionPlan({**base, "denoiser": denoiser}, (source,))


def _ovi(
    checkpoint: ForeignWeights,
    base: Mapping[str, Any],
    configs: Configs,
) -> ConversionPlan:
    source = WeightSource(checkpoint, OVI, LICENCES["ovi"])
    video, audio = _towers(source, source, configs)
    interaction = {"use": "global", "rope_map": "constant", "constant": audio.positions_per_latent}
    return ConversionPlan(
        {
            **base,
            "denoiser": _dual(
                _table(base.get("denoiser")), video, audio, "cross", interaction, "weights"
            ),
        },
        (source,),
    )


def _pair(
    layout: Layout,
    first: ForeignWeights,
    second: ForeignWeights,
    base: Mapping[str, Any],
    init: Init,
    configs: Configs,
) -> ConversionPlan:
    """A pair with the branches of both parents and an initialised interaction."""
    of_audio, unused, fresh = of_stream(OVI, "audio"), [FUSION], ["denoiser.blocks.*.interaction.*"]
    of_video = wan_rules(first.shapes) if layout == "wan" else of_stream(OVI, "video")
    parents = WeightSource(first, of_video, ""), WeightSource(second, of_audio, "")
    video, audio = _towers(*parents, configs)
    if init == "mmdit":
        of_audio = tuple(as_mmdit(of_audio))
        unused += [
            "audio_model.patch_embedding.*",
            "audio_model.*.cross_attn.*",
            "audio_model.*.norm3.*",
        ]
        fresh += ["denoiser.branches.audio.latent_embedding.*", "denoiser.branches.audio.*_group"]
    if layout == "ovi":  # one checkpoint for both
        sources: tuple[WeightSource, ...] = (
            WeightSource(first, (*of_video, *of_audio), LICENCES["ovi"], tuple(unused)),
        )
    else:
        audio_source = WeightSource(second, of_audio, LICENCES["ovi"], (*unused, "video_model.*"))
        sources = (WeightSource(first, of_video, LICENCES["wan"]), audio_source)
    old = _table(base.get("denoiser"))
    interaction = _part(old.get("interaction"), "global" if init == "global" else "gldi")
    denoiser = _dual(
        old,
        video,
        audio,
        "mmdit" if init == "mmdit" else "cross",
        interaction,
        "float32" if layout == "wan" else "weights",
    )
    encoders = dict(base.get("encoders", {}))
    if init == "mmdit":
        encoders.setdefault("voice", {"use": "reference-audio"})
    towers = "Wan's video" if layout == "wan" else "Ovi's video"
    table = {
        **base,
        "name": f"{layout}-{init}",
        "summary": f"{towers} and Ovi's audio branch, to be trained together: {STITCHED[init]}.",
        "encoders": encoders,
        "denoiser": denoiser,
    }
    return ConversionPlan(table, sources, tuple(fresh))


def wan_rules(described: Mapping[str, Tensor]) -> tuple[Rule, ...]:
    """The rules for a Wan checkpoint: its authors' naming, or diffusers'."""
    return (
        WAN_DIFFUSERS if any(name.startswith("condition_embedder.") for name in described) else WAN
    )


def _towers(
    of_video: WeightSource,
    of_audio: WeightSource,
    configs: Configs,
) -> tuple[Tower, Tower]:
    video = video_tower(of_video.weights.shapes, of_video.their_names(), configs["video"])
    audio = audio_tower(
        of_audio.weights.shapes, of_audio.their_names(), configs["audio"], OVI_CONSTANT
    )
    if video.layers != audio.layers:
        raise RunError(
            f"the video tower has {video.layers} layers and the audio tower {audio.layers}; a pair"
            " needs the same number in both"
        )
    return video, audio


def _dual(
    old: Mapping[str, Any],
    video: Tower,
    audio: Tower,
    use: str,
    interaction: Mapping[str, Any],
    precision: str,
) -> dict[str, Any]:
    """The table of a `dual-branch` denoiser; `precision` is that of the video parent."""
    sizes: dict[str, Any] = {
        "width": audio.width,
        "heads": audio.heads,
        "feed": audio.feed,
        "precision": "weights",
    }
    if use == "cross":
        sizes["positions_per_latent"] = audio.positions_per_latent
    return {
        **_settings(old, "dual-branch", "video"),
        "layers": video.layers,
        "video": _video(old, video, precision),
        "audio": {**_part(old.get("audio"), use), **sizes},
        "interaction": dict(interaction),
    }


def _video(old: Mapping[str, Any], tower: Tower, precision: str) -> dict[str, Any]:
    sizes = {
        "width": tower.width,
        "heads": tower.heads,
        "feed": tower.feed,
        "patch": tower.patch,
        "precision": precision,
    }
    return {**_part(old.get("video"), "transformer"), **sizes}


def _settings(old: Any, use: str, *without: str) -> dict[str, Any]:
    """The settings of a part that is kept, without some of them."""
    return {name: value for name, value in _part(old, use).items() if name not in without}


def _part(old: Any, use: str) -> dict[str, Any]:
    """The part `use`, with the recipe's settings if the recipe uses it, too."""
    table = _table(old)
    same = str(table.get("use", "")).rpartition("/")[2] == use
    return {**(table if same else {}), "use": use}


def _table(part: Any) -> Mapping[str, Any]:
    """A part as a table; a recipe may have its bare name, or leave it out."""
    return {"use": part} if isinstance(part, str) else part if isinstance(part, Mapping) else {}
