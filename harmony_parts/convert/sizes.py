"""The sizes of a checkpoint's towers, read from its tensors and checked with its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.errors import RunError

HEAD = 128  # width of a head in Wan and Ovi, which the shapes don't reveal

NAMES = {
    "dim": "width",
    "ffn_dim": "feed",
    "num_heads": "heads",
    "num_attention_heads": "heads",
    "num_layers": "layers",
    "in_dim": "channels",
    "out_dim": "channels",
    "in_channels": "channels",
    "out_channels": "channels",
    "text_dim": "text",
    "temporal_rope_scaling_factor": "positions_per_latent",
}
"""Names in the configurations of Wan, Ovi and diffusers -> ours."""
FIXED: dict[str, tuple[Any, ...]] = {
    "freq_dim": (256,),
    "eps": (1e-6,),
    "cross_attn_norm": (True,),
    "qk_norm": (True, "rms_norm_across_heads"),
    "image_dim": (None,),
    "added_kv_proj_dim": (None,),
    "window_size": ([-1, -1],),
}
"""Settings that the branches here support in only these values."""


@attrs.frozen
class Tower:
    """Sizes of one transformer; `patch` is for video, `positions_per_latent` for audio."""

    width: int
    heads: int
    feed: int
    layers: int
    channels: int
    text: int
    patch: int = 1
    positions_per_latent: float = 1.0


def video_tower(
    theirs: Mapping[str, Tensor], names: Mapping[str, str], configs: Sequence[Mapping[str, Any]]
) -> Tower:
    """The sizes of a Wan transformer; `names` has their name for each of ours.

    Raises RunError if shapes and configurations disagree, or a tensor is missing.
    """
    embed = _shape(theirs, names, "branches.video.patch_embedding.weight", 5)
    if embed[2] != 1 or embed[3] != embed[4]:
        raise RunError(
            f"patches of {list(embed[2:])} latents aren't supported: they have to be squares in one"
            " frame"
        )
    return _tower(theirs, names, "video", embed[0], embed[1], configs, patch=embed[3])


def audio_tower(
    theirs: Mapping[str, Tensor],
    names: Mapping[str, str],
    configs: Sequence[Mapping[str, Any]],
    positions_per_latent: float,
) -> Tower:
    """The sizes of Ovi's audio transformer, as `video_tower`.

    `positions_per_latent` is used unless a configuration has another. Raises RunError.
    """
    embed = _shape(theirs, names, "branches.audio.latent_embedding.0.weight", 3)
    return _tower(
        theirs,
        names,
        "audio",
        embed[0],
        embed[1],
        configs,
        positions_per_latent=positions_per_latent,
    )


def _tower(
    theirs: Mapping[str, Tensor],
    names: Mapping[str, str],
    stream: str,
    width: int,
    channels: int,
    configs: Sequence[Mapping[str, Any]],
    **more: Any,
) -> Tower:
    """The sizes of one stream's transformer; `more` are its other sizes."""
    condition = "caption" if stream == "video" else "sound"
    layers = [
        int(name.split(".")[1])
        for name in names
        if name.startswith("blocks.") and name.split(".")[2] == stream
    ]
    sizes = {
        "width": width,
        "feed": _shape(theirs, names, f"blocks.0.{stream}.ffn.0.weight", 2)[0],
        "layers": 1 + max(layers),
        "channels": channels,
        "text": _shape(
            theirs, names, f"branches.{stream}.listener.projections.{condition}.0.weight", 2
        )[1],
        **more,
    }
    for config in configs:
        sizes |= _checked(_in_our_names(config), sizes, stream)
    if "heads" not in sizes:
        if width % HEAD:
            raise RunError(
                "the tensors don't reveal the number of heads, and a width of"
                f" {width} isn't a multiple of {HEAD}: give the configuration with --config (in"
                " Python: configs)"
            )
        sizes["heads"] = width // HEAD
    return Tower(**sizes)


def _checked(config: Mapping[str, Any], sizes: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """The sizes that only a configuration has. Raises RunError if it contradicts the tensors."""
    more = {name: config[name] for name in ("heads", "positions_per_latent") if name in config}
    wrong = [
        f"{name} {value} (the tensors: {sizes[name]})"
        for name, value in config.items()
        if name in sizes and name != "positions_per_latent" and value != sizes[name]
    ]
    if wrong:
        raise RunError(
            f"the configuration is of another model than the {stream} tensors: {', '.join(wrong)}"
        )
    return {name: value for name, value in more.items() if name == "heads" or name in sizes}


def _shape(
    theirs: Mapping[str, Tensor], names: Mapping[str, str], ours: str, axes: int
) -> tuple[int, ...]:
    """The shape of their tensor for one of ours, with that number of axes."""
    if ours not in names:
        raise RunError(
            f"the checkpoint has no tensor for {ours}, only {', '.join(list(theirs)[:4])}, ...:"
            f" {_hint(theirs)}"
        )
    shape = tuple(theirs[names[ours]].shape)
    if len(shape) != axes:
        raise RunError(f"{names[ours]} is {list(shape)}; expected {axes} axes")
    return shape


def _hint(theirs: Mapping[str, Tensor]) -> str:
    """What an unexpected checkpoint may be, judging by its names."""
    if any(name.startswith(("video_model.", "audio_model.")) for name in theirs):
        return (
            "these are the names of Ovi's towers (`harmony convert ovi`; for a pair with Wan,"
            " --audio)"
        )
    if any(name.startswith("blocks.0.") for name in theirs):
        return "these are the names of Wan's tensors (`harmony convert wan`)"
    return "is it of this model?"


def _in_our_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in our names. Raises RunError for an unsupported setting."""
    for name, values in FIXED.items():
        if name in config and not any(config[name] == value for value in values):
            raise RunError(
                f"the configuration has {name} = {config[name]!r}, which isn't supported here (only"
                f" {values[0]!r})"
            )
    sizes = {ours: config[name] for name, ours in NAMES.items() if config.get(name) is not None}
    if "attention_head_dim" in config and "heads" in sizes:
        sizes["width"] = config["attention_head_dim"] * sizes["heads"]
    if "patch_size" in config:
        sizes["patch"] = config["patch_size"][-1]
    return sizes


def read_configs(files: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Configurations by their stream; the patches of an audio tower have one axis.

    Raises RunError if one can't be read.
    """
    configs: dict[str, list[dict[str, Any]]] = {"video": [], "audio": []}
    for file in files:
        try:
            config = json.loads(Path(file).read_text(encoding="utf-8"))
            patch = config.get("patch_size", [1, 2, 2])
            configs["audio" if len(patch) == 1 else "video"].append(config)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise RunError(
                f"{file}: can't be read as the configuration of a transformer: {error}"
            ) from error
    return configs
