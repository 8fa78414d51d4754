"""A folder of real clips, with the texts of its manifest."""

from __future__ import annotations

from fractions import Fraction

import torch
from helpers.counting_clips import draw

from harmony_parts.av import Format
from harmony_parts.data.clips import ClipFolder


def test_the_real_clips(clips) -> None:
    form = Format(fps=Fraction(12), height=32, width=48, sample_rate=16000, seconds=3.5)
    data = ClipFolder().build(format=form, root=clips)
    entries = {entry.name: index for index, entry in enumerate(data.entries)}
    assert len(data) == len(set(entries))
    for name, speech in (("grid_bbaf2n.mpg", "bin blue at F two now"), ("mova_cat.mp4", None)):
        example = draw(data, entries[name], 0)
        assert example.prompt.speech == speech
        assert example.prompt.caption
        assert example.clip.frames.shape == (42, 32, 48, 3)
        assert example.clip.waveform.shape == (1, 56000)
        assert example.clip.waveform.abs().max() > 0.01
        assert example.clip.frames[0].float().std() > 5
        assert 16000 <= example.prompt.voice.shape[1] <= 48000
    talk = draw(data, entries["grid_bbaf2n.mpg"], 0).clip  # 2.98 s
    assert torch.equal(talk.frames[-1], talk.frames[-6])
    assert not talk.waveform[0, -7000:].any()
