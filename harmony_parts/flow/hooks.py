"""The built-in paths, shifts, densities and solvers."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_path() -> Iterator[PartDeclaration]:
    """The built-in paths."""
    yield part(
        "straight",
        "harmony_parts.flow.straight:StraightPath",
        summary="A straight line from data to noise (rectified flow).",
        source="arXiv:2209.03003",
    )


@hookimpl
def harmony_shift() -> Iterator[PartDeclaration]:
    """The built-in shifts."""
    yield part(
        "constant",
        "harmony_parts.flow.shift:ConstantShift",
        summary="Moves times towards noise by a constant, for clips of any size.",
        source="arXiv:2403.03206",
    )
    yield part(
        "listed",
        "harmony_parts.flow.listed:ListedTimes",
        summary="Times from a list, as distilled models are sampled with.",
        source="diffusers, LTX-2",
    )


@hookimpl
def harmony_density() -> Iterator[PartDeclaration]:
    """The built-in densities."""
    yield part(
        "logit-normal",
        "harmony_parts.flow.logit_normal:LogitNormal",
        summary="Emphasizes the middle of the path: the logistic function of a normal number.",
        source="arXiv:2403.03206",
    )
    yield part(
        "uniform", "harmony_parts.flow.uniform:Uniform", summary="Trains all times equally often."
    )


@hookimpl
def harmony_solver() -> Iterator[PartDeclaration]:
    """The built-in solvers."""
    yield part(
        "euler", "harmony_parts.flow.euler:Euler", summary="One velocity per step, first order."
    )
    yield part(
        "heun",
        "harmony_parts.flow.heun:Heun",
        summary="Two velocities per step, second order.",
        source="arXiv:2206.00364",
    )
    yield part(
        "adams-bashforth",
        "harmony_parts.flow.adams_bashforth:AdamsBashforth",
        summary="One velocity per step and the previous one: second order at the cost of first.",
    )
    yield part(
        "unipc",
        "harmony_parts.flow.unipc:UniPC",
        summary="One velocity per step, which also corrects the step before; Wan's solver.",
        source="arXiv:2302.04867",
    )
