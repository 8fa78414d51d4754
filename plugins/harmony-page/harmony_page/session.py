"""A model, and one request at a time that is made with it. Knows nothing of widgets."""

from __future__ import annotations

import gc
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch

from harmony_page.history import History, Made
from harmony_page.knobs import described, guidances
from harmony_page.measured import measure
from harmony_parts.av import AV
from harmony_parts.errors import HarmonyError, RequestError, RunError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import Request
from harmony_parts.guidance.protocol import Guidance

PREVIEWS = 4  # a clip: each costs one decoding of the video


class Cancelled(HarmonyError):
    """The clip was cancelled."""


class Busy(RequestError):
    """Another clip is being made."""


@attrs.frozen(eq=False)
class Update:
    """Where a request is: step `done` of `steps` of the clip `way`.

    `preview` uint8 [T, H, W, 3], at some steps: the frames of the estimate. `made`: the clip, when
    it is finished. `notes`: the library's warnings so far.
    """

    way: str
    done: int
    steps: int
    preview: Any = None
    made: Made | None = None
    notes: tuple[str, ...] = ()


class Session:
    """Clips of one model, made one after the other, in a folder.

    `load` makes a pipeline of a model's name.
    """

    def __init__(self, folder: Path, load: Callable[[str], Pipeline]) -> None:
        self.history = History(folder)
        self.model, self.pipeline = "", None
        self.guidances: dict[str, Guidance] = {}
        self._load = load
        self._busy, self._cancelled = threading.Lock(), threading.Event()

    pipeline: Pipeline | None

    def open(self, model: str) -> str:
        """Load a model; words about it. Raises RunError if there is none, Busy while a clip is
        being made; the former model stays.
        """
        if not (model := model.strip()):
            raise RunError("no model is given: write the folder of a model or of a run")
        self._claim()
        try:
            pipeline = self._load(model)
            self.guidances = guidances(pipeline.recipe.sample.guidance)
            self.model, self.pipeline = model, pipeline
        finally:
            self._busy.release()
        return self.about()

    def about(self) -> str:
        """The model, and what its clips are like."""
        if self.pipeline is None:
            return "No model yet: write the folder of a model or of a run."
        form, streams = self.pipeline.format, tuple(self.pipeline.codecs)
        what = []
        if "video" in streams:
            what.append(f"{form.width} x {form.height} pixels at {float(form.fps):g} fps")
        if "audio" in streams:
            what.append(f"sound at {form.sample_rate / 1000:g} kHz")
        return f"{self.model}: {', '.join(what)}, {form.seconds:g} s, on {self.pipeline.device}"

    def examples(self) -> tuple[str, ...]:
        """Prompts that the model knows, if it says which."""
        known = {} if self.pipeline is None else self.pipeline.known
        return known["caption"].examples if "caption" in known else ()

    def cancel(self) -> bool:
        """End the clip that is being made, after its current step; whether there is one."""
        self._cancelled.set()
        return self._busy.locked()

    def make(self, request: Request, ways: Mapping[str, Guidance]) -> Iterator[Update]:
        """Make the clip of a request once for each guidance of `ways`, with the same noise.

        A generator that is closed cancels. Raises RunError without a model, Busy while another clip
        is being made, Cancelled, and what `Pipeline.run` raises.
        """
        if self.pipeline is None:
            raise RunError(self.about())
        # refused before the work begins: the length of a file is read from its header
        request.check()
        request.check_model(tuple(self.pipeline.codecs), self.pipeline.format)
        self._claim()
        self._cancelled.clear()
        updates: queue.SimpleQueue[Update | Exception | None] = queue.SimpleQueue()
        threading.Thread(
            target=self._work, args=(self.pipeline, request, ways, updates.put), daemon=True
        ).start()
        try:
            while (update := updates.get()) is not None:
                if isinstance(update, Exception):
                    raise update
                yield update
        finally:
            self._cancelled.set()

    def _claim(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise Busy("a clip is being made already: wait for it, or cancel it")

    def _work(
        self,
        pipeline: Pipeline,
        request: Request,
        ways: Mapping[str, Guidance],
        put: Callable[[Update | Exception | None], None],
    ) -> None:
        """Make all clips. Whatever happens, the session is free again afterwards."""
        end: Exception | None = None
        try:
            number = self.history.next_number()
            for way, guidance in ways.items():
                self._one(pipeline, request, guidance, way, number, put)
        except Exception as error:
            # its frames hold the latents: a traceback would keep them in memory
            end = error.with_traceback(None)
            end.__context__ = end.__cause__ = None
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._busy.release()
            put(end)

    def _one(
        self,
        pipeline: Pipeline,
        request: Request,
        guidance: Guidance,
        way: str,
        number: int,
        put: Callable[[Update | Exception | None], None],
    ) -> None:
        """Make, save and measure one clip."""
        began = time.perf_counter()

        def watch(step: Any) -> None:
            if self._cancelled.is_set():
                raise Cancelled("cancelled; the clips that were finished are kept")
            shown, video = None, step.estimate.video
            is_due = step.done % max(1, step.steps // PREVIEWS) == 0 and step.done < step.steps
            if is_due and video is not None:
                shown = pipeline.decode(AV(video=video))[0].frames
            put(Update(way, step.done, step.steps, shown, notes=_notes(caught)))

        steps = request.steps or pipeline.recipe.sample.steps
        put(Update(way, 0, steps))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            generated = pipeline.run(attrs.evolve(request, guidance=guidance), watch)
        suffix = "wav" if generated.frames is None else "mp4"
        out = self.history.folder / f"{number:04d}-{way}.{suffix}"
        # encoded anew: a given file may be of a kind that browsers don't play
        generated.clip.save(out, metadata={"comment": f"seed {request.seed}, {guidance}"})
        made = Made(
            file=out.name,
            way=way,
            model=self.model,
            guidance=described(guidance),
            prompt=request.prompt or "",
            sound=request.sound or "",
            speech=request.speech or "",
            seed=request.seed,
            steps=steps,
            took=time.perf_counter() - began,
            sync=measure(generated.clip, pipeline.recipe.metrics),
        )
        self.history.add(made)
        put(Update(way, steps, steps, made=made, notes=_notes(caught)))


def _notes(caught: Iterable[warnings.WarningMessage]) -> tuple[str, ...]:
    """The warnings that are meant for users, once each."""
    said = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    return tuple(dict.fromkeys(said))
