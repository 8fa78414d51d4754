"""`harmony explain`: what a recipe makes, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import click

from harmony_parts.cli.command import Command
from harmony_parts.cli.format import console, quantity, short, styled, value
from harmony_parts.cli.options import set_option

if TYPE_CHECKING:
    from rich.tree import Tree

    from harmony_parts.assemble import Parts
    from harmony_parts.attention.protocol import Windows
    from harmony_parts.av import AV
    from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
    from harmony_parts.recipe import Recipe

GROUPS = {"interaction": "interaction", "video": "video branch", "audio": "audio branch"}
"""Name of a module inside the denoiser -> what its parameters are counted under; the outermost of these names counts."""
HEARD = {"video": "hears", "audio": "sees"}  # what a latent of that stream does with the other one


@click.command(
    cls=Command,
    short_help="Show what a recipe makes.",
    examples=[
        "harmony explain demo",
        "harmony explain demo --set denoiser.layers=6 --set denoiser.interaction.audio_window=0.3",
        "harmony explain my.toml --toml > expanded.toml      every setting, defaults too",
    ],
)
@click.argument("recipe")
@set_option
@click.option(
    "--full", "--toml", "as_toml", is_flag=True, help="Print the expanded recipe as TOML: every setting, qualified names, versions."
)
def explain(recipe: str, overrides: tuple[str, ...], as_toml: bool) -> None:
    """Show what RECIPE (a TOML file, or the name of one that ships) makes: its parts and their settings, latents per clip, windows,
    parameters, and the passes of a sampling step. The model is assembled, with fresh weights, to tell."""
    from harmony_parts.assemble import build, read_recipe, write_recipe

    read = read_recipe(recipe, overrides)
    if as_toml:
        click.echo(write_recipe(read), nl=False)
        return
    console().print(tree(read, build(read, read.train.seed)))


def tree(recipe: Recipe, parts: Parts) -> Tree:
    """All of it."""
    from rich.tree import Tree

    from harmony_parts.structure import unstructure

    root = Tree(styled((recipe.name, "bold"), f": {recipe.summary}"), guide_style="dim")
    facts = {
        "latents of a clip": latents(parts),
        "windows": windows(parts),
        "parameters": parameters(parts),
        "a training step": training(recipe),
        "a sampling step": passes(recipe, parts),
    }
    settings = root.add(styled(("parts", "bold cyan")))
    for name, inner in unstructure(recipe).items():
        if isinstance(inner, dict | list):
            _settings(settings, name, inner)
    for name, lines in facts.items():
        branch = root.add(styled((name, "bold cyan")))
        for line in lines:
            branch.add(styled(line))
    return root


def _settings(node: Tree, name: str, table: Any) -> None:
    """A part or a table of settings: plain values beside its name, tables below it."""
    if isinstance(table, list):
        branch = node.add(styled((name, "bold"), "" if table else ": none"))
        for number, inner in enumerate(table):
            _settings(branch, str(number), inner)
        return
    nested = {key: inner for key, inner in table.items() if _is_tables(inner)}
    plain = {key: inner for key, inner in table.items() if key not in nested and key != "use"}
    use = f" {table['use']}" if "use" in table else ""
    branch = node.add(styled((name, "bold"), (use, "green"), *(f"  {key}={value(inner)}" for key, inner in plain.items())))
    for key, inner in nested.items():
        _settings(branch, key, inner)


def _is_tables(inner: Any) -> bool:
    """A table, or a list of them; short ones, of plain values alone, stay on the line."""
    if isinstance(inner, list):
        return bool(inner) and all(isinstance(one, dict) for one in inner)
    return isinstance(inner, dict) and ("use" in inner or any(isinstance(one, dict) for one in inner.values()))


def latents(parts: Parts) -> list[str]:
    """How many latents a clip of the format's length takes, of which size, and which time each covers."""
    form = parts.format
    video, audio = cast("VideoCodec", parts.codecs["video"]), cast("AudioCodec", parts.codecs["audio"])
    frames = form.frames
    samples = form.samples(frames)
    t_v, t_a = video.latents(frames), audio.latents(samples)
    h, w = video.grid
    pixels, numbers = frames * form.height * form.width * 3, t_v * h * w * video.channels
    return [
        f"clip   {frames / float(form.fps):g} s: {quantity(frames, 'frame')} of {form.width} x {form.height} at {float(form.fps):g} fps, "
        f"{quantity(samples, 'sample')} at {form.sample_rate} Hz",
        f"video  T_v = {t_v}, grid {h} x {w} (height x width), {quantity(video.channels, 'channel')}: "
        f"{pixels / numbers:.1f}x fewer numbers than the pixels; {clock(video.clock(t_v))}",
        f"audio  T_a = {t_a}, {quantity(audio.channels, 'channel')}: "
        f"{samples / (t_a * audio.channels):.1f}x fewer numbers than the samples; {clock(audio.clock(t_a))}",
    ]


def clock(intervals: Any) -> str:
    """What a clock says: the first latent, and the one in the middle."""
    (a, b), (c, d) = intervals[0].tolist(), intervals[len(intervals) // 2].tolist()
    return f"the first covers {a:.3f} to {b:.3f} s, the middle one {c:.3f} to {d:.3f} s"


def windows(parts: Parts) -> list[str]:
    """How much of the other stream each latent of the denoiser's interaction sees, for a clip of the format's length."""
    import torch
    from torch import nn

    from harmony_parts.av import AV
    from harmony_parts.interaction.protocol import Layout

    form, denoiser = parts.format, parts.denoiser
    counts = {"video": parts.codecs["video"].latents(form.frames), "audio": parts.codecs["audio"].latents(form.samples(form.frames))}
    modules = denoiser.modules() if isinstance(denoiser, nn.Module) else ()
    interaction: Any = next((module for module in modules if hasattr(module, "tables")), None)
    if interaction is None:
        return ["none: this denoiser has no interaction with tables of its own"]
    clocks = parts.codecs.map(lambda codec, s: codec.clock(counts[s]), _names())
    tables = interaction.tables(Layout(clocks, AV((1, 1), (1, 1)), torch.device("cpu")))  # windows don't depend on the grid
    lines = []
    for stream, other in (("video", "audio"), ("audio", "video")):
        found = _windows(getattr(tables, stream, None))
        if found is not None:
            sizes = (found.end - found.start).tolist()
            low, high, k = min(sizes), max(sizes), sizes[len(sizes) // 2]
            span = f"{low} to {high}" if low != high else f"{low}"
            lines.append(
                f"W = {k}: each of {counts[stream]} {stream} latents {HEARD[stream]} {span} of {counts[other]} {other} latents ({k} in the middle)"
            )
    return lines or [f"none: {type(interaction).__name__} doesn't limit which latents hear each other in time"]


def _names() -> AV[str]:
    from harmony_parts.av import AV

    return AV("video", "audio")


def _windows(tables: Any) -> Windows | None:
    """The windows of one direction: the tables themselves, or a field of them."""
    from harmony_parts.attention.protocol import Windows

    fields = (tables, *(getattr(tables, f.name) for f in attrs.fields(type(tables)))) if attrs.has(type(tables)) else (tables,)
    return next((field for field in fields if isinstance(field, Windows)), None)


def parameters(parts: Parts) -> list[str]:
    """Numbers that are learnt, by what they belong to."""
    from torch import nn

    counts = {f"encoder {name}": _count(encoder) for name, encoder in parts.encoders.items()}
    counts |= dict.fromkeys(GROUPS.values(), 0)
    for name, parameter in parts.denoiser.named_parameters() if isinstance(parts.denoiser, nn.Module) else ():
        group = next((GROUPS[step] for step in name.split(".") if step in GROUPS), "other parts of the denoiser")
        counts[group] = counts.get(group, 0) + parameter.numel()
    counts |= {f"{stream} codec (not trained)": n for stream in parts.codecs if (n := _count(parts.codecs[stream]))}
    total = sum(n for name, n in counts.items() if "codec" not in name)
    wide = max(map(len, counts))
    return [f"{name:<{wide}}  {short(n):>7}" for name, n in counts.items()] + [f"{'together':<{wide}}  {short(total):>7}  ({total:,})"]


def _count(module: Any) -> int:
    from torch import nn

    return sum(parameter.numel() for parameter in module.parameters()) if isinstance(module, nn.Module) else 0


def training(recipe: Recipe) -> list[str]:
    """What a batch becomes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    plan = recipe.task.plan(recipe.train.batch, lambda n, g: recipe.flow.shift(recipe.flow.density.draw(n, g)), generator)
    return [
        f"{quantity(recipe.train.batch, 'clip')} go through the denoiser as {quantity(len(plan.source), 'sample')}; tasks: {', '.join(plan.names)}",
        f"{quantity(recipe.train.steps, 'step')}: {quantity(recipe.train.steps * recipe.train.batch, 'clip')} in all",
    ]


def passes(recipe: Recipe, parts: Parts) -> list[str]:
    """Runs of the denoiser for one velocity, in each task."""
    from harmony_parts.blocks.protocol import KNOWN
    from harmony_parts.guidance.protocol import StepTimes
    from harmony_parts.sample.graph import ask, order

    guidance, named = recipe.sample.guidance, {name for name, port in parts.denoiser.accepts.items() if port != KNOWN}
    lines = [f"{quantity(recipe.sample.steps, 'step')} by {type(recipe.sample.solver).__name__}; for each velocity:"]
    for task, times in (("joint", StepTimes(1.0, 1.0)), ("audio-driven", StepTimes(1.0, 0.0)), ("video-driven", StepTimes(0.0, 1.0))):
        runs = order(ask(guidance, times, None, hints=parts.denoiser.hints, droppable=named), guidance)
        told = ", ".join(f"{' = '.join(run.names)} ({' and '.join(run.read)})" for run in runs)
        lines.append(f"{task:<12}  {len(runs)} pass{'' if len(runs) == 1 else 'es'}: {told}")
    return lines
