"""A pipeline: parts that are assembled, with their recipe, ready to make clips. `load` brings one back from a run or a model folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assemble import Parts, build, read_recipe
from harmony_parts.av import AV, Condition, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.flow.protocol import Shift, Solver
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.media import Clip
from harmony_parts.recipe import Recipe
from harmony_parts.sample.loop import sample
from harmony_parts.sound import fit, resample
from harmony_parts.train.prepare import conditions_of
from harmony_parts.weights import find_model, load_weights, save_model, weights

Media = Clip | str | Path
LONGER = 1.5  # beyond this many times the length that it was trained on, a model is on its own


@attrs.frozen(eq=False)
class Generated:
    """A clip that was made. `given_video` and `given_sound` are the files that it was made for, whose streams `save` keeps as they are."""

    clip: Clip
    given_video: Path | None = None
    given_sound: Path | None = None
    lossless_sound: bool = False

    def save(self, path: str | Path) -> Path:
        """Write it: a given video stream is copied, a given sound copied or kept without loss. Raises MediaError."""
        path = Path(path)
        self.clip.save(path, copy_video_from=self.given_video, copy_sound_from=self.given_sound, lossless_sound=self.lossless_sound)
        return path


class Pipeline:
    """Assembled parts and their recipe. Its sampling settings are defaults: each can be given anew for a clip."""

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        self.recipe, self.parts, self.format, self.codecs = recipe, parts, parts.format, parts.codecs
        self.weights = weights(parts).eval()

    @classmethod
    def assemble(cls, recipe: Recipe, seed: int = 0) -> Pipeline:
        """A pipeline with fresh weights, which are a function of the seed. Raises AssemblyError."""
        return cls(recipe, build(recipe, seed))

    def to(self, device: str | torch.device) -> Pipeline:
        """Move the weights."""
        self.weights.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.weights.parameters()).device

    def save(self, folder: str | Path) -> Path:
        """Write recipe and weights, for `load`."""
        save_model(Path(folder), self.recipe, self.weights.state_dict())
        return Path(folder)

    def conditions(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """What all encoders say about the prompts."""
        return conditions_of(cast(Iterable[nn.Module], self.parts.encoders.values()), prompts)

    def encode(self, clips: Sequence[Clip]) -> AV[Tensor]:
        """Latents of clips of one length in the pipeline's format; a stream that they lack is absent."""
        frames, sound = [c.frames for c in clips if c.frames is not None], [c.mono() for c in clips if c.waveform is not None]
        return AV(
            video=self.codecs["video"].encode(torch.stack(frames)).to(self.device) if frames else None,
            audio=self.codecs["audio"].encode(torch.stack(sound)).to(self.device) if sound else None,
        )

    def decode(self, latents: AV[Tensor], frames: int) -> list[Clip]:
        """Clips of exactly that many frames, and of the sound that goes with them."""
        video = self.codecs["video"].decode(latents["video"].cpu())[:, :frames]
        sound = self.codecs["audio"].decode(latents["audio"].cpu())[:, : self.format.samples(frames)]
        return [Clip(picture, self.format.fps, wave[None], self.format.sample_rate) for picture, wave in zip(video, sound)]

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
        progress: Callable[[int, int, AV[Tensor]], None] | None = None,
    ) -> AV[Tensor]:
        """Latents of a batch, one clip per prompt and seed; `given` streams [B, T, ...] are kept. A clip depends on its own seed alone."""
        frames = frames or self.format.frames
        video, audio = cast(VideoCodec, self.codecs["video"]), cast(AudioCodec, self.codecs["audio"])
        shapes = AV(
            video=(video.latents(frames), *video.grid, video.channels), audio=(audio.latents(self.format.samples(frames)), audio.channels)
        )
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        # both streams are drawn whatever is given, so that a seed means the same picture in every task
        noise = shapes.map(lambda shape: torch.stack([torch.randn(shape, generator=g) for g in generators]).to(self.device))
        settings = self.recipe.sample
        return sample(
            self.parts.denoiser,
            noise.only([s for s in noise if s not in tuple(given)]),
            self.conditions(prompts),
            codecs=self.codecs,
            given=given,
            guidance=guidance or settings.guidance,
            solver=solver or settings.solver,
            shift=shift or settings.shift,
            path=self.recipe.flow.path,
            steps=steps or settings.steps,
            progress=progress,
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
        seconds: float | None = None,
        extra: dict[str, Any] | None = None,
        seed: int = 0,
        **sampling: Any,
    ) -> Generated:
        """Make one clip: joint, or video for a given `audio`, or sound for a given `video` (a Clip or a file).

        `prompt` says what is seen, `sound` what is heard, `speech` what is said; `image` is the first frame, `voice` a sound to take after.
        `seconds`: the length; by default that of what is given, else the format's. `sampling`: guidance, solver, shift, steps, progress.
        Raises MediaError for files that can't be read and ValueError for requests that make no sense.
        """
        if audio is not None and video is not None:
            raise ValueError("audio and video are both given, which leaves nothing to make; leave one out")
        format = self.format
        heard = None if audio is None else _read(audio, "audio")
        seen = None if video is None else _read(video, "video", fps=format.fps, height=format.height, width=format.width)
        length = seconds or (heard.seconds if heard else seen.seconds if seen else format.seconds)
        frames = max(1, round(length * format.fps))
        if frames > LONGER * format.frames:
            warnings.warn(
                f"{length:.1f} s is much longer than the {format.seconds:g} s that this model was trained on; "
                "expect it to drift, or say how many `seconds` to make",
                stacklevel=2,
            )
        given: AV[Tensor] = AV()
        if heard is not None:
            given = AV(audio=self._encode_sound(heard, frames))
        if seen is not None:
            given = AV(video=self._encode_frames(seen, frames))
        asked = Prompt(prompt, sound, speech, self._image(image), self._voice(voice), extra or {})
        made = self.decode(self.latents([asked], seeds=[seed], frames=frames, given=given, **sampling), frames)[0]
        if heard is not None:
            made = attrs.evolve(
                made, waveform=fit(_sound(heard), round(frames / format.fps * heard.sample_rate)), sample_rate=heard.sample_rate
            )
        if seen is not None:
            made = attrs.evolve(made, frames=_frames(seen)[:frames])
        return Generated(made, _path(video), _path(audio), lossless_sound=heard is not None)

    def _encode_sound(self, clip: Clip, frames: int) -> Tensor:
        return self.codecs["audio"].encode(fit(self._wave(clip)[None], self.format.samples(frames))).to(self.device)

    def _encode_frames(self, clip: Clip, frames: int) -> Tensor:
        return self.codecs["video"].encode(_frames(clip)[None, :frames]).to(self.device)

    def _image(self, image: Media | Tensor | None) -> Tensor | None:
        if image is None or isinstance(image, Tensor):
            return image
        return _frames(_read(image, "video", height=self.format.height, width=self.format.width))[0]

    def _voice(self, voice: Media | None) -> Tensor | None:
        return None if voice is None else self._wave(_read(voice, "audio"))

    def _wave(self, clip: Clip) -> Tensor:
        """[samples] at the format's rate."""
        return resample(clip.mono(), clip.sample_rate, self.format.sample_rate)


def _read(media: Media, stream: str, **form: Any) -> Clip:
    if not isinstance(media, Clip):
        return Clip.read(media, streams={stream}, **form)
    return media


def _frames(clip: Clip) -> Tensor:
    if clip.frames is None:
        raise ValueError("the clip that was given has no video")
    return clip.frames


def _sound(clip: Clip) -> Tensor:
    if clip.waveform is None:
        raise ValueError("the clip that was given has no sound")
    return clip.waveform


def _path(media: Media | None) -> Path | None:
    return None if media is None or isinstance(media, Clip) else Path(media)


def load(folder: str | Path, device: str | torch.device = "cpu") -> Pipeline:
    """The pipeline of a run or model folder. Raises RunError where the folder isn't one, AssemblyError where its recipe can't be built."""
    model = find_model(Path(folder))
    pipeline = Pipeline.assemble(read_recipe(model / "recipe.toml"))
    load_weights(pipeline.parts, model)
    return pipeline.to(device)
