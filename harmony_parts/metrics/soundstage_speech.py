"""A small network that hears Soundstage's words and voices, for the metrics of both.

`python -m harmony_parts.benchmarks.soundstage_speech` trains it. It knows this world alone.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import attrs
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchaudio.functional import resample
from torchaudio.transforms import MelSpectrogram

from harmony_parts.media.clip import Clip
from harmony_parts.scenes.phones import LANGUAGES
from harmony_parts.scenes.voice import VOICES

WEIGHTS = Path(__file__).with_name("soundstage_speech.safetensors")
RATE, WINDOW, HOP, BANDS, LOWEST = 16000, 512, 256, 48, 40.0  # Hz, samples, samples, bands, Hz
STRIDE = 4  # frames of the spectrogram to one of the network's
FLOOR = 1e-5  # energy that is added to every band
SILENT = 1e-3  # of full scale: a sound that is never louder is silent
SHORTEST = 0.25  # s
WORDS = tuple(word.text for words in LANGUAGES.values() for word in words)
NAMES = tuple(voice.name for voice in VOICES)


class SpeechNet(nn.Module):
    """Spectrograms [B, frames, BANDS] to logits of words [B, T, 1 + 50] and voices [B, T, 1 + 6].

    T is a quarter of the frames: 15.6 a second. The first word is CTC's blank, the first voice is
    nobody's. Two convolutions, then a recurrent layer in both directions.
    """

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        self.near = nn.Sequential(
            nn.Conv1d(BANDS, width, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, stride=STRIDE // 2, padding=2),
            nn.GELU(),
        )
        self.far = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.words = nn.Linear(2 * width, 1 + len(WORDS))
        self.voices = nn.Linear(2 * width, 1 + len(NAMES))

    def forward(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of words and of voices."""
        state, _ = self.far(self.near(spectrogram.mT).mT)
        return self.words(state), self.voices(state)


@cache
def _mel() -> MelSpectrogram:
    return MelSpectrogram(RATE, WINDOW, hop_length=HOP, n_mels=BANDS, f_min=LOWEST)


def spectrogram(sound: Tensor) -> Tensor:
    """Sound [B, samples] at 16 kHz to log energies of mel bands [B, frames, BANDS], -2.5 to 1.5."""
    found: Tensor = (_mel()(sound) + FLOOR).log10().mT / 2
    return found


@attrs.frozen
class Heard:
    """The words that were heard, and the voice that says most; without a voice, `None`.

    `reason` says in words why nothing could be heard.
    """

    words: tuple[str, ...] = ()
    voice: str | None = None
    reason: str = ""


@cache
def load_net(weights: Path = WEIGHTS) -> SpeechNet:
    """The trained network, on the CPU."""
    with torch.device("meta"):
        net = SpeechNet()
    state = {name: tensor.float() for name, tensor in load_file(weights).items()}
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)


def listen(clip: Clip) -> Heard:
    """What is heard in the sound of a clip, the mean of its channels."""
    sound = resample(clip.mono(), clip.sample_rate, RATE)
    if len(sound) < SHORTEST * RATE:
        return Heard(reason=f"the sound is shorter than {SHORTEST:g} s")
    if float(sound.abs().max()) < SILENT:
        return Heard(reason="the sound is silent")
    words, voices = load_net()(spectrogram(sound[None]))
    return Heard(decode_words(words[0]), decode_voice(voices[0]))


def decode_words(logits: Tensor) -> tuple[str, ...]:
    """The words of [T, 1 + 50]: the likeliest of each frame, repetitions once, blanks left out."""
    best = logits.argmax(-1).unique_consecutive().tolist()
    return tuple(WORDS[k - 1] for k in best if k)


def decode_voice(logits: Tensor) -> str | None:
    """The voice of the most frames of [T, 1 + 6], each by its probability; None if nobody's."""
    if not bool(logits.argmax(-1).any()):
        return None
    share = logits.softmax(-1)[:, 1:]
    spoken = share.sum(-1, keepdim=True)
    likely = (spoken * logits[:, 1:].log_softmax(-1)).sum(0)
    return NAMES[int(likely.argmax())]
