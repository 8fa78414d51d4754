"""Soundstage measured on itself: what metrics say of its truth, what codecs can carry, what a clip
costs.

    python -m harmony_parts.benchmarks.soundstage --out docs/results/soundstage.json
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np
import torch
from PIL import Image

from harmony_parts.av import AV, Format
from harmony_parts.bench.cases import SETS
from harmony_parts.benchmarks.measure import QUICK, check_overwrite, write_report
from harmony_parts.codecs.conv_video import ConvVideo
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.latents.decode import decode_latents
from harmony_parts.latents.encode import encode_clips
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.correlation import Correlation
from harmony_parts.metrics.events import Events, match
from harmony_parts.metrics.soundstage_mouth import SoundstageMouth
from harmony_parts.scenes.ambient import Ambient
from harmony_parts.scenes.talk import Talk

FORMAT = Format(fps=24, height=64, width=64, sample_rate=16000, seconds=2.0)
SHIFTS = (0, 40, 80, 160, 320)  # ms
VIDEO = {f"dct, keep {keep}": DCTVideo(keep=keep) for keep in (16, 32, 64, 88)}
AUDIO = {
    "log-mel, 2 x 32 bands": LogMel(hops_per_latent=2, bands=32),
    "log-mel, 4 x 64 bands": LogMel(),
}

OF_TINY = "log-mel, 2 x 32 bands"  # the audio codec of harmony-tiny


def _cases(scene: Any, number: int, offset: float = 0.0) -> list[Example]:
    data = Soundstage(scenes=(scene,), held_out=True, offset=offset).build(format=FORMAT)
    return [data.example(index) for index in range(number)]


def measure(number: int, weights: Path | None = None) -> dict[str, Any]:
    """The report on `number` held-out cases of each set, with `conv-video` if it has weights."""
    learned = {} if weights is None else {"conv-video": ConvVideo(weights=str(weights))}
    return {
        "machine": f"{platform.processor() or platform.machine()}; torch {torch.__version__}",
        "cases": number,
        "sets": {name: measure_set(scene, number) for name, scene in SETS.items()},
        "codecs": measure_codecs(number, {**VIDEO, **learned}, AUDIO),
        "together": {
            f"{name} and {OF_TINY}": measure_together(number, spec, AUDIO[OF_TINY])
            for name, spec in learned.items()
        },
    }


def measure_set(scene: Any, number: int) -> dict[str, Any]:
    """Cost of a clip, detectors against the truth, and metrics of shifted, re-paired and spoilt
    clips.
    """
    begun = time.perf_counter()
    cases = _cases(scene, number)
    seconds = (time.perf_counter() - begun) / number
    clips = [case.clip for case in cases]
    numbers = compare(Events(), clips, [case.events or () for case in cases])
    found: dict[str, Any] = {
        "ms_a_clip": round(1000 * seconds, 1),
        "bytes": sum(
            each.nbytes for each in (clips[0].frames, clips[0].waveform) if each is not None
        ),
        "truth_f1": {
            stream: _rounded(numbers, f"{stream}_truth_f1", "paired")
            for stream in ("video", "audio")
        },
        "matched_repaired": _rounded(numbers, "video_matched", "repaired"),
        "correlation_repaired": _rounded(
            compare(Correlation(), clips), "correlation_at_0", "repaired"
        ),
        "shifts": {},
        "spoilt": {},
    }
    true = _correlations(clips)
    for shift in SHIFTS:
        late = [case.clip for case in _cases(scene, number, shift / 1000)]
        found["shifts"][str(shift)] = _scores(late)
        if shift:
            found["shifts"][str(shift)]["true_pair_above"] = _share_above(true, _correlations(late))
    for name, change in SPOILT.items():
        found["spoilt"][name] = _scores([change(clip) for clip in clips])
    return found


def _share_above(ones: Sequence[float | None], others: Sequence[float | None]) -> float | None:
    """Share of the clips, of those for which both are defined, with a greater number in `ones`."""
    above = [
        one > other
        for one, other in zip(ones, others, strict=True)
        if one is not None and other is not None
    ]
    return round(sum(above) / len(above), 3) if above else None


def _correlations(clips: Sequence[Clip]) -> list[float | None]:
    """The correlation at lag 0 of each clip, `None` where it is undefined."""
    metric = Correlation()
    analyses: list[Any] = [metric.analyse(clip) for clip in clips]
    return [metric.score(each.video, each.audio).get("correlation_at_0") for each in analyses]


def _scores(clips: Sequence[Clip]) -> dict[str, float | None]:
    events, motion = compare(Events(), clips), compare(Correlation(), clips)
    return {
        "video_matched": _rounded(events, "video_matched", "paired"),
        "audio_matched": _rounded(events, "audio_matched", "paired"),
        "offset_ms": _rounded(events, "offset_ms", "paired"),
        "correlation_at_0": _rounded(motion, "correlation_at_0", "paired"),
    }


def _rounded(numbers: Any, name: str, field: str) -> float | None:
    value = getattr(numbers[name], field) if name in numbers else None
    return None if value is None else round(value, 3)


def _blurred(clip: Clip) -> Clip:
    assert clip.frames is not None
    frames = clip.frames.permute(0, 3, 1, 2).float()
    blurred = torch.nn.functional.avg_pool2d(frames, 9, 1, 4, count_include_pad=False)
    return attrs.evolve(clip, frames=blurred.permute(0, 2, 3, 1).round().to(torch.uint8))


def _mute(clip: Clip) -> Clip:
    assert clip.waveform is not None
    return attrs.evolve(clip, waveform=torch.zeros_like(clip.waveform))


def _still(clip: Clip) -> Clip:
    assert clip.frames is not None
    return attrs.evolve(clip, frames=clip.frames[:1].expand_as(clip.frames).clone())


SPOILT: dict[str, Callable[[Clip], Clip]] = {"blurred": _blurred, "mute": _mute, "still": _still}


def measure_codecs(
    number: int, videos: Mapping[str, Any], sounds: Mapping[str, Any]
) -> dict[str, Any]:
    """Truth through each codec: PSNR, events of the decoded stream against the truth, mouths."""
    ambient, talk = _cases(Ambient(silent=0.0), number), _cases(Talk(pairs=0.0), number)
    video, audio = {}, {}
    for name, spec in videos.items():
        codec, begun = spec.build(format=FORMAT), time.perf_counter()
        decoded = [_through_video(codec, case) for case in (*ambient, *talk)]
        seconds = (time.perf_counter() - begun) / len(decoded)
        found = [Events().flashes(each.numpy(), 24.0) for each in decoded[:number]]
        before = [_dark_mouth(case.clip.frames) for case in talk]
        after = [_dark_mouth(each) for each in decoded[number:]]
        truth = [case.truth.mouth[0].numpy() for case in talk]  # type: ignore[union-attr, index]
        video[name] = {
            "numbers_a_clip": codec.encode(ambient[0].clip.frames[None]).numel(),  # type: ignore[index]
            "psnr": {
                "ambient": _psnr(ambient, decoded[:number]),
                "speech": _psnr(talk, decoded[number:]),
            },
            **_against(found, ambient),
            "mouth": round(_mean_r(after, truth) / _mean_r(before, truth), 3),
            "seconds_a_clip": round(seconds, 3),
        }
    for name, sound in sounds.items():
        coder, begun = sound.build(format=FORMAT), time.perf_counter()
        heard = [coder.decode(coder.encode(case.clip.waveform[None]))[0] for case in ambient]  # type: ignore[index]
        seconds = (time.perf_counter() - begun) / number
        found = [Events().onsets(each.mean(0).numpy(), 16000) for each in heard]
        size = coder.encode(ambient[0].clip.waveform[None]).numel()  # type: ignore[index]
        spoken = [coder.decode(coder.encode(case.clip.waveform[None]))[0] for case in talk]  # type: ignore[index]
        audio[name] = {
            "numbers_a_clip": size,
            **_against(found, ambient),
            "spectral_distance_db": {
                "ambient": _spectral_distance(ambient, heard),
                "speech": _spectral_distance(talk, spoken),
            },
            "level_db": {"ambient": _level(ambient, heard), "speech": _level(talk, spoken)},
            "seconds_a_clip": round(seconds, 3),
        }
    return {"video": video, "audio": audio}


def measure_together(number: int, video: Any, audio: Any) -> dict[str, Any]:
    """How well picture and sound agree when both are coded, beside the truth."""
    codecs = AV(video.build(format=FORMAT), audio.build(format=FORMAT))
    found: dict[str, Any] = {}
    for metric, name, scene in (
        (Events(), "f1", Ambient(silent=0.0)),
        (SoundstageMouth(), "mouth_correlation", Talk(pairs=0.0)),
    ):
        clips = [case.clip for case in _cases(scene, number)]
        coded = decode_latents(
            encode_clips(clips, codecs, torch.device("cpu")), codecs, FORMAT, FORMAT.frames
        )
        found[name] = {}
        for which, some in (("truth", clips), ("coded", coded)):
            streams = [metric.analyse(clip) for clip in some]
            scores = [metric.score(each["video"], each["audio"])[name] for each in streams]
            found[name][which] = round(float(np.mean(scores)), 3)
    return found


def _through_video(codec: Any, case: Example) -> torch.Tensor:
    assert case.clip.frames is not None
    decoded: torch.Tensor = codec.decode(codec.encode(case.clip.frames[None]))[0]
    return decoded[: len(case.clip.frames)]


def sheet(weights: Path | None) -> Image.Image:
    """Every eighth frame of six held-out cases, twice as large: rows of the truth, of `conv-video`
    if it has weights, and of `dct` with 16 numbers.
    """
    learned = () if weights is None else (ConvVideo(weights=str(weights)),)
    codecs = [spec.build(format=FORMAT) for spec in (*learned, VIDEO["dct, keep 16"])]
    names = {"speech": 2, "ambient": 2, "complex": 1, "hard": 1}
    rows = []
    for case in (case for name, number in names.items() for case in _cases(SETS[name], number)):
        shown = [case.clip.frames, *(_through_video(codec, case) for codec in codecs)]
        rows += [np.concatenate(list(frames[6::8].numpy()), axis=1) for frames in shown]  # type: ignore[index]
    return Image.fromarray(np.concatenate(rows).repeat(2, axis=0).repeat(2, axis=1))


def _psnr(cases: Sequence[Example], decoded: Sequence[torch.Tensor]) -> dict[str, float]:
    """Mean and least PSNR over clips, dB."""
    errors = [
        float((case.clip.frames.float() - each.float()).square().mean())  # type: ignore[union-attr]
        for case, each in zip(cases, decoded, strict=True)
    ]
    ratios = 10 * np.log10(255**2 / np.array(errors))
    return {"mean": round(float(ratios.mean()), 1), "least": round(float(ratios.min()), 1)}


def _spectral_distance(cases: Sequence[Example], decoded: Sequence[torch.Tensor]) -> float:
    """Mean over clips of the log-spectral distance: frames of 32 ms, levels from -60 dB on."""
    distances = []
    for case, each in zip(cases, decoded, strict=True):
        sound = case.clip.waveform
        assert sound is not None
        before, after = (
            20 * (_spectrum(x[0]) + 1e-3).log10() for x in (sound, each[:, : sound.shape[1]])
        )
        distances.append(float((before - after).square().mean(0).sqrt().mean()))
    return round(float(np.mean(distances)), 2)


def _spectrum(sound: torch.Tensor) -> torch.Tensor:
    return torch.stft(sound, 512, 128, window=torch.hann_window(512), return_complex=True).abs()


def _level(cases: Sequence[Example], decoded: Sequence[torch.Tensor]) -> float:
    """Mean change of the level, in dB, of the clips that sound."""
    changes = [
        10 * np.log10(float(each.square().mean()) / float(case.clip.waveform.square().mean()))
        for case, each in zip(cases, decoded, strict=True)
        if case.clip.waveform is not None and float(case.clip.waveform.square().mean()) > 1e-9
    ]
    return round(float(np.mean(changes)), 2)


def _against(found: Sequence[np.ndarray], cases: Sequence[Example]) -> dict[str, float]:
    """F1 of found events against the truth, and the median and 90 % quantile of the offsets."""
    pairs, events, offsets = 0, 0, []
    for times, case in zip(found, cases, strict=True):
        truth = np.array([event.time for event in case.events or ()])
        matched = match(times, truth, 0.1)
        pairs, events = pairs + len(matched), events + len(times) + len(truth)
        offsets += [1000 * abs(times[i] - truth[j]) for i, j in matched]
    return {
        "truth_f1": round(2 * pairs / events, 3),
        "offset_ms": round(float(np.median(offsets)), 1),
        "offset_ms_of_90_percent": round(float(np.quantile(offsets, 0.9)), 1),
    }


def _dark_mouth(frames: Any) -> np.ndarray:
    """[T] share of dark pixels about the mouth, which grows as it opens."""
    light = frames.numpy().astype(float)[:, 34:48, 22:42] @ [0.2126, 0.7152, 0.0722]
    share: np.ndarray = (light < 0.45 * np.median(light)).mean((1, 2))
    return share


def _mean_r(signals: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Mean correlation with the truth, 0 where a signal is constant."""
    found = [
        float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0
        for a, b in zip(signals, truth, strict=True)
    ]
    return float(np.mean(found))


def table(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows = [
        "| set | ms a clip | truth F1 (seen, heard) | re-paired | 0 | 40 | 80 | 160 | 320 ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in report["sets"].items():
        f1 = found["truth_f1"]
        shifts = " | ".join(
            f"{each['video_matched']} / {each['offset_ms']} / {each['correlation_at_0']}"
            for each in found["shifts"].values()
        )
        rows.append(
            f"| {name} | {found['ms_a_clip']} | {f1['video']}, {f1['audio']} |"
            f" {found['matched_repaired']} | {shifts} |"
        )
    rows += ["", "| codec | numbers a clip | PSNR | F1 | offset ms (90 %) | mouth | s a clip |"]
    rows += ["|---|---|---|---|---|---|---|"]
    for name, found in (*report["codecs"]["video"].items(), *report["codecs"]["audio"].items()):
        psnr = found.get("psnr")
        ratio = f"{psnr['ambient']['mean']}, {psnr['speech']['mean']}" if psnr else ""
        rows.append(
            f"| {name} | {found['numbers_a_clip']:,} | {ratio} | {found['truth_f1']} |"
            f" {found['offset_ms']} ({found['offset_ms_of_90_percent']}) |"
            f" {found.get('mouth', '')} | {found['seconds_a_clip']} |"
        )
    rows += ["", "| codecs together | F1: truth, coded | mouth: truth, coded |", "|---|---|---|"]
    for name, found in report["together"].items():
        cells = [f"{each['truth']}, {each['coded']}" for each in found.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


@click.command()
@click.option(
    "--cases", default=50, show_default=True, help="Held-out cases of each set, at most 50."
)
@click.option(
    "--codec",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure conv-video too, with these weights.",
)
@click.option("--quick", is_flag=True, help=f"Three cases. {QUICK}")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this JSON file.",
)
@click.option(
    "--sheet",
    "picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Only draw frames before and after conv-video (with --codec) and dct with 16 numbers.",
)
def main(
    cases: int, codec: Path | None, quick: bool, out: Path | None, picture: Path | None
) -> None:
    """Measure Soundstage, and metrics and codecs on its truth."""
    check_overwrite(out, quick)
    if picture is not None:
        sheet(codec).quantize(128).save(picture, optimize=True)
        return
    report = measure(3 if quick else cases, codec)
    click.echo(table(report))
    if quick:
        click.echo(f"\nA quick run. {QUICK}")
    if out is not None:
        write_report(report, out, quick)


if __name__ == "__main__":
    main()
