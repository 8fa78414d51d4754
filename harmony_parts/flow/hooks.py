"""The flow parts that ship."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_path() -> Iterator[PartDeclaration]:
    """The paths that ship."""
    yield part(
        "straight",
        "harmony_parts.flow.straight:StraightPath",
        summary="A straight line from data to noise (rectified flow).",
        source="arXiv:2209.03003",
    )


@hookimpl
def harmony_shift() -> Iterator[PartDeclaration]:
    """The shifts that ship."""
    yield part(
        "constant",
        "harmony_parts.flow.shift:ConstantShift",
        summary="Moves times towards noise by one constant, whatever the size of the clip.",
        source="arXiv:2403.03206",
    )


@hookimpl
def harmony_density() -> Iterator[PartDeclaration]:
    """The densities that ship."""
    yield part(
        "logit-normal",
        "harmony_parts.flow.logit_normal:LogitNormal",
        summary="Trains the middle of the path most: the logistic function of a normal number.",
        source="arXiv:2403.03206",
    )
    yield part(
        "uniform", "harmony_parts.flow.uniform:Uniform", summary="Trains every time equally often."
    )


@hookimpl
def harmony_solver() -> Iterator[PartDeclaration]:
    """The solvers that ship."""
    yield part(
        "euler", "harmony_parts.flow.euler:Euler", summary="One velocity a step, first order."
    )
    yield part(
        "heun",
        "harmony_parts.flow.heun:Heun",
        summary="Two velocities a step, second order.",
        source="arXiv:2206.00364",
    )
    yield part(
        "adams-bashforth",
        "harmony_parts.flow.adams_bashforth:AdamsBashforth",
        summary="One velocity a step and the one before it: second order at the price of first.",
    )
