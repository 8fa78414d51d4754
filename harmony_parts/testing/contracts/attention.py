"""Contract check of local attention backends."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from harmony_parts.attention.protocol import LocalAttention, Windows
from harmony_parts.attention.reference import Reference
from harmony_parts.attention.windows import windows
from harmony_parts.layers.rope import angles
from harmony_parts.testing.contracts.require import check_value, generator, require

HEADS, HEAD = 2, 16
# name; q, k, v in float64; windows and angles
Problem = tuple[str, list[Tensor], Windows, Tensor, Tensor]


def check_attention(attention: LocalAttention, *, device: torch.device | str = "cpu") -> None:
    """Compare outputs and gradients with `Reference`, in float32 on `device`.

    Windows are of several kinds, and nothing outside a window may have an effect. The backend must
    trace into one graph, and compute the right forward-mode derivative or raise an error. Raises
    PartContractError.
    """
    check_value(attention)
    where = torch.device(device)
    for name, inputs, seen, q_angles, k_angles in problems():
        rest = seen.to(where), q_angles.to(where), k_angles.to(where)
        _check_values(attention, name, inputs, where, seen, q_angles, k_angles)
        _check_isolation(attention, name, [x.to(where, torch.float32) for x in inputs], *rest)
        _check_tangents(attention, name, inputs, where, seen, q_angles, k_angles)
    _check_graph(attention, where)


def problems() -> Iterator[Problem]:
    """Both directions, tokens on both sides; windows from clocks, cut, empty, and of everything."""
    # Wan: the first latent covers one frame, the others four each
    video, sound = _clock([0.04, *[0.16] * 2]), _clock([0.032] * 11)
    yield _problem("video attends to audio", (3, 5, 11, 1), windows(video, sound, 0.03))
    yield _problem("audio attends to video", (11, 1, 3, 5), windows(sound, video, 0.0))
    ends = torch.tensor([0, 0, 2, 4]), torch.tensor([0, 2, 2, 5])
    yield _problem("windows with empty ones between", (4, 3, 5, 1), Windows.of(*ends, 5))
    yield _problem("queries with empty windows", (4, 1, 5, 3), Windows.of(*ends, 5))
    yield _problem(
        "fewer audio than video latents",
        (4, 3, 2, 1),
        Windows.of(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 2, 2]), 2),
    )
    yield _problem(
        "tokens on both sides",
        (3, 3, 2, 2),
        Windows.of(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), 2),
    )
    yield _problem(
        "one window of everything", (2, 2, 3, 4), Windows.of(torch.zeros(2), torch.full((2,), 3), 3)
    )


def _clock(lengths: list[float]) -> Tensor:
    edges = torch.tensor([0.0, *lengths], dtype=torch.float64).cumsum(0)
    return torch.stack((edges[:-1], edges[1:]), 1)


def _problem(name: str, shape: tuple[int, int, int, int], seen: Windows) -> Problem:
    tq, sq, tk, sk = shape
    g = generator()
    inputs = [
        torch.randn(1, t, s, HEADS, HEAD, generator=g, dtype=torch.float64)
        for t, s in ((tq, sq), (tk, sk), (tk, sk))
    ]
    return (
        name,
        inputs,
        seen,
        angles(torch.arange(tq), HEAD // 2),
        angles(torch.arange(tk) * tq / tk, HEAD // 2),
    )


def _solve(
    attention: LocalAttention,
    inputs: list[Tensor],
    dtype: torch.dtype,
    device: torch.device,
    seen: Windows,
    q_angles: Tensor,
    k_angles: Tensor,
) -> list[Tensor]:
    q, k, v = (x.to(device, dtype, copy=True).requires_grad_() for x in inputs)
    out = attention(q, k, v, seen, q_angles, k_angles)
    require(isinstance(out, Tensor), attention, f"return a tensor, not a {type(out).__name__}")
    require(out.requires_grad, attention, "be differentiable: its result has no gradient")
    return [x.detach().cpu() for x in (out, *torch.autograd.grad(out, (q, k, v), out.detach()))]


def _check_values(
    attention: LocalAttention,
    name: str,
    inputs: list[Tensor],
    device: torch.device,
    seen: Windows,
    q_angles: Tensor,
    k_angles: Tensor,
) -> None:
    rest = seen.to(device), q_angles.to(device), k_angles.to(device)
    exact = _solve(
        Reference(), inputs, torch.float64, torch.device("cpu"), seen, q_angles, k_angles
    )
    results = _solve(attention, inputs, torch.float32, device, *rest)
    for what, found, expected in zip(
        ("output", "gradient of q", "gradient of k", "gradient of v"), results, exact
    ):
        at = f"{name}: the {what}"
        require(
            found.shape == expected.shape and found.dtype == torch.float32,
            attention,
            f"keep shape and type ({at})",
        )
        # sums of at most 48 products of numbers up to 10, five deep, in float32
        require(
            torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-4),
            attention,
            f"compute the same as the reference ({at})",
        )
    empty = (seen.of_query[:, 0] == seen.of_query[:, 1]).cpu()
    require(
        (results[0][:, empty] == 0).all() and (results[1][:, empty] == 0).all(),
        attention,
        f"return exactly 0, with a gradient of 0, if a window is empty ({name})",
    )


def _check_isolation(
    attention: LocalAttention,
    name: str,
    inputs: list[Tensor],
    seen: Windows,
    q_angles: Tensor,
    k_angles: Tensor,
) -> None:
    q, k, v = inputs
    out, mask = attention(q, k, v, seen, q_angles, k_angles), seen.mask(k.shape[1])
    k, v = k.clone(), v.clone()
    k[:, 0], v[:, 0] = 9.0, -3.0
    changed = attention(q, k, v, seen, q_angles, k_angles)
    outside = ~mask[:, 0]
    require(
        torch.equal(changed[:, outside], out[:, outside]),
        attention,
        f"let a key have no effect outside the windows that contain it ({name})",
    )


def _check_tangents(
    attention: LocalAttention,
    name: str,
    inputs: list[Tensor],
    device: torch.device,
    seen: Windows,
    q_angles: Tensor,
    k_angles: Tensor,
) -> None:
    q, k, v = (x.to(device, torch.float32) for x in inputs)
    rest = seen.to(device), q_angles.to(device), k_angles.to(device)
    try:
        mine = torch.func.jvp(lambda x: attention(q, x, v, *rest), (k,), (torch.ones_like(k),))[1]
    except (NotImplementedError, RuntimeError):
        return
    q, k, v = inputs
    exact = torch.func.jvp(
        lambda x: Reference()(q, x, v, seen, q_angles, k_angles), (k,), (torch.ones_like(k),)
    )[1]
    close = torch.allclose(mine.cpu().double(), exact, rtol=1e-4, atol=1e-4)
    require(
        close,
        attention,
        f"compute the right forward-mode derivative, or raise NotImplementedError ({name})",
    )


def _check_graph(attention: LocalAttention, device: torch.device) -> None:
    # torch.compile imports the module of what it traces; code typed into a REPL has none
    if type(attention).__module__ not in sys.modules:
        return
    for name, inputs, seen, q_angles, k_angles in list(problems())[:2]:
        q, k, v = (x.to(device, torch.float32) for x in inputs)
        rest = seen.to(device), q_angles.to(device), k_angles.to(device)
        torch._dynamo.reset()
        graph = torch.compile(lambda *x: attention(*x), fullgraph=True, backend="eager")
        try:
            graph(q, k, v, *rest)
        except RuntimeError as error:  # which one depends on the torch, and on what can't be traced
            require(
                False, attention, f"trace into one graph ({name}): {str(error).splitlines()[0]}"
            )
