"""Pipelines: a recipe's parts, assembled and ready to generate clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV, Condition, Prompt, as_tensor
from harmony_parts.codecs.protocol import grid_of
from harmony_parts.flow.protocol import Shift, Solver
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.generate.arguments import known_arguments
from harmony_parts.generate.batches import batched, naming, requests_for
from harmony_parts.generate.continuation import continue_clip
from harmony_parts.generate.fields import check_fields
from harmony_parts.generate.generated import Generated
from harmony_parts.generate.in_format import clips_in
from harmony_parts.generate.notices import warn_of_idle, warn_of_unknown, warn_of_unread
from harmony_parts.generate.other_models import OtherModels, Place, prompt_conditions
from harmony_parts.generate.request import STRENGTH, Inputs, Request
from harmony_parts.generate.starting_latents import check_batch, check_given, seeded_noise
from harmony_parts.generate.watch import share, watching
from harmony_parts.guidance.demands import demands
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.latents.decode import decode_latents
from harmony_parts.latents.encode import encode_clips
from harmony_parts.layers.precision import float32_products, in_own_precision
from harmony_parts.media.clip import Clip
from harmony_parts.models.device import usable_device
from harmony_parts.models.folder import save_model, saved_modules
from harmony_parts.models.known import Texts, write_known
from harmony_parts.models.lora import merge_adapters
from harmony_parts.models.offload import Offload, move_weights, weights_on_device
from harmony_parts.models.offloaded_codec import offloaded
from harmony_parts.report.text import quantity
from harmony_parts.sample.sampler import Progress, sample

if TYPE_CHECKING:
    from harmony_parts.generate.fields import Image, Media


class Pipeline:
    """Assembled parts and their recipe, whose sampling settings are the defaults of each clip.

    `device` is where clips are generated. `load` makes a pipeline of a saved model.
    """

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        self.recipe, self.parts = recipe, parts
        self.format, self.codecs = parts.format, parts.codecs
        self.weights = saved_modules(parts).eval()
        self.offload: Offload = "none"
        self.tf32 = False
        self.device = next(
            (weight.device for weight in self.weights.parameters()), torch.device("cpu")
        )
        self.dtype: torch.dtype | None = None  # of the weights, if they were converted
        self.other_models = OtherModels(recipe)
        self.known: Mapping[str, Texts] = {}  # field of a prompt -> the words that it may have
        self._read: set[str] = set()  # fields of prompts that an encoder is known to read

    @classmethod
    def assemble(cls, recipe: Recipe, seed: int = 0) -> Pipeline:
        """A pipeline with fresh weights, a function of the seed. Raises AssemblyError."""
        return cls(recipe, build(recipe, seed))

    def to(
        self,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        offload: Offload = "none",
        tf32: bool = False,
    ) -> Pipeline:
        """Move the weights to a device, and convert the model's own to `dtype` (torch.bfloat16).

        Codecs and frozen models move too, in their own types. With `offload`, weights stay in host
        memory and come to the device only while they work: whole "parts", or single "layers". That
        takes less memory and more time (`harmony explain` counts the memory). Without `device` the
        weights stay where they are. `tf32` lets a GPU round the inputs of float32 products to TF32,
        in every part: faster and less exact. Raises ValueError for an unknown `offload` or `dtype`,
        RunError for a device that can't be used here; nothing has changed then.
        """
        if offload not in get_args(Offload):
            raise ValueError(
                f"offload is one of {', '.join(map(repr, get_args(Offload)))}, not {offload!r}"
            )
        if isinstance(device, torch.dtype) or not isinstance(dtype, torch.dtype | None):
            raise ValueError(
                'give device and dtype as in to("cuda", dtype=torch.bfloat16), not'
                f" device={device!r}, dtype={dtype!r}"
            )
        target = self.device if device is None else usable_device(device)
        self.tf32 = tf32
        if dtype is not None:
            self.weights.to(dtype)
            self.dtype = dtype
        if device is not None or offload != "none":
            for part in self.parts.each():
                move_weights(part, target if offload == "none" else "cpu")
            self.device, self.offload = target, offload
            self.codecs = (
                self.parts.codecs
                if offload == "none"
                else self.parts.codecs.map(lambda codec: offloaded(codec, target))
            )
        return self

    def merge_lora(self) -> Pipeline:
        """Add attached adapters to the weights of their layers, so that they cost nothing more."""
        merge_adapters(self.parts)
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the recipe and the weights to a folder that `load` reads; adapters are merged."""
        self.merge_lora()
        save_model(Path(folder), self.recipe, self.weights.state_dict())
        if self.known:
            write_known(Path(folder), self.known)
        return Path(folder)

    @in_own_precision
    def conditions(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """The conditions of the prompts from all encoders, by name."""
        return prompt_conditions(self.parts, prompts, self._place())

    def _place(self) -> Place:
        return Place(self.device, self.dtype, self.offload)

    def shapes(self, frames: int) -> AV[tuple[int, ...]]:
        """Shapes of a clip's latents: video (T_v, H, W, C), audio (T_a, C)."""
        length = AV(frames, self.format.samples(frames))
        return self.codecs.map(
            lambda codec, n: (codec.latents(n), *grid_of(codec), codec.channels), length
        )

    def encode(self, clips: Sequence[Media]) -> AV[Tensor]:
        """Latents of clips or files of one length: video [B, T_v, H, W, C], audio [B, T_a, C].

        They are brought to the pipeline's format as `generate` does it: frame rate and size, sample
        rate and channels. A stream that none of them has is absent. Raises RequestError, with the
        lengths, if these differ, ValueError if only some of the clips have a stream, MediaError for
        a file that can't be read.
        """
        in_format = clips_in(clips, self.format, tuple(self.codecs))
        return self._encoded(in_format)

    @in_own_precision
    def _encoded(self, clips: Sequence[Clip]) -> AV[Tensor]:
        return encode_clips(clips, self.codecs, self.device)

    @in_own_precision
    def decode(self, latents: AV[Tensor], frames: int | None = None) -> list[Clip]:
        """Clips of `frames` frames (by default all that the latents hold) and their sound.

        A stream without latents is absent from the clips. Raises ValueError if there are none.
        """
        return decode_latents(latents, self.codecs, self.format, frames)

    @torch.no_grad()
    def latents(
        self,
        prompts: Sequence[Prompt],
        *,
        seeds: Sequence[int],
        frames: int | None = None,
        given: AV[Tensor] = AV(),
        begin: AV[Tensor] = AV(),
        draft: AV[Tensor] = AV(),
        strength: float | None = None,
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        shift: Shift | StreamShifts | None = None,
        steps: int | None = None,
        progress: Progress | None = None,
    ) -> AV[Tensor]:
        """Generate the latents of a batch, one clip per prompt and seed.

        `given` holds latents [B, T, ...] of a stream that isn't generated, `begin` those that
        generated streams begin with, [B, k, ...], and `draft` those that they start from with noise
        at time `strength`, [B, T, ...]. A clip depends on its own seed, not on the others of the
        batch. Raises ValueError if lengths don't fit together, or a seed isn't one.
        """
        check_fields(guidance=guidance, solver=solver, shift=shift, strength=strength)
        frames = self.format.frames if frames is None else frames
        check_batch(prompts, seeds, frames)
        shapes = self.shapes(frames).map(lambda shape: (len(prompts), *shape))
        given, begin, draft = (each.map(as_tensor) for each in (given, begin, draft))
        check_given(given, shapes, frames)
        # drawn for a given stream too, so that a seed means the same in every task
        noise = seeded_noise(shapes, seeds, self.device)
        settings = self.recipe.sample
        guidance = settings.guidance if guidance is None else guidance
        warn_of_idle(guidance, prompts, self.parts)
        conditions = self.conditions(prompts)
        with float32_products(tf32=self.tf32), ExitStack() as stack:
            names = demands(guidance, tuple(self.codecs)).models
            others = self.other_models.networks(self.parts, prompts, names, self._place(), stack)
            stack.enter_context(weights_on_device(self.parts.denoiser, self.device, self.offload))
            return sample(
                self.parts.denoiser,
                noise.only([s for s in noise if s not in tuple(given)]),
                conditions,
                codecs=self.codecs,
                given=given,
                begin=begin,
                draft=draft,
                strength=STRENGTH if strength is None else strength,
                guidance=guidance,
                solver=settings.solver if solver is None else solver,
                shift=settings.shift if shift is None else shift,
                path=self.recipe.flow.path,
                steps=settings.steps if steps is None else steps,
                others=others,
                progress=progress,
            )

    @known_arguments
    def generate(
        self,
        prompt: str | None = None,
        *,
        sound: str | None = None,
        speech: str | None = None,
        negative: str | None = None,
        negative_sound: str | None = None,
        image: Image | None = None,
        voice: Media | None = None,
        audio: Media | None = None,
        video: Media | None = None,
        begin: Media | None = None,
        seconds: float | None = None,
        overlap: float | None = None,
        remake: float | None = None,
        draft: Media | None = None,
        strength: float | None = None,
        extra: Mapping[str, Any] | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        shift: Shift | StreamShifts | None = None,
        progress: Progress | bool = True,
    ) -> Generated:
        """Generate one clip: both streams, the video for an `audio`, or the audio for a `video`.

        `prompt` describes what is seen, `sound` what is heard, `speech` what is spoken; `negative`
        and `negative_sound` describe what isn't to be seen and heard, for guidances that drop text,
        such as `CFG`. `image` is the first frame, `voice` a sound whose voice or timbre to follow.
        Media are Clips or files, images PIL pictures and arrays too. `seconds` is the length; by
        default that of the given stream, else the format's.

        With `begin` the clip goes on from the end of another one, in windows of the format's
        length; the result is `begin`, in the model's format, and `seconds` more, by default one
        window. A given `audio` or `video` then lasts from the start of `begin`. Each window repeats
        the last `overlap` seconds of what is there (by default a quarter of its length), and makes
        again the last `remake` seconds of the window before it (0.2), now that more can follow.
        With an `overlap` and no `begin`, all of a clip longer than the format's is made like that.

        With `draft`, a clip, what is generated starts from it with noise at time `strength` (0.6)
        instead of from noise alone: the less, the more of the draft stays. So a given `audio` and a
        `draft` of a video give the same scene with that sound. The clip is as long as the draft.

        `progress` shows a bar (on stderr; lines if that isn't a terminal), unless it is False; a
        function is called with a `Step` after every step. Raises RequestError for a request that
        can't be fulfilled (see `Request`), MediaError for a file that can't be read.
        """
        request = Request(
            prompt=prompt,
            sound=sound,
            speech=speech,
            negative=negative,
            negative_sound=negative_sound,
            image=image,
            voice=voice,
            audio=audio,
            video=video,
            begin=begin,
            seconds=seconds,
            overlap=overlap,
            remake=remake,
            draft=draft,
            strength=strength,
            extra=extra,
            seed=seed,
            steps=steps,
            guidance=guidance,
            solver=solver,
            shift=shift,
        )
        with watching(progress, "sampling") as watch:
            return self.run(request, watch)

    @known_arguments
    def generate_many(
        self,
        prompts: str | Request | Sequence[str | Request],
        *,
        seeds: int | Sequence[int] | None = None,
        batch: int = 1,
        sound: str | None = None,
        negative: str | None = None,
        negative_sound: str | None = None,
        seconds: float | None = None,
        steps: int | None = None,
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        shift: Shift | StreamShifts | None = None,
        progress: Progress | bool = True,
    ) -> list[Generated]:
        """Generate a clip for each prompt and seed, `batch` at once, in order.

        Strings are prompts; a `Request` says all that `generate` takes. There are as many seeds as
        prompts, or a single one of either, which is then that of each clip; without `seeds` each
        request has its own (0 for a string). The other arguments are for requests that leave them
        out. Clips of one length, settings and given stream share a batch; a clip is that of
        `generate`, up to rounding, and bit for bit if `batch` is 1.

        `progress` as for `generate`, over the steps of all clips. All requests are checked before
        the first one is sampled. Raises RequestError, with the number of the clip that is wrong.
        """
        requests = requests_for(
            prompts,
            seeds,
            sound=sound,
            negative=negative,
            negative_sound=negative_sound,
            seconds=seconds,
            steps=steps,
            guidance=guidance,
            solver=solver,
            shift=shift,
        )
        check_fields(batch=batch)
        for number, request in enumerate(requests, 1):
            with naming(number):
                self._check(request)
        steps_of = [request.steps or self.recipe.sample.steps for request in requests]
        made: list[Generated] = []
        with watching(progress, f"sampling {quantity(len(requests), 'clip')}") as watch:
            for group in batched(requests, self.format, batch):
                first, last = len(made), len(made) + len(group)
                part = share(watch, sum(steps_of[:first]), sum(steps_of[first:last]), sum(steps_of))
                made += self._run(group, part)
        return made

    def run(self, request: Request, progress: Progress | None = None) -> Generated:
        """Generate the clip of a request, as `generate` does, without a bar."""
        self._check(request)
        return self._run([(request, request.inputs(self.format))], progress)[0]

    def _check(self, request: Request) -> None:
        request.check()
        request.check_model(tuple(self.codecs), self.format)

    @torch.no_grad()
    def _run(
        self, group: Sequence[tuple[Request, Inputs]], progress: Progress | None
    ) -> list[Generated]:
        """The clips of requests that were checked and that fit into one batch."""
        requests, inputs = [request for request, _ in group], [each for _, each in group]
        for each in inputs:
            warn_of_unread(each.prompt, self.conditions, self._read)
            warn_of_unknown(each.prompt, self.known)
        seeds = [request.seed for request in requests]
        generate = partial(self._generate, requests[0], [each.prompt for each in inputs])
        if not requests[0].windowed:
            given = [each.given for each in inputs if each.given is not None]
            draft = [each.draft for each in inputs if each.draft is not None]
            clips = generate(inputs[0].frames, seeds, given, draft, [], progress)
        else:
            clips = [
                continue_clip(inputs[0], seeds[0], self.codecs, self.format, generate, progress)
            ]
        return [
            Generated(
                each.restore(clip, self.format),
                request.path("video"),
                request.path("audio"),
                lossless_sound=request.audio is not None,
            )
            for request, each, clip in zip(requests, inputs, clips, strict=True)
        ]

    def _generate(
        self,
        request: Request,
        prompts: Sequence[Prompt],
        frames: int,
        seeds: Sequence[int],
        given: Sequence[Clip],
        draft: Sequence[Clip],
        begin: Sequence[Clip],
        progress: Progress | None,
    ) -> list[Clip]:
        """Clips of `frames` frames, with the settings of `request`, which begin with `begin`."""
        latents = self.latents(
            prompts,
            seeds=seeds,
            frames=frames,
            given=self._encoded(given),
            begin=self._encoded(begin),
            draft=self._encoded(draft),
            strength=request.strength,
            guidance=request.guidance,
            solver=request.solver,
            shift=request.shift,
            steps=request.steps,
            progress=progress,
        )
        return self.decode(latents, frames)
