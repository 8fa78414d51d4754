"""Training of a learned codec: its own loop, since a codec has no task, flow or denoiser.

The run folder has the recipe, the log and checkpoints as those of `train`, and in the end
codec.safetensors, the weights in half precision.
"""

from __future__ import annotations

import math
import time
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.build import derived_seed
from harmony_parts.assembly.read import VERSIONS, write_recipe
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV
from harmony_parts.callbacks.protocol import Callback, RunView
from harmony_parts.codecs.protocol import TrainableCodecSpec
from harmony_parts.codecs.weights import load_network
from harmony_parts.errors import AssemblyError, RunError
from harmony_parts.latents.readable import Readable
from harmony_parts.media.files import replace
from harmony_parts.models.lock import lock_folder
from harmony_parts.models.tensor_files import save_tensors
from harmony_parts.train.checkpoint import load_last_checkpoint, save_checkpoint
from harmony_parts.train.codec_state import CodecState, CodecTraining
from harmony_parts.train.log import Log, warn
from harmony_parts.train.loop import open_callbacks
from harmony_parts.train.run_folder import CHECKPOINTS, differences, open_run
from harmony_parts.train.signals import catch_stop_signals

WEIGHTS = "codec.safetensors"  # in the run folder


def train_codec(
    recipe: Recipe,
    settings: CodecTraining,
    *,
    out: Path,
    start: str = "",
    data_root: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    device: str = "cpu",
) -> Path:
    """Train the recipe's codec that has weights; returns their file, `out`/codec.safetensors.

    The first `settings.examples` examples of the recipe's data are held in memory, and each step
    takes random pieces of some. `start` is a file of weights to begin with; with
    `settings.decoder_only` the encoder, and so the latents, stay as they are in it. The seed is
    `train.seed` of the recipe. A resumed run is bit-equal to an uninterrupted one on a CPU.

    Raises AssemblyError if no codec of the recipe can be trained, RunError if `out` holds another
    run, there is nothing to resume, or the loss isn't finite; Ctrl-C saves a checkpoint and raises
    KeyboardInterrupt.
    """
    stream, spec = trainable_codec(recipe)
    if settings.decoder_only and not start:
        raise RunError("training only the decoder needs an encoder: give `start`, its weights")
    run = {"settings": attrs.asdict(settings), "start": start, **_table(recipe)}
    with lock_folder(out):
        saved = _saved(out, run, resume)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(recipe.train.seed, "train:codec"))
            network: Any = spec.network()
        if start:
            load_network(network, start)
        state = CodecState(network.to(device), settings, recipe.train.seed)
        if saved is not None:
            state.load_state_dict(saved)
        open_run(out, recipe, None)
        with Log(out, step=state.step, steps=settings.steps, progress=progress) as log:
            pieces = _media(recipe, stream, settings.examples, data_root, log)
            if not start and saved is None:
                seed = derived_seed(recipe.train.seed, "codec:begin")
                network.begin(pieces, torch.Generator().manual_seed(seed))
            view = RunView(out, state.step, settings.steps, recipe, log.say, _no_pipeline)
            with open_callbacks(recipe.train.callbacks, view) as callbacks:
                _train(state, pieces, out, run, log, callbacks)
    weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    replace(out / WEIGHTS, partial(save_tensors, tensors=weights))
    return out / WEIGHTS


def trainable_codec(recipe: Recipe) -> tuple[str, TrainableCodecSpec]:
    """The stream and the spec of the recipe's codec that can be trained, the video's first.

    Raises AssemblyError if there is none.
    """
    for stream in ("video", "audio"):
        spec = getattr(recipe.codecs, stream)
        if isinstance(spec, TrainableCodecSpec):
            return stream, spec
    raise AssemblyError("$.codecs: no codec of this recipe has weights to train", recipe.name)


def _media(recipe: Recipe, stream: str, count: int, root: Path | None, log: Log) -> list[Tensor]:
    """The frames, or the samples of the sound [samples, channels], of the first examples."""
    dataset = recipe.data.build(format=recipe.format, root=root)
    if not len(dataset):
        raise RunError("the data set is empty: there is nothing to train on")
    readable = Readable(dataset, log.say)
    generator = torch.Generator().manual_seed(derived_seed(recipe.train.seed, "train:data"))
    found = []
    for number in log.track(range(min(count, len(readable))), min(count, len(readable))):
        clip = readable.example(number, generator).clip
        media = AV(clip.frames, clip.waveform)[stream]
        if media is None:
            raise RunError(f"example {number} has no {stream}: its codec can't be trained on it")
        found.append(media if stream == "video" else media.T)
    return found


def _no_pipeline() -> NoReturn:
    raise RunError("a codec's run has no model to generate with: leave this callback out")


def _train(
    state: CodecState,
    pieces: list[Tensor],
    out: Path,
    run: Any,
    log: Log,
    callbacks: Sequence[Callback],
) -> None:
    """All remaining steps, with their checkpoints."""
    settings = state.settings
    short = min(piece.shape[0] for piece in pieces)
    if short < state.network.length:
        raise RunError(
            f"clips of {short} frames or samples are shorter than the {state.network.length} of a"
            " training example: raise `format.seconds`"
        )
    saved, recent, began = state.step, [], time.perf_counter()
    with catch_stop_signals() as stop:
        while state.step < settings.steps and not stop.requested:
            recent.append(state.advance(pieces))
            log.advance(state.step, recent[-1][0])
            for callback in callbacks:
                callback.on_step(state.step)
            if state.step % settings.log_every == 0 or state.step == settings.steps:
                seconds = (time.perf_counter() - began) / len(recent)
                record = _record(state, recent, seconds)
                log.show(record)
                for callback in callbacks:
                    callback.on_record(record)
                recent, began = [], time.perf_counter()
            if state.step % settings.checkpoint_every == 0 or state.step == settings.steps:
                save_checkpoint(out / CHECKPOINTS, {**state.state_dict(), "run": run})
                saved = state.step
        if state.step != saved:
            save_checkpoint(out / CHECKPOINTS, {**state.state_dict(), "run": run})
    if state.step < settings.steps:
        raise KeyboardInterrupt(f"stopped after step {state.step} of {settings.steps}")


def _record(
    state: CodecState, recent: list[tuple[float, float, float]], seconds: float
) -> dict[str, Any]:
    """A line of the log: means since the last one. The PSNR is that of values in [-1, 1]."""
    loss, error, norm = torch.tensor(recent, dtype=torch.float64).mean(0).tolist()
    return {
        "step": state.step,
        "loss": loss,
        "losses": {"psnr": 10 * math.log10(4 / error)},
        "grad_norm": norm,
        "learning_rate": state.learning_rate(),
        "seconds_per_step": seconds,
    }


def _table(recipe: Recipe) -> dict[str, Any]:
    """What a codec's run depends on, of its recipe."""
    table = tomllib.loads(write_recipe(recipe))
    return {
        "format": table["format"],
        "codecs": table["codecs"],
        "data": table["data"],
        "seed": recipe.train.seed,
        VERSIONS: table[VERSIONS],
    }


def _saved(out: Path, run: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """The last checkpoint of the run to continue. Raises RunError if it is another run's."""
    saved = load_last_checkpoint(out / CHECKPOINTS, warn)
    if saved is None and resume:
        raise RunError(f"{out}: no run to resume: there is no checkpoint in it")
    if saved is not None and not resume:
        raise RunError(f"{out}: already holds a run; continue it with --resume, or choose another")
    differs = list(differences(saved["run"], run)) if saved else []
    if differs:
        listed = "\n".join(f"  {line}" for _, line in differs)
        raise RunError(f"{out}: the run was begun with other settings:\n{listed}")
    return saved
