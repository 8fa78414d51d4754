"""Whose voice a model speaks in: that of the reference audio, or the one that the text is of.

    python -m harmony_parts.benchmarks.voices runs/tiny/1-tiny-audio runs/tiny/2-tiny-voice \\
        --out docs/results/voices.json

Held-out transcripts of Soundstage, each with the reference audio of another held-out speaker, drawn
independently of the text. A classifier (`soundstage-voice`) names one of six voices in what is
generated. The clip's sound caption names the voice of its own speaker, so it contradicts the
reference in most cases ("named"); without a caption nothing but the reference tells the voice
("unnamed").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np
import torch

from harmony_parts.av import Format
from harmony_parts.benchmarks.measure import machine, write_report
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import HELD_OUT, Soundstage
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Reference
from harmony_parts.metrics.soundstage_speech import listen
from harmony_parts.metrics.soundstage_voice import SoundstageVoice
from harmony_parts.metrics.soundstage_words import SoundstageWords
from harmony_parts.scenes.talk import Talk

DRAWS = 2000  # of the bootstrap over cases
SMALL = 16  # pixels: only the sound is used
CAPTIONS = ("unnamed", "named")


@attrs.frozen(eq=False)
class VoiceCase:
    """A transcript with the voice that spoke it, and another speaker's reference audio."""

    content: Example
    speaker: Example

    @property
    def differs(self) -> bool:
        """Whether the two are of different voices, of the six."""
        return voice_of(self.content) != voice_of(self.speaker)


def voice_of(example: Example) -> str:
    """The kind of voice of an example's only speaker."""
    assert example.truth is not None
    return example.truth.speakers[0]


def voice_cases(form: Format, seed: int) -> list[VoiceCase]:
    """The held-out conversations of one person, and a speaker for each, drawn with replacement."""
    spec = Soundstage(scenes=(Talk(pairs=0.0),), held_out=True)
    data = spec.build(format=attrs.evolve(form, height=SMALL, width=SMALL))
    examples = [data.example(number) for number in range(HELD_OUT)]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(HELD_OUT, (HELD_OUT,), generator=generator).tolist()
    return [VoiceCase(example, examples[k]) for example, k in zip(examples, drawn, strict=True)]


def say(pipeline: Pipeline, case: VoiceCase, caption: str, seed: int) -> Clip:
    """What a model says in a case."""
    rate = pipeline.format.sample_rate
    prompt = case.content.prompt
    made = pipeline.generate(
        sound=prompt.sound if caption == "named" else None,
        speech=prompt.speech,
        voice=Clip(waveform=case.speaker.prompt.voice, sample_rate=rate),
        seed=seed,
    )
    return made.clip


def measured(clip: Clip, case: VoiceCase) -> dict[str, float]:
    """1 or 0 for each voice that the clip may have, and the share of wrong words."""
    metric, words, heard = SoundstageVoice().build(), SoundstageWords().build(), listen(clip)
    rate = case.content.clip.sample_rate
    voice = Clip(waveform=case.speaker.prompt.voice, sample_rate=rate)
    reference = Reference(transcript=case.content.prompt.speech, voice=voice)
    own = Reference(voice=Clip(waveform=case.content.clip.waveform, sample_rate=rate))
    return {
        "reference": metric.score(None, heard, reference=reference)["right_voice"],
        "content": metric.score(None, heard, reference=own)["right_voice"],
        "word_error": words.score(None, heard, reference=reference)["word_error"],
    }


def interval(numbers: Sequence[float], seed: int = 0) -> dict[str, Any]:
    """Mean and 95 % of a bootstrap over cases, by percentiles."""
    values = np.array(numbers, float)
    drawn = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return {"n": len(values), "mean": round(float(values.mean()), 4)} | {
        "interval": [round(float(low), 4), round(float(high), 4)]
    }


def summary(rows: Sequence[Mapping[str, float]], cases: Sequence[VoiceCase]) -> dict[str, Any]:
    """Of all cases, and of those in which content and reference are of different voices."""
    apart = [row for row, case in zip(rows, cases, strict=True) if case.differs]
    names = sorted(set.intersection(*(set(row) for row in rows)))
    return {
        "all": {name: interval([row[name] for row in rows]) for name in names},
        "different voices": {name: interval([row[name] for row in apart]) for name in names},
    }


@click.command()
@click.argument("models", nargs=-1, required=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(models: tuple[str, ...], seed: int, out: Path) -> None:
    """Measure MODELS on the same cases with the same noise; differences are to the first one."""
    report: dict[str, Any] = {
        "models": [Path(model).name for model in models],
        "seed": seed,
        "machine": machine(torch.device("cpu")),
    }
    found: dict[str, list[list[dict[str, float]]]] = {caption: [] for caption in CAPTIONS}
    for model in models:
        pipeline = load(model)
        cases = voice_cases(pipeline.format, seed)
        for caption in CAPTIONS:
            rows = []
            for number, case in enumerate(cases):
                rows.append(measured(say(pipeline, case, caption, 1000 + number), case))
            found[caption].append(rows)
            report.setdefault(caption, {})[Path(model).name] = summary(rows, cases)
            click.echo(f"{model}, caption {caption}: {report[caption][Path(model).name]}")
    for caption, each in found.items():
        for model, rows in zip(models[1:], each[1:], strict=True):
            for name in ("reference", "content"):
                change = [row[name] - was[name] for row, was in zip(rows, each[0], strict=True)]
                report[caption][f"{Path(model).name} minus the first: {name}"] = interval(change)
    rate = cases[0].content.clip.sample_rate
    heard = [listen(Clip(waveform=c.speaker.prompt.voice, sample_rate=rate)).voice for c in cases]
    report["classifier right on references"] = interval(
        [float(name == voice_of(case.speaker)) for name, case in zip(heard, cases, strict=True)]
    )
    report["cases"] = [
        {
            "transcript": case.content.prompt.speech,
            "content": voice_of(case.content),
            "reference": voice_of(case.speaker),
            **{
                f"{Path(model).name}, {caption}": {
                    k: each[m][number][k] for k in ("reference", "content")
                }
                for caption, each in found.items()
                for m, model in enumerate(models)
            },
        }
        for number, case in enumerate(cases)
    ]
    write_report(report, out, quick=False)


if __name__ == "__main__":
    main()
