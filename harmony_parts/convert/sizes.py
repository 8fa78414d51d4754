"""How large a checkpoint's towers are: read from the shapes of its tensors, checked against its
configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.errors import RunError

HEAD = 128  # width of a head in Wan and Ovi; shapes don't tell it

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
"""What the branches here take for granted."""


@attrs.frozen
class Tower:
    """Sizes of one transformer. `patch` is of the video's latents; `positions_per_latent` of
    the sound's.
    """

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
    """Of a Wan transformer; `names` are theirs by ours. Raises RunError where shapes and
    configuration disagree, or a tensor is missing.
    """
    embed = _shape(theirs, names, "branches.video.patch_embedding.weight", 5)
    if embed[2] != 1 or embed[3] != embed[4]:
        raise RunError(
            f"patches of {list(embed[2:])} latents aren't squares of one frame, as this transformer"
            " takes them"
        )
    return _tower(theirs, names, "video", embed[0], embed[1], configs, patch=embed[3])


def audio_tower(
    theirs: Mapping[str, Tensor],
    names: Mapping[str, str],
    configs: Sequence[Mapping[str, Any]],
    positions_per_latent: float,
) -> Tower:
    """Of Ovi's audio transformer; `positions_per_latent` holds unless a configuration
    gives another. Raises RunError as above.
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
    condition = "caption" if stream == "video" else "sound"
    layers = [
        int(name.split(".")[1])
        for name in names
        if name.startswith("blocks.") and name.split(".")[2] == stream
    ]
    read = {
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
        said = _said(config)
        given = {
            name: value
            for name, value in said.items()
            if name in read and name != "positions_per_latent"
        }
        if wrong := [
            f"{name} {value} (the tensors: {read[name]})"
            for name, value in given.items()
            if value != read[name]
        ]:
            raise RunError(
                f"the configuration is of another model than the {stream} tensors:"
                f" {', '.join(wrong)}"
            )
        read |= {
            name: said[name]
            for name in ("heads", "positions_per_latent")
            if name in said and (name == "heads" or name in read)
        }
    if "heads" not in read:
        if width % HEAD:
            raise RunError(
                f"tensors don't tell how many heads there are, and a width of {width} isn't made of"
                f" heads of {HEAD}: give the configuration by --config (in Python: configs)"
            )
        read["heads"] = width // HEAD
    return Tower(**read)


def _shape(
    theirs: Mapping[str, Tensor], names: Mapping[str, str], ours: str, axes: int
) -> tuple[int, ...]:
    """Their shape of a tensor that sizes are read from."""
    if ours not in names:
        raise RunError(
            f"there is no tensor for {ours}; the checkpoint has {', '.join(list(theirs)[:4])}, ...:"
            f" {_whose(theirs)}"
        )
    shape = tuple(theirs[names[ours]].shape)
    if len(shape) != axes:
        raise RunError(f"{names[ours]} is {list(shape)}; {axes} axes are expected")
    return shape


def _whose(theirs: Mapping[str, Tensor]) -> str:
    """What a checkpoint may be, by its names, that isn't what was expected."""
    if any(name.startswith(("video_model.", "audio_model.")) for name in theirs):
        return (
            "these are the names of Ovi's towers (`harmony convert ovi`; for a pair with Wan,"
            " --audio)"
        )
    if any(name.startswith("blocks.0.") for name in theirs):
        return "these are names of Wan's (`harmony convert wan`)"
    return "is it of this model?"


def _said(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in our names."""
    for name, values in FIXED.items():
        if name in config and not any(config[name] == value for value in values):
            raise RunError(
                f"the configuration has {name} = {config[name]!r}, which these branches can't do"
                f" (only {values[0]!r})"
            )
    said = {ours: config[name] for name, ours in NAMES.items() if config.get(name) is not None}
    if "attention_head_dim" in config and "heads" in said:
        said["width"] = config["attention_head_dim"] * said["heads"]
    if "patch_size" in config:
        said["patch"] = config["patch_size"][-1]
    return said


def read_configs(files: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Configurations by the stream that they are about: a tower of sound has patches of one axis.
    Raises RunError where one can't be read.
    """
    found: dict[str, list[dict[str, Any]]] = {"video": [], "audio": []}
    for file in files:
        try:
            config = json.loads(Path(file).read_text(encoding="utf-8"))
            patch = config.get("patch_size", [1, 2, 2])
            found["audio" if len(patch) == 1 else "video"].append(config)
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise RunError(
                f"{file}: can't be read as the configuration of a transformer: {error}"
            ) from error
    return found
