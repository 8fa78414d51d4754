"""`harmony page`: the command. Importing this imports neither torch nor gradio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.completion import models
from harmony_parts.cli.options import (
    device_option,
    dtype_option,
    offload_for,
    offload_option,
    torch_dtype,
)

if TYPE_CHECKING:
    from harmony_parts.generate.pipeline import Pipeline
    from harmony_parts.models.offload import Offload


@click.command(
    cls=Command,
    short_help="Open a page that generates clips in the browser.",
    examples=[
        "harmony page harmony-tiny",
        "harmony page runs/demo --open                       in the browser, at once",
        "harmony page runs/demo --host 0.0.0.0 --port 8000   for a phone on the same network",
        "harmony page                                        choose the model on the page",
    ],
)
@click.argument("model", required=False, shell_complete=models)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/page"),
    show_default=True,
    help="Folder for the clips and their history.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; 0.0.0.0 lets everybody on the network in.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="[default: a free one from 7860 on]")
@click.option("--open", "in_browser", is_flag=True, help="Open the page in the browser.")
@device_option
@dtype_option
@offload_option
def page(
    model: str | None,
    out: Path,
    host: str,
    port: int | None,
    in_browser: bool,
    device: str,
    dtype: str | None,
    offload: Offload,
) -> None:
    """Open a page that generates clips with MODEL, plain and guided side by side.

    MODEL is what `harmony generate` takes; without one, it is chosen on the page. The page needs no
    network: nothing is loaded from elsewhere, and nothing is sent.
    """
    from harmony_page.app import serve
    from harmony_page.session import Session
    from harmony_parts.generate.checks import resolve_model
    from harmony_parts.generate.load import load

    offload = offload_for(offload, device)

    def load_model(name: str) -> Pipeline:
        return load(resolve_model(name), device, torch_dtype(dtype), offload=offload)

    session = Session(out, load_model)
    if model is not None:
        click.echo(session.open(model))
    served, address = serve(session, host, port, in_browser=in_browser)
    click.echo(f"The page is at {address} until Ctrl-C")
    served.block_thread()
