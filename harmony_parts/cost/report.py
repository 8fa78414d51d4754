"""The report of `harmony explain`: what a recipe builds and what it costs, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from harmony_parts.av import channel_layout
from harmony_parts.cost.gpus import gpu_lines
from harmony_parts.report.text import bytes_text, flops_text, quantity, short

if TYPE_CHECKING:
    from harmony_parts.assembly.build import Parts
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.attention.protocol import Windows
    from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
    from harmony_parts.cost.account import Account
    from harmony_parts.cost.parameters import Weights
    from harmony_parts.guidance.protocol import Pass

NOT_COUNTED = (
    "not counted: kernels' workspaces, fragmentation, the CUDA context, computation in codecs and"
    " encoders other than for anchors"
)


def sections(
    recipe: Recipe, parts: Parts, account: Account | str, gpus: int
) -> dict[str, list[str]]:
    """Heading -> lines; `account` is a string, the reason, if the parts can't be counted."""
    from harmony_parts.cost.parameters import parameters

    if isinstance(account, str):
        flops = memory = [account]
        weights: Mapping[str, Weights] = parameters(parts)
    else:
        weights, flops = account.parameters, flop_lines(account)
        memory = memory_lines(account)
    each = {}
    if not isinstance(account, str) and account.training:
        each["each GPU in training"] = gpu_lines(recipe, account, gpus)
    return {
        "latents of a clip": latent_lines(parts),
        "windows": window_lines(parts),
        "parameters": parameter_lines(weights),
        "a training step": training_lines(recipe, parts),
        "a sampling step": pass_lines(recipe, parts),
        "arithmetic": flops,
        "memory": memory,
        **each,
    }


def latent_lines(parts: Parts) -> list[str]:
    """Number, size and duration of the latents of a clip of the format's length."""
    form, counts = parts.format, parts.lengths()
    frames = form.frames
    samples = form.samples(frames)
    lines = [
        f"clip   {frames / float(form.fps):g} s: {quantity(frames, 'frame')} of {form.width} x"
        f" {form.height} at {float(form.fps):g} fps, {quantity(samples, 'sample')} at"
        f" {form.sample_rate} Hz, {channel_layout(form.channels)}"
    ]
    if counts.video is not None:
        video, t_v = cast("VideoCodec", parts.codecs["video"]), counts.video
        h, w = video.grid
        pixels, numbers = frames * form.height * form.width * 3, t_v * h * w * video.channels
        lines.append(
            f"video  T_v = {t_v}, grid {h} x {w} (height x width),"
            f" {quantity(video.channels, 'channel')}: {pixels / numbers:.1f}x fewer numbers than"
            f" the pixels; {interval_text(video.clock(t_v))}"
        )
    if counts.audio is not None:
        audio, t_a = cast("AudioCodec", parts.codecs["audio"]), counts.audio
        numbers = form.channels * samples
        lines.append(
            f"audio  T_a = {t_a}, {quantity(audio.channels, 'channel')}:"
            f" {numbers / (t_a * audio.channels):.1f}x fewer numbers than the samples;"
            f" {interval_text(audio.clock(t_a))}"
        )
    return lines


def interval_text(intervals: Any) -> str:
    """The intervals of the first and of the middle latent."""
    (a, b), (c, d) = intervals[0].tolist(), intervals[len(intervals) // 2].tolist()
    return f"the first covers {a:.3f} to {b:.3f} s, the middle one {c:.3f} to {d:.3f} s"


def window_lines(parts: Parts) -> list[str]:
    """How many latents of the other stream each latent attends to, in a clip of full length."""
    import torch
    from torch import nn

    from harmony_parts.av import AV
    from harmony_parts.interaction.protocol import Layout

    counts, denoiser = parts.lengths(), parts.denoiser
    if len(tuple(counts)) < 2:
        return ["none: there is one stream"]
    modules = denoiser.modules() if isinstance(denoiser, nn.Module) else ()
    interaction: Any = next((module for module in modules if hasattr(module, "tables")), None)
    if interaction is None:
        return ["none: this denoiser has no interaction with tables"]
    clocks = parts.codecs.map(lambda codec, n: codec.clock(n), counts)
    # windows don't depend on the grid
    tables = interaction.tables(Layout(clocks, AV((1, 1), (1, 1)), torch.device("cpu")))
    lines = []
    for stream, other in (("video", "audio"), ("audio", "video")):
        windows = _find_windows(getattr(tables, stream, None))
        if windows is not None:
            sizes = (windows.end - windows.start).tolist()
            low, high, k = min(sizes), max(sizes), sizes[len(sizes) // 2]
            span = f"{low} to {high}" if low != high else f"{low}"
            lines.append(
                f"W = {k}: each of {counts[stream]} {stream} latents attends to {span} of"
                f" {counts[other]} {other} latents ({k} in the middle)"
            )
    return lines or [f"none: {type(interaction).__name__} attends to the whole clip"]


def _find_windows(tables: Any) -> Windows | None:
    """The windows of one direction: the tables themselves, or a field of them."""
    from harmony_parts.attention.protocol import Windows

    fields = (
        (tables, *(getattr(tables, f.name) for f in attrs.fields(type(tables))))
        if attrs.has(type(tables))
        else (tables,)
    )
    return next((field for field in fields if isinstance(field, Windows)), None)


def parameter_lines(groups: Mapping[str, Weights]) -> list[str]:
    """Parameters by the part that they belong to."""
    if not groups:
        return ["none visible: the parts are not torch modules"]
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


def training_lines(recipe: Recipe, parts: Parts) -> list[str]:
    """The samples and tasks that a batch is expanded to, and the clips of the whole run."""
    import torch

    generator = torch.Generator().manual_seed(0)
    plan = recipe.task.plan(recipe.train.batch, recipe.flow.draw, generator, parts.lengths())
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


def time_line(recipe: Recipe, streams: tuple[str, ...]) -> str:
    """The shift of each stream, and the time at which its last step begins."""
    from harmony_parts.flow.stream_shifts import StreamShifts, shifts_of_streams
    from harmony_parts.sample.timetable import timetable

    sampling = recipe.sample
    table = timetable(sampling.steps, sampling.shift, streams)
    shared = not isinstance(sampling.shift, StreamShifts)
    shifts = shifts_of_streams(sampling.shift)

    def times(stream: str) -> str:
        last = f", the last step from {table[-2][stream]:.3g}" if sampling.steps > 1 else ""
        return f"1 to 0 by {shifts[stream]!r}{last}"

    if shared:
        return f"times  {times(streams[0])}"
    return "times  " + "; ".join(f"{stream} {times(stream)}" for stream in streams)


def pass_lines(recipe: Recipe, parts: Parts) -> list[str]:
    """Runs of the denoiser for one velocity, in each task."""
    from harmony_parts.cost.account import runs_per_task

    lines = [
        time_line(recipe, tuple(parts.codecs)),
        f"{quantity(recipe.sample.steps, 'step')} by {type(recipe.sample.solver).__name__}; for"
        " each velocity:",
    ]
    for task, runs in runs_per_task(recipe, parts).items():
        listed = ", ".join(
            f"{' = '.join(run.names)} ({' and '.join(run.read)}{_inputs(run.request)})"
            for run in runs
        )
        lines.append(f"{task:<12}  {len(runs)} pass{'' if len(runs) == 1 else 'es'}: {listed}")
    return lines


def _inputs(request: Pass) -> str:
    """The other words and the other model of a pass; "" if it has neither."""
    words = "".join(f", {name} {text!r}" for name, text in request.words)
    return words + (f", by {request.model}" if request.model else "")


def flop_lines(account: Account) -> list[str]:
    """FLOPs of a pass by step, of a sampling step and a clip in each task, and of training."""
    total, wide = sum(account.steps.values()), max(map(len, account.steps))
    lines = [f"a pass of one clip that computes both streams: {flops_text(total)}"]
    lines += [
        f"  {name:<{wide}}  {flops_text(n):>10}  {n / total:>6.1%}"
        for name, n in account.steps.items()
    ]
    for task, runs in account.tasks.items():
        each = " + ".join(f"{name} {flops_text(n)}" for name, n in runs.items())
        steps = quantity(account.sampling_steps, "step")
        lines.append(
            f"{task}: {each} = {flops_text(account.per_step(task))} a step,"
            f" {flops_text(account.per_clip(task))} a clip of {steps}"
            f" ({account.plain_passes(task):.2f} times that without guidance)"
        )
        if (work := account.anchors.get(task)) is not None and work.flops:
            lines.append(
                f"  of it {flops_text(work.flops)} for anchors, without a reference image:"
                f" {quantity(work.calls, 'call')} of codecs"
            )
    if any(len(runs) > 1 for runs in account.tasks.values()) and not account.anchors:
        lines.append("  anchors aren't counted: a codec or an anchor can't run on shapes")
    each = ", ".join(
        f"{flops_text(cost.flops)} recomputing {mode.replace('_', ' ')}"
        for mode, cost in account.training.items()
    )
    return [*lines, *([f"training, forward and backward, per sample: {each}"] if each else [])]


def memory_lines(account: Account) -> list[str]:
    """Bytes of inference, of offloaded inference, and of a training step."""
    summands = {
        "trained weights": account.weights_bytes,
        "frozen weights": account.frozen_bytes,
        **{f"weights of {name}": n for name, n in account.others.items()},
        "activations": account.activations,
    }
    inference = " + ".join(f"{bytes_text(n)} {name}" for name, n in summands.items() if n)
    offloaded = ", ".join(
        f"--offload {mode}: {bytes_text(n)}" for mode, n in account.offloaded.items()
    )
    lines = [
        f"a clip, in {account.dtype}: {inference} = {bytes_text(account.inference_bytes())}",
        f"  peak on the GPU with {offloaded}",
    ]
    if account.training:
        lines.append(
            f"a training step with one clip on one GPU, in {account.dtype}: weights, gradients,"
            " AdamW, activations"
        )
    lines += [_training_memory(account, mode) for mode in account.training]
    return [*lines, NOT_COUNTED]


def _training_memory(account: Account, mode: str) -> str:
    """Memory of a training step with one setting of `recompute`."""
    cost = account.training[mode]
    total = bytes_text(account.training_memory(mode).total)
    per_block = f" ({bytes_text(cost.saved_per_block)} per block)" if cost.saved_per_block else ""
    return (
        f"  recompute {mode.replace('_', ' ')}: saves {bytes_text(cost.saved)}{per_block}, peak"
        f" {bytes_text(cost.peak)}; {total} in all"
    )
