"""A scene by its settings, the same one 80 ms late, and a held-out case of each set.

Writes a video of each to out/examples/07, and a sheet of all.
"""

from __future__ import annotations

from pathlib import Path

import harmony_parts as hp
from harmony_parts.report.contact_sheet import Row, contact_sheet
from harmony_parts.scenes.hammer import HammerTake
from harmony_parts.scenes.protocol import StageScene

format = hp.Format(fps=24, height=64, width=64, sample_rate=16000, seconds=2.0, channels=2)
red, blue = ("red", (0.85, 0.13, 0.12)), ("dark blue", (0.07, 0.10, 0.28))
hammer = HammerTake(size=0.4, anvil=0.8, paint=red, backdrop=blue, times=[0.4, 0.9, 1.6])
shown = {"in time": hp.render(hammer, format), "late": hp.render(hammer, format, offset=0.08)}

metric = hp.Events()
for name, example in shown.items():
    found = metric.analyse(example.clip)
    offset = metric.score(found["video"], found["audio"])["offset_bias_ms"]
    print(f"{name:8} {offset:5.1f} ms")

sets: dict[str, StageScene] = {
    "ambient": hp.AmbientScene(),
    "speech": hp.SpeechScene(),
    "complex": hp.ComplexScene(),
    "hard": hp.HardScene(level=2.0),
}
for name, scene in sets.items():
    cases = hp.Soundstage(scenes=(scene,), held_out=True).build(format=format)
    shown[name] = cases.example(1)
    print(f"{name:8} {shown[name].prompt.caption}")

folder, rows = Path("out/examples/07"), []
folder.mkdir(parents=True, exist_ok=True)
for name, example in shown.items():
    example.clip.save(folder / f"{name.replace(' ', '-')}.mp4")
    rows.append(Row(name, example.clip, metric.analyse(example.clip)))
contact_sheet(rows, folder / "sheet.png", "Soundstage")
