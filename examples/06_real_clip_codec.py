"""Encode and decode a clip with the weight-free codecs, and measure the loss.

`python examples/06_real_clip_codec.py FILE`; without FILE, a clip of Soundstage.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import harmony_parts as hp

OUT = Path("out/examples/06")
OUT.mkdir(parents=True, exist_ok=True)

format = hp.Format(fps=25, height=64, width=112, sample_rate=16000, seconds=3)
if len(sys.argv) > 1:
    clip = hp.Clip.read(
        sys.argv[1],
        fps=format.fps,
        height=format.height,
        width=format.width,
        sample_rate=format.sample_rate,
        channels=format.channels,
        seconds=format.seconds,
        streams={"video", "audio"},
    )
else:
    clip = hp.Soundstage().build(format=format).example(0).clip

assert clip.frames is not None  # a Clip may lack a stream
assert clip.waveform is not None

video = hp.DCTVideo().build(format=format)
latents = video.encode(clip.frames[None])  # [1, T_v, h, w, C]
frames = video.decode(latents)[0, : len(clip.frames)]
psnr = 10 * torch.log10(255**2 / (frames.double() - clip.frames).square().mean())
fewer = clip.frames.numel() / latents.numel()
print(
    f"video: {list(clip.frames.shape)} -> {list(latents.shape)}, {fewer:.1f} x fewer numbers, PSNR"
    f" {psnr:.1f} dB"
)

audio = hp.LogMel().build(format=format)
latents = audio.encode(clip.waveform[None])  # [1, T_a, C]
sound = audio.decode(latents)[0, :, : clip.waveform.shape[1]]
# Decoding estimates the phases, so samples can't be compared. The latents hold the level of each
# band, in units of 17 dB.
change = 17 * (audio.encode(sound[None]) - latents).abs().mean()
fewer = clip.waveform.numel() / latents.numel()
print(
    f"audio: {list(clip.waveform.shape)} -> {list(latents.shape)}, {fewer:.1f} x fewer numbers,"
    f" levels change by {change:.1f} dB on average"
)

print(
    clip.save(OUT / "before.mp4"),
    hp.Clip(frames, clip.fps, sound, clip.sample_rate).save(OUT / "after.mp4"),
)
