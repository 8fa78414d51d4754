"""What is counted, against formulas on paper, brute force, and counts that others published."""

from __future__ import annotations

import importlib.resources
import tomllib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
import torch.nn.functional as F

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.attention.reference import Reference
from harmony_parts.av import AV, Condition, Format, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.cost import account
from harmony_parts.cost.flops import counted
from harmony_parts.cost.fused import fused_attention
from harmony_parts.cost.inputs import Inputs
from harmony_parts.cost.memory import Live
from harmony_parts.cost.parameters import parameters
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

# the paper's size: 5 s at 704 x 1280
T_V, GRID, T_A, WIDTH, FEED, LAYERS = 31, (44, 80), 157, 3072, 14336, 30
N = T_V * GRID[0] * GRID[1] // 4  # video tokens


CODECS: AV[Any] = AV(StubCodec(48, GRID, T_V / 5), StubCodec(20, (), T_A / 5))


def full_size(audio: Any, interaction: Any, **produces: int) -> BranchDenoiser:
    """A denoiser of the paper's size, without numbers."""
    with torch.device("meta"):
        spec = DualBranch(LAYERS, VideoTransformer(), audio, interaction)
        return spec.build(codecs=CODECS, encoders={"text": StubEncoder(**produces)}).bfloat16()


def given(**conditions: tuple[int, ...]) -> Inputs:
    """Inputs of one clip, with conditions of those shapes."""
    av = AV(torch.empty(1, T_V, *GRID, 48, device="meta"), torch.empty(1, T_A, 20, device="meta"))
    told = {
        name: Condition(
            torch.empty(1, *s, device="meta"), torch.ones(1, s[0], dtype=torch.bool, device="meta")
        )
        for name, s in conditions.items()
    }
    return Inputs(
        av, av.map(lambda x: Times.uniform(torch.ones(1, device="meta"), x.shape[1])), told
    )


def test_ovis_layout_has_ovis_numbers() -> None:
    """Parameters and tensors of its published checkpoint."""
    model = full_size(CrossAudio(), Global(), caption=4096, sound=4096)
    found = parameters(Parts(Format(24, 704, 1280, 16000, 5.0), AV(), {}, model))
    assert {name: weights.numbers for name, weights in found.items()} == {
        "video branch": 4_999_787_712,
        "audio branch": 5_527_581_716,
        "interaction: video hears audio": 566_691_840,
        "interaction: audio sees video": 566_691_840,
    }
    assert sum(weights.numbers for weights in found.values()) == 11_660_753_108
    assert sum(weights.tensors for weights in found.values()) == 2073


def test_operations_are_those_on_paper() -> None:
    """4 N M C of attention and 2 N C C' of a linear map, at full size; `reference` computes the
    scores of all pairs.
    """
    model = full_size(MMDiT(), GLDI(attention=Reference()), caption=4096, voice=20)
    inputs_ = given(caption=(512, 4096), voice=(94, 20))
    found = account.forward(model, inputs_, ("video", "audio"), frozenset())
    c, n, a, r = WIDTH, N, T_A, 94
    linear = 2 * c * c
    wanted = {
        "video self-attention": 4 * n * n * c + 4 * n * linear,
        "video text attention": 4 * n * 512 * c + 2 * (n + 512) * linear,
        "video feed-forward": 4 * n * c * FEED,
        "audio self-attention": 4 * (a + r) ** 2 * c + 4 * (a + r) * linear,
        "audio feed-forward": 4 * (a + r) * c * FEED,
        "interaction: video hears audio": 4 * n * a * c + 2 * (n + a) * linear,
        "interaction: audio sees video": 4 * n * a * c + 2 * (n + a) * linear,
        "interaction: style": 4 * n * r * c + 2 * (n + r) * linear,
    }
    for step, operations in wanted.items():
        assert found[step] == LAYERS * operations, step
    # A pass of Harmony with Ovi's global keys and values of the video, as estimated on paper: 0.609
    # PFLOP.
    audio = sum(found[step] for step in found if step.startswith("audio"))
    assert found.total() - audio == pytest.approx(0.609e15, rel=0.01)


def demo(**denoiser: Any) -> tuple[BranchDenoiser, Inputs]:
    """The demo's denoiser and inputs, without numbers."""
    table = tomllib.loads(
        (importlib.resources.files("harmony_parts") / "recipes" / "demo.toml").read_text()
    )
    table["denoiser"] |= denoiser
    parts = build(read_recipe(table), empty=("codecs", "encoders", "denoiser"))
    return parts.denoiser, account.prepared(parts)


def test_three_blocks_tell_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of a deep model from those of its first blocks, against counts of the whole."""
    model, clip = demo(layers=4)

    def counts() -> tuple[Any, ...]:
        there = account.backward(model, clip, "nothing")
        return (
            attrs.evolve(there, block=0),
            account.activations(model, clip),
            account.forward(model, clip, ("video",), frozenset()),
        )

    short = counts()
    monkeypatch.setattr(
        account, "_by_depth", lambda denoiser, count: (count(), (Counter(), Counter()))
    )
    assert short == counts()
    assert len(model.blocks) == 4
    assert not any(p.grad is not None for p in model.parameters())


def test_less_is_kept_where_more_is_recomputed() -> None:
    model, clip = demo()
    nothing, some, everything = (
        account.backward(model, clip, name) for name in ("nothing", "all_but_attention", "all")
    )
    assert nothing.kept > 2 * some.kept
    assert some.kept > everything.kept
    assert nothing.flops < some.flops < everything.flops < 4 / 3 * nothing.flops
    assert model.recompute == "nothing"
    # recomputing everything keeps a block's inputs, 64 numbers a token: hidden states, reference
    # and words
    video, audio = clip.av["video"].shape, clip.av["audio"].shape
    told = [clip.conditions[name].tokens.shape[1] for name in ("sound", "voice")]
    assert everything.block == 4 * 64 * (video[1] * video[2] * video[3] + audio[1] + sum(told))


def test_live_bytes_are_those_of_storages() -> None:
    """A view is no memory, a saved result is, and what nobody holds any longer isn't."""
    x = torch.empty(1000, device="meta", requires_grad=True)
    with Live([x]) as live:
        y = x.exp()  # keeps its result
        assert live.now == 4000
        z = y.view(10, 100) * 2.0  # keeps nothing
        assert live.now == 8000
        del y
        assert live.now == 8000
        total = z.sum()
        del z
        assert live.now == 4000 + 4
        total.backward()
        assert live.now == 4000 + 4  # the gradient, and the sum
    assert live.peak == 12_008  # y, and the gradients of z, of y and of the sum, which is 1


@pytest.mark.parametrize("mask", [False, True])
def test_attention_is_counted_as_fused(mask: bool) -> None:
    """Operations 4 N M d per head forward, kept: q, k, v, the result and a number per query; never
    the scores.
    """
    q, k, v = (
        torch.empty(1, 4, n, 32, device="meta", requires_grad=True) for n in (1024, 2048, 2048)
    )
    seen = torch.ones(1, 1, 1, 2048, dtype=torch.bool, device="meta") if mask else None
    with counted(SimpleNamespace(blocks=())) as operations, Live([q, k, v]) as live:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    assert out.shape == (1, 4, 1024, 32)
    assert operations.total() == 4 * 4 * 1024 * 2048 * 32
    random = 16  # seed and offset of a dropout that there isn't
    assert live.now <= 4 * (out.numel() + 4 * 1024 + 2 * 2048 * mask) + random
    usual = F.scaled_dot_product_attention
    with fused_attention(), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    assert F.scaled_dot_product_attention is usual


def test_random_inputs_have_those_shapes() -> None:
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
