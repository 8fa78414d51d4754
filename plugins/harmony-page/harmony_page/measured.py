"""The measured sync of a clip, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import harmony_parts as hp
from harmony_parts.av import AV
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import MetricSpec, streams_read

KNOWN = {
    "video_matched": "of the flashes have a sound",
    "audio_matched": "of the sounds have a flash",
}
WORDS = {
    "offset_ms": "their median distance",
    "correlation": "correlation of motion and sound",
    "lag_ms": "its lag",
    "correlation_at_0": "without a lag",
}
"""What other numbers are called; numbers of plugins bear their own names."""
LEFT_OUT = {"video_events", "audio_events", "matched", "f1", "offset_bias_ms"}
"""Numbers that the words hold already, or that reward sharpness (F1)."""


def measure(clip: Clip, specs: Sequence[MetricSpec]) -> str:
    """What the metrics (`events` if there are none) say of a clip, in a line each."""
    return "  \n".join(_line(clip, spec) for spec in specs or (hp.Events(),))


def _line(clip: Clip, spec: MetricSpec) -> str:
    metric = spec.build()
    found: AV[object] = metric.analyse(clip)
    for stream in streams_read(metric):
        if getattr(found, stream) is None:
            return f"no {'picture' if stream == 'video' else 'sound'} to measure the sync of"
    return in_words(metric.score(found.video, found.audio))


def in_words(scores: Mapping[str, float]) -> str:
    """Scores as a line of Markdown. Matched events first: a claim about sync rests on them."""
    words = []
    if "matched" in scores:
        counts = (f"{scores[f'{s}_events']:.0f}" for s in ("video", "audio"))
        words.append("{} flashes, {} sounds".format(*counts))
    words += [f"**{scores[key]:.0%}** {text}" for key, text in KNOWN.items() if key in scores]
    words += [
        f"{WORDS.get(key, key.replace('_', ' ').removesuffix(' ms'))} {_number(key, value)}"
        for key, value in scores.items()
        if key not in KNOWN and key not in LEFT_OUT
    ]
    return "sync: " + (", ".join(words) or "undefined")


def _number(key: str, value: float) -> str:
    return f"{value:.0f} ms" if key.endswith("_ms") else f"{value:.2f}"
