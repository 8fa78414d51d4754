"""Parity with Ovi: velocities equal those that Ovi's code computed in float32 for a small model.

They are in a file outside this repository, HARMONY_OVI_FIXTURE (by default
../shared/fixtures/ovi_tiny.safetensors beside the repository): weights under `weights.`, inputs,
and outputs for equal times, a clean first frame, a skipped layer, and different times per stream.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from harmony_parts.av import AV, Condition, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.convert.layouts import OVI
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.interaction.global_cross import Global
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

# both sum float32 products, in different orders, over widths of some hundreds and six attentions
BOUND = 1e-5
CASES = {  # name of a case -> times of video and audio, whether the first frame is clean, hints
    "t700": (0.7, 0.7, False, ()),
    "t250_first_frame_clean": (0.25, 0.25, True, ()),
    "t900_skip_block_1": (0.9, 0.9, False, ("skip-1",)),
    "tv600_ta0": (0.6, 0.0, False, ()),
    "tv0_ta600": (0.0, 0.6, False, ()),
}


@pytest.fixture(scope="module")
def fixture() -> tuple[dict[str, Tensor], dict[str, dict]]:
    """All tensors, and the configurations of the two towers; skips if the file is missing."""
    default = Path(__file__).parents[2] / ".." / "shared" / "fixtures" / "ovi_tiny.safetensors"
    path = Path(os.environ.get("HARMONY_OVI_FIXTURE", default)).resolve()
    if not path.is_file():
        pytest.skip(
            f"no outputs of Ovi's code at {path}; set HARMONY_OVI_FIXTURE to the file with them"
        )
    with safe_open(path, "pt") as file:
        configs = {
            name: json.loads(file.metadata()[name]) for name in ("video_config", "audio_config")
        }
        return {name: file.get_tensor(name) for name in file.keys()}, configs  # noqa: SIM118 (not a mapping)


@pytest.fixture(scope="module")
def denoiser(fixture: tuple[dict[str, Tensor], dict[str, dict]]) -> BranchDenoiser:
    """The fixture's model, by the layout's rules, which must be invertible for every tensor."""
    tensors, configs = fixture
    video, audio = configs["video_config"], configs["audio_config"]
    spec = DualBranch(
        layers=video["num_layers"],
        video=VideoTransformer(
            video["dim"], video["num_heads"], video["ffn_dim"], video["patch_size"][-1]
        ),
        audio=CrossAudio(
            audio["dim"],
            audio["num_heads"],
            audio["ffn_dim"],
            positions_per_latent=audio["temporal_rope_scaling_factor"],
        ),
        interaction=Global(rope_map="constant", constant=audio["temporal_rope_scaling_factor"]),
    )
    codecs = AV(
        StubCodec(video["in_dim"], tuple(tensors["video"].shape[-2:]), 6.0),
        StubCodec(audio["in_dim"], (), 31.25),
    )
    model = spec.build(
        codecs=codecs,
        encoders={"text": StubEncoder(caption=video["text_dim"], sound=audio["text_dim"])},
    )
    theirs = {
        name.removeprefix("weights."): tensor
        for name, tensor in tensors.items()
        if name.startswith("weights.")
    }
    ours = {}
    for name, tensor in theirs.items():
        (rule,) = [rule for rule in OVI if rule.to_ours(name)]
        renamed = rule.to_ours(name)
        ours[renamed] = rule.shape(tensor)
        assert rule.to_theirs(renamed) == name
        assert torch.equal(rule.shape_back(ours[renamed], video["patch_size"][-1]), tensor)
    model.load_state_dict(ours, strict=True)
    return model.eval()


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_velocities_equal_those_of_ovi(
    case: str, denoiser: BranchDenoiser, fixture: tuple[dict[str, Tensor], dict[str, dict]]
) -> None:
    tensors, configs = fixture
    t_video, t_audio, clean, hints = CASES[case]
    latents = AV(tensors["video"].permute(0, 2, 3, 4, 1), tensors["audio"])  # [B, C, T, H, W] there

    def condition(text: Tensor) -> Condition:  # Ovi pads with zeros, and attends to them
        length = configs["video_config"]["text_len"]
        return Condition(
            torch.nn.functional.pad(text, (0, 0, 0, length - len(text)))[None],
            torch.ones(1, length, dtype=torch.bool),
        )

    times = AV(
        *(
            Times.uniform(torch.tensor([t], dtype=torch.float64), x.shape[1])
            for t, x in zip((t_video, t_audio), (latents.video, latents.audio))
        )
    )
    if clean:
        times = times.replace(
            video=times.video.clean_where(torch.arange(latents.video.shape[1])[None] == 0)
        )
    conditions = {
        "caption": condition(tensors["video_text"]),
        "sound": condition(tensors["audio_text"]),
    }
    out = denoiser(latents, times, conditions, hints=hints)
    wanted = AV(tensors[f"out.{case}.video"].permute(0, 2, 3, 4, 1), tensors[f"out.{case}.audio"])
    for stream in wanted:
        error = (out[stream] - wanted[stream]).norm() / wanted[stream].norm()
        print(f"{case} {stream}: relative error {error:.1e}")
        assert error <= BOUND
