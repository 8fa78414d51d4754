"""The torch operators of the kernels, interpreted: opcheck, compiling, export, checkpointing."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from helpers.kernel_problems import DIRECTIONS, RAGGED, Problem, pairs_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from harmony_parts.kernels.local_cross_attention import launch, op


def arguments(direction: str, grad: bool = True) -> tuple[Any, ...]:
    """Arguments of the torch operator."""
    problem = Problem(
        direction,
        2,
        5,
        3,
        pairs_of([0, 1], [2, 3]) if direction == "frames_read" else pairs_of([0, 0, 1], [1, 2, 2]),
    )
    inputs, _, *turns = problem.tensors()
    tables = problem.tables()
    return (
        *(x.requires_grad_(grad) for x in inputs),
        tables.latents_of_frame,
        tables.frames_of_latent,
        *turns,
        tables.window,
        False,
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_operators_pass_opcheck(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        launch,
        "allocate",
        lambda shape, like, dtype=None: like.new_zeros(shape, dtype=dtype or like.dtype),
    )
    forward = getattr(torch.ops.harmony_parts, direction)
    torch.library.opcheck(forward, arguments(direction))
    inputs = arguments(direction, grad=False)
    outputs = forward(*inputs)
    saved = (outputs,) if direction == "frames_read" else outputs
    backward = getattr(torch.ops.harmony_parts, direction + "_backward")
    torch.library.opcheck(
        backward, (torch.ones_like(saved[0]), *(saved if len(saved) > 1 else ()), *inputs)
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_in_one_graph(direction: str, backend: str) -> None:
    problem = Problem(direction, 3, 21, 7, RAGGED[direction])
    f, tables = getattr(op, direction), problem.tables()
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda q, k, v, *rest: f(q, k, v, tables, *rest) * 2, fullgraph=True, backend=backend
    )
    for mine, theirs in zip(problem.solve(compiled, torch.float32), problem.kernel(), strict=True):
        assert torch.equal(mine, 2 * theirs)


class Reads(torch.nn.Module):
    """An operator between two products, as in a model."""

    def __init__(self, direction: str, tables: op.Tables) -> None:
        super().__init__()
        self.read, self.tables = getattr(op, direction), tables

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *turns: Tensor) -> Tensor:
        return self.read(q * 2, k * 2, v * 2, self.tables, *turns).sin()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_operators_export(direction: str) -> None:
    problem = Problem(direction, 3, 21, 7, RAGGED[direction])
    inputs, _, *turns = problem.tensors()
    module = Reads(direction, problem.tables())
    exported = torch.export.export(module, (*inputs, *turns))
    assert any(
        node.target is getattr(torch.ops.harmony_parts, direction).default
        for node in exported.graph.nodes
    )
    assert torch.equal(exported.module()(*inputs, *turns), module(*inputs, *turns))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("saved", [True, False])
def test_selective_checkpointing_saves_the_output(direction: str, saved: bool) -> None:
    """A named operator's output is saved; everything else is recomputed."""
    problem = Problem(direction, 3, 21, 7, RAGGED[direction])
    inputs, do, *turns = problem.tensors()
    module = Reads(direction, problem.tables())
    operator = getattr(torch.ops.harmony_parts, direction).default
    runs = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            runs.append(f)
            return f(*args, **(kwargs or {}))

    context = partial(create_selective_checkpoint_contexts, [operator] if saved else [])
    leaves = [x.requires_grad_() for x in inputs]
    with Watch():
        out = checkpoint(module, *leaves, *turns, use_reentrant=False, context_fn=context)
        mine = torch.autograd.grad(out, leaves, do)
    assert runs.count(operator) == (1 if saved else 2)
    for found, expected in zip(mine, torch.autograd.grad(module(*leaves, *turns), leaves, do)):
        assert torch.equal(found, expected)
