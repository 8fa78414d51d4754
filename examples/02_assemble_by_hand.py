"""A Harmony without a recipe: parts built one by one, a plain training loop, and sampling."""

from __future__ import annotations

from pathlib import Path

import torch

import harmony_parts as hp
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.latents.conditions import conditions_of
from harmony_parts.latents.decode import decode_latents
from harmony_parts.latents.encode import encode_clips
from harmony_parts.sample.sampler import sample
from harmony_parts.train.objective import losses, packed

OUT = Path("out/examples/02")
CLIPS, STEPS = 12, 15
OUT.mkdir(parents=True, exist_ok=True)
# fresh weights come from torch's global generator; everything else below uses `generator`
torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)

# Specs are settings; `build` makes the part and passes it its neighbours, so no width is written
# twice.
format = hp.Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0)
codecs: hp.AV[VideoCodec | AudioCodec] = hp.AV(
    video=hp.DCTVideo(frames_per_latent=1, keep=40).build(format=format),
    audio=hp.LogMel(latents_per_second=30.0, hops_per_latent=2, bands=16, overlap=3).build(
        format=format
    ),
)
encoders = {
    "caption": hp.ByteText(field="caption", width=32).build(format=format, codecs=codecs),
    "sound": hp.ByteText(field="sound", width=32).build(format=format, codecs=codecs),
}
denoiser = hp.DualBranch(
    layers=2,
    video=hp.VideoTransformer(width=64, heads=4, feed=128, patch=1),
    audio=hp.MMDiT(width=64, heads=4, feed=128),
    interaction=hp.GLDI(audio_window=0.17, video_window=0.17),
).build(codecs=codecs, encoders=encoders)

# Clips to latents: video [B, T_v, H, W, C], audio [B, T_a, C].
world = hp.Soundstage(size=CLIPS).build(format=format)
examples = [world.example(number) for number in range(CLIPS)]
prompts = [example.prompt for example in examples]
latents = encode_clips([example.clip for example in examples], codecs, torch.device("cpu"))
print("latents:", {stream: list(latents[stream].shape) for stream in latents})

# A step of cross-task training: the task plans one batch of all three tasks, for one pass of the
# denoiser.
task = hp.WeightedSum()
flow = hp.Flow(path=hp.StraightPath(), density=hp.LogitNormal(), shift=hp.ConstantShift(3.0))
parameters = [weight for module in (denoiser, *encoders.values()) for weight in module.parameters()]
optimizer = torch.optim.AdamW(parameters, lr=2e-3)
for step in range(STEPS):
    plan = task.plan(CLIPS, flow.draw, generator, latents.map(lambda x: x.shape[1]))
    entries = len(plan.source)
    noise = latents.map(lambda x, m=entries: torch.randn(m, *x.shape[1:], generator=generator))
    # name -> tokens [B, L, D], mask [B, L], and the null form
    given = packed(conditions_of(encoders.values(), prompts), plan)
    loss = losses(denoiser, latents, noise, given, plan, flow.path).total
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch's has no types
    optimizer.step()
    if step in (0, STEPS - 1):
        print(f"step {step + 1}: loss {loss.item():.3f}")

# From noise to latents to a clip. Without `given` latents, both streams are generated.
sampled = sample(
    denoiser,
    latents.map(lambda x: torch.randn(x[:1].shape, generator=generator)),
    conditions_of(encoders.values(), prompts[:1]),
    codecs=codecs,
    guidance=hp.SyncCFG(video=3, audio=2),
    solver=hp.Euler(),
    shift=flow.shift,
    path=flow.path,
    steps=8,
)
(clip,) = decode_latents(sampled, codecs, format)
print(f"{clip.save(OUT / 'by_hand.mp4')}: {prompts[0].caption}")
