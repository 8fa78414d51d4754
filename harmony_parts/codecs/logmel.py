"""Sound latents without weights: log energies of mel bands, decoded by phase reconstruction."""

from __future__ import annotations

import math
from fractions import Fraction

import attrs
import torch
from einops import rearrange
from torch import Tensor

from harmony_parts.av import Format
from harmony_parts.codecs.protocol import check_waveform
from harmony_parts.plugin import knob

# about the mean and standard deviation of the levels of thirteen real clips (speech, music,
# effects)
CENTRE_DB, SPREAD_DB = -48.0, 17.0
# share of the last step that is subtracted: Perraudin's alpha / (1 + alpha) with alpha = 1 (paper:
# 0.99)
MOMENTUM = 0.5
SILENT = 1e-14  # energy below which a bin counts as silent, far below a 24-bit step


def mel_bands(bands: int, low: float, high: float, sample_rate: int, window: int) -> Tensor:
    """Triangles evenly spaced in mel (2595 log10(1 + f / 700)), float32 [bands, window // 2 + 1].

    They sum to at most 1 at any frequency. None is narrower than one frequency step of the window,
    so none is empty.
    """
    frequency = torch.arange(window // 2 + 1, dtype=torch.float64) * sample_rate / window
    mel = torch.linspace(
        math.log10(1 + low / 700), math.log10(1 + high / 700), bands + 2, dtype=torch.float64
    )
    corner = 700 * (10**mel - 1)
    width = corner.diff().clamp(min=sample_rate / window)
    rising = 1 + (frequency - corner[1:-1, None]) / width[:-1, None]
    falling = 1 - (frequency - corner[1:-1, None]) / width[1:, None]
    triangles = rising.minimum(falling).clamp(min=0)
    return (triangles / triangles.sum(0).clamp(min=1)).float()


@attrs.frozen
class LogMel:
    """A sound codec without weights: log energies of mel bands, decoded by phase reconstruction.

    Sound float32 [B, channels, samples] <-> latents [B, T, channels * hops_per_latent * bands]:
    `hops_per_latent` frames are stacked in a latent, one channel's after the other's. Each channel
    is encoded and decoded by itself, with the same initial phases, so equal channels stay equal and
    a level difference between channels is kept; a time difference within a frame isn't. A frame's
    window is centred on the frame's interval, so an event is loudest in the latent whose clock
    contains it. A value is (level + 48 dB) / 17 dB; the level of a band (in dB of full scale) is
    that of a sound with this energy in every band. Mute is one fixed value, that of the floor, and
    decodes to silence. The latent rate needn't divide the sample rate. Source of the decoder: fast
    Griffin-Lim, doi:10.1109/WASPAA.2013.6701851.
    """

    latents_per_second: float = knob(
        31.25, help="latents per second of sound", unit="1/s", validator=attrs.validators.gt(0)
    )
    hops_per_latent: int = knob(
        4,
        help="frames stacked in a latent, to resolve onsets within a latent",
        unit="frames",
        off=1,
        validator=attrs.validators.ge(1),
    )
    bands: int = knob(64, help="mel bands of a frame", validator=attrs.validators.ge(1))
    fmin: float = knob(
        40.0, help="lower edge of the lowest band", unit="Hz", validator=attrs.validators.ge(0)
    )
    fmax: float = knob(
        0.0,
        help="upper edge of the highest band; 0 for half the sample rate",
        unit="Hz",
        off=0.0,
        validator=attrs.validators.ge(0),
    )
    floor_db: float = knob(
        -70.0,
        help="level added to every band; anything below it counts as silence",
        unit="dB of full scale",
    )
    overlap: int = knob(
        4,
        help="window length: a longer one resolves pitch, a shorter one onsets",
        unit="frames",
        validator=attrs.validators.ge(2),
    )
    iterations: int = knob(
        40,
        help="steps of the phase reconstruction",
        source="fast Griffin-Lim, doi:10.1109/WASPAA.2013.6701851",
        validator=attrs.validators.ge(0),
    )
    seed: int = knob(0, help="seed of the noise that gives the initial phases")

    def build(self, *, format: Format) -> LogMelCodec:
        """The codec for sound at the format's sample rate.

        Raises ValueError if `fmax` or the frames per second are too high for it.
        """
        nyquist = format.sample_rate / 2
        if not self.fmin < (self.fmax or nyquist) <= nyquist:
            raise ValueError(
                f"fmin {self.fmin} < fmax {self.fmax or nyquist} <= {nyquist} Hz (half the sample"
                " rate) must hold: change fmin or fmax"
            )
        if self.latents_per_second * self.hops_per_latent * 8 > format.sample_rate:
            raise ValueError(
                f"{self.latents_per_second} latents per second of {self.hops_per_latent} frames"
                f" leave fewer than 8 samples per frame at {format.sample_rate} Hz: lower"
                " latents_per_second or hops_per_latent"
            )
        return LogMelCodec(self, format)


class LogMelCodec:
    """The AudioCodec of `LogMel`."""

    def __init__(self, spec: LogMel, format: Format) -> None:
        self.spec, self.format = spec, format
        self.sound_channels = format.channels
        self.channels = format.channels * spec.hops_per_latent * spec.bands
        # Samples per latent, exact for any rate written in decimals (31.25, 30, 29.97, 21.533).
        self._step = format.sample_rate / Fraction(spec.latents_per_second).limit_denominator(
            10_000
        )
        # half a window, in samples
        self._reach = round(self._step * spec.overlap / spec.hops_per_latent / 2)
        self._window = torch.hann_window(2 * self._reach)
        self._bands = mel_bands(
            spec.bands,
            spec.fmin,
            spec.fmax or format.sample_rate / 2,
            format.sample_rate,
            2 * self._reach,
        )
        # |rfft|^2 times this sums to the sound's mean square under the window (Parseval); all but
        # the first and last bin count twice.
        self._power = torch.full((self._reach + 1,), 2.0)
        self._power[[0, -1]] = 1.0
        self._power /= 2 * self._reach * self._window.square().sum()

    def latents(self, samples: int) -> int:
        """Number of latents of `samples` samples; the last one may be partly filled."""
        if samples < 1:
            raise ValueError(f"a sound has at least one sample, not {samples}")
        return math.ceil(samples / self._step)

    def samples(self, latents: int) -> int:
        """Number of whole samples of `latents` latents."""
        return math.floor(latents * self._step)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] in seconds: n / r to (n + 1) / r for latent n, r per second."""
        edges = torch.arange(latents + 1, dtype=torch.float64) * float(
            self._step / self.format.sample_rate
        )
        return torch.stack([edges[:-1], edges[1:]], dim=1)

    def encode(self, waveform: Tensor) -> Tensor:
        """Float [B, channels, samples] in [-1, 1] -> float32 [B, latents(samples), C].

        The rest of the last latent is mute. Windows that reach beyond the latents read the sound
        mirrored, so that it doesn't fade at the ends. Raises ValueError for other shapes or types.
        """
        check_waveform(waveform, self.sound_channels)
        count = self.latents(waveform.shape[2])
        length = self.samples(count)
        waveform = torch.nn.functional.pad(
            waveform.float().flatten(0, 1), (0, length - waveform.shape[2])
        )
        places = self._places(count)
        mirrored = places.remainder(2 * length)
        mirrored = mirrored.minimum(2 * length - 1 - mirrored).to(waveform.device)
        power = self._energy(self._spectrum(waveform, mirrored)) * self.spec.bands
        level = 10 * torch.log10(power + 10 ** (self.spec.floor_db / 10))
        return rearrange(
            (level - CENTRE_DB) / SPREAD_DB,
            "(b channel) (t hop) band -> b t (channel hop band)",
            channel=self.sound_channels,
            t=count,
        )

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, C] -> float32 [B, channels, samples(T)] in [-1, 1]."""
        if latents.ndim != 3 or latents.shape[2] != self.channels or not latents.shape[1]:
            raise ValueError(
                f"latents are [B, T, {self.channels}] with T >= 1, not {list(latents.shape)}"
            )
        level = rearrange(
            latents.float() * SPREAD_DB + CENTRE_DB,
            "b t (channel hop band) -> (b channel) (t hop) band",
            channel=self.sound_channels,
            hop=self.spec.hops_per_latent,
        )
        # A band has at most the energy of full scale.
        power = 10 ** (level / 10).clamp(max=math.log10(self.spec.bands)) - 10 ** (
            self.spec.floor_db / 10
        )
        # One more frame at either end, so that the ends are covered by as many windows as the rest.
        energy = (
            torch.cat([power[:, :1], power, power[:, -1:]], dim=1).clamp(min=0) / self.spec.bands
        )
        sound = self._sound(energy, latents.shape[1]).clamp(-1, 1)
        return sound.unflatten(0, (-1, self.sound_channels))

    def _places(self, latents: int, more: int = 0) -> Tensor:
        """int64 [frames, window]: the samples of each frame, with `more` frames at either end."""
        hops = self.spec.hops_per_latent
        centres = [
            math.floor((frame + Fraction(1, 2)) * self._step / hops)
            for frame in range(-more, latents * hops + more)
        ]
        return torch.tensor(centres)[:, None] + torch.arange(-self._reach, self._reach)

    def _spectrum(self, sound: Tensor, places: Tensor) -> Tensor:
        """[N, samples] at `places` [frames, window] -> complex [N, frames, window // 2 + 1]."""
        return torch.fft.rfft(sound[:, places] * self._window.to(sound))

    def _energy(self, spectrum: Tensor) -> Tensor:
        """Mean square of the sound in each band: spectrum -> [N, frames, bands]."""
        return (spectrum.abs().square() * self._power.to(spectrum.device)) @ self._bands.T.to(
            spectrum.device
        )

    def _sound(self, energy: Tensor, latents: int) -> Tensor:
        """Sounds with the given band energies: [N, frames + 2, bands] -> [N, samples].

        Fast Griffin-Lim (Perraudin, Balazs and Sondergaard 2013), with only the energies of bands
        given. Each step keeps the phases of the current sound, and scales its powers by the ratio
        of target to current band energy: P <- P * M'(E / MP) / M'1, the multiplicative update of a
        non-negative matrix factorisation, which conserves the sum of the energies.
        """
        places = self._places(latents, more=1).to(energy.device)
        first = int(places.min())
        places = places - first
        window, bands, power = (
            self._window.to(energy),
            self._bands.to(energy),
            self._power.to(energy),
        )
        share = bands.sum(0).clamp(min=1e-6)
        length = int(places.max()) + 1
        covering = _covering(places, length)
        overlap = _overlap_add(window.square().repeat(1, len(places), 1), covering)[0]
        overlap = overlap.clamp(min=1e-3 * float(overlap.max()))

        # the sound whose spectrum is nearest in the least-squares sense
        def sound(spectrum: Tensor) -> Tensor:
            frames = torch.fft.irfft(spectrum, n=len(window)) * window
            return _overlap_add(frames, covering) / overlap

        # The same noise for every channel of every sample: each decodes independently of the
        # others.
        noise = torch.randn(1, length, generator=torch.Generator().manual_seed(self.spec.seed)).to(
            energy
        )
        phase = self._spectrum(noise, places)
        spectrum = phase / phase.abs().clamp(min=SILENT) * ((energy @ bands) / share / power).sqrt()
        previous = torch.zeros_like(spectrum)
        for _ in range(self.spec.iterations):
            present = self._spectrum(sound(spectrum), places)
            ahead, previous = present - MOMENTUM * previous, present
            gain = ((energy / (self._energy(ahead) + SILENT)) @ bands) / share
            spectrum = ahead * gain.sqrt()
        return sound(spectrum)[:, -first : -first + self.samples(latents)]


def _covering(places: Tensor, length: int) -> Tensor:
    """int64 [K, length]: for each sample the elements of [frames, window] that lie on it, in the
    order of the frames; `places.numel()` where there are fewer than K.

    `places` [frames, window]: the sample of each element.
    """
    count = places.numel()
    at, order = places.flatten().sort(stable=True)
    first = torch.searchsorted(at, torch.arange(length, device=at.device))
    rank = torch.arange(count, device=at.device) - first[at]
    covering = torch.full((int(rank.max()) + 1, length), count, device=at.device)
    covering[rank, at] = order
    return covering


def _overlap_add(frames: Tensor, covering: Tensor) -> Tensor:
    """[N, frames, window] -> [N, length], each sample's elements added in the order of the frames.

    A gather, so that sums have one order on a GPU too, where `index_add` is atomic.
    """
    padded = torch.nn.functional.pad(frames.flatten(1), (0, 1))
    total = padded[:, covering[0]]
    for one in covering[1:]:
        total = total + padded[:, one]
    return total
