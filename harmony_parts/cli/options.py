"""Options that several commands share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from harmony_parts.report.progress import complain

if TYPE_CHECKING:
    import torch

    from harmony_parts.models.offload import Offload

SEED = click.IntRange(0, 2**63 - 1)  # what a seed is stored in


def finite(ctx: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Neither "inf" nor "nan", which a range of numbers lets through."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no length; write a number of seconds", ctx, parameter)
    return value


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the recipe; may be repeated.",
)


def _device(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A device that torch has here: the one asked for, else the GPU where there is one."""
    if ctx.resilient_parsing:  # the shell asks what could come next, and waits
        return value
    import torch

    if value is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=value)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0]
        raise click.BadParameter(
            f"{value!r} can't be used: {why}. `harmony doctor` looks at the GPU", ctx, parameter
        ) from error
    return value


dtype_option = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help=(
        "The type of the model's weights, for less memory; what is made stays float32.  [default:"
        " as they were saved]"
    ),
)


def typed(name: str | None) -> torch.dtype | None:
    """torch's type of that name."""
    import torch

    return None if name is None else getattr(torch, name)


offload_option = click.option(
    "--offload",
    type=click.Choice(["none", "parts", "layers"]),
    default="none",
    show_default=True,
    help=(
        "Keep weights in the host's memory, and on the GPU only what is at work: whole parts, or"
        " single layers. Slower; `harmony explain` says what memory each takes."
    ),
)
device_option = click.option(
    "--device",
    callback=_device,
    help='"cuda", "cuda:1", "cpu"; by default the GPU where there is one.',
)


def offloading(offload: Offload, device: str) -> Offload:
    """As asked, but on the CPU, in whose memory the weights are anyway."""
    if offload != "none" and device == "cpu":
        complain(
            f"--offload {offload} is left out: on the CPU there is nowhere to bring weights to"
        )
        return "none"
    return offload
