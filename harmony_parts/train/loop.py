"""The training loop.

It depends only on protocols: a step is the same for every task, flow, denoiser and encoder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch

from harmony_parts.assembly.build import Parts, derived_seed
from harmony_parts.assembly.recipe import Recipe, check_recipe
from harmony_parts.callbacks.protocol import Callback, CallbackSpec, RunView
from harmony_parts.errors import HarmonyError, RunError, warn_caller
from harmony_parts.layers.lora import adapted
from harmony_parts.layers.precision import float32_products
from harmony_parts.media import ffmpeg
from harmony_parts.models.device import usable_device
from harmony_parts.models.folder import save_model, saved_modules
from harmony_parts.models.lock import lock_folder
from harmony_parts.models.lora import adaptable_modules, save_adapters
from harmony_parts.models.offload import move_weights
from harmony_parts.strategies.protocol import Strategy
from harmony_parts.train.agreement import agree_on_data, agree_on_start, agree_on_weights
from harmony_parts.train.checkpoint import load_last_checkpoint, save_checkpoint
from harmony_parts.train.data import TrainingData, open_data
from harmony_parts.train.flops import Utilisation, flops_per_step, peak_flops
from harmony_parts.train.held_out import HeldOutLoss
from harmony_parts.train.log import Log, warn
from harmony_parts.train.log_means import LogMeans
from harmony_parts.train.model import build_model, divisible_modules, trained_parts
from harmony_parts.train.preview import preview
from harmony_parts.train.run_folder import (
    CHECKPOINTS,
    LORA,
    MODEL,
    find_run,
    open_run,
    read_origin,
    resume_command,
)
from harmony_parts.train.signals import catch_stop_signals
from harmony_parts.train.state import TrainingState
from harmony_parts.train.step import draw_batch, train_step


def train(
    recipe: Recipe,
    *,
    out: Path,
    data_root: str | Path | None = None,
    start: str | Path | Sequence[str | Path] = (),
    resume: bool = False,
    progress: bool = True,
    device: str | None = None,
    workers: int = 0,
) -> Path:
    """Train a recipe's model in the run folder `out`; returns the folder of the model, `out`/model,
    or of the adapters, `out`/lora, if those are what is trained.

    `start`, a model or run folder or a name on the Hugging Face Hub, gives the initial weights,
    loaded as float32; without it they are initialised from the recipe's seed. Several models, or
    one of fewer streams, are joined branch by branch (`harmony_parts.train.join`). `data_root` is
    the folder that the data set reads, if it reads one, or the folder or URL of prepared clips,
    which `workers` processes read ahead. `device` is "cuda" by default if a GPU is available, else
    "cpu".

    With `resume` the run in `out` continues from its last intact checkpoint. On the CPU, with the
    same number of threads, its weights are then bit-equal to those of an uninterrupted run. Ctrl-C
    saves a checkpoint and raises KeyboardInterrupt with the way to resume. A clip that can't be
    read is reported once and skipped; if none can be read any more, the run saves a checkpoint and
    stops.

    Raises AssemblyError if the recipe can't be built, MediaError if the folder of clips can't be
    read, and RunError if `out` already holds a run or another process trains in it, if a resumed
    run finds other data, if the disk is full, if no clip can be read, or if the loss isn't finite.
    """
    check_recipe(recipe)
    starts = [start] if isinstance(start, str | Path) else list(start)
    if starts and resume:
        raise RunError("a resumed run continues from its own weights: leave out `start`")
    out = Path(out)
    strategy = recipe.train.strategy.build(device=usable_device(device))
    place = strategy.device
    # third-party modules may draw from the global generator, as dropout does
    generators = torch.random.fork_rng(devices=[place] if place.type == "cuda" else [])
    with strategy.together(), float32_products(tf32=False), generators:
        torch.manual_seed(derived_seed(recipe.train.seed, "train:modules"))
        agree_on_start(strategy, recipe, starts, resume)
        find_run(out, recipe, resume, data_root)  # raises before anything is built or written
        if data_root is not None and recipe.source is None:
            ffmpeg.executable()
        parts, origin = build_model(recipe, strategy.loads_on, starts)
        if not (starts or resume or strategy.rank) and any(adapted(saved_modules(parts))):
            warn_caller(
                "the adapters change fresh weights, which aren't saved: name the model to adapt"
                " with --start (in Python: start=)"
            )
        agree_on_weights(strategy, saved_modules(parts).state_dict())
        strategy.prepare(divisible_modules(parts))
        for part in trained_parts(parts):
            move_weights(part, place)  # what isn't divided
        state = TrainingState(recipe, parts, strategy)
        with nullcontext() if strategy.rank else lock_folder(out):
            saved = _open(out, recipe, resume, data_root, origin, state)
            step, shows = saved["step"] if saved else 0, progress and not strategy.rank
            steps, clips = recipe.train.steps, recipe.train.batch
            count = partial(flops_per_step, recipe)
            flops = Utilisation(count, strategy.ranks, peak_flops(place, recipe.train.precision))
            with Log(
                out, step=step, steps=steps, progress=shows, clips=clips, utilisation=flops
            ) as log:
                if not strategy.rank:
                    for line in origin:
                        log.say(line)
                with _in_order(strategy):  # process 0 fills the cache that the others read
                    data = open_data(recipe, parts, data_root, strategy, log, workers=workers)
                agree_on_data(strategy, data.identity)
                if saved is not None:
                    data.check_unchanged(saved)
                    state.load_state_dict(saved)
                held_out = None
                if recipe.train.held_out is not None:
                    held_out = HeldOutLoss(recipe, parts, place, log)
                view = RunView(
                    out,
                    state.step,
                    recipe.train.steps,
                    recipe,
                    log.say,
                    partial(preview, state, recipe, parts),
                )
                specs = () if strategy.rank else recipe.train.callbacks
                with open_callbacks(specs, view) as callbacks:
                    again = resume_command(out, data_root)
                    _train_steps(state, data, recipe, out, log, callbacks, held_out, again)
            return _save_model(out, recipe, parts, state, data)


@contextmanager
def _in_order(strategy: Strategy) -> Iterator[None]:
    """Process 0 does it first, then the others."""
    if strategy.rank:
        strategy.gather("")
    yield
    if not strategy.rank:
        strategy.gather("")


def _save_model(
    out: Path, recipe: Recipe, parts: Parts, state: TrainingState, data: TrainingData
) -> Path:
    """Write the model, or the adapters; process 0 does it, and the others wait."""
    strategy, adapters = state.strategy, state.averaged_adapters()
    weights = strategy.whole(adapters or state.averaged_weights())
    if not strategy.rank:
        if adapters:
            save_adapters(out / LORA, adaptable_modules(parts), weights)
        else:
            note = _training_note(state, data, recipe, read_origin(out))
            save_model(out / MODEL, recipe, weights, note=note)
    strategy.agree(True)
    return out / (LORA if adapters else MODEL)


def _open(
    out: Path,
    recipe: Recipe,
    resume: bool,
    data_root: str | Path | None,
    origin: Sequence[str],
    state: TrainingState,
) -> dict[str, Any] | None:
    """Open the run folder; returns the state to continue from, if there is one."""
    strategy = state.strategy
    resuming, saved = find_run(out, recipe, resume, data_root), None
    if resuming:
        saved = load_last_checkpoint(out / CHECKPOINTS, warn, strategy, state.like)
    if saved is not None and saved["step"] > recipe.train.steps:
        raise RunError(
            f"{out}: is already at step {saved['step']}, beyond train.steps = {recipe.train.steps};"
            " set train.steps higher"
        )
    if resuming and saved is None and (started := read_origin(out)):
        raise RunError(
            f"{out}: no intact checkpoint, and the weights that the run began with aren't in its"
            f" folder ({started[0]}); begin it again with the same `start`, without resuming"
        )
    strategy.agree(True)  # all have read what is there
    if not strategy.rank:
        open_run(out, recipe, None if resume else origin)
        if resuming and saved is None:
            warn(f"{out}: no intact checkpoint; the run starts over")
    return saved


def _train_steps(
    state: TrainingState,
    data: TrainingData,
    recipe: Recipe,
    out: Path,
    log: Log,
    callbacks: Sequence[Callback],
    held_out: HeldOutLoss | None,
    again: str,
) -> None:
    """All remaining steps, with their checkpoints; `again` is the command to resume."""
    settings, saved = recipe.train, state.step
    failure: Exception | None = None
    with catch_stop_signals() as stop:
        while state.step < settings.steps and state.strategy.agree(not stop.requested):
            began = time.perf_counter()
            try:
                batch = draw_batch(state, data.batches)
            except Exception as error:
                failure = error
                break
            loss = train_step(state, batch, recipe)
            state.means.seconds += time.perf_counter() - began
            log.advance(state.step, loss)
            if state.step % settings.log_every == 0 or state.step == settings.steps:
                record = state.all_means().record(state.step)
                if held_out is not None and _due(state.step, held_out.spec.every, settings.steps):
                    record["held_out"] = held_out.measure(state)
                state.means = LogMeans()
                log.show(record)
                for callback in callbacks:
                    callback.on_record(record)
            for callback in callbacks:
                callback.on_step(state.step)
            if settings.checkpoint_every and state.step % settings.checkpoint_every == 0:
                saved = _save(state, data, out)
        if state.step != saved:
            _save(state, data, out)
    if failure is not None:
        _raise_batch_failure(failure, state.step, again)
    if state.step < settings.steps:
        _raise_stopped(state.step, settings.steps, again, log)


def _due(step: int, every: int, steps: int) -> bool:
    return step % every == 0 or step == steps


@contextmanager
def open_callbacks(specs: Sequence[CallbackSpec], run: RunView) -> Iterator[list[Callback]]:
    """The callbacks of a run, closed afterwards."""
    with ExitStack() as stack:
        callbacks = []
        for spec in specs:
            callbacks.append(spec.build(run=run))
            stack.callback(callbacks[-1].close)
        yield callbacks


def _save(state: TrainingState, data: TrainingData, out: Path) -> int:
    """Write a checkpoint; returns its step."""
    whole = {**state.state_dict(), "data": data.identity}
    save_checkpoint(out / CHECKPOINTS, whole, state.strategy)
    return state.step


def _raise_batch_failure(error: Exception, step: int, again: str) -> NoReturn:
    """Raise the error that stopped the run, with the way to resume."""
    state = (
        f"the run is saved after step {step}" if step else "no step was done, so nothing is lost"
    )
    remedy = f"{state}; fix that, then resume with `{again}` (in Python: resume=True)"
    if isinstance(error, HarmonyError):
        raise RunError(f"{error}\n{remedy}") from error
    error.add_note(remedy)
    raise error


def _raise_stopped(step: int, steps: int, again: str, log: Log) -> NoReturn:
    message = (
        f"stopped after step {step} of {steps}; continue with `{again}` (in Python: resume=True)"
    )
    log.say(message)
    raise KeyboardInterrupt(message)


def _training_note(
    state: TrainingState, data: TrainingData, recipe: Recipe, origin: Sequence[str]
) -> str:
    """How the weights came about, for the model card."""
    settings, unreadable = recipe.train, len(data.unreadable)
    # prepared clips could all be read
    clips = len(data.batches.source) - (0 if settings.prepared else unreadable)
    skipped = f" ({unreadable} more couldn't be read)" if unreadable else ""
    kind = (
        f"an exponential moving average (decay {settings.ema:g})"
        if settings.ema
        else "those of the last step"
    )
    return (
        f"{state.step} steps of {settings.batch} clips, from {clips} clips{skipped}; the weights"
        f" are {kind}" + "".join(f"; at its start, {line}" for line in origin)
    )
