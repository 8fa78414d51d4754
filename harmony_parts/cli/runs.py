"""`harmony runs`: the runs in a folder, one run, or several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harmony_parts.cli.command import Command, Group

if TYPE_CHECKING:
    from harmony_parts.train.runs import RunOnDisk

plot_option = click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the losses into this PNG."
)


@click.group(
    cls=Group,
    short_help="List, show and compare runs.",
    examples=[
        "harmony runs list                                       the runs in the folder `runs`",
        "harmony runs show runs/demo --plot loss.png             the losses of one run",
        "harmony runs compare runs/a runs/b --plot both.png      what differs, and the losses",
    ],
)
def runs() -> None:
    """List, show and compare training runs, from their recipes and logs."""


@runs.command("list", cls=Command, examples=["harmony runs list"])
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
def list_runs(folder: Path) -> None:
    """List the runs in FOLDER: steps done, loss, seconds per step, and whether each is finished."""
    from harmony_parts.train.runs import find_runs

    found = find_runs(folder)
    if not found:
        click.echo(f"no runs in {folder}")
        return
    wide = max(len(run.folder.name) for run in found)
    for run in found:
        click.echo(f"{run.folder.name:<{wide}}  {_summary(run)}")


@runs.command("show", cls=Command, examples=["harmony runs show runs/demo --plot loss.png"])
@click.argument("run", type=click.Path(path_type=Path))
@plot_option
def show_run(run: Path, plot: Path | None) -> None:
    """Show the first and the last value of every loss of RUN."""
    from harmony_parts.train.runs import read_run

    found = read_run(run)
    click.echo(f"{found.recipe.get('name', run.name)}: {_summary(found)}")
    curves = {name: curve for name, curve in found.curves().items() if "loss" in name}
    wide = max(map(len, curves), default=0)
    for name, curve in curves.items():
        (first, begun), (last, now) = curve[0], curve[-1]
        click.echo(f"  {name:<{wide}}  {begun:.4f} (step {first}) -> {now:.4f} (step {last})")
    if plot is not None:
        chosen = {n: c for n, c in curves.items() if n.startswith("losses/")} or curves
        _plot({n.removeprefix("losses/"): c for n, c in chosen.items()}, plot, str(run))


@runs.command("compare", cls=Command, examples=["harmony runs compare runs/a runs/b"])
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--number", default="loss", show_default=True, help="The number that is compared.")
@plot_option
def compare_runs(folders: tuple[Path, ...], number: str, plot: Path | None) -> None:
    """Compare runs: the settings that differ from the first one's, and a number of their logs."""
    from harmony_parts.errors import RunError, nearest
    from harmony_parts.train.runs import differing_settings, read_run

    found = [read_run(folder) for folder in folders]
    curves = {}
    for run in found:
        known = run.curves()
        if number not in known:
            raise RunError(
                f"{run.folder}: its log has no {number!r}{nearest(number, known)}; it has"
                f" {', '.join(known) or 'no numbers yet'}"
            )
        curves[str(run.folder)] = known[number]
        click.echo(f"{run.folder}: {number} {known[number][-1][1]:.4f}, {_summary(run)}")
        for line in differing_settings(found[0], run):
            click.echo(f"  {line}")
    if plot is not None:
        _plot(curves, plot, number)


def _summary(run: RunOnDisk) -> str:
    done = "finished" if run.is_finished else "unfinished"
    if not run.records:
        return f"0 of {run.steps} steps, {done}"
    last = run.records[-1]
    return (
        f"{run.step} of {run.steps} steps, loss {last.get('loss', float('nan')):.4f},"
        f" {last.get('seconds_per_step', float('nan')):.3f} s a step, {done}"
    )


def _plot(curves: dict[str, list[tuple[int, float]]], path: Path, heading: str) -> None:
    from harmony_parts.report.curves import draw_curves

    try:
        click.echo(f"drawn: {draw_curves(curves, path, heading)}")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
