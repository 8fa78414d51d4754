"""What is made of which checkpoint: the recipe of the model, and the rules that its tensors come
by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
from torch import Tensor

from harmony_parts.convert.checkpoint import Checkpoint
from harmony_parts.convert.layouts import OVI, WAN, WAN_DIFFUSERS, Rule, as_mmdit, of_stream
from harmony_parts.convert.sizes import Tower, audio_tower, read_configs, video_tower
from harmony_parts.errors import RunError
from harmony_parts.layers.rope import OVI_CONSTANT

Layout = Literal["ovi", "wan"]
Init = Literal["gldi", "global", "mmdit"]

FUSION = "*.cross_attn.*fusion.*"
STITCHED = {
    "gldi": "the interaction gldi starts fresh, at zero",
    "global": "the interaction global starts fresh, at zero",
    "mmdit": "the audio branch becomes an mmdit, and the interaction gldi starts fresh, at zero",
}
LICENCES = {
    "wan": "Wan-AI publishes Wan2.2's weights under Apache-2.0",
    "ovi": "Character AI publishes Ovi's weights under Apache-2.0",
}


@attrs.frozen(eq=False)
class Source:
    """A checkpoint, the rules that its tensors are taken by, and patterns of those names of its
    that nobody expects to be taken.
    """

    checkpoint: Checkpoint
    rules: tuple[Rule, ...]
    licence: str
    unused: tuple[str, ...] = ()

    def taken(self) -> Iterator[tuple[str, str, Rule]]:
        """(their name, our name, the rule) of every tensor that a rule is about."""
        for name in self.checkpoint.described:
            for rule in self.rules:
                if (ours := rule.to_ours(name)) is not None:
                    yield name, ours, rule
                    break

    def theirs(self) -> dict[str, str]:
        """Their names by ours."""
        return {ours: name for name, ours, _ in self.taken()}


@attrs.frozen(eq=False)
class Plan:
    """`table` is the recipe; `fresh` are patterns of our names that nobody expects to be in a
    checkpoint.
    """

    table: dict[str, Any]
    sources: tuple[Source, ...]
    fresh: tuple[str, ...] = ()


def plan(
    layout: Layout,
    checkpoint: Path,
    base: Mapping[str, Any],
    *,
    audio: Path | None,
    init: Init | None,
    configs: Sequence[Path],
) -> Plan:
    """The plan. `base` is the recipe that codecs, encoders and all else come from. Raises RunError
    for what can't be made of them.
    """
    if layout == "wan" and (audio is None) != (init is None):
        raise RunError(
            "a Wan checkpoint becomes a model of video alone, or with `init` and `audio` (an Ovi"
            " checkpoint) a pair; give both or none"
        )
    if layout == "ovi" and audio is not None:
        raise RunError(
            "an Ovi checkpoint has its own audio tower; leave `audio` out, or convert a Wan"
            " checkpoint with it"
        )
    first = Checkpoint(checkpoint)
    if layout == "wan" and init is None:
        alone = _configs(configs, first)
        if alone["audio"]:
            raise RunError(
                "a configuration is that of a tower of sound (its patches have one axis), and Wan's"
                " model has none"
            )
        return _wan(first, base, alone)
    second = first if audio is None else Checkpoint(audio)
    said = _configs(configs, first, second)
    if init is None:
        return _ovi(first, base, said)
    return _pair(layout, first, second, base, init, said)


def _configs(files: Sequence[Path], *checkpoints: Checkpoint) -> dict[str, list[dict[str, Any]]]:
    """The configurations that are given, and those that lie in a checkpoint's folder."""
    beside = [
        checkpoint.files[0].parent / "config.json"
        for checkpoint in checkpoints
        if checkpoint.path.is_dir()
    ]
    return read_configs([*(file for file in dict.fromkeys(beside) if file.is_file()), *files])


def _wan(
    checkpoint: Checkpoint,
    base: Mapping[str, Any],
    configs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Plan:
    source = Source(checkpoint, wan_rules(checkpoint.described), LICENCES["wan"])
    tower = video_tower(checkpoint.described, source.theirs(), configs["video"])
    old = _table(base.get("denoiser"))
    denoiser = {
        **_kept(old, "video-only", "video"),
        "layers": tower.layers,
        "video": _video(old, tower, "float32"),
    }
    return Plan({**base, "denoiser": denoiser}, (source,))


def _ovi(
    checkpoint: Checkpoint,
    base: Mapping[str, Any],
    configs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Plan:
    source = Source(checkpoint, OVI, LICENCES["ovi"])
    video, audio = _towers(source, source, configs)
    interaction = {"use": "global", "rope_map": "constant", "constant": audio.positions_per_latent}
    return Plan(
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
    first: Checkpoint,
    second: Checkpoint,
    base: Mapping[str, Any],
    init: Init,
    configs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Plan:
    """Branches from the parents, the interaction fresh."""
    of_audio, unused, fresh = of_stream(OVI, "audio"), [FUSION], ["denoiser.blocks.*.interaction.*"]
    of_video = wan_rules(first.described) if layout == "wan" else of_stream(OVI, "video")
    video, audio = _towers(Source(first, of_video, ""), Source(second, of_audio, ""), configs)
    if init == "mmdit":
        of_audio = tuple(as_mmdit(of_audio))
        unused += [
            "audio_model.patch_embedding.*",
            "audio_model.*.cross_attn.*",
            "audio_model.*.norm3.*",
        ]
        fresh += ["denoiser.branches.audio.latent_embedding.*", "denoiser.branches.audio.*_group"]
    if layout == "ovi":  # one checkpoint for both
        sources: tuple[Source, ...] = (
            Source(first, (*of_video, *of_audio), LICENCES["ovi"], tuple(unused)),
        )
    else:
        audio_source = Source(second, of_audio, LICENCES["ovi"], (*unused, "video_model.*"))
        sources = (Source(first, of_video, LICENCES["wan"]), audio_source)
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
    return Plan(table, sources, tuple(fresh))


def wan_rules(described: Mapping[str, Tensor]) -> tuple[Rule, ...]:
    """Those of the naming that a Wan checkpoint has: its authors', or diffusers'."""
    return (
        WAN_DIFFUSERS if any(name.startswith("condition_embedder.") for name in described) else WAN
    )


def _towers(
    of_video: Source, of_audio: Source, configs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Tower, Tower]:
    video = video_tower(of_video.checkpoint.described, of_video.theirs(), configs["video"])
    audio = audio_tower(
        of_audio.checkpoint.described, of_audio.theirs(), configs["audio"], OVI_CONSTANT
    )
    if video.layers != audio.layers:
        raise RunError(
            f"the video tower has {video.layers} layers and the audio tower {audio.layers}; a pair"
            " has as many in both"
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
    """The table of a dual-branch denoiser; `precision` is the video parent's."""
    sizes: dict[str, Any] = {
        "width": audio.width,
        "heads": audio.heads,
        "feed": audio.feed,
        "precision": "weights",
    }
    if use == "cross":
        sizes["positions_per_latent"] = audio.positions_per_latent
    return {
        **_kept(old, "dual-branch", "video"),
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


def _kept(old: Any, use: str, *without: str) -> dict[str, Any]:
    """The settings of a part that stays, but for some."""
    return {name: value for name, value in _part(old, use).items() if name not in without}


def _part(old: Any, use: str) -> dict[str, Any]:
    """The part of that name with the settings that the recipe has for it, if it is the recipe's."""
    table = _table(old)
    same = str(table.get("use", "")).rpartition("/")[2] == use
    return {**(table if same else {}), "use": use}


def _table(part: Any) -> Mapping[str, Any]:
    """A part as a table, which may be written as its bare name, or left out."""
    return {"use": part} if isinstance(part, str) else part if isinstance(part, Mapping) else {}
