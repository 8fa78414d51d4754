"""Train a small Harmony briefly, then generate a clip, video for a sound, and sound for a video.

After so few steps the shapes are right and the loss has fallen, but no ball is visible yet.
`harmony demo --train` trains the same recipe in full.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import harmony_parts as hp
from harmony_parts.train.loop import train

OUT = Path("out/examples/01")
STEPS = 30

# `train` never overwrites a run
shutil.rmtree(OUT, ignore_errors=True)

# The demo's recipe, with settings changed as on the command line (`--set key=value`).
recipe = hp.read_recipe("demo", [f"train.steps={STEPS}", "train.prepared=64", "train.log_every=5"])
model = train(recipe, out=OUT / "run", device="cpu")

pipeline = hp.load(model)
sync = hp.SyncCFG(video=3, audio=2)

# Without a given stream, both are generated together.
joint = pipeline.generate(
    "a red ball bounces on the ground", sound="a bright knock", guidance=sync, steps=6, seed=0
)
joint.save(OUT / "joint.mp4")

# With a given stream, the other one is generated for it. The example is from scenes (seed 1) that
# training never saw.
example = hp.Soundstage(seed=1).build(format=recipe.format).example(0)
sound = hp.Clip(waveform=example.clip.waveform, sample_rate=example.clip.sample_rate)
pipeline.generate(example.prompt.caption, audio=sound, guidance=sync, steps=6).save(
    OUT / "video_for_a_sound.mp4"
)
video = hp.Clip(frames=example.clip.frames, fps=example.clip.fps)
pipeline.generate(sound=example.prompt.sound, video=video, guidance=sync, steps=6).save(
    OUT / "sound_for_a_video.mp4"
)

for file in sorted(OUT.glob("*.mp4")):
    print(file, hp.Clip.read(file))
