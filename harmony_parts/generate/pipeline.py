"""Pipelines: a recipe's parts, assembled and ready to generate clips."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV, Condition, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.flow.protocol import Shift, Solver
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.generate.continuation import continue_clip
from harmony_parts.generate.fields import check_fields
from harmony_parts.generate.generated import Generated
from harmony_parts.generate.request import Request
from harmony_parts.guidance.demands import demands, unknown_drops
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.latents.conditions import conditions_of
from harmony_parts.latents.encode import encode_clips
from harmony_parts.media.clip import Clip
from harmony_parts.models.folder import save_model, saved_modules
from harmony_parts.models.offload import Offload, move_weights, weights_on_device
from harmony_parts.models.offloaded_codec import offloaded
from harmony_parts.sample.sampler import Progress, sample

if TYPE_CHECKING:
    from harmony_parts.generate.fields import Media


class Pipeline:
    """Assembled parts and their recipe, whose sampling settings are the defaults of each clip.

    `device` is where clips are generated. `load` makes a pipeline of a saved model.
    """

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        self.recipe, self.parts = recipe, parts
        self.format, self.codecs = parts.format, parts.codecs
        self.weights = saved_modules(parts).eval()
        self.offload: Offload = "none"
        self.device = next(
            (weight.device for weight in self.weights.parameters()), torch.device("cpu")
        )
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
    ) -> Pipeline:
        """Move the weights to a device, and convert the model's own to `dtype` (torch.bfloat16).

        Codecs and frozen models move too, in their own types. With `offload`, weights stay in host
        memory and come to the device only while they work: whole "parts", or single "layers". That
        takes less memory and more time (`harmony explain` counts the memory). Without `device` the
        weights stay where they are. Raises ValueError for an unknown `offload` or `dtype`.
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
        if dtype is not None:
            self.weights.to(dtype)
        if device is not None or offload != "none":
            target = self.device if device is None else torch.device(device)
            for part in self.parts.each():
                move_weights(part, target if offload == "none" else "cpu")
            # last, so that nothing changes if the device doesn't exist
            self.device, self.offload = target, offload
            self.codecs = (
                self.parts.codecs
                if offload == "none"
                else self.parts.codecs.map(lambda codec: offloaded(codec, target))
            )
        return self

    def save(self, folder: str | Path) -> Path:
        """Write the recipe and the weights to a folder that `load` reads."""
        save_model(Path(folder), self.recipe, self.weights.state_dict())
        return Path(folder)

    def conditions(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """The conditions of the prompts from all encoders, by name."""
        conditions: dict[str, Condition] = {}
        for encoder in cast(Iterable[nn.Module], self.parts.encoders.values()):
            with weights_on_device(encoder, self.device, self.offload):
                conditions |= conditions_of([encoder], prompts)
        return conditions

    def shapes(self, frames: int) -> AV[tuple[int, ...]]:
        """Shapes of a clip's latents: video (T_v, H, W, C), audio (T_a, C)."""
        length = AV(frames, self.format.samples(frames))
        return self.codecs.map(
            lambda codec, n: (codec.latents(n), *grid_of(codec), codec.channels), length
        )

    def encode(self, clips: Sequence[Clip]) -> AV[Tensor]:
        """Latents of clips of one length in the pipeline's format, as `encode_clips` makes them."""
        return encode_clips(clips, self.codecs, self.device)

    def decode(self, latents: AV[Tensor], frames: int | None = None) -> list[Clip]:
        """Clips of `frames` frames (by default all that the latents hold) and their sound.

        A stream without latents is absent from the clips. Raises ValueError if there are none.
        """
        if not isinstance(latents, AV) or not tuple(latents):
            raise ValueError(
                "decode takes an AV with the latents of at least one stream, such as a step's"
                f" estimate, not {latents!r:.80}"
            )
        if frames is None:
            frames = self._frames(latents)
        samples = self.format.samples(frames)
        cut: AV[tuple[slice, ...]] = AV(
            (slice(None), slice(frames)), (slice(None), slice(None), slice(samples))
        )
        made = latents.map(lambda x, codec, part: codec.decode(x)[part].cpu(), self.codecs, cut)
        pictures, sounds = made.video, made.audio
        return [
            Clip(
                None if pictures is None else pictures[i],
                self.format.fps,
                None if sounds is None else sounds[i],
                self.format.sample_rate,
            )
            for i in range(len(made[next(iter(made))]))
        ]

    def _frames(self, latents: AV[Tensor]) -> int:
        """How many frames the latents decode to; without video, how many the sound lasts."""
        if latents.video is not None:
            return cast(VideoCodec, self.codecs["video"]).frames(latents.video.shape[1])
        samples = cast(AudioCodec, self.codecs["audio"]).samples(latents["audio"].shape[1])
        return max(1, int(samples / self.format.sample_rate * self.format.fps))

    @torch.no_grad()
    def latents(
        self,
        prompts: Sequence[Prompt],
        *,
        seeds: Sequence[int],
        frames: int | None = None,
        given: AV[Tensor] = AV(),
        begin: AV[Tensor] = AV(),
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        shift: Shift | StreamShifts | None = None,
        steps: int | None = None,
        progress: Progress | None = None,
    ) -> AV[Tensor]:
        """Generate the latents of a batch, one clip per prompt and seed.

        `given` holds latents [B, T, ...] of a stream that isn't generated, `begin` those that
        generated streams begin with, [B, k, ...]. A clip depends on its own seed, not on the others
        of the batch. Raises ValueError if lengths don't fit together, or a seed isn't one.
        """
        check_fields(guidance=guidance, solver=solver, shift=shift)
        frames = self.format.frames if frames is None else frames
        if frames < 1:
            raise ValueError(f"frames must be at least 1, not {frames}")
        if not prompts or len(prompts) != len(seeds):
            raise ValueError(
                "each clip takes one prompt and one seed, and there are"
                f" {len(prompts)} prompts and {len(seeds)} seeds"
            )
        for seed in seeds:
            check_fields(seed=seed)
        shapes = self.shapes(frames).map(lambda shape: (len(prompts), *shape))
        for stream in given:
            if tuple(given[stream].shape) != shapes[stream]:
                raise ValueError(
                    f"the given {stream} is {list(given[stream].shape)}; {len(prompts)} clips of"
                    f" {frames} frames take {list(shapes[stream])}"
                )
        # drawn for a given stream too, so that a seed means the same in every task
        noise = self._noise(shapes, seeds)
        settings = self.recipe.sample
        guidance = settings.guidance if guidance is None else guidance
        self._warn_of_idle(guidance)
        conditions = self.conditions(prompts)
        with weights_on_device(self.parts.denoiser, self.device, self.offload):
            return sample(
                self.parts.denoiser,
                noise.only([s for s in noise if s not in tuple(given)]),
                conditions,
                codecs=self.codecs,
                given=given,
                begin=begin,
                guidance=guidance,
                solver=settings.solver if solver is None else solver,
                shift=settings.shift if shift is None else shift,
                path=self.recipe.flow.path,
                steps=settings.steps if steps is None else steps,
                progress=progress,
            )

    def _noise(self, shapes: AV[tuple[int, ...]], seeds: Sequence[int]) -> AV[Tensor]:
        """Noise of each clip from its own generator, one stream after the other."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return shapes.map(
            lambda shape: torch.stack([torch.randn(shape[1:], generator=g) for g in generators]).to(
                self.device
            )
        )

    def _warn_of_idle(self, guidance: Guidance) -> None:
        """Warn if the guidance needs two streams, and the model has one, or drops no condition."""
        produced = {name for encoder in self.parts.encoders.values() for name in encoder.produces}
        for fault in unknown_drops(guidance, produced):
            warnings.warn(f"{type(guidance).__name__} {fault}", stacklevel=4)
        streams = tuple(self.codecs)
        if len(streams) < 2 and _needs_both(guidance, streams[0]):
            warnings.warn(
                f"{type(guidance).__name__} guides one stream by the other, so it has no effect on"
                f" a model that generates only {streams[0]}",
                stacklevel=4,  # who calls `latents`
            )

    def generate(
        self,
        prompt: str | None = None,
        *,
        sound: str | None = None,
        speech: str | None = None,
        image: Media | Tensor | None = None,
        voice: Media | None = None,
        audio: Media | None = None,
        video: Media | None = None,
        begin: Media | None = None,
        seconds: float | None = None,
        overlap: float | None = None,
        extra: Mapping[str, Any] | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        shift: Shift | StreamShifts | None = None,
        progress: Progress | None = None,
    ) -> Generated:
        """Generate one clip: both streams, the video for an `audio`, or the audio for a `video`.

        `prompt` describes what is seen, `sound` what is heard, `speech` what is spoken; `image` is
        the first frame, `voice` a sound whose voice or timbre to follow. Media are Clips or files.
        `seconds` is the length; by default that of the given stream, else the format's.

        With `begin` the clip goes on from the end of another one, in windows of the format's
        length; the result is `begin`, in the model's format, and the continuation. `seconds` is
        then the length of the continuation, by default that of one window, and a given `audio` or
        `video` lasts from the start of `begin`. Each window repeats the last `overlap` seconds of
        what is there, by default a quarter of its length.

        `progress` is called with a `Step` after every step. Raises RequestError for a request that
        can't be fulfilled (see `Request`), MediaError for a file that can't be read.
        """
        request = Request(
            prompt=prompt,
            sound=sound,
            speech=speech,
            image=image,
            voice=voice,
            audio=audio,
            video=video,
            begin=begin,
            seconds=seconds,
            overlap=overlap,
            extra=extra,
            seed=seed,
            steps=steps,
            guidance=guidance,
            solver=solver,
            shift=shift,
        )
        return self.run(request, progress)

    @torch.no_grad()
    def run(self, request: Request, progress: Progress | None = None) -> Generated:
        """Generate the clip of a request, as `generate` does."""
        request.check()
        request.check_model(tuple(self.codecs), self.format)
        inputs = request.inputs(self.format)
        self._warn_of_unread(inputs.prompt)
        generate = partial(self._generate, request, inputs.prompt)
        if inputs.begin is None:
            clip = generate(inputs.frames, request.seed, inputs.given, None, progress)
        else:
            clip = continue_clip(inputs, request.seed, self.codecs, self.format, generate, progress)
        return Generated(
            inputs.restore(clip, self.format),
            request.path("video"),
            request.path("audio"),
            lossless_sound=request.audio is not None,
        )

    def _generate(
        self,
        request: Request,
        prompt: Prompt,
        frames: int,
        seed: int,
        given: Clip | None,
        begin: Clip | None,
        progress: Progress | None,
    ) -> Clip:
        """A clip of `frames` frames for a given stream, which begins with the clip `begin`."""
        latents = self.latents(
            [prompt],
            seeds=[seed],
            frames=frames,
            given=self.encode([given] if given else []),
            begin=self.encode([begin] if begin else []),
            guidance=request.guidance,
            solver=request.solver,
            shift=request.shift,
            steps=request.steps,
            progress=progress,
        )
        return self.decode(latents, frames)[0]

    def _warn_of_unread(self, prompt: Prompt) -> None:
        """Warn of fields without any effect: alone, they give the conditions of an empty prompt."""
        filled: dict[str, Any] = {
            field.name: value
            for field in attrs.fields(Prompt)
            if isinstance(value := getattr(prompt, field.name), Tensor) or value
        }
        unknown = [name for name in filled if name not in self._read]
        if not unknown:
            return
        prompts = [Prompt(), *(Prompt(**{name: filled[name]}) for name in unknown)]
        tensors = [x for c in self.conditions(prompts).values() for x in (c.mask, c.tokens)]
        for row, name in enumerate(unknown, start=1):
            if any(not torch.equal(x[row], x[0]) for x in tensors):
                self._read.add(name)
        # `generate` calls the caption "prompt"
        unread = [
            "prompt" if name == "caption" else name for name in unknown if name not in self._read
        ]
        if unread:
            warnings.warn(
                f"this model has no encoder that reads {' or '.join(unread)}",
                stacklevel=5,  # who calls `generate`
            )


def _needs_both(guidance: Guidance, stream: str) -> bool:
    """Whether it guides two streams and does nothing if there is only `stream`."""
    return demands(guidance, (stream,)).most < 2 <= demands(guidance).most
