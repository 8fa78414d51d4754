"""Python, the command line and batch files refuse the same requests with the same sentence."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.command_line import RECIPE, jsonl

from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import RequestError
from harmony_parts.flow.heun import Heun
from harmony_parts.generate.fields import FILES, MAX_SEED, NEGATIVES, TEXTS
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import Request
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip

SEED = "seed must be a whole number from 0 to 2**63 - 1, not "
STEPS = "steps must be a whole number of at least 1, not "
SECONDS = "seconds must be a finite number above 0, not "
# FLASH, CLICK, LONG and MINUTE stand for files, which the test writes
RULES: list[tuple[dict[str, Any], str]] = [
    ({"seed": -1}, SEED + "-1"),
    ({"seed": MAX_SEED + 1}, SEED + "9223372036854775808"),
    ({"seed": 1.5}, SEED + "1.5"),
    ({"seed": "x"}, SEED + "'x'"),
    ({"steps": 0}, STEPS + "0"),
    ({"steps": 2.5}, STEPS + "2.5"),
    ({"steps": "many"}, STEPS + "'many'"),
    ({"seconds": 0}, SECONDS + "0"),
    ({"seconds": -1.5}, SECONDS + "-1.5"),
    ({"seconds": float("inf")}, SECONDS + "inf"),
    ({"seconds": float("nan")}, SECONDS + "nan"),
    ({"seconds": "long"}, SECONDS + "'long'"),
    ({"begin": "FLASH", "overlap": 0}, "overlap must be a finite number above 0, not 0"),
    (
        {"overlap": 0.5},
        "the overlap of 0.5 s leaves nothing of a window of 0.5 s; set a smaller one",
    ),
    (
        {"begin": "FLASH", "overlap": 0.5},
        "the overlap of 0.5 s leaves nothing of a window of 0.5 s; set a smaller one",
    ),
    ({"begin": "FLASH", "remake": -0.1}, "remake must be a finite number of at least 0, not -0.1"),
    ({"remake": 0.1}, "remake is set without begin or overlap, and so there is one window alone"),
    (
        {"begin": "FLASH", "remake": 0.4},
        "with an overlap of 0.167 s, making 0.4 s again leaves nothing of a window of 0.5 s; set a"
        " smaller `overlap` or `remake`",
    ),
    (
        {"overlap": 0.4},
        "with an overlap of 0.417 s, making 0.2 s again leaves nothing of a window of 0.5 s; set a"
        " smaller `overlap` or `remake`",
    ),
    ({"begin": "CLICK"}, "begin has no frames to go on from; generate it first, with `audio`"),
    (
        {"begin": "MINUTE", "video": "FLASH"},
        "the given begin, MINUTE, lasts 60 s, and this model was trained on 0.5 s: the limit is 100"
        " times that (50 s); give its end",
    ),
    (
        {"begin": "FLASH", "audio": "CLICK"},
        "begin lasts 0.50 s, and the given audio 0.50 s from the start of begin: nothing is left to"
        " generate",
    ),
    *(({name: "absent.bin"}, f"{name}: absent.bin: no such file") for name in FILES),
    ({"audio": "."}, "audio: .: is a folder, not a media file"),
    (
        {"audio": "CLICK", "video": "FLASH"},
        "audio and video are both given, which leaves nothing to generate; leave one out",
    ),
    (
        {"seconds": 51.0},
        "51 s are requested, and this model was trained on 0.5 s: the limit is 100 times that"
        " (50 s); set a smaller `seconds`",
    ),
    (
        {"audio": "MINUTE"},
        "the given audio, MINUTE, lasts 60 s, and this model was trained on 0.5 s: the limit is 100"
        " times that (50 s); set a smaller `seconds`",
    ),
    (
        {"video": "FLASH", "seconds": 2.0},
        "2 s are requested, and the given video lasts 0.50 s; leave `seconds` out to use all of it",
    ),
    (
        {"draft": "FLASH", "seconds": 2.0},
        "2 s are requested, and the draft lasts 0.50 s; leave `seconds` out to use all of it",
    ),
    *(
        (
            {"draft": "FLASH", "strength": x},
            f"strength must be a number above 0 and up to 1, not {x}",
        )
        for x in (0.0, 1.5, -0.1)
    ),
    (
        {"strength": 0.5},
        "strength is set without draft, the clip that would be changed",
    ),
    ({"audio": "CLICK", "draft": "CLICK"}, "the draft has no video, which is generated"),
]
"""What the command line and a table can express: the fields, and the sentence."""

ONLY_VALUES: list[tuple[dict[str, Any], str]] = [
    *(({name: 3}, f"{name} must be a single string, not 3") for name in (*TEXTS, *NEGATIVES)),
    ({"prompt": ["a", "b"]}, "prompt must be a single string, not ['a', 'b']"),
    ({"image": 3}, "image must be a file, a Clip or a picture (PIL, array, tensor), not 3"),
    *(({name: 3}, f"{name} must be a file or a Clip, not 3") for name in FILES if name != "image"),
    ({"extra": [1]}, "extra must be a mapping (in JSON, an object), not [1]"),
    ({"seed": True}, SEED + "True"),
    ({"steps": True}, STEPS + "True"),
    ({"seconds": True}, SECONDS + "True"),
    ({"seconds": 10**400}, f"{SECONDS}{10**79}"),
]
"""What only values of another type can express: Python's, and JSON's."""

ONLY_PYTHON: list[tuple[dict[str, Any], str]] = [
    (
        {"guidance": SyncCFG},
        f"guidance must be a part, such as SyncCFG(video=3, audio=2), not {SyncCFG}",
    ),
    ({"guidance": "cfg"}, "guidance must be a part, such as SyncCFG(video=3, audio=2), not 'cfg'"),
    ({"seed": None}, SEED + "None"),
    ({"solver": Heun}, f"solver must be a part, such as Heun(), not {Heun}"),
    (
        {"begin": "MUTE CLIP"},
        "begin has no sound to go on from; generate it first, with `video`",
    ),
    (
        {"begin": "NAN CLIP", "video": "MUTE CLIP"},
        "the given begin has samples that aren't finite numbers",
    ),
    (
        {"shift": 5.0},
        "shift must be a part, such as ConstantShift(5), or StreamShifts(video, audio), not 5.0",
    ),
    ({"video": "SOUND CLIP"}, "the clip that is given as video has no frames"),
    ({"image": "SOUND CLIP"}, "the clip that is given as image has no frames"),
    ({"audio": "MUTE CLIP"}, "the clip that is given as audio has no sound"),
    ({"voice": "MUTE CLIP"}, "the clip that is given as voice has no sound"),
    ({"audio": "NAN CLIP"}, "the given audio has samples that aren't finite numbers"),
    (
        {"audio": "LONG CLIP"},
        "the given audio lasts 60 s, and this model was trained on 0.5 s: the limit is 100 times"
        " that (50 s); set a smaller `seconds`",
    ),
]
"""What takes parts and clips in memory."""

FILE_RULES: list[tuple[dict[str, Any], str, tuple[str, ...], str]] = [
    (
        {"audio": "CLICK"},
        "x.wav",
        (),
        "audio is given, so the clip is a video: use a name that ends in .mp4 or .mkv, not .wav",
    ),
    (
        {},
        "x.wav",
        ("--preview",),
        "a preview shows frames, so the clip must have them: use a name that ends in .mp4 or .mkv,"
        " not .wav",
    ),
    (
        {"image": "out/x.mp4"},
        "x.mp4",
        (),
        "out/x.mp4 is the given image, out/x.mp4, and would be overwritten; write another file",
    ),
]
"""What takes the name of a file: the fields, the name, options, and the sentence."""


@pytest.fixture(scope="module")
def pipeline(trained: Path) -> Pipeline:
    return load(trained)


@pytest.fixture
def media(
    flash: Path, click_sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Files and clips by the names in the tables."""
    monkeypatch.chdir(tmp_path)
    sound = Clip(waveform=torch.zeros(1, 60 * 8000), sample_rate=8000)
    short = attrs.evolve(sound, waveform=sound.waveform[:, :4000])
    return {
        "FLASH": flash,
        "CLICK": click_sound,
        "MINUTE": sound.save(tmp_path / "minute.wav"),
        "SOUND CLIP": short,
        "MUTE CLIP": Clip(frames=torch.zeros(6, 16, 16, 3, dtype=torch.uint8), fps=12),
        "NAN CLIP": attrs.evolve(short, waveform=short.waveform * float("nan")),
        "LONG CLIP": sound,
    }


def filled(fields: dict[str, Any], sentence: str, media: dict[str, Any]) -> tuple[dict, str]:
    """Fields and sentence with the real files."""
    values = {
        name: media.get(value, value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    for name, value in media.items():
        sentence = sentence.replace(name, str(value)) if isinstance(value, Path) else sentence
    return values, sentence


def refused_by_python(pipeline: Pipeline, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError) as error:
        pipeline.generate(**fields)
    assert str(error.value) == sentence


def refused_by_batch(harmony: Any, trained: Path, fields: dict[str, Any], sentence: str) -> None:
    batch = jsonl(Path("b.jsonl"), json.dumps(fields | {"name": "x"}, default=str))
    result = harmony("generate", trained, "--batch", batch, "--out", "clips", "--device", "cpu")
    assert result.exit_code == 1, result.output
    assert f"b.jsonl, line 1: {sentence}\n" in result.stderr
    assert not Path("clips").exists()


def test_the_tables_break_a_rule_of_every_field() -> None:
    broken = {name for fields, _ in (*RULES, *ONLY_VALUES, *ONLY_PYTHON) for name in fields}
    assert broken == {field.name for field in attrs.fields(Request)}


@pytest.mark.parametrize(("fields", "sentence"), RULES, ids=str)
def test_all_three_refuse_alike(harmony, trained, pipeline, media, fields, sentence) -> None:
    fields, sentence = filled(fields, sentence, media)
    refused_by_python(pipeline, fields, sentence)
    options = [f"--{name}={value}" for name, value in fields.items()]
    result = harmony("generate", trained, *options, "--out", "x.mp4", "--device", "cpu")
    assert result.exit_code == 2, result.output
    assert f": {sentence}\n" in result.stderr
    refused_by_batch(harmony, trained, fields, sentence)


@pytest.mark.parametrize(("fields", "sentence"), ONLY_VALUES, ids=str)
def test_python_and_batch_files_refuse_alike(
    harmony, trained, pipeline, media, fields, sentence
) -> None:
    refused_by_python(pipeline, fields, sentence)
    refused_by_batch(harmony, trained, fields, sentence)


@pytest.mark.parametrize(("fields", "sentence"), ONLY_PYTHON, ids=str)
def test_python_refuses_parts_and_clips_of_the_wrong_kind(
    pipeline, media, fields, sentence
) -> None:
    fields, sentence = filled(fields, sentence, media)
    refused_by_python(pipeline, fields, sentence)


@pytest.mark.parametrize(("fields", "name", "options", "sentence"), FILE_RULES, ids=str)
def test_the_command_line_and_batch_files_refuse_the_same_files(
    harmony, trained, media, fields, name, options, sentence
) -> None:
    fields, sentence = filled(fields, sentence, media)
    Path("out").mkdir()
    Path("out/x.mp4").touch()
    words = (*options, "--device", "cpu", "--out")
    single = [f"--{name}={value}" for name, value in fields.items()]
    result = harmony("generate", trained, *single, *words, f"out/{name}")
    assert result.exit_code == 2, result.output
    assert f"Error: {sentence}\n" in result.stderr
    batch = jsonl(Path("b.jsonl"), json.dumps(fields | {"name": name}, default=str))
    result = harmony("generate", trained, "--batch", batch, *words, "out")
    assert result.exit_code == 2, result.output
    assert f"Error: b.jsonl, line 1: {sentence}\n" in result.stderr


@pytest.fixture
def only_video(tmp_path: Path) -> Path:
    """A model that generates only video."""
    table = tomllib.loads(RECIPE)
    video = table["denoiser"]["video"]
    table |= {
        "denoiser": {"use": "video-only", "layers": 1, "video": video},
        "task": {"use": "joint"},
    }
    del table["codecs"]["audio"], table["encoders"]["voice"]
    return Pipeline.assemble(read_recipe(table)).save(tmp_path / "only-video")


def test_a_model_of_one_stream_takes_no_given_stream(harmony, only_video, media) -> None:
    fields = {"audio": str(media["CLICK"])}
    sentence = "audio is given, and this model generates only video, from prompts"
    refused_by_python(load(only_video), fields, sentence)
    options = ("--audio", fields["audio"], "--out", "x.mp4", "--device", "cpu")
    result = harmony("generate", only_video, *options)
    assert result.exit_code == 2
    assert f"Error: {sentence}\n" in result.stderr
    refused_by_batch(harmony, only_video, fields, sentence)


def test_a_model_of_video_writes_no_sound_files(harmony, only_video, media) -> None:
    sentence = "this model generates only video: use a name that ends in .mp4 or .mkv, not .wav"
    result = harmony("generate", only_video, "--out", "x.wav", "--device", "cpu")
    assert result.exit_code == 2
    assert f"Error: {sentence}\n" in result.stderr
    batch = jsonl(Path("b.jsonl"), {"name": "x.wav"})
    result = harmony("generate", only_video, "--batch", batch, "--out", "clips", "--device", "cpu")
    assert result.exit_code == 1
    assert f"b.jsonl, line 1: {sentence}\n" in result.stderr
