"""Parity with diffusers' `WanTransformer3DModel`, with random weights converted by `convert wan`.

They are converted from both namings of the tensors.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harmony_parts.av import AV, Condition, Times
from harmony_parts.convert.back import convert_back
from harmony_parts.convert.forward import convert
from harmony_parts.generate.load import load

diffusers = pytest.importorskip(
    "diffusers", reason="diffusers isn't installed: nothing to compare Wan's video branch with"
)

# both sum float32 products, in different orders, and diffusers computes angles of times in float32
BOUND = 1e-5
TEXT, CHANNELS = 24, 8
SIZES: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 24,  # 8 for time, 8 for height, 8 for width
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "text_dim": TEXT,
    "freq_dim": 256,
    "ffn_dim": 96,
    "num_layers": 3,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "image_dim": None,
    "added_kv_proj_dim": None,
    "rope_max_seq_len": 64,
}
RECIPE: dict[str, Any] = {
    "name": "wan",
    "summary": "Codecs without weights around a Wan.",
    "format": {"fps": 12, "height": 16, "width": 16, "sample_rate": 8000, "seconds": 0.5},
    "codecs": {"video": {"use": "dct", "block": 4, "frames_per_latent": 1, "keep": CHANNELS}},
    "encoders": {
        "caption": {"use": "bytes", "field": "caption", "width": TEXT, "heads": 2, "layers": 0}
    },
    "flow": {"path": "straight", "density": "logit-normal", "shift": "constant"},
    "task": "joint",
    "data": {"use": "soundstage", "size": 4},
    "sample": {"guidance": "none", "solver": "euler", "shift": "constant"},
}
# batch, frames, height, width of the latents
SHAPES = {"square": (1, 3, 8, 8), "wide": (2, 5, 4, 10), "one frame": (3, 1, 6, 4)}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """diffusers' model, with random values in every weight."""
    torch.manual_seed(0)
    model = diffusers.WanTransformer3DModel(**SIZES)
    for name, parameter in model.named_parameters():
        parameter.data += (0.1 if "norm" in name else 0.02) * torch.randn(parameter.shape)
    return model.eval()


@pytest.fixture(scope="module")
def ours(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Naming of the checkpoint -> the denoiser converted from it."""
    place = tmp_path_factory.mktemp("wan")
    theirs.save_pretrained(place / "theirs")
    convert("wan", place / "theirs", place / "a", recipe=RECIPE)
    convert_back("wan", place / "a", place / "wan.safetensors")
    convert(
        "wan",
        place / "wan.safetensors",
        place / "b",
        configs=[place / "theirs" / "config.json"],
        recipe=RECIPE,
    )
    return {"diffusers": load(place / "a").parts.denoiser, "wan": load(place / "b").parts.denoiser}


def inputs(shape: str) -> tuple[Tensor, Tensor]:
    """Latents [B, T, H, W, C], and texts [B, 512, D] that end in zeros, which Wan attends to."""
    batch, frames, height, width = SHAPES[shape]
    g = torch.Generator().manual_seed(1)
    text = torch.zeros(batch, 512, TEXT)
    text[:, :7] = torch.randn(batch, 7, TEXT, generator=g)
    return torch.randn(batch, frames, height, width, CHANNELS, generator=g), text


def velocities(ours: Any, theirs: Any, shape: str, kind: str) -> tuple[Tensor, Tensor]:
    """Velocities of this library and of diffusers."""
    latents, text = inputs(shape)
    batch, frames, height, width = SHAPES[shape]
    times = torch.tensor([0.75, 0.25, 0.9375], dtype=torch.float64)[:batch]
    own = Times.uniform(times, frames)
    timestep = (1000 * times).float()
    if kind != "one time":
        first = torch.arange(frames)[None].expand(batch, -1) == 0
        own = (
            own.clean_where(first)
            if kind == "clean first frame"
            else Times(times[:1].expand(batch, 1) * torch.tensor([[1.0, 0.5]]), first.long())
        )
        timestep = (1000 * own.per_latent()).float().repeat_interleave(height * width // 4, dim=1)
    condition = Condition(text, torch.ones(text.shape[:2], dtype=torch.bool))
    dtype = theirs.patch_embedding.weight.dtype
    with torch.no_grad():
        made = ours(AV(video=latents), AV(video=own), {"caption": condition})["video"]
        want = theirs(
            latents.permute(0, 4, 1, 2, 3).to(dtype), timestep, text.to(dtype), return_dict=False
        )[0].permute(0, 2, 3, 4, 1)
    return made, want


def error(made: Tensor, want: Tensor) -> float:
    """The relative error of the velocities."""
    return float((made.double() - want.double()).norm() / want.double().norm())


@pytest.mark.parametrize("kind", ["one time", "clean first frame", "a time for each frame"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("naming", ["diffusers", "wan"])
def test_the_video_branch_computes_what_diffusers_computes(
    ours: dict[str, Any], theirs: Any, naming: str, shape: str, kind: str
) -> None:
    found = error(*velocities(ours[naming], theirs, shape, kind))
    print(f"{naming}, {shape}, {kind}: relative error {found:.1e}")
    assert found <= BOUND


def test_bfloat16_is_at_least_as_accurate_as_in_diffusers(theirs: Any, tmp_path: Path) -> None:
    """Compared with float32 arithmetic on the same weights, some of which diffusers keeps float32.

    Here the residual stream is float32, as in Wan's own code; diffusers rounds it in every layer,
    so its error should be at least as large.
    """
    rounded, exact = copy.deepcopy(theirs), copy.deepcopy(theirs)
    for name, parameter in rounded.named_parameters():
        if not any(part in name.split(".") for part in rounded._keep_in_fp32_modules):
            parameter.data = parameter.data.to(torch.bfloat16)
    exact.load_state_dict(rounded.state_dict())
    rounded.save_pretrained(tmp_path / "rounded")
    convert("wan", tmp_path / "rounded", tmp_path / "ours", recipe=RECIPE)
    denoiser = load(tmp_path / "ours").parts.denoiser
    made, want = velocities(denoiser, rounded, "square", "clean first frame")
    _, truth = velocities(denoiser, exact, "square", "clean first frame")
    mine, other = error(made, truth), error(want, truth)
    print(f"relative error in bfloat16: here {mine:.1e}, diffusers {other:.1e}")
    assert 0 < mine <= other < 2**-8 * 4  # a few of bfloat16's roundings, 2^-9 each
