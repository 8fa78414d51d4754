"""Two metrics of sync, on clips with known events, and on the same clips re-paired.

Re-paired clips have the frames of one clip and the sound of another: their numbers are chance. Only
the difference from chance shows sync.
"""

from __future__ import annotations

import harmony_parts as hp
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.protocol import Metric

CLIPS = 18

format = hp.Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0)
world = hp.Soundstage(seed=7, size=CLIPS).build(format=format)
examples = [world.example(number) for number in range(CLIPS)]

first = examples[0]
found = hp.Events().analyse(first.clip)
print(f"{first.prompt.caption}; {first.prompt.sound}")
for what, times in (
    ("truth", [event.time for event in first.events or ()]),
    ("seen", found["video"]),
    ("heard", found["audio"]),
):
    print(f"  {what:6}", " ".join(f"{time:.3f}" for time in times))

metrics: tuple[tuple[Metric, tuple[str, ...]], ...] = (
    (hp.Events(), ("video_matched", "audio_matched", "offset_ms", "f1")),
    (hp.Correlation(), ("correlation",)),
)
for metric, names in metrics:
    numbers = compare(metric, [example.clip for example in examples])
    for name in names:
        number = numbers[name]
        print(f"{name:14} paired {number.paired:7.3f}   re-paired {number.repaired:7.3f}")
