"""Train the network that hears Soundstage's words and voices, and validate it on held-out clips.

    python -m harmony_parts.benchmarks.soundstage_speech --out soundstage_speech.safetensors

Half of the training sounds go through the log-mel codec with noise on the latents, as generated
ones do. Only the sound is rendered, so it takes minutes on one core.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import edit_distance

from harmony_parts.av import Format
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.data.rendering import take_sound
from harmony_parts.metrics.soundstage_speech import (
    HOP,
    NAMES,
    RATE,
    STRIDE,
    WEIGHTS,
    WORDS,
    SpeechNet,
    decode_voice,
    decode_words,
    spectrogram,
)
from harmony_parts.metrics.words import words_of
from harmony_parts.scenes.complex import Complex
from harmony_parts.scenes.protocol import Spoken, StageScene
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.scenes.talk import Talk

FORMAT = Format(fps=24, height=64, width=64, sample_rate=RATE, seconds=2.0)
CODEC = LogMel(hops_per_latent=2, bands=32)  # harmony-tiny's
QUICK = 2  # steps of phase reconstruction in training; those of the codec take ten times as long
SCENES: dict[str, StageScene] = {"speech": Talk(), "complex": Complex()}
TRAIN, HELD_OUT, MORE = 2, 1, 3  # of Soundstage's random streams: no clip is in two of them
NOISE = 0.5  # greatest standard deviation on the latents, whose own is about 1
BATCH, RATE_MAX, GAIN = 32, 2e-3, 0.35  # gain: standard deviation of the level, in nepers


@attrs.frozen(eq=False)
class Sounds:
    """`sound` [N, samples], `words` and, for each frame of the network, `voice` [N, T] (0: nobody);
    `alone` says of each whether one person speaks.
    """

    sound: Tensor
    words: list[tuple[str, ...]]
    voice: Tensor
    alone: Tensor


def render(scenes: Sequence[StageScene], number: int, seed: int, stream: int) -> Sounds:
    """`number` sounds of the scenes by turns; `stream` keeps training and validation apart."""
    frames = -(-(FORMAT.samples(FORMAT.frames) // HOP + 1) // STRIDE)
    times = np.arange(frames) * STRIDE * HOP / RATE
    sounds, words, voice, alone = [], [], np.zeros((number, frames), int), []
    for index in range(number):
        plan, noise = (np.random.default_rng((seed, index, k, stream)) for k in range(2))
        take = scenes[index % len(scenes)].draw(plan, FORMAT.seconds, Rhythm())
        sounds.append(take_sound(take, FORMAT.samples(FORMAT.frames), FORMAT, 0.0, noise).mean(0))
        assert isinstance(take, Spoken)  # every scene here talks
        words.append(words_of(take.transcript) or ())
        for each in take.phonemes:
            who = 1 + NAMES.index(take.speakers[each.speaker])
            voice[index, (times >= each.start) & (times < each.end)] = who
        alone.append(len(take.speakers) == 1)
    return Sounds(torch.stack(sounds), words, torch.from_numpy(voice), torch.tensor(alone))


def through_codec(
    sound: Tensor, generator: torch.Generator, noise: float = 0.0, iterations: int = QUICK
) -> Tensor:
    """[N, samples] encoded and decoded, with noise of 0 to `noise` on the latents of each."""
    codec = attrs.evolve(CODEC, iterations=iterations).build(format=FORMAT)
    decoded = []
    for part in sound.split(BATCH):
        latents = codec.encode(part[:, None])
        size = noise * torch.rand(len(part), 1, 1, generator=generator)
        latents = latents + size * torch.randn(latents.shape, generator=generator)
        decoded.append(codec.decode(latents)[:, 0, : sound.shape[1]])
    return torch.cat(decoded)


def train(sounds: Sounds, steps: int, seed: int) -> SpeechNet:
    """The network after `steps` batches of the sounds, half of them through the codec."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        net = SpeechNet()
    variants = torch.stack(
        [
            spectrogram(each * (GAIN * torch.randn(len(each), 1, generator=generator)).exp())
            for each in (sounds.sound, through_codec(sounds.sound, generator, NOISE))
        ]
    )
    targets = [torch.tensor([1 + WORDS.index(word) for word in words]) for words in sounds.words]
    optimizer = torch.optim.AdamW(net.parameters(), RATE_MAX, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE_MAX, steps)
    for step in range(steps):
        chosen = torch.randint(len(targets), (BATCH,), generator=generator)
        variant = torch.randint(2, (BATCH,), generator=generator)
        features = variants[variant, chosen]
        words, voices = net(features + 0.1 * torch.randn(features.shape, generator=generator))
        lengths = torch.tensor([len(targets[k]) for k in chosen])
        loss = F.ctc_loss(
            words.log_softmax(-1).transpose(0, 1),
            torch.cat([targets[k] for k in chosen]),
            torch.full((BATCH,), words.shape[1]),
            lengths,
        ) + F.cross_entropy(voices.mT, sounds.voice[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            click.echo(f"step {step + 1} of {steps}: loss {float(loss.detach()):.3f}", err=True)
    return net.eval()


@torch.no_grad()
def validate(net: SpeechNet, sounds: Sounds, sound: Tensor) -> dict[str, float]:
    """Word error, that against the words of another clip, and the share of voices named right."""
    words, voices = net(spectrogram(sound))
    heard = [decode_words(each) for each in words]
    total = sum(map(len, sounds.words))
    shifted = [*sounds.words[1:], sounds.words[0]]
    error, chance = (
        sum(map(edit_distance, texts, heard)) / total for texts in (sounds.words, shifted)
    )
    right = [
        decode_voice(logits) == NAMES[int(voice[voice > 0][0]) - 1]
        for logits, voice, alone in zip(voices, sounds.voice, sounds.alone, strict=True)
        if alone and bool(voice.any())
    ]
    return {
        "clips": len(heard),
        "words": total,
        "word_error": error,
        "chance": chance,
        "alone": len(right),
        "voice": sum(right) / len(right),
    }


def save(net: SpeechNet, out: Path) -> None:
    """Write the weights in half precision."""
    save_file({name: tensor.half() for name, tensor in net.state_dict().items()}, out)


@click.command()
@click.option("--clips", default=2000, show_default=True, help="Sounds to train on.")
@click.option("--steps", default=1500, show_default=True, help="Batches.")
@click.option("--seed", default=0, show_default=True, help="Seed of sounds and weights.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=WEIGHTS,
    help="File of the weights.  [default: that of the package]",
)
def main(clips: int, steps: int, seed: int, out: Path) -> None:
    """Train and validate on the held-out cases, on 300 further clips, and through the codec."""
    began = time.process_time()
    sounds = render(list(SCENES.values()), clips, seed, TRAIN)
    click.echo(f"rendered in {time.process_time() - began:.0f} CPU seconds", err=True)
    net = train(sounds, steps, seed)
    save(net, out)
    click.echo(f"{out}: {out.stat().st_size} bytes, {time.process_time() - began:.0f} CPU seconds")
    net.load_state_dict({name: each.half().float() for name, each in net.state_dict().items()})
    generator = torch.Generator().manual_seed(seed)
    for name, scene in SCENES.items():
        for what, number, stream in (("held out", 50, HELD_OUT), ("further", 200, MORE)):
            found = render([scene], number, 0, stream)
            iterations = CODEC.iterations if stream == HELD_OUT else QUICK
            decoded = through_codec(found.sound, generator, iterations=iterations)
            for how, sound in (("true", found.sound), ("log-mel", decoded)):
                numbers = validate(net, found, sound)
                figures = ", ".join(f"{key} {value:.3g}" for key, value in numbers.items())
                click.echo(f"{name}, {what}, {how}: {figures}")


if __name__ == "__main__":
    main()
