"""AudioBox-Aesthetics: what a listener would say of a sound."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import attrs
import torch
from audiobox_aesthetics.infer import AXES_NAME, make_inference_batch
from audiobox_aesthetics.model.aes import AesMultiOutput, Normalize
from torchaudio.functional import resample

from harmony_parts.av import AV, Event
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.models.external_weights import describe_weights, weights_folder
from harmony_parts.plugin import knob

RATE = 16000  # Hz, of its WavLM
WINDOW = 10  # s, and the hop between windows
SHORTEST = 0.1  # s; WavLM's first values come from 25 ms


@attrs.frozen
class AudioBoxAesthetics:
    """Predicted opinions of a sound, 1 to 10: `audiobox_pq` (production quality), `audiobox_pc`
    (its complexity: the paper's table counts low as good), `audiobox_ce` (content enjoyment) and
    `audiobox_cu` (content usefulness).

    As in the package: mono at 16 kHz, windows of 10 s, the last padded, their mean weighted with
    their share of sound. Silence has numbers too; they mean nothing.
    """

    weights: str = knob(
        help="folder of config.json and model.safetensors, or a name on the Hub such as"
        ' "facebook/audiobox-aesthetics"',
        validator=attrs.validators.min_len(1),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network on `device`.

        Prints name, licence and sha256 of the weights on the standard error. Raises BrokenPart if
        they are absent or of another network.
        """
        folder = weights_folder(self.weights)
        with torch.random.fork_rng(devices=()):
            try:
                network = AesMultiOutput.from_pretrained(str(folder), strict=True)
            except (OSError, RuntimeError, TypeError) as error:
                raise BrokenPart(f"{folder}: these aren't AudioBox's weights: {error}") from error
        files = sorted(folder.glob("*.safetensors"))
        print(describe_weights(self.weights, files, "CC BY 4.0"), file=sys.stderr)
        return Aesthetics(self, network.eval().to(device))


@attrs.frozen(eq=False)
class Aesthetics:
    """The metric of `AudioBoxAesthetics`. An analysis is the numbers; of too short sounds, none."""

    spec: AudioBoxAesthetics
    network: AesMultiOutput
    batch: int = 8
    reads: tuple[str, ...] = ("audio",)

    def analyse(self, clip: Clip) -> AV[dict[str, float]]:
        """The numbers of the sound."""
        return self.analyse_batch([clip])[0]

    def analyse_batch(self, clips: Sequence[Clip]) -> list[AV[dict[str, float]]]:
        """The numbers of several sounds, all their windows at once."""
        sounds = {
            k: clip for k, clip in enumerate(clips) if clip.waveform is not None and _long(clip)
        }
        found = dict(zip(sounds, self._numbers(list(sounds.values()))))
        return [
            AV(None, None if clip.waveform is None else found.get(k, {}))
            for k, clip in enumerate(clips)
        ]

    @torch.inference_mode()
    def _numbers(self, clips: Sequence[Clip]) -> list[dict[str, float]]:
        if not clips:
            return []
        sounds = [resample(clip.waveform, clip.sample_rate, RATE).mean(0, True) for clip in clips]
        waves, masks, weights, owners = make_inference_batch(sounds, WINDOW, WINDOW, RATE)
        device = next(self.network.parameters()).device
        opinions = self.network(
            {"wav": torch.stack(waves).to(device), "mask": torch.stack(masks).to(device)}
        )
        share, owner = torch.tensor(weights), torch.tensor(owners)
        numbers: list[dict[str, float]] = [{} for _ in clips]
        for axis in AXES_NAME:
            scale = Normalize(**self.network.target_transform[axis])
            values = scale.inverse(opinions[axis]).float().cpu()
            for k, own in enumerate(numbers):
                of = owner == k
                own[f"audiobox_{axis.lower()}"] = float(
                    (values[of] * share[of]).sum() / share[of].sum()
                )
        return numbers

    def score(
        self,
        video: None,
        audio: dict[str, float],
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """The numbers of the analysis."""
        return dict(audio)

    def reason(
        self, video: None, audio: dict[str, float], reference: Reference | None = None
    ) -> str:
        """Why there are none."""
        return "" if audio else f"the sound is shorter than {SHORTEST:g} s"


def _long(clip: Clip) -> bool:
    return clip.waveform.shape[1] >= SHORTEST * clip.sample_rate
