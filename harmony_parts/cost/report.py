"""What a recipe makes and what it costs, as text and as figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from harmony_parts.report.text import quantity, short

if TYPE_CHECKING:
    from harmony_parts.assembly.build import Parts
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.attention.protocol import Windows
    from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
    from harmony_parts.cost.account import Account
    from harmony_parts.cost.parameters import Weights


HEARD = {"video": "hears", "audio": "sees"}  # what a latent of that stream does with the other one


def assembled(recipe: Recipe) -> Parts:
    """The parts without numbers in their weights; with numbers where a part can't be made
    otherwise.
    """
    from harmony_parts.assembly.build import build

    if getattr(recipe.denoiser, "compile", False):  # it is counted as it is written
        recipe = attrs.evolve(
            recipe, denoiser=attrs.evolve(cast("Any", recipe.denoiser), compile=False)
        )
    try:
        return build(recipe, recipe.train.seed, empty=("codecs", "encoders", "denoiser"))
    # what torch raises where a number is asked for that isn't there
    except (RuntimeError, NotImplementedError):
        return build(recipe, recipe.train.seed)


def cost(recipe: Recipe, parts: Parts, dtype: str) -> Account | str:
    """The account of the parts, or why there is none."""
    import torch

    from harmony_parts.cost.account import account

    try:
        return account(recipe, parts, getattr(torch, dtype))
    # whatever a part, perhaps a third party's, says to tensors without numbers
    except Exception as error:
        why = " ".join(str(error).split()) or "no reason given"
        return (
            f"can't be counted: a part doesn't run on the meta device ({type(error).__name__}:"
            f" {why[:200]})"
        )


def report(recipe: Recipe, parts: Parts, counted: Account | str, gpus: int) -> dict[str, Any]:
    """The figures, for programs. Bytes, operations, numbers; no account where a part can't be
    counted, but `uncounted`, the reason.
    """
    from harmony_parts.codecs.protocol import grid_of
    from harmony_parts.cost.inputs import lengths
    from harmony_parts.cost.parameters import parameters as weights_of

    counts = lengths(parts)
    found: dict[str, Any] = {
        "recipe": recipe.name,
        "latents": {
            s: [counts[s], *grid_of(parts.codecs[s]), parts.codecs[s].channels] for s in counts
        },
        "parameters": {name: attrs.asdict(weights) for name, weights in weights_of(parts).items()},
    }
    if isinstance(counted, str):
        return found | {"uncounted": counted}
    return found | {
        "dtype": counted.dtype,
        "flops": {
            "pass": {"total": sum(counted.steps.values()), "steps": dict(counted.steps)},
            "tasks": {
                task: {
                    "passes": dict(runs),
                    "step": counted.per_step(task),
                    "clip": counted.per_clip(task),
                }
                for task, runs in counted.tasks.items()
            },
            "training": {name: there.flops for name, there in counted.backward.items()},
        },
        "memory": {
            "inference": {
                "weights": counted.weights_bytes,
                "not_trained": counted.frozen_bytes,
                "activations": counted.activations,
                "all": counted.inference_bytes(),
                "offloaded": dict(counted.offloaded),
            },
            "training": {
                name: (
                    {"kept": there.kept, "kept_per_block": there.block, "activations": there.peak}
                    | {
                        f"gpus_{n}": counted.training_bytes(name, n)
                        for n in dict.fromkeys((1, gpus))
                    }
                )
                for name, there in counted.backward.items()
            },
        },
    }


def latents(parts: Parts) -> list[str]:
    """How many latents a clip of the format's length takes, of which size, and which time each
    covers.
    """
    from harmony_parts.cost.inputs import lengths

    form, counts = parts.format, lengths(parts)
    frames = form.frames
    samples = form.samples(frames)
    lines = [
        f"clip   {frames / float(form.fps):g} s: {quantity(frames, 'frame')} of {form.width} x"
        f" {form.height} at {float(form.fps):g} fps, {quantity(samples, 'sample')} at"
        f" {form.sample_rate} Hz"
    ]
    if counts.video is not None:
        video, t_v = cast("VideoCodec", parts.codecs["video"]), counts.video
        h, w = video.grid
        pixels, numbers = frames * form.height * form.width * 3, t_v * h * w * video.channels
        lines.append(
            f"video  T_v = {t_v}, grid {h} x {w} (height x width),"
            f" {quantity(video.channels, 'channel')}: {pixels / numbers:.1f}x fewer numbers than"
            f" the pixels; {clock(video.clock(t_v))}"
        )
    if counts.audio is not None:
        audio, t_a = cast("AudioCodec", parts.codecs["audio"]), counts.audio
        lines.append(
            f"audio  T_a = {t_a}, {quantity(audio.channels, 'channel')}:"
            f" {samples / (t_a * audio.channels):.1f}x fewer numbers than the samples;"
            f" {clock(audio.clock(t_a))}"
        )
    return lines


def clock(intervals: Any) -> str:
    """What a clock says: the first latent, and the one in the middle."""
    (a, b), (c, d) = intervals[0].tolist(), intervals[len(intervals) // 2].tolist()
    return f"the first covers {a:.3f} to {b:.3f} s, the middle one {c:.3f} to {d:.3f} s"


def windows(parts: Parts) -> list[str]:
    """How much of the other stream each latent of the denoiser's interaction sees, for a clip of
    the format's length.
    """
    import torch
    from torch import nn

    from harmony_parts.av import AV
    from harmony_parts.cost.inputs import lengths
    from harmony_parts.interaction.protocol import Layout

    counts, denoiser = lengths(parts), parts.denoiser
    if len(tuple(counts)) < 2:
        return ["none: there is one stream"]
    modules = denoiser.modules() if isinstance(denoiser, nn.Module) else ()
    interaction: Any = next((module for module in modules if hasattr(module, "tables")), None)
    if interaction is None:
        return ["none: this denoiser has no interaction with tables of its own"]
    clocks = parts.codecs.map(lambda codec, n: codec.clock(n), counts)
    # windows don't depend on the grid
    tables = interaction.tables(Layout(clocks, AV((1, 1), (1, 1)), torch.device("cpu")))
    lines = []
    for stream, other in (("video", "audio"), ("audio", "video")):
        found = _windows(getattr(tables, stream, None))
        if found is not None:
            sizes = (found.end - found.start).tolist()
            low, high, k = min(sizes), max(sizes), sizes[len(sizes) // 2]
            span = f"{low} to {high}" if low != high else f"{low}"
            lines.append(
                f"W = {k}: each of {counts[stream]} {stream} latents {HEARD[stream]} {span} of"
                f" {counts[other]} {other} latents ({k} in the middle)"
            )
    return lines or [
        f"none: {type(interaction).__name__} doesn't limit which latents hear each other in time"
    ]


def _windows(tables: Any) -> Windows | None:
    """The windows of one direction: the tables themselves, or a field of them."""
    from harmony_parts.attention.protocol import Windows

    fields = (
        (tables, *(getattr(tables, f.name) for f in attrs.fields(type(tables))))
        if attrs.has(type(tables))
        else (tables,)
    )
    return next((field for field in fields if isinstance(field, Windows)), None)


def parameters(groups: Mapping[str, Weights]) -> list[str]:
    """Numbers in the weights, by what they belong to."""
    if not groups:
        return ["none that can be seen: the parts are no torch modules"]
    trained = [weights for weights in groups.values() if weights.trained]
    total, tensors = sum(w.numbers for w in trained), sum(w.tensors for w in trained)
    wide = max(map(len, groups))
    lines = [
        f"{name:<{wide}}  {short(w.numbers):>7}  in {quantity(w.tensors, 'tensor')}"
        for name, w in groups.items()
    ]
    together = (
        f"{'trained together':<{wide}}  {short(total):>7}  ({total:,} in"
        f" {quantity(tensors, 'tensor')})"
    )
    return [*lines, together if trained else "none of them is trained"]


def arithmetic(counted: Account) -> list[str]:
    """Operations of a pass, by step, and of what is made of passes."""
    total, wide = sum(counted.steps.values()), max(map(len, counted.steps))
    lines = [f"a pass of one clip, read in full: {operations(total)}"]
    lines += [
        f"  {name:<{wide}}  {operations(n):>10}  {n / total:>6.1%}"
        for name, n in counted.steps.items()
    ]
    for task, runs in counted.tasks.items():
        each = " + ".join(f"{name} {operations(n)}" for name, n in runs.items())
        steps = quantity(counted.sampling_steps, "step")
        lines.append(
            f"{task}: {each} = {operations(counted.per_step(task))} a step,"
            f" {operations(counted.per_clip(task))} a clip of {steps}"
        )
    each = ", ".join(
        f"{operations(there.flops)} recomputing {name.replace('_', ' ')}"
        for name, there in counted.backward.items()
    )
    return [*lines, *([f"training, there and back, each clip: {each}"] if each else [])]


def memory(counted: Account, gpus: int) -> list[str]:
    """Bytes of inference and of a training step."""
    lines = [
        f"a clip, in {counted.dtype}: "
        + (
            f"{size(counted.weights_bytes)} weights that are trained + "
            if counted.weights_bytes
            else ""
        )
        + (f"{size(counted.frozen_bytes)} weights that aren't + " if counted.frozen_bytes else "")
        + f"{size(counted.activations)} activations = {size(counted.inference_bytes())}",
        "  on the GPU at most with "
        + ", ".join(f"--offload {how}: {size(n)}" for how, n in counted.offloaded.items()),
    ]
    if counted.backward:
        lines.append(
            f"a training step with one clip on each GPU, in {counted.dtype}: weights, gradients,"
            " AdamW, activations"
        )
    for name, there in counted.backward.items():
        every = [
            f"{size(counted.training_bytes(name, n))} on"
            f" {'one GPU' if n == 1 else f'each of {n} (FSDP)'}"
            for n in dict.fromkeys((1, gpus))
        ]
        kept = (
            f"keeps {size(there.kept)}"
            + (f" ({size(there.block)} a joint block)" if there.block else "")
            + f", holds {size(there.peak)} at most"
        )
        lines.append(f"  recompute {name.replace('_', ' ')}: {kept}; {', '.join(every)}")
    return [
        *lines,
        (
            "not counted: kernels' workspaces, gaps between tensors, the CUDA context, what codecs"
            " and encoders compute"
        ),
    ]


def operations(n: int) -> str:
    """0.62 PFLOP, 192 MFLOP."""
    for unit, size in (("PFLOP", 10**15), ("TFLOP", 10**12), ("GFLOP", 10**9), ("MFLOP", 10**6)):
        if n >= 0.1 * size:
            return f"{n / size:.3g} {unit}" if n < 1000 * size else f"{n / size:,.0f} {unit}"
    return f"{n} FLOP"


def size(n: int) -> str:
    """12.3 MiB, 40.4 GiB."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if n >= 0.1 * scale:
            return f"{n / scale:,.0f} {unit}" if n >= 100 * scale else f"{n / scale:.3g} {unit}"
    return f"{n / 2**10:.3g} KiB"


def training(recipe: Recipe) -> list[str]:
    """What a batch becomes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    plan = recipe.task.plan(
        recipe.train.batch,
        lambda n, g: recipe.flow.shift(recipe.flow.density.draw(n, g)),
        generator,
    )
    return [
        (
            f"{quantity(recipe.train.batch, 'clip')} go through the denoiser as"
            f" {quantity(len(plan.source), 'sample')}; tasks: {', '.join(plan.names)}"
        ),
        (
            f"{quantity(recipe.train.steps, 'step')}:"
            f" {quantity(recipe.train.steps * recipe.train.batch, 'clip')} in all"
        ),
    ]


def passes(recipe: Recipe, parts: Parts) -> list[str]:
    """Runs of the denoiser for one velocity, in each task."""
    from harmony_parts.cost.account import runs_of

    lines = [
        f"{quantity(recipe.sample.steps, 'step')} by {type(recipe.sample.solver).__name__}; for"
        " each velocity:"
    ]
    for task, runs in runs_of(recipe, parts).items():
        told = ", ".join(f"{' = '.join(run.names)} ({' and '.join(run.read)})" for run in runs)
        lines.append(f"{task:<12}  {len(runs)} pass{'' if len(runs) == 1 else 'es'}: {told}")
    return lines
