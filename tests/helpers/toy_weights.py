"""Random checkpoints in Wan's and Ovi's layouts, at any size, and recipes without weights for them.

Names and shapes are written down from the state dicts of those projects, independently of the
library's rules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import save_file
from torch import Tensor

from harmony_parts.models.folder import weight_files
from harmony_parts.models.saved_tensors import iter_tensors

WIDTH, HEADS, FEED, LAYERS, TEXT = 32, 2, 48, 2, 16
VIDEO, PATCH, AUDIO = 12, 2, 8  # channels of the latents, latents of a token

CONFIG = {
    "dim": WIDTH,
    "num_heads": HEADS,
    "ffn_dim": FEED,
    "num_layers": LAYERS,
    "freq_dim": 256,
    "eps": 1e-6,
    "text_len": 512,
    "qk_norm": True,
    "cross_attn_norm": True,
    "window_size": [-1, -1],
}
WAN_CONFIG = CONFIG | {
    "model_type": "ti2v",
    "patch_size": [1, PATCH, PATCH],
    "in_dim": VIDEO,
    "out_dim": VIDEO,
}
AUDIO_CONFIG = CONFIG | {
    "model_type": "t2a",
    "patch_size": [1],
    "in_dim": AUDIO,
    "out_dim": AUDIO,
    "temporal_rope_scaling_factor": 0.25,
}

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "summary": "Codecs without weights, for checkpoints of a few numbers.",
    "format": {"fps": 12, "height": 16, "width": 16, "sample_rate": 8000, "seconds": 0.5},
    "codecs": {
        "video": {"use": "dct", "block": 4, "frames_per_latent": 1, "keep": VIDEO},
        "audio": {
            "use": "log-mel",
            "latents_per_second": 30,
            "hops_per_latent": 1,
            "bands": AUDIO,
            "iterations": 2,
        },
    },
    "encoders": {
        "caption": {"use": "bytes", "field": "caption", "width": TEXT, "heads": 2, "layers": 0},
        "sound": {"use": "bytes", "field": "sound", "width": TEXT, "heads": 2, "layers": 0},
        "image": {"use": "reference-image"},
    },
    "denoiser": {
        "use": "dual-branch",
        "interaction": {"use": "gldi", "audio_window": 0.25, "attention": "reference"},
    },
    "flow": {"path": "straight", "density": "logit-normal", "shift": "constant"},
    "task": "sampled",
    "data": {"use": "soundstage", "size": 4},
    "train": {"steps": 2, "batch": 2, "prepared": 2, "log_every": 1},
    "sample": {"guidance": "cfg", "solver": "euler", "shift": "constant", "steps": 2},
}
"""A recipe for Ovi, and for a pair."""
WAN_RECIPE = RECIPE | {
    "codecs": {"video": RECIPE["codecs"]["video"]},
    "encoders": {name: RECIPE["encoders"][name] for name in ("caption", "image")},
    "denoiser": "video-only",
    "task": "joint",
}
"""A recipe for Wan without audio."""


@attrs.frozen
class Files:
    """An Ovi file, a Wan folder of shards, their tensors and their configurations."""

    ovi: Path
    wan: Path
    ovi_tensors: dict[str, Tensor]
    wan_tensors: dict[str, Tensor]
    wan_config: Path
    audio_config: Path

    @property
    def configs(self) -> list[Path]:
        """The configurations of both towers."""
        return [self.wan_config, self.audio_config]


def _tower(
    prefix: str,
    modulation: str,
    out: int,
    width: int = WIDTH,
    feed: int = FEED,
    layers: int = LAYERS,
) -> dict[str, tuple[int, ...]]:
    """Names and shapes that Wan's transformer and both of Ovi's share."""
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}head.modulation": (1, 2, width)}

    def linear(name: str, source: int, target: int) -> None:
        shapes[f"{prefix}{name}.weight"], shapes[f"{prefix}{name}.bias"] = (
            (target, source),
            (target,),
        )

    linear("text_embedding.0", TEXT, width)
    linear("text_embedding.2", width, width)
    linear("time_embedding.0", 256, width)
    linear("time_embedding.2", width, width)
    linear("time_projection.1", width, 6 * width)
    linear("head.head", width, out)
    for n in range(layers):
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                linear(f"blocks.{n}.{attention}.{part}", width, width)
            for norm in ("norm_q", "norm_k"):
                shapes[f"{prefix}blocks.{n}.{attention}.{norm}.weight"] = (width,)
        for part in ("weight", "bias"):
            shapes[f"{prefix}blocks.{n}.norm3.{part}"] = (width,)
        linear(f"blocks.{n}.ffn.0", width, feed)
        linear(f"blocks.{n}.ffn.2", feed, width)
        shapes[f"{prefix}blocks.{n}.{modulation}"] = (1, 6, width)
    return shapes


def wan_shapes(
    prefix: str = "", modulation: str = "modulation", **sizes: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Wan2.2-TI2V-5B, as its authors name them."""
    width = sizes.get("width", WIDTH)
    embed = {
        f"{prefix}patch_embedding.weight": (width, VIDEO, 1, PATCH, PATCH),
        f"{prefix}patch_embedding.bias": (width,),
    }
    return embed | _tower(prefix, modulation, VIDEO * PATCH**2, **sizes)


def ovi_shapes(**sizes: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of Ovi's model."""
    width, layers = sizes.get("width", WIDTH), sizes.get("layers", LAYERS)
    inner = -(-8 * width // 3 // 256) * 256
    audio = "audio_model.patch_embedding"
    shapes = wan_shapes("video_model.", "modulation.modulation", **sizes)
    shapes |= {
        f"{audio}.0.weight": (width, AUDIO, 7),
        f"{audio}.0.bias": (width,),
        f"{audio}.2.w1.weight": (inner, width, 7),
    }
    shapes |= {f"{audio}.2.w2.weight": (width, inner, 7), f"{audio}.2.w3.weight": (inner, width, 7)}
    shapes |= _tower("audio_model.", "modulation.modulation", AUDIO, **sizes)
    for tower in ("video_model", "audio_model"):
        for n in range(layers):
            cross = f"{tower}.blocks.{n}.cross_attn"
            for name in ("k_fusion", "v_fusion"):
                shapes |= {
                    f"{cross}.{name}.weight": (width, width),
                    f"{cross}.{name}.bias": (width,),
                }
            shapes |= {
                f"{cross}.pre_attn_norm_fusion.{part}": (width,) for part in ("weight", "bias")
            }
            shapes[f"{cross}.norm_k_fusion.weight"] = (width,)
    return shapes


def numbers(
    shapes: dict[str, tuple[int, ...]], seed: int = 0, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random tensors as if trained: small, and none of them at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (
            (0.2 * torch.randn(shape, generator=generator) + (1.0 if "norm" in name else 0.0)).to(
                dtype
            )
        )
        for name, shape in shapes.items()
    }


def saved(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model folder."""
    return {
        name: tensor.clone() for file in weight_files(folder) for name, tensor in iter_tensors(file)
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether names, types, shapes and bits are equal."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a
    )


def sharded(folder: Path, state: dict[str, Tensor], shards: int = 3, index: bool = True) -> Path:
    """Write a folder of shards as on the Hub; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    where = {
        name: f"diffusion_pytorch_model-{1 + n % shards:05}-of-{shards:05}.safetensors"
        for n, name in enumerate(state)
    }
    for file in set(where.values()):
        save_file(
            {name: tensor for name, tensor in state.items() if where[name] == file}, folder / file
        )
    if index:
        text = json.dumps({"metadata": {}, "weight_map": where})
        (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(text)
    return folder
