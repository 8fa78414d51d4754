"""Outputs and gradients of the kernels, interpreted on a CPU, against naive.py in float64.

The interpreter always multiplies in float32 and runs programs one after another: only a GPU shows
rounding in tensor cores, or races. A call costs milliseconds per program, so problems have few
frames and heads.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from helpers.kernel_problems import DIRECTIONS, RAGGED, Problem, check, pairs_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from harmony_parts.attention.protocol import Windows
from harmony_parts.attention.reference import Reference
from harmony_parts.attention.triton import Triton
from harmony_parts.attention.windows import windows
from harmony_parts.kernels.local_cross_attention import launch, op
from harmony_parts.layers.rope import angles
from harmony_parts.testing.contracts.attention import check_attention

assert launch.INTERPRETING


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("head", "pairs", "half"),
    [
        (16, 8, False),
        (24, 10, True),
        (64, 32, True),
        (128, 64, False),
        (20, 3, False),
        (7, 3, True),
    ],
)
def test_ragged_windows(
    direction: str, dtype: torch.dtype, head: int, pairs: int, half: bool
) -> None:
    check(
        Problem(
            direction,
            3,
            21,
            7,
            RAGGED[direction],
            batch=2,
            heads=1,
            head=head,
            pairs=pairs,
            half=half,
            dtype=dtype,
        )
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_windows_wider_than_one_tile(direction: str) -> None:
    windows = pairs_of([0], [40]) if direction == "frames_read" else pairs_of([0] * 40, [1] * 40)
    check(Problem(direction, 1, 90, 40, windows, head=40, pairs=20))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_fewer_latents_than_frames(direction: str) -> None:
    windows = (
        pairs_of([0, 0, 0, 1, 1, 1], [1, 1, 2, 2, 2, 2])
        if direction == "frames_read"
        else pairs_of([0, 2], [4, 6])
    )
    check(Problem(direction, 6, 9, 2, windows, heads=3))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Few programs of any size, with any windows whose ends never decrease."""
    direction = draw(st.sampled_from(DIRECTIONS))
    frames, latents = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    queries, keys = (frames, latents) if direction == "frames_read" else (latents, frames)
    start, end = (
        sorted(draw(st.lists(st.integers(0, keys), min_size=queries, max_size=queries)))
        for _ in range(2)
    )
    head = draw(st.integers(2, 128))
    return Problem(
        direction,
        frames,
        draw(st.integers(1, 40)),
        latents,
        pairs_of(start, [max(s, e) for s, e in zip(start, end)]),
        heads=draw(st.integers(1, 2)),
        head=head,
        pairs=draw(st.integers(1, head // 2)),
        half=draw(st.booleans()),
        dtype=draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16])),
        seed=draw(st.integers(0, 99)),
    )


@given(problems())
@settings(max_examples=25)
def test_kernels_match_naive_for_any_windows_and_sizes(problem: Problem) -> None:
    check(problem)


@st.composite
def clips(draw: st.DrawFn) -> Problem:
    """Windows from the clocks of a video and an audio codec at any rates.

    In causal video codecs the first latent covers one frame, all others four.
    """
    frames, latents = draw(st.integers(1, 3)), draw(st.integers(1, 16))
    seconds = draw(st.floats(0.1, 3.0))
    lengths = torch.ones(frames, dtype=torch.float64)
    if draw(st.booleans()):
        lengths[0] = 0.25
    edges = torch.cat((lengths.new_zeros(1), lengths.cumsum(0))) * (seconds / float(lengths.sum()))
    ticks = torch.linspace(0, draw(st.floats(0.5, 1.5)) * seconds, latents + 1, dtype=torch.float64)
    video, sound = (torch.stack((x[:-1], x[1:]), 1) for x in (edges, ticks))
    direction = draw(st.sampled_from(DIRECTIONS))
    made = windows(
        *((video, sound) if direction == "frames_read" else (sound, video)),
        draw(st.floats(0, 0.3)) * seconds,
    )
    return Problem(
        direction,
        frames,
        draw(st.integers(1, 40)),
        latents,
        made.of_query,
        pairs=draw(st.integers(1, 8)),
    )


@given(clips())
@settings(max_examples=10)
def test_windows_from_clocks(problem: Problem) -> None:
    check(problem)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_results_are_bit_reproducible(direction: str) -> None:
    problem = Problem(direction, 3, 21, 7, RAGGED[direction])
    for first, second in zip(problem.kernel(), problem.kernel(), strict=True):
        assert torch.equal(first, second)


@st.composite
def parts(draw: st.DrawFn) -> tuple[Any, ...]:
    """Arguments of an attention backend, with one or more tokens per frame on each side."""
    tq, sq, tk, sk = (draw(st.integers(1, n)) for n in (3, 4, 3, 4))
    g = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    start, end = (
        torch.tensor(sorted(draw(st.lists(st.integers(0, tk), min_size=tq, max_size=tq))))
        for _ in range(2)
    )
    d = 2 * draw(st.integers(1, 9))
    q, k, v = (torch.randn(1, t, s, 1, d, generator=g) for t, s in ((tq, sq), (tk, sk), (tk, sk)))
    return (
        q,
        k,
        v,
        Windows.of(start, end.maximum(start), tk),
        angles(torch.arange(tq), d // 2),
        angles(torch.arange(tk) * 0.7, d // 2),
    )


@given(parts())
@settings(max_examples=20)
def test_backend_matches_the_reference(problem: tuple[Any, ...]) -> None:
    *inputs, seen, q_angles, k_angles = problem
    results = []
    for attention, dtype in ((Reference(), torch.float64), (Triton(), torch.float32)):
        leaves = [x.to(dtype).clone().requires_grad_() for x in inputs]
        out = attention(*leaves, seen, q_angles, k_angles)
        out.square().sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for theirs, mine in zip(*results):
        # float32 sums of at most 18 products, five deep, of numbers up to 10; the reference's
        # tables are float32 too
        torch.testing.assert_close(mine.double(), theirs, rtol=2e-5, atol=2e-5)


def test_backend_meets_the_contract() -> None:
    check_attention(Triton())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_flops_follow_the_widest_window(direction: str) -> None:
    problem = Problem(direction, 3, 21, 7, RAGGED[direction], heads=2)
    with FlopCounterMode(display=False) as counter:
        problem.kernel()
    # two products forward, five backward, of 2 FLOPs per multiplication, over the widest window of
    # any frame
    assert counter.get_total_flops() == 2 * 7 * (3 * 21) * problem.tables().window * 2 * 16


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_forward_mode_raises(direction: str) -> None:
    problem = Problem(direction, 3, 21, 7, RAGGED[direction])
    (q, k, v), _, *turns = problem.tensors()
    f, tables = getattr(op, direction), problem.tables()
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        f(forward_ad.make_dual(q, torch.ones_like(q)), k, v, tables, *turns)
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda x: f(q, x, v, tables, *turns), (k,), (torch.ones_like(k),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.float64}, "float64"),
        ({"head": 200}, "200"),
        ({"latents": 65, "windows": pairs_of([0, 0, 0], [1, 1, 65])}, "65 rows"),
    ],
)
def test_errors_name_the_cause_and_the_remedy(change: dict[str, Any], message: str) -> None:
    change = dict(change)
    dtype = change.pop("q", torch.float32)
    problem = attrs.evolve(Problem("frames_read", 3, 21, 7, RAGGED["frames_read"]), **change)
    (q, k, v), _, *turns = problem.tensors()
    with pytest.raises(ValueError, match=f"(?s){message}.*eager"):
        op.frames_read(q.to(dtype), k, v, problem.tables(), *turns)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tables_of_cos_and_sin_are_made_once(
    direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each tensor of angles, in any number of calls; anew if the tensor changes."""
    made: list[int] = []
    plain = op._rotations
    monkeypatch.setattr(op, "_rotations", lambda x: made.append(len(x)) or plain(x))
    inputs, do, *turns = Problem(direction, 3, 21, 7, RAGGED[direction]).tensors()
    f, tables = getattr(op, direction), Problem(direction, 3, 21, 7, RAGGED[direction]).tables()
    leaves = [x.requires_grad_() for x in inputs]
    for _ in range(2):
        first = torch.autograd.grad(f(*leaves, tables, *turns), leaves, do)
    assert made == [3, 7]
    turns[0] += 0.5
    second = torch.autograd.grad(f(*leaves, tables, *turns), leaves, do)
    assert made == [3, 7, 3]
    assert not torch.equal(first[1], second[1])
    kept = len(op._ROTATIONS)
    del turns
    assert len(op._ROTATIONS) == kept - 2


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_frames_without_tokens_are_read_as_nothing(direction: str) -> None:
    problem = Problem(direction, 3, 0, 7, RAGGED[direction])
    out, *gradients = problem.kernel()
    inputs, *_ = problem.tensors()
    assert out.shape == inputs[0].shape
    for gradient, x in zip(gradients, inputs, strict=True):
        assert gradient.shape == x.shape
        assert (gradient == 0).all()
    assert (out == 0).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_autocast_gives_one_type(direction: str) -> None:
    """Norms leave q and k in float32 there, while v is a product in bfloat16."""
    problem = Problem(direction, 3, 21, 7, RAGGED[direction])
    (q, k, v), _, *turns = problem.tensors()
    f, tables = getattr(op, direction), problem.tables()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = f(q, k, v.bfloat16(), tables, *turns)
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(mixed, f(q.bfloat16(), k.bfloat16(), v.bfloat16(), tables, *turns))
