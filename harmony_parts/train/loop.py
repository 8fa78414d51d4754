"""The training loop. It knows protocols, never parts: whatever task, flow, denoiser and encoders a
recipe names, a step is the same.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harmony_parts.assembly.build import build, derived_seed
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.data.protocol import HasNames
from harmony_parts.errors import AssemblyError, HarmonyError, RunError
from harmony_parts.latents import cache
from harmony_parts.latents.encode import is_frozen
from harmony_parts.latents.order import ClipOrder
from harmony_parts.latents.prepare import choose_examples, prepare_clips
from harmony_parts.latents.readable import Readable
from harmony_parts.latents.sources import Batch, OnTheFly, Prepared, Source
from harmony_parts.models.folder import load_weights, save_model, saved_modules
from harmony_parts.models.hub import locate_model
from harmony_parts.models.offload import move_weights, weights_on_device
from harmony_parts.models.snapshot import Snapshot
from harmony_parts.tasks.protocol import Plan
from harmony_parts.train.checkpoint import load_last_checkpoint, save_checkpoint
from harmony_parts.train.ema import EMA
from harmony_parts.train.lock import alone
from harmony_parts.train.log import Log
from harmony_parts.train.log_means import Window
from harmony_parts.train.objective import dropped, losses, noise_for, packed
from harmony_parts.train.run_folder import find_run, open_run
from harmony_parts.train.signals import politely

PROBE = 64  # clips that a task is asked about before the first step


def train(
    recipe: Recipe,
    *,
    out: Path,
    data_root: Path | None = None,
    start: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    device: str | None = None,
) -> Path:
    """Train a recipe's model in the folder `out`; returns the folder of the finished model,
    `out`/model.

    `start`, a model or run folder or a name on the Hugging Face Hub, gives the weights to begin
    with, in float32; without it they are fresh. `data_root` is the folder that the data set reads,
    where it reads one. `device`: "cuda" where there is one, else "cpu". With `resume` the run in
    `out` goes on from its last whole checkpoint; on the CPU, with as many threads, it ends at the
    same bits as a run that was never interrupted. Ctrl-C saves a checkpoint and raises
    KeyboardInterrupt, which says how to go on. A clip that can't be read is named once and left
    out; where none can be read any more, the run is saved, too. Raises AssemblyError for a recipe
    that can't be built, MediaError for a folder of clips that can't be read, RunError for a folder
    that holds a run or in which another process trains, for other data on resuming, a full disk,
    and clips or a loss that can't be gone on with.
    """
    if start is not None and resume:
        raise RunError("a run that is resumed has its own weights: leave `start` out")
    out = Path(out)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    devices = [place] if place.type == "cuda" else []
    # third-party modules may draw from the global generator: dropout
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derived_seed(recipe.train.seed, "train:modules"))
        find_run(out, recipe, resume)  # raises before anything is built or written
        run = Run(recipe, place, start)
        with alone(out):
            return _train(run, out, data_root, resume, progress)


def _train(run: Run, out: Path, data_root: Path | None, resume: bool, progress: bool) -> Path:
    """A run that was begun or resumed, to its end."""
    recipe = run.recipe
    there = find_run(out, recipe, resume)
    saved = load_last_checkpoint(out / "checkpoints", _warn) if there else None
    if saved is not None and saved.step > recipe.train.steps:
        raise RunError(
            f"{out}: is at step {saved.step} already, beyond train.steps = {recipe.train.steps};"
            " ask for more steps"
        )
    open_run(out, recipe)
    with Log(
        out, step=saved.step if saved else 0, steps=recipe.train.steps, progress=progress
    ) as log:
        run.open_data(data_root, log)
        if saved is not None:
            run.load(saved)
        elif there:
            log.say(f"{out}: no whole checkpoint, so the run starts anew")
        _steps(run, out, log)
    kind = (
        f"their moving average (decay {recipe.train.ema:g})"
        if recipe.train.ema
        else "those of the last step"
    )
    # those that are prepared could all be read
    clips = len(run.source) - (0 if recipe.train.prepared else len(run.bad))
    bad = f" ({len(run.bad)} more couldn't be read)" if run.bad else ""
    note = (
        f"{run.step} steps of {recipe.train.batch} clips, out of {clips}{bad}; the weights are"
        f" {kind}"
    )
    return save_model(out / "model", recipe, run.result(), note=note)


def _steps(run: Run, out: Path, log: Log) -> None:
    """All steps that are left, with their checkpoints."""
    settings, saved = run.recipe.train, run.step
    failed: Exception | None = None
    with politely() as asked:
        while run.step < settings.steps and not asked.stop:
            began = time.perf_counter()
            try:
                loss = run.advance()
            except NoBatch as error:
                failed = error.cause
                break
            run.window.seconds += time.perf_counter() - began
            log.advance(run.step, loss)
            if run.step % settings.log_every == 0 or run.step == settings.steps:
                log.write(run.window.record(run.step))
                run.window = Window()
            if settings.checkpoint_every and run.step % settings.checkpoint_every == 0:
                save_checkpoint(out / "checkpoints", run.saved())
                saved = run.step
        if run.step != saved:
            save_checkpoint(out / "checkpoints", run.saved())
    if failed is not None:
        kept = (
            f"the run is saved after step {run.step}"
            if run.step
            else "it was the first step, so nothing is lost"
        )
        how = f"{kept}; mend that, and go on with --resume and --out {out} (in Python: resume=True)"
        if isinstance(failed, HarmonyError):
            raise RunError(f"{failed}\n{how}") from failed
        failed.add_note(how)
        raise failed
    if asked.stop and run.step < settings.steps:
        message = (
            f"stopped after step {run.step} of {settings.steps}; go on with --resume and --out"
            f" {out} (in Python: resume=True)"
        )
        log.say(message)
        raise KeyboardInterrupt(message)


class NoBatch(Exception):
    """A batch couldn't be made, because of `cause`. The run is what it was after the last step, so
    it can be saved.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


class Run:
    """What a run is made of, and all that changes in it: weights, their average, the optimizer, the
    generator, the order of the clips.
    """

    def __init__(
        self, recipe: Recipe, device: torch.device, start: str | Path | None = None
    ) -> None:
        self.recipe, self.device, self.step = recipe, device, 0
        self.parts = build(recipe, recipe.train.seed, empty=() if start is None else ("denoiser",))
        _check_task(recipe, tuple(self.parts.codecs))
        if start is not None:
            load_weights(self.parts, locate_model(start), device=device, dtype=torch.float32)
        self.weights = saved_modules(self.parts).train()
        self.encoders: dict[str, Any] = dict(self.parts.encoders)
        codecs = self.parts.codecs
        self.still = (
            *(codecs[s] for s in codecs),
            *(encoder.eval() for encoder in self.encoders.values() if is_frozen(encoder)),
        )
        """What stays as it is: it is on the device only as long as clips are encoded there."""
        for part in (
            self.parts.denoiser,
            *(encoder for encoder in self.encoders.values() if not is_frozen(encoder)),
        ):
            move_weights(part, device)
        self.trained = {name: p for name, p in self.weights.named_parameters() if p.requires_grad}
        settings = recipe.train
        self.optimizer = torch.optim.AdamW(
            self.trained.values(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        self.ema = EMA(self.trained, settings.ema) if settings.ema else None
        self.generator = torch.Generator().manual_seed(
            derived_seed(recipe.train.seed, "train:training")
        )
        self.window = Window()
        self.bad: dict[int, str] = {}  # clips that couldn't be read, and why
        self.source: Source
        self.order: ClipOrder
        self.data: dict[str, Any]

    def open_data(self, root: Path | None, log: Log) -> None:
        """Make or open what batches come from. Prepared clips are a function of the seed: a resumed
        run makes, or finds, the same ones.
        """
        recipe, format = self.recipe, self.parts.format
        dataset = recipe.data.build(format=format, root=root)
        if not len(dataset):
            raise RunError("the data set is empty: there is nothing to train on")
        readable = Readable(dataset, log.say)
        self.bad = readable.bad
        if recipe.train.prepared:
            self.source = self._prepared(readable, log)
        else:
            for part in self.still:
                move_weights(part, self.device)
            self.source = OnTheFly(readable, format, self.parts.codecs, self.encoders, self.device)
        self.order = ClipOrder(len(self.source))
        # Names that are known without reading, or those of the clips that were prepared.
        names = (
            self.source.names
            if isinstance(self.source, Prepared)
            else (dataset.names if isinstance(dataset, HasNames) else None)
        )
        digest = (
            None
            if names is None
            else hashlib.sha256("\0".join(names).encode("utf-8", errors="replace")).hexdigest()
        )
        self.data = {"examples": len(dataset), "names": digest}

    def _prepared(self, readable: Readable, log: Log) -> Prepared:
        """The prepared clips, from the run folder where they are there already."""
        recipe, codecs, encoders = self.recipe, self.parts.codecs, self.encoders
        generator = torch.Generator().manual_seed(derived_seed(recipe.train.seed, "train:data"))
        chosen = choose_examples(len(readable), recipe.train.prepared, generator)
        trained = [encoder for encoder in encoders.values() if not is_frozen(encoder)]
        # Weights that are trained have no part in what is prepared; the code of their classes may.
        name = (
            None
            if readable.bad
            else cache.key(recipe, readable.dataset, chosen, self.still, self.device)
        )
        folder = log.folder / cache.FOLDER
        if name is not None and (found := cache.load(folder, name, trained, self.device, log.say)):
            return found
        with ExitStack() as stack:
            for part in self.still:
                stack.enter_context(
                    weights_on_device(
                        part, self.device, "none" if self.device.type == "cpu" else "parts"
                    )
                )
            made = prepare_clips(
                readable,
                chosen,
                self.parts.format,
                codecs,
                encoders,
                generator=generator,
                device=self.device,
                track=log.track,
            )
        # what took the place of a bad clip isn't in the name
        if name is not None and not readable.bad:
            cache.save(folder, name, made)
        return made

    def advance(self) -> float:
        """One step; returns its loss. Raises RunError where loss or gradient isn't finite, before
        the weights are touched, and NoBatch.
        """
        settings, flow, generator = self.recipe.train, self.recipe.flow, self.generator
        batch = self._batch()
        plan = self.recipe.task.plan(
            settings.batch, lambda n, g: flow.shift(flow.density.draw(n, g)), generator
        )
        conditions = dropped(packed(batch.conditions, plan), settings.drop, generator)
        noise = noise_for(batch.latents, plan, generator)
        result = losses(self.weights["denoiser"], batch.latents, noise, conditions, plan, flow.path)
        self.optimizer.zero_grad(set_to_none=True)
        if result.total.requires_grad:
            result.total.backward()
        norm = self._clip(settings.clip)
        # one transfer for all that the host wants to know
        both = torch.stack([result.total.detach(), norm.to(result.total)])
        numbers = torch.cat([both, *(result.entries[s].detach() for s in result.entries)]).tolist()
        entries = dict(zip(result.entries, _split(numbers[2:], len(plan.source)), strict=True))
        if not all(map(math.isfinite, numbers)):
            raise RunError(self._not_finite(batch, plan, entries))
        rate = settings.learning_rate * min(1.0, (self.step + 1) / max(1, settings.warmup))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.trained, self.step)
        self.window.add(numbers[0], numbers[1], rate, plan, entries)
        return float(numbers[0])

    def _batch(self) -> Batch:
        """The clips of the next step. Raises NoBatch, with the run as it was before, where anything
        goes wrong.
        """
        chance, place = self._chance(), self.order.place
        try:
            return self.source.batch(
                self.order.next(self.recipe.train.batch, self.generator), self.generator
            )
        except Exception as error:
            self._rewind(chance, place)
            raise NoBatch(error) from error

    def _chance(self) -> dict[str, Tensor]:
        """The state of all generators, and the order of the clips."""
        random = {
            "training": self.generator.get_state(),
            "modules": torch.get_rng_state(),
            "order": self.order.permutation,
        }
        if self.device.type == "cuda":
            random["modules_cuda"] = torch.cuda.get_rng_state(self.device)
        return random

    def _rewind(self, random: Mapping[str, Tensor], place: int) -> None:
        self.generator.set_state(random["training"])
        torch.set_rng_state(random["modules"])
        if self.device.type == "cuda" and "modules_cuda" in random:
            torch.cuda.set_rng_state(random["modules_cuda"], self.device)
        self.order.permutation, self.order.place = random["order"], place

    def _clip(self, greatest: float) -> Tensor:
        """The norm of the gradient, which is shortened to `greatest` where that isn't 0."""
        gradients = [p.grad for p in self.trained.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        if greatest and gradients:
            # min(1, .) leaves short gradients bit for bit
            torch._foreach_mul_(gradients, (greatest / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def _not_finite(self, batch: Batch, plan: Plan, entries: dict[str, list[float]]) -> str:
        """Which step, task, stream, clip and time it was."""
        rate = self.recipe.train.learning_rate
        cure = (
            f"look at that clip, or lower train.learning_rate ({rate:g}) or train.clip; the last"
            " checkpoint is untouched"
        )
        for stream, errors in entries.items():
            for m, error in enumerate(errors):
                if not math.isfinite(error):
                    task, clip, t = (
                        plan.names[int(plan.task[m])],
                        batch.names[int(plan.source[m])],
                        float(plan.times[stream][m]),
                    )
                    return (
                        f"step {self.step + 1}: the loss is {error}: task {task}, {stream}, clip"
                        f" {clip}, time {t:.4f}; {cure}"
                    )
        bad = [
            name
            for name, p in self.trained.items()
            if p.grad is not None and not bool(p.grad.isfinite().all())
        ]
        tasks, clips = ", ".join(plan.names), ", ".join(batch.names)
        what = (
            f"the gradient of {', '.join(bad[:3])} isn't finite"
            if bad
            else "the sum of the loss or of the gradient isn't finite"
        )
        return f"step {self.step + 1}: {what}: tasks {tasks}, clips {clips}; {cure}"

    def result(self) -> dict[str, Tensor]:
        """The weights to hand over: averaged where there is an average."""
        state = self.weights.state_dict()
        return state if self.ema is None or not self.step else state | self.ema.average

    def saved(self) -> Snapshot:
        """All of the state after a step."""
        names = list(self.trained)
        moments = self.optimizer.state_dict()["state"]
        tensors = {
            "weights": self.weights.state_dict(),
            "optimizer": {
                f"{names[i]}/{key}": value
                for i, state in moments.items()
                for key, value in state.items()
            },
            "random": self._chance(),
        }
        if self.ema is not None:
            tensors["ema"] = self.ema.average
        return Snapshot(
            self.step,
            tensors,
            {"place": self.order.place, "window": self.window.state(), "data": self.data},
        )

    def load(self, saved: Snapshot) -> None:
        """Go on from there. Raises RunError where it doesn't fit this run, or the data are
        others.
        """
        before = saved.facts.get("data", self.data)
        if before != self.data:
            was, now = before["examples"], self.data["examples"]
            differ = (
                f"of {was} examples, now {now}"
                if was != now
                else f"of as many examples ({now}), but others"
            )
            raise RunError(
                f"the checkpoint of step {saved.step} was made with other data ({differ}); go on"
                " with the run's own folder of clips, unchanged (--data), or begin a new run"
                " (--out)"
            )
        try:
            self.weights.load_state_dict(saved.tensors["weights"])
            state: dict[int, dict[str, Tensor]] = defaultdict(dict)
            index = {name: i for i, name in enumerate(self.trained)}
            for name, value in saved.tensors["optimizer"].items():
                parameter, _, key = name.rpartition("/")
                state[index[parameter]][key] = value
            self.optimizer.load_state_dict(
                {"state": dict(state), "param_groups": self.optimizer.state_dict()["param_groups"]}
            )
            if self.ema is not None:
                self.ema.load(saved.tensors["ema"])
            self._rewind(saved.tensors["random"], saved.facts["place"])
            self.window = Window.load(saved.facts["window"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise RunError(
                f"the checkpoint of step {saved.step} doesn't fit this model; have its parts"
                f" changed since? {error}"
            ) from error
        self.step = saved.step


def _check_task(recipe: Recipe, streams: Sequence[str]) -> None:
    """Raise AssemblyError for a task whose losses are all of a stream that the model hasn't: its
    clips would be for nothing.
    """
    plan = recipe.task.plan(
        PROBE, lambda n, g: torch.rand(n, generator=g), torch.Generator().manual_seed(0)
    )
    for number, name in enumerate(plan.names):
        learnt = [s for s in plan.weights if bool(plan.weights[s][plan.task == number].any())]
        if learnt and not set(learnt) & set(streams):
            raise AssemblyError(
                f"$.task: {name} teaches the {' and '.join(learnt)} stream alone, and this model"
                f" has {' and '.join(streams)} alone: there is nothing to learn in it; `joint`"
                " trains the streams that there are",
                recipe.name,
            )


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _split(numbers: list[float], size: int) -> list[list[float]]:
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]
