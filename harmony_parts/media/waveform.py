"""Waveforms: resampling, fitting to a length, and files that soundfile reads and writes."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from harmony_parts.errors import MediaError
from harmony_parts.media.ffmpeg import Limits

# suffixes tried with soundfile; ffmpeg reads all other files, and those that soundfile can't
READS = {".wav", ".flac", ".ogg", ".oga", ".opus"}
BLOCK = 1 << 20  # samples
# torchaudio's table has as many values as (reduced old rate) x (reduced new rate): 2 GB for 48000
# -> 44101 Hz
KERNEL = 1 << 24
SURROUND = math.sqrt(0.5)  # weight of the centre and of the surround channels in a stereo mix


def resample(waveform: Tensor, old: int, new: int) -> Tensor:
    """[..., samples] at `old` Hz -> [..., ceil(samples * new / old)] at `new` Hz, by windowed sinc.

    For rates without a large common divisor, torchaudio's table of weights would fill the memory:
    then the same weights are computed on the fly. Source: torchaudio.functional.resample.
    """
    if old == new or waveform.shape[-1] == 0:
        return waveform
    from torchaudio.functional import resample as by_torchaudio

    ratio = Fraction(new, old)
    if ratio.numerator * ratio.denominator <= KERNEL:
        return by_torchaudio(waveform, old, new)
    return _resample_directly(waveform, old, new)


def _resample_directly(
    waveform: Tensor, old: int, new: int, width: int = 6, rolloff: float = 0.99
) -> Tensor:
    """torchaudio's y(t) = sum_k x(k) h(t - k), with its Hann-windowed sinc computed per sample."""
    base = min(old, new) * rolloff
    reach = math.ceil(width * old / base)
    count = -(-waveform.shape[-1] * new // old)
    padded = torch.nn.functional.pad(waveform, (reach, reach + 1))
    taps, pieces = torch.arange(-reach, reach + 1), []
    for first in range(0, count, 1 << 15):
        # times in units of 1 / new of an old sample
        at = torch.arange(first, min(first + (1 << 15), count), dtype=torch.int64) * old
        centre, past = at // new, at % new
        t = (past.double()[:, None] / new - taps) * (base / old)
        t = t.clamp(-width, width)
        weights = torch.sinc(t) * torch.cos(t * (math.pi / width / 2)) ** 2 * (base / old)
        near = padded[..., centre[:, None] + taps + reach]
        pieces.append(torch.einsum("...jk,jk->...j", near, weights.to(waveform.dtype)))
    return torch.cat(pieces, dim=-1)


def to_channels(waveform: Tensor, channels: int) -> Tensor:
    """`waveform` [c, samples] with another number of channels, [channels, samples].

    One channel becomes equal copies, several become one by their mean. 5.1 (six channels in the
    order front left, front right, centre, LFE, surround left, surround right) becomes stereo by
    ITU-R BS.775, without the LFE, divided by the sum of its weights: it never exceeds full scale.
    Raises ValueError for other numbers.
    """
    given = len(waveform)
    if given == channels:
        return waveform
    if channels == 1:
        return waveform.mean(dim=0, keepdim=True)
    if given == 1:
        return waveform.repeat(channels, 1)
    if (given, channels) == (6, 2):
        front, centre, surround = waveform[:2], waveform[2], waveform[4:]
        return (front + SURROUND * (centre + surround)) / (1 + 2 * SURROUND)
    raise ValueError(
        f"sound of {given} channels can't become {channels}: mix it beforehand, for example with"
        f" ffmpeg's -ac {channels}"
    )


def fit(waveform: Tensor, samples: int) -> Tensor:
    """`waveform` [..., N] cut at its end, or padded there with silence, to `samples`."""
    return torch.nn.functional.pad(
        waveform[..., :samples], (0, max(0, samples - waveform.shape[-1]))
    )


def cross_fade(old: Tensor, new: Tensor, start: int, length: int) -> Tensor:
    """`old` [..., N], then `new` [..., M], whose first sample is at `start` <= N of `old`.

    The last samples of `old` (`length`, or as many as both have) fade into those of `new`: y = (a x
    + b y) / sqrt(a^2 + b^2 + 2 r a b) with a = 1 - u, b = u, u from 0 to 1 and r >= 0 the
    correlation of the two over the fade. So the level stays the same whether they are equal (r = 1,
    a linear fade), or unrelated, as after a reconstruction of phases (r = 0, equal power). The
    result is `start` + M samples.
    """
    n = min(length, old.shape[-1] - start)
    first = old.shape[-1] - n  # in `old`
    x, y = old[..., first:], new[..., first - start : first - start + n]
    energy = x.square().sum() * y.square().sum()
    r = ((x * y).sum() / energy.sqrt()).clamp(0, 1) if energy > 0 else x.new_ones(())
    b = (torch.arange(n, dtype=x.dtype, device=x.device) + 0.5) / max(n, 1)
    a = 1 - b
    faded = (a * x + b * y) / (a.square() + b.square() + 2 * r * a * b).sqrt()
    return torch.cat((old[..., :first], faded, new[..., first - start + n :]), dim=-1)


def read_sound_file(
    path: Path, start: Fraction, seconds: Fraction | None, limits: Limits
) -> tuple[Tensor, int]:
    """([channels, samples], Hz) of a sound file, from the sample nearest to `start`.

    Raises soundfile.LibsndfileError if soundfile can't read it, MediaError above the limit.
    """
    with soundfile.SoundFile(path) as file:
        rate = int(file.samplerate)
        file.seek(min(round(start * rate), file.frames))
        want = None if seconds is None else round(seconds * rate)
        blocks, got = [], 0
        # Block by block, so a header that claims too many samples costs nothing.
        while want is None or got < want:
            block = file.read(
                BLOCK if want is None else min(BLOCK, want - got), dtype="float32", always_2d=True
            )
            got += len(block)
            if not len(block):
                break
            if 4 * got * file.channels > limits.bytes:
                raise MediaError(
                    f"{path}: decodes to more than the limit of {limits.bytes} bytes; read a part"
                    " of it, or raise Limits.bytes"
                )
            blocks.append(block)
        whole = np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)
    return torch.from_numpy(np.ascontiguousarray(whole.T)), rate


def write_sound_file(path: Path, waveform: Tensor, rate: int) -> None:
    """Write `waveform` [channels, samples] as 32-bit float wav or 24-bit flac, by the suffix.

    wav is lossless; flac is clipped to -1..1.
    """
    flac = path.suffix.lower() == ".flac"
    values = (waveform.clamp(-1, 1) if flac else waveform).T.contiguous().numpy()
    soundfile.write(
        path, values, rate, format="FLAC" if flac else "WAV", subtype="PCM_24" if flac else "FLOAT"
    )
