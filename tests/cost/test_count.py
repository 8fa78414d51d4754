"""Counts against formulas on paper, brute force, and published counts."""

from __future__ import annotations

import importlib.resources
import tomllib
from collections import Counter
from typing import Any

import attrs
import pytest
import torch

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.attention.reference import Reference
from harmony_parts.av import AV, Condition, Format, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.cost import count
from harmony_parts.cost.inputs import Inputs
from harmony_parts.cost.parameters import parameters
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.style.tokens import StyleTokens
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

# the paper's size: 5 s at 704 x 1280
T_V, GRID, T_A, WIDTH, FEED, LAYERS = 31, (44, 80), 157, 3072, 14336, 30
N = T_V * GRID[0] * GRID[1] // 4  # video tokens


CODECS: AV[Any] = AV(StubCodec(48, GRID, T_V / 5), StubCodec(20, (), T_A / 5))


def full_size(audio: Any, interaction: Any, **produces: int) -> BranchDenoiser:
    """A denoiser of the paper's size on the meta device."""
    with torch.device("meta"):
        spec = DualBranch(LAYERS, VideoTransformer(), audio, interaction)
        return spec.build(codecs=CODECS, encoders={"text": StubEncoder(**produces)}).bfloat16()


def given(**conditions: tuple[int, ...]) -> Inputs:
    """Inputs of one clip with conditions of the given shapes."""
    av = AV(torch.empty(1, T_V, *GRID, 48, device="meta"), torch.empty(1, T_A, 20, device="meta"))
    made = {
        name: Condition(
            torch.empty(1, *s, device="meta"), torch.ones(1, s[0], dtype=torch.bool, device="meta")
        )
        for name, s in conditions.items()
    }
    return Inputs(
        av, av.map(lambda x: Times.uniform(torch.ones(1, device="meta"), x.shape[1])), made
    )


def test_ovi_layout_has_the_published_parameter_count() -> None:
    """Against parameters and tensors of Ovi's published checkpoint."""
    model = full_size(CrossAudio(), Global(), caption=4096, sound=4096)
    found = parameters(Parts(Format(24, 704, 1280, 16000, 5.0), AV(), {}, model))
    assert {name: weights.numbers for name, weights in found.items()} == {
        "video branch": 4_999_787_712,
        "audio branch": 5_527_581_716,
        "interaction: video attends to audio": 566_691_840,
        "interaction: audio attends to video": 566_691_840,
    }
    assert sum(weights.numbers for weights in found.values()) == 11_660_753_108
    assert sum(weights.tensors for weights in found.values()) == 2073


def test_flops_match_formulas() -> None:
    """4 N M C of attention and 2 N C C' of a linear map, at full size.

    `reference` computes the scores of all pairs.
    """
    model = full_size(MMDiT(), GLDI(attention=Reference()), caption=4096, voice=20)
    inputs_ = given(caption=(512, 4096), voice=(94, 20))
    found = count.count_forward(model, inputs_, ("video", "audio"), frozenset())
    c, n, a, r = WIDTH, N, T_A, 94
    linear = 2 * c * c
    wanted = {
        "video self-attention": 4 * n * n * c + 4 * n * linear,
        "video text attention": 4 * n * 512 * c + 2 * (n + 512) * linear,
        "video feed-forward": 4 * n * c * FEED,
        "audio self-attention": 4 * (a + r) ** 2 * c + 4 * (a + r) * linear,
        "audio feed-forward": 4 * (a + r) * c * FEED,
        "interaction: video attends to audio": 4 * n * a * c + 2 * (n + a) * linear,
        "interaction: audio attends to video": 4 * n * a * c + 2 * (n + a) * linear,
        "interaction: style": 4 * n * r * c + 2 * (n + r) * linear,
    }
    for step, operations in wanted.items():
        assert found[step] == LAYERS * operations, step
    # Harmony with Ovi's global keys and values of the video, estimated on paper: 0.609 PFLOP
    audio = sum(found[step] for step in found if step.startswith("audio"))
    assert found.total() - audio == pytest.approx(0.609e15, rel=0.01)


def test_style_tokens_cost_little() -> None:
    """4 K N C of pooling and narrow projections: far less than `alignment` in both counts."""
    style = StyleTokens(tokens=16, head_width=16)
    model = full_size(MMDiT(), GLDI(style=style), caption=4096, voice=20)
    flops = count.count_forward(
        model, given(caption=(512, 4096), voice=(94, 20)), ("video", "audio"), frozenset()
    )["interaction: style"]
    c, k, r, inner = WIDTH, 16, 94, 24 * 16
    pooled, read = 4 * k * N * c, 4 * r * k * inner
    assert flops == LAYERS * (pooled + read + 4 * (r + k) * c * inner)
    assert flops < 2e12
    found = parameters(Parts(Format(24, 704, 1280, 16000, 5.0), AV(), {}, model))
    own = k * c + 4 * c + 2 * inner + 4 * c * inner + 3 * inner + c
    assert found["interaction: style"].numbers == LAYERS * own < 0.15e9


def demo(**denoiser: Any) -> tuple[BranchDenoiser, Inputs]:
    """The demo's denoiser and inputs on the meta device."""
    table = tomllib.loads(
        (importlib.resources.files("harmony_parts") / "recipes" / "demo.toml").read_text()
    )
    table["denoiser"] |= denoiser
    parts = build(read_recipe(table), empty=("codecs", "encoders", "denoiser"))
    return parts.denoiser, count.prepared_inputs(parts)


def test_extrapolation_from_three_blocks_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of a deep model extrapolated from its first blocks, against counts of the whole."""
    model, clip = demo(layers=4)

    def counts() -> tuple[Any, ...]:
        training = count.count_training(model, clip, "nothing")
        return (
            attrs.evolve(training, saved_per_block=0),
            count.count_activations(model, clip),
            count.count_forward(model, clip, ("video",), frozenset()),
        )

    short = counts()
    monkeypatch.setattr(count, "extrapolate", lambda denoiser, whole: (whole(), Counter()))
    assert short == counts()
    assert len(model.blocks) == 4
    assert not any(p.grad is not None for p in model.parameters())


def test_more_recomputation_saves_fewer_bytes() -> None:
    model, clip = demo()
    nothing, some, everything = (
        count.count_training(model, clip, name) for name in ("nothing", "all_but_attention", "all")
    )
    assert nothing.saved > 2 * some.saved
    assert some.saved > everything.saved
    assert nothing.flops < some.flops < everything.flops < 4 / 3 * nothing.flops
    assert model.recompute == "nothing"
    # recomputing everything saves only a block's inputs, 64 numbers per token: hidden states,
    # reference and text
    video, audio = clip.av["video"].shape, clip.av["audio"].shape
    conditions = [clip.conditions[name].tokens.shape[1] for name in ("sound", "voice")]
    assert everything.saved_per_block == 4 * 64 * (
        video[1] * video[2] * video[3] + audio[1] + sum(conditions)
    )


def test_random_inputs_have_the_counted_shapes() -> None:
    model, clip = demo(layers=1)
    drawn = clip.random("cpu", torch.Generator().manual_seed(0))
    assert {s: drawn.av[s].shape for s in drawn.av} == {s: clip.av[s].shape for s in clip.av}
    assert {n: c.tokens.shape for n, c in drawn.conditions.items()} == {
        n: c.tokens.shape for n, c in clip.conditions.items()
    }
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    with torch.no_grad():
        out = model(drawn.av, drawn.times, drawn.conditions)
    assert all(out[s].isfinite().all() for s in out)
