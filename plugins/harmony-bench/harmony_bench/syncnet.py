"""SyncNet: Sync-C and Sync-D of talking faces."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial

import attrs
import numpy as np
import torch
from python_speech_features import mfcc
from syncnet_python.detectors.s3fd import S3FD
from syncnet_python.detectors.s3fd.nets import S3FDNet
from syncnet_python.syncnet_pipeline import PipelineConfig
from syncnet_python.SyncNetInstance import calc_pdist
from syncnet_python.SyncNetModel import S
from torch import Tensor, nn
from torchaudio.functional import resample

from harmony_bench.faces import FPS, Detect, at_25, crop, tracks
from harmony_parts.av import AV, Event
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.models.external_weights import describe_weights, weights_file
from harmony_parts.plugin import knob

RATE = 16000  # Hz
FRAME = RATE // FPS  # samples
SPAN = 5  # frames of a window
HOPS = 4  # of the MFCCs, a frame
SHORTEST = 25  # windows of picture and sound that must overlap
PUBLISHED = "https://www.robots.ox.ac.uk/~vgg/software/lipsync/ (Creative Commons Attribution)"


@attrs.frozen
class SyncNet:
    """`sync_c` and `sync_d` as syncnet-python has them, and `sync_offset_ms`, positive if the sound
    is late.

    Windows of 5 frames (a face cut out of the picture, 224 x 224, 25 a second) and of 20 MFCCs
    (16 kHz) become embeddings; their distances, with the sound shifted by up to 15 frames, are
    averaged over the clip. Sync-D is the least of these, Sync-C the median less it. Of several
    faces the highest Sync-C and the lowest Sync-D count, and the offset of the former. Faces are at
    least 100 pixels, for more than 2 s. The package writes JPEG and MPEG-4 files in between; here
    pictures stay as they are, so numbers may differ a little.
    """

    weights: str = knob(
        help='file syncnet_v2.model, or of a model on the Hub, "owner/name/FILE"',
        validator=attrs.validators.min_len(1),
    )
    faces: str = knob(
        help="file sfd_face.pth, of the face finder S3FD, or of a model on the Hub",
        validator=attrs.validators.min_len(1),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its networks on `device`.

        Prints name, licence and sha256 of the weights on the standard error. Raises BrokenPart if
        they are absent or of other networks.
        """
        with torch.random.fork_rng(devices=()):
            networks = S(), S3FDNet(device=str(device))
        for network, name in zip(networks, (self.weights, self.faces)):
            _load(network, name, device)
        finder = partial(
            S3FD(networks[1], device=str(device)).detect_faces,
            conf_th=0.9,
            scales=[PipelineConfig().facedet_scale],
        )
        return LipSync(self, networks[0], finder)


def _load(network: nn.Module, name: str, device: torch.device | str) -> None:
    file = weights_file(name, PUBLISHED)
    try:
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, pickle.UnpicklingError) as error:
        kind = type(network).__name__
        raise BrokenPart(f"{file}: these aren't the weights of {kind}: {error}") from error
    print(describe_weights(name, [file], PUBLISHED), file=sys.stderr)
    network.eval().to(device)


@attrs.frozen(eq=False)
class Faces:
    """(first frame, embeddings [N, 1024]) of each face; `reason` says why there is none."""

    found: tuple[tuple[int, Tensor], ...] = ()
    reason: str = ""


@attrs.frozen(eq=False)
class Sound:
    """Embeddings [N, 1024] of the sound from each frame on; `reason` says why there are none."""

    found: Tensor = attrs.field(factory=lambda: torch.zeros(0, 1024))
    reason: str = ""


@attrs.frozen(eq=False)
class LipSync:
    """The metric of `SyncNet`, with any network that has `forward_lip` and `forward_aud`."""

    spec: SyncNet
    network: nn.Module
    detect: Detect
    settings: PipelineConfig = attrs.field(factory=PipelineConfig)

    def analyse(self, clip: Clip) -> AV[Faces | Sound]:
        """Embeddings of the faces, and of the sound."""
        return AV(
            None if clip.frames is None else self.see(clip.frames.numpy(), float(clip.fps)),
            None if clip.waveform is None else self.hear(clip),
        )

    def see(self, frames: np.ndarray, fps: float) -> Faces:
        """Of each face in `frames` uint8 [T, H, W, 3]."""
        least = self.settings.min_face_size
        if min(frames.shape[1:3]) <= least:
            return Faces(reason=f"the picture is not larger than a face of {least} pixels")
        frames = at_25(frames, fps)
        if len(frames) <= self.settings.min_track:
            return Faces(
                reason=f"the picture is not longer than {self.settings.min_track / FPS:g} s"
            )
        found = []
        for first, boxes in tracks(frames, self.detect, self.settings):
            cut = crop(frames[first:], boxes, self.settings.crop_scale)
            found.append((first, self.lips(cut)))
        if not found:
            return Faces(reason=f"no face of {least} pixels was found for long enough")
        return Faces(tuple(found))

    def lips(self, cut: np.ndarray) -> Tensor:
        """[N, 1024] of BGR faces [N + 5, 224, 224, 3]; the package leaves the last window out."""
        pictures = torch.from_numpy(cut).permute(3, 0, 1, 2).float()
        return self._embed(
            [pictures[:, k : k + SPAN] for k in range(len(cut) - SPAN)], self.network.forward_lip
        )

    def hear(self, clip: Clip) -> Sound:
        """Of the mean of the channels, as 16 bits."""
        wave = resample(clip.mono(), clip.sample_rate, RATE)
        samples = (wave * 2**15).round().clamp(-(2**15), 2**15 - 1).numpy().astype(np.int16)
        count = len(samples) // FRAME - SPAN
        if count < SHORTEST:
            return Sound(reason=f"the sound is shorter than {(SHORTEST + SPAN) / FPS:g} s")
        if not samples.any():
            return Sound(reason="the sound is silent")
        values = torch.from_numpy(mfcc(samples, RATE).T).float()
        return Sound(
            self._embed(
                [values[None, :, HOPS * k : HOPS * (k + SPAN)] for k in range(count)],
                self.network.forward_aud,
            )
        )

    @torch.inference_mode()
    def _embed(self, given: Sequence[Tensor], forward: Callable[[Tensor], Tensor]) -> Tensor:
        device = next(self.network.parameters()).device
        size = self.settings.batch_size
        parts = [
            forward(torch.stack(tuple(given[k : k + size])).to(device)).float().cpu()
            for k in range(0, len(given), size)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, 1024)

    def score(
        self,
        video: Faces,
        audio: Sound,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`sync_c`, `sync_d` and `sync_offset_ms`; none without a face or a sound."""
        scored = self._scored(video, audio)
        if not scored:
            return {}
        confidence, _, offset = max(scored)
        return {
            "sync_c": confidence,
            "sync_d": min(distance for _, distance, _ in scored),
            "sync_offset_ms": 1000 * offset / FPS,
        }

    def _scored(self, video: Faces, audio: Sound) -> list[tuple[float, float, int]]:
        """(Sync-C, Sync-D, offset in frames) of each face that sounds long enough."""
        found = []
        for first, lips in video.found:
            sound = audio.found[first : first + len(lips)]
            if len(sound) >= SHORTEST:
                found.append(agreement(lips[: len(sound)], sound, self.settings.vshift))
        return found

    def reason(self, video: Faces, audio: Sound, reference: Reference | None = None) -> str:
        """Why there are no numbers, in words; empty if there are some."""
        if video.reason or audio.reason:
            return video.reason or audio.reason
        return "" if self._scored(video, audio) else "no face is there for a second of the sound"


def agreement(lips: Tensor, sound: Tensor, reach: int) -> tuple[float, float, int]:
    """(Sync-C, Sync-D, by how many frames the sound is late) of embeddings [N, D] each."""
    means = torch.stack(calc_pdist(lips, sound, vshift=reach), 1).mean(1)
    least, place = means.min(0)
    return float(means.median() - least), float(least), int(place) - reach
