"""Options that several commands share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from harmony_parts.errors import RequestError, RunError
from harmony_parts.generate.fields import FILES, MAX_SEED, field_fault, from_text
from harmony_parts.report.progress import print_stderr

if TYPE_CHECKING:
    import torch

    from harmony_parts.models.offload import Offload

SEED = click.IntRange(0, MAX_SEED)


class RequestField(click.ParamType):
    """An option that is a field of a request: `Request`'s own rules decide on its values."""

    def __init__(self, field: str, name: str) -> None:
        self.field, self.name = field, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The field's value. Fails with the request's own sentence if the field can't have it."""
        if isinstance(value, str):
            value = Path(value) if self.field in FILES else from_text(self.field, value)
        if fault := field_fault(self.field, value):
            self.fail(fault, param, ctx)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the names of files, in fields that are files."""
        return [CompletionItem(incomplete, type="file")] if self.field in FILES else []


@contextlib.contextmanager
def usage_errors(option: str | None = None) -> Iterator[None]:
    """Report a refused request as wrong usage (exit code 2), because the options made it."""
    try:
        yield
    except RequestError as error:
        if option is None:
            raise click.UsageError(str(error)) from error
        raise click.BadParameter(str(error), param_hint=option) from error


class DataPlace(click.ParamType):
    """A folder that exists, or a URL, which stays text."""

    name = "folder or URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A Path, or the URL."""
        if isinstance(value, Path) or "://" in value:
            return value
        return click.Path(exists=True, file_okay=False, path_type=Path).convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the names of folders."""
        return [CompletionItem(incomplete, type="dir")]


data_option = click.option(
    "--data",
    type=DataPlace(),
    help="Folder of clips, or folder or URL of prepared clips, for recipes that train on one.",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Processes that read prepared clips ahead.",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the recipe. Can be repeated.",
)


def _device(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A device that torch can use here; by default the GPU if there is one."""
    if ctx.resilient_parsing:  # shell completion, which must not wait for torch
        return value
    from harmony_parts.models.device import usable_device

    try:
        return str(usable_device(value))
    except RunError as error:
        raise click.BadParameter(str(error), ctx, parameter) from error


dtype_option = click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help=(
        "Data type of the model's weights, to save memory; clips stay float32.  [default: as saved]"
    ),
)

tf32_option = click.option(
    "--tf32",
    is_flag=True,
    help=(
        "Let the GPU round the inputs of float32 products to TF32 (10 bits), in codecs too: faster,"
        " less exact. Without effect on a CPU and on other data types."
    ),
)


def torch_dtype(name: str | None) -> torch.dtype | None:
    """torch's data type of that name."""
    import torch

    return None if name is None else getattr(torch, name)


offload_option = click.option(
    "--offload",
    type=click.Choice(["none", "parts", "layers"]),
    default="none",
    show_default=True,
    help=(
        "Keep weights in host memory, and only the working part or layer on the GPU. Slower;"
        " `harmony explain` shows the memory that each takes."
    ),
)
device_option = click.option(
    "--device",
    callback=_device,
    help='Such as "cuda", "cuda:1" or "cpu".  [default: the GPU if there is one]',
)


def offload_for(offload: Offload, device: str) -> Offload:
    """The offload to use: none on the CPU, where weights are in host memory anyway."""
    if offload != "none" and device == "cpu":
        print_stderr(f"--offload {offload} is ignored: on the CPU all weights are in host memory")
        return "none"
    return offload
