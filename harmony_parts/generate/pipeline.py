"""A pipeline: parts that are assembled, with their recipe, ready to make clips. `load` brings one
back from a run or a model folder.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import AV, Condition, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.flow.protocol import Shift, Solver
from harmony_parts.guidance.demands import demands
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.latents.encode import conditions_of, encode_clips
from harmony_parts.media.clip import Clip
from harmony_parts.media.frames import cover, frames_for, regrid
from harmony_parts.media.waveform import fit, resample
from harmony_parts.models.folder import save_model, saved_modules
from harmony_parts.models.offload import Offload, move_weights, weights_on_device
from harmony_parts.models.offloaded_codec import offloaded
from harmony_parts.sample.sampler import Progress, sample

LONGER = 1.5  # beyond this many times the length that it was trained on, a model is on its own
# so many times is a mistake: the memory that it takes grows with the square of the length
LONGEST = 100


@attrs.frozen(eq=False)
class Generated:
    """A clip that was made. `given_video` and `given_sound` are the files that it was made for,
    whose streams `save` keeps as they are.
    """

    clip: Clip
    given_video: Path | None = None
    given_sound: Path | None = None
    lossless_sound: bool = False

    def save(self, path: str | Path) -> Path:
        """Write it: a given video stream is copied, a given sound copied or kept without loss.
        Raises MediaError.
        """
        path = Path(path)
        self.clip.save(
            path,
            copy_video_from=self.given_video,
            copy_sound_from=self.given_sound,
            lossless_sound=self.lossless_sound,
        )
        return path


Media = Clip | Generated | str | os.PathLike[str]


class Pipeline:
    """Assembled parts and their recipe. Its sampling settings are defaults: each can be given anew
    for a clip.
    """

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        self.recipe, self.parts, self.format, self.codecs = (
            recipe,
            parts,
            parts.format,
            parts.codecs,
        )
        self.weights = saved_modules(parts).eval()
        self.offload: Offload = "none"
        self.device = next(
            (weight.device for weight in self.weights.parameters()), torch.device("cpu")
        )
        """Where clips are made."""
        self._read: set[str] = set()  # fields of prompts that are known to be read

    @classmethod
    def assemble(cls, recipe: Recipe, seed: int = 0) -> Pipeline:
        """A pipeline with fresh weights, which are a function of the seed. Raises AssemblyError."""
        return cls(recipe, build(recipe, seed))

    def to(
        self,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        *,
        offload: Offload = "none",
    ) -> Pipeline:
        """Make clips on another device, and turn the model's own weights to another type
        (torch.bfloat16).

        The weights of codecs and of frozen models go along, in their own types. `offload`: they
        stay in the host's memory, and come to the device while they work, as whole "parts" or as
        "layers". Less memory, more time: `harmony explain` counts the memory. A type alone leaves
        them where they are. Raises ValueError for an `offload` or a `dtype` that there isn't.
        """
        if offload not in get_args(Offload):
            raise ValueError(
                f"offload is one of {', '.join(map(repr, get_args(Offload)))}, not {offload!r}"
            )
        if isinstance(device, torch.dtype) or not isinstance(dtype, torch.dtype | None):
            raise ValueError(
                'a device and a type are given as in to("cuda", dtype=torch.bfloat16), not'
                f" device={device!r}, dtype={dtype!r}"
            )
        if dtype is not None:
            self.weights.to(dtype)
        if device is not None or offload != "none":
            there = self.device if device is None else torch.device(device)
            for part in self.parts.each():
                move_weights(part, there if offload == "none" else "cpu")
            # not before: where there is no such device, all stays as it was
            self.device, self.offload = there, offload
            self.codecs = (
                self.parts.codecs
                if offload == "none"
                else self.parts.codecs.map(lambda codec: offloaded(codec, there))
            )
        return self

    def save(self, folder: str | Path) -> Path:
        """Write recipe and weights, for `load`."""
        save_model(Path(folder), self.recipe, self.weights.state_dict())
        return Path(folder)

    def conditions(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """What all encoders say about the prompts."""
        told: dict[str, Condition] = {}
        for encoder in cast(Iterable[nn.Module], self.parts.encoders.values()):
            with weights_on_device(encoder, self.device, self.offload):
                told |= conditions_of([encoder], prompts)
        return told

    def shapes(self, frames: int) -> AV[tuple[int, ...]]:
        """Shapes of the latents of a clip of that many frames: video (T_v, H, W, C), audio (T_a,
        C).
        """
        length = AV(frames, self.format.samples(frames))
        return self.codecs.map(
            lambda codec, n: (codec.latents(n), *grid_of(codec), codec.channels), length
        )

    def encode(self, clips: Sequence[Clip]) -> AV[Tensor]:
        """Latents of clips of one length in the pipeline's format, as `encode_clips` makes them."""
        return encode_clips(clips, self.codecs, self.device)

    def decode(self, latents: AV[Tensor], frames: int | None = None) -> list[Clip]:
        """Clips of exactly that many frames (by default all that there are), and of the sound that
        goes with them; without a stream that is absent. Raises ValueError where both are.
        """
        if not isinstance(latents, AV) or not tuple(latents):
            raise ValueError(
                "an AV of latents of one stream at least is expected, such as a step's estimate,"
                f" not {latents!r:.80}"
            )
        if frames is None:
            frames = self._held(latents)
        length = AV(frames, self.format.samples(frames))
        made = latents.map(lambda x, codec, n: codec.decode(x)[:, :n].cpu(), self.codecs, length)
        pictures, sounds = made.video, made.audio
        return [
            Clip(
                None if pictures is None else pictures[i],
                self.format.fps,
                None if sounds is None else sounds[i][None],
                self.format.sample_rate,
            )
            for i in range(len(made[next(iter(made))]))
        ]

    def _held(self, latents: AV[Tensor]) -> int:
        """How many frames latents hold; those of sound alone, how many it lasts."""
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
        guidance: Guidance | None = None,
        solver: Solver | None = None,
        shift: Shift | None = None,
        steps: int | None = None,
        progress: Progress | None = None,
    ) -> AV[Tensor]:
        """Latents of a batch, one clip per prompt and seed; `given` streams [B, T, ...] are kept. A
        clip depends on its own seed alone.

        Raises ValueError where the lengths don't fit together.
        """
        frames = self.format.frames if frames is None else frames
        if frames < 1:
            raise ValueError(f"a clip has at least one frame, not {frames}")
        if not prompts or len(prompts) != len(seeds):
            raise ValueError(
                f"a clip takes a prompt and a seed; here are {len(prompts)} prompts and"
                f" {len(seeds)} seeds"
            )
        shapes = self.shapes(frames)
        for stream in given:
            wanted = [len(prompts), *shapes[stream]]
            if list(given[stream].shape) != wanted:
                raise ValueError(
                    f"the given {stream} is {list(given[stream].shape)}; {len(prompts)} clips of"
                    f" {frames} frames take {wanted}"
                )
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        # both streams are drawn whatever is given, so that a seed means the same picture in every
        # task
        noise = shapes.map(
            lambda shape: torch.stack([torch.randn(shape, generator=g) for g in generators]).to(
                self.device
            )
        )
        settings = self.recipe.sample
        streams = tuple(self.codecs)
        for name, part, does, like in (
            ("guidance", guidance, "combine", "SyncCFG(video=3, audio=2)"),
            ("solver", solver, "step", "Heun()"),
            ("shift", shift, "__call__", "ConstantShift(5)"),
        ):
            if part is not None and (isinstance(part, type) or not hasattr(part, does)):
                raise ValueError(f"{name} is a part, such as {like}, not {part!r}")
        chosen = settings.guidance if guidance is None else guidance
        if len(streams) < 2 and _needs_both(chosen, streams[0]):
            warnings.warn(
                f"{type(chosen).__name__} is about two streams, and with {streams[0]} alone it does"
                " nothing",
                stacklevel=2,
            )
        told = self.conditions(prompts)
        with weights_on_device(self.parts.denoiser, self.device, self.offload):
            return sample(
                self.parts.denoiser,
                noise.only([s for s in noise if s not in tuple(given)]),
                told,
                codecs=self.codecs,
                given=given,
                guidance=chosen,
                solver=settings.solver if solver is None else solver,
                shift=settings.shift if shift is None else shift,
                path=self.recipe.flow.path,
                steps=settings.steps if steps is None else steps,
                progress=progress,
            )

    @torch.no_grad()
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
        seconds: float | None = None,
        extra: dict[str, Any] | None = None,
        seed: int = 0,
        **sampling: Any,
    ) -> Generated:
        """Make one clip: joint, or video for a given `audio`, or sound for a given `video` (a Clip
        or a file).

        `prompt` says what is seen, `sound` what is heard, `speech` what is said; `image` is the
        first frame, `voice` a sound to take after. `seconds`: the length; by default that of what
        is given, else the format's. `sampling`: guidance, solver, shift, steps, progress. Raises
        MediaError for files that can't be read and ValueError for requests that make no sense.
        """
        if audio is not None and video is not None:
            raise ValueError(
                "audio and video are both given, which leaves nothing to make; leave one out"
            )
        for stream, media in (("audio", audio), ("video", video)):
            if media is not None and len(tuple(self.codecs)) < 2:
                raise ValueError(
                    f"{stream} is given, and this model makes {next(iter(self.codecs))} alone, from"
                    " what it is told"
                )
        for name, said in (("prompt", prompt), ("sound", sound), ("speech", speech)):
            if not isinstance(said, str | None):
                raise ValueError(
                    f"{name} is a text, of one clip, not {said!r}; `latents` makes several at once"
                )
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError(f"seconds must be above 0, not {seconds}")
        format = self.format
        heard = None if audio is None else _read(audio, "audio")
        seen = (
            None
            if video is None
            else _read(video, "video", height=format.height, width=format.width)
        )
        frames = self._frames(seconds, heard, seen)
        given: AV[Tensor] = AV()
        if heard is not None:
            given = AV(audio=self._encode_sound(heard, frames))
        if seen is not None:
            shown = regrid(
                cover(_picture(seen), format.height, format.width), seen.fps, format.fps, frames
            )
            given = AV(video=self.codecs["video"].encode(shown[None]).to(self.device))
        asked = Prompt(prompt, sound, speech, self._image(image), self._voice(voice), extra or {})
        if unheard := self._unheard(asked):
            warnings.warn(
                f"nothing in this model reads {' or '.join(unheard)}: it has no encoder for it",
                stacklevel=2,
            )
        made = self.decode(
            self.latents([asked], seeds=[seed], frames=frames, given=given, **sampling), frames
        )[0]
        if heard is not None:
            made = attrs.evolve(
                made,
                waveform=fit(_sound(heard), round(frames / format.fps * heard.sample_rate)),
                sample_rate=heard.sample_rate,
            )
        if seen is not None:
            made = attrs.evolve(made, frames=shown)
        return Generated(made, _path(video), _path(audio), lossless_sound=heard is not None)

    def _frames(self, seconds: float | None, heard: Clip | None, seen: Clip | None) -> int:
        """How many frames a request takes; a given video shows all of its own. Raises ValueError
        for more than a given video has.
        """
        format = self.format
        there = None if seen is None else frames_for(len(_picture(seen)), seen.fps, format.fps)
        if seconds is None and there is not None:
            frames = there
        else:
            length = (
                seconds
                if seconds is not None
                else heard.seconds
                if heard is not None
                else format.seconds
            )
            frames = max(1, round(length * format.fps))
        if there is not None and frames > there:
            raise ValueError(
                f"{seconds:g} s are asked for, and the given video lasts"
                f" {float(there / format.fps):.2f} s; leave `seconds` out for all of it"
            )
        if frames > LONGEST * format.frames:
            raise ValueError(
                f"{float(frames / format.fps):g} s are asked for, and this model was trained on"
                f" {format.seconds:g} s: more than {LONGEST} times that can't become anything; ask"
                " for fewer `seconds`"
            )
        if frames > LONGER * format.frames:
            warnings.warn(
                f"{float(frames / format.fps):.1f} s is much longer than the {format.seconds:g} s"
                " that this model was trained on; expect it to drift, or say how many `seconds` to"
                " make",
                stacklevel=3,
            )
        return frames

    def _unheard(self, asked: Prompt) -> list[str]:
        """The fields of a prompt that no encoder reads: with such a one alone, everything that is
        said is as for an empty prompt.
        """
        filled = {field.name: getattr(asked, field.name) for field in attrs.fields(Prompt)}
        asked_of = [
            name
            for name, value in filled.items()
            if name not in self._read and (isinstance(value, Tensor) or value)
        ]
        if not asked_of:
            return []
        said = self.conditions([Prompt(), *(Prompt(**{name: filled[name]}) for name in asked_of)])
        for row, name in enumerate(asked_of, start=1):
            if any(
                not torch.equal(x[row], x[0]) for c in said.values() for x in (c.mask, c.tokens)
            ):
                self._read.add(name)
        unheard = [name for name in asked_of if name not in self._read]
        # as `generate` calls it
        return ["prompt" if name == "caption" else name for name in unheard]

    def _encode_sound(self, clip: Clip, frames: int) -> Tensor:
        wave = self._wave(clip)
        if not wave.isfinite().all():
            raise ValueError("the given sound holds values that aren't finite")
        return (
            self.codecs["audio"]
            .encode(fit(wave[None], self.format.samples(frames)))
            .to(self.device)
        )

    def _image(self, image: Media | Tensor | None) -> Tensor | None:
        if image is None or isinstance(image, Tensor):
            return image
        first = _picture(_read(image, "video", height=self.format.height, width=self.format.width))[
            :1
        ]
        return cover(first, self.format.height, self.format.width)[0]

    def _voice(self, voice: Media | None) -> Tensor | None:
        return None if voice is None else self._wave(_read(voice, "audio"))

    def _wave(self, clip: Clip) -> Tensor:
        """[samples] at the format's rate."""
        return resample(clip.mono(), clip.sample_rate, self.format.sample_rate)


def _needs_both(guidance: Guidance, stream: str) -> bool:
    """Whether it guides two streams and does nothing if there is only `stream`."""
    return demands(guidance, (stream,)).most < 2 <= demands(guidance).most


def _read(media: Media, stream: str, **form: Any) -> Clip:
    if isinstance(media, Generated):
        return media.clip
    if isinstance(media, Clip):
        return media
    if not isinstance(media, str | os.PathLike):
        raise ValueError(f"a Clip or the name of a file is expected, not {type(media).__name__}")
    return Clip.read(media, streams={stream}, **form)


def _picture(clip: Clip) -> Tensor:
    if clip.frames is None:
        raise ValueError("the clip that was given has no video")
    return clip.frames


def _sound(clip: Clip) -> Tensor:
    if clip.waveform is None:
        raise ValueError("the clip that was given has no sound")
    return clip.waveform


def _path(media: Media | None) -> Path | None:
    return None if media is None or isinstance(media, Clip | Generated) else Path(media)
