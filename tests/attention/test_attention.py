"""The built-in backends of local cross-attention."""

from __future__ import annotations

import attrs
import pytest
import torch
import torch._dynamo
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from harmony_parts.attention import eager
from harmony_parts.attention.eager import Eager
from harmony_parts.attention.protocol import Windows
from harmony_parts.attention.reference import Reference
from harmony_parts.attention.windows import windows
from harmony_parts.errors import PartContractError
from harmony_parts.layers.rope import angles
from harmony_parts.testing.contracts.attention import check_attention


def clock(n: int, rate: float, first: float | None = None) -> torch.Tensor:
    """n latents at `rate` a second; a causal codec's first one lasts `first` seconds."""
    edges = torch.arange(n + 1, dtype=torch.float64) / rate
    if first is not None:
        edges = (edges - 1 / rate + first).clamp(min=0)
    return torch.stack((edges[:-1], edges[1:]), dim=1)


counts = st.integers(1, 12)
rates = st.floats(0.7, 40)


@st.composite
def problems(draw: st.DrawFn) -> tuple:
    """q, k, v, windows (some empty, all contiguous and monotone) and angles, in float64."""
    b, tq, sq, tk, sk, h = (draw(st.integers(1, n)) for n in (2, 5, 3, 6, 3, 2))
    d = 2 * draw(st.integers(1, 4))
    g = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    start = torch.tensor(sorted(draw(st.lists(st.integers(0, tk), min_size=tq, max_size=tq))))
    end = torch.tensor(
        sorted(draw(st.lists(st.integers(0, tk), min_size=tq, max_size=tq)))
    ).maximum(start)
    q, k, v = (
        torch.randn(b, t, s, h, d, generator=g, dtype=torch.float64)
        for t, s in ((tq, sq), (tk, sk), (tk, sk))
    )
    return (
        q,
        k,
        v,
        Windows.of(start, end, tk),
        angles(torch.arange(tq), d // 2),
        angles(torch.arange(tk) * 0.7, d // 2),
    )


@given(problems())
def test_eager_computes_what_the_reference_computes(problem: tuple) -> None:
    q, k, v, *rest = problem
    results = []
    for attention in (Reference(), Eager()):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = attention(*leaves, *rest)
        out.square().sum().backward()
        results.append([out, *(leaf.grad for leaf in leaves)])
    for mine, theirs in zip(*results):
        assert torch.isfinite(mine).all()
        # both sum at most 18 products of numbers of about 1 in float64
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@given(
    st.integers(1, 6),
    st.integers(1, 20),
    rates,
    rates,
    st.floats(0, 0.5),
    st.booleans(),
    st.booleans(),
)
def test_eager_matches_the_reference_with_windows_from_clocks(
    n: int, m: int, rate: float, other: float, reach: float, causal: bool, video_reads: bool
) -> None:
    """Also of a causal codec, whose first latent covers one frame and the others four."""
    clocks = clock(n, rate, 0.25 / rate if causal else None), clock(m, other)
    sizes = (n, 3, m, 1) if video_reads else (m, 1, n, 3)
    seen = windows(*(clocks if video_reads else clocks[::-1]), reach)
    q, k, v, _, *angle = example(*sizes, dtype=torch.float64)
    torch.testing.assert_close(
        Eager()(q, k, v, seen, *angle), Reference()(q, k, v, seen, *angle), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(3, 40, 16, 1), (16, 1, 3, 40)])
def test_eager_is_as_accurate_as_the_reference_at_its_precision(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """At most twice the reference's error at that precision, plus an ulp of the largest number."""
    *inputs, seen, q_angles, k_angles = example(*shape, dtype=torch.float64)
    inputs = [x.detach().to(dtype) for x in inputs]  # so that all three get the same values
    results = []
    for attention, used in ((Reference(), torch.float64), (Reference(), dtype), (Eager(), dtype)):
        leaves = [x.to(used, copy=True).requires_grad_() for x in inputs]
        out = attention(*leaves, seen, q_angles, k_angles)
        results.append([out, *torch.autograd.grad(out, leaves, inputs[0].to(used))])
    for exact, plain, mine in zip(*results):
        assert mine.dtype == dtype
        ulp = torch.finfo(dtype).eps * float(exact.abs().max())
        assert (mine.double() - exact).abs().max() <= 2 * (plain.double() - exact).abs().max() + ulp


@given(problems(), st.sampled_from([Reference(), Eager()]))
def test_keys_outside_a_window_have_no_effect(problem: tuple, attention: Reference | Eager) -> None:
    q, k, v, seen, *angle = problem
    out = attention(q, k, v, seen, *angle)
    mask = seen.mask(k.shape[1])
    assert (out[:, ~mask.any(1)] == 0).all()
    for key in range(k.shape[1]):
        k2, v2 = k.clone(), v.clone()
        k2[:, key], v2[:, key] = 7.0, -3.0
        changed = attention(q, k2, v2, seen, *angle)
        assert torch.equal(changed[:, ~mask[:, key]], out[:, ~mask[:, key]])


BACKENDS = [Reference(), Eager()]


@pytest.mark.parametrize("attention", BACKENDS)
def test_the_contract_holds(attention: Reference | Eager) -> None:
    check_attention(attention)


@attrs.frozen
class Wrong:
    """`Reference` with one fault."""

    what: str

    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, windows: Windows, q_angles: Tensor, k_angles: Tensor
    ) -> Tensor:
        if self.what == "as the reference":
            q_angles = q_angles + 0.01
        if self.what == "shape and type":
            q, k, v = q.double(), k.double(), v.double()
        if self.what == "forward-mode":  # a tangent is silently lost
            k = k.detach() + (k - k.detach() if k.requires_grad else 0)
        if self.what == "one graph":
            assert int(windows.of_query.max()) <= k.shape[1]
        out = Reference()(q, k, v, windows, q_angles, k_angles)
        if self.what == "graph.*data-dependent" and float(out.sum().detach()) > 0:
            return out.clone()
        if self.what == "a tensor":
            return (out, None)  # type: ignore[return-value]  # as backends that keep the weights do
        return out.detach() if self.what == "differentiable" else out


@pytest.mark.parametrize(
    "what",
    [
        "as the reference",
        "shape and type",
        "one graph",
        "graph.*data-dependent",
        "forward-mode",
        "a tensor",
        "differentiable",
    ],
)
def test_the_contract_finds_faults(what: str) -> None:
    with pytest.raises(PartContractError, match=what):
        check_attention(Wrong(what))


def example(tq: int, sq: int, tk: int, sk: int, dtype: torch.dtype = torch.float32) -> tuple:
    """q, k, v that require gradients, windows with an empty one, and angles."""
    g = torch.Generator().manual_seed(0)
    start = (torch.arange(tq) * tk) // tq
    seen = Windows.of(start, (start + 2).clamp(max=tk).where(torch.arange(tq) > 0, start), tk)
    q, k, v = (
        torch.randn(2, t, s, 2, 8, generator=g, dtype=dtype, requires_grad=True)
        for t, s in ((tq, sq), (tk, sk), (tk, sk))
    )
    return q, k, v, seen, angles(torch.arange(tq), 4), angles(torch.arange(tk) * 0.7, 4)


SHAPES = [(3, 5, 7, 1), (7, 1, 3, 5), (3, 4, 2, 3), (3, 2, 4, 3)]


def assert_compiled_equal(
    attention: Reference | Eager, shape: tuple[int, ...], backend: str
) -> None:
    torch._dynamo.reset()
    *inputs, seen, q_angles, k_angles = example(*shape)
    results = []
    for f in (attention, torch.compile(lambda *a: attention(*a), fullgraph=True, backend=backend)):
        out = f(*inputs, seen, q_angles, k_angles)
        results.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    for mine, theirs in zip(*results):
        # float32 sums of at most 18 products, five deep, of numbers up to 10
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("attention", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_traces_into_one_graph(attention: Reference | Eager, shape: tuple[int, ...]) -> None:
    assert_compiled_equal(attention, shape, "aot_eager")


@pytest.mark.slow  # a C++ compiler runs for each
@pytest.mark.parametrize("attention", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_it_compiles_into_one_graph(attention: Reference | Eager, shape: tuple[int, ...]) -> None:
    assert_compiled_equal(attention, shape, "inductor")


@pytest.mark.parametrize("attention", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_runs_on_the_meta_device(attention: Reference | Eager, shape: tuple[int, ...]) -> None:
    *inputs, seen, q_angles, k_angles = example(*shape)
    leaves = [x.detach().to("meta").requires_grad_() for x in inputs]
    out = attention(*leaves, seen.to("meta"), q_angles.to("meta"), k_angles.to("meta"))
    assert out.shape == inputs[0].shape
    assert [g.shape for g in torch.autograd.grad(out.sum(), leaves)] == [x.shape for x in inputs]


@pytest.mark.parametrize("attention", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_in_float64(attention: Reference | Eager, shape: tuple[int, ...]) -> None:
    *inputs, seen, q_angles, k_angles = example(*shape, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *x: attention(*x, seen, q_angles, k_angles),
        inputs,
        fast_mode=True,
        check_forward_ad=True,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_one_product_for_all_heads_equals_one_per_head(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One product for all heads is what runs on a GPU."""
    *inputs, seen, q_angles, k_angles = example(*shape, dtype=torch.float64)
    results = []
    for by_head in (True, False):
        monkeypatch.setattr(eager, "_by_head", lambda x, by_head=by_head: by_head)
        out = Eager()(*inputs, seen, q_angles, k_angles)
        results.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    for mine, theirs in zip(*results):
        # at most 18 products in float64
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
