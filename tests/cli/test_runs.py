"""`harmony train`, `generate`, `measure`, `demo`: with a tiny model, on files that are made here
and on real clips.
"""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from harmony_parts.anchors.static import StaticVideo
from harmony_parts.assembly.read import read_recipe
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.media.ffmpeg import executable


@pytest.fixture(scope="module")
def flash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second: a flash and a click at 0.25 s."""
    frames = torch.full((12, 32, 32, 3), 20, dtype=torch.uint8)
    frames[6:9] = 230
    wave = torch.zeros(1, 24000)
    wave[0, 12000:12960] = 0.5 * torch.sin(torch.arange(960) * 0.3)
    return Clip(frames, Fraction(24), wave, 48000).save(
        tmp_path_factory.mktemp("clips") / "flash.mp4"
    )


@pytest.fixture(scope="module")
def click_sound(flash: Path) -> Path:
    """The click alone."""
    return Clip.read(flash, streams={"audio"}).save(flash.with_suffix(".wav"))


def generate(harmony, trained, out, *args):
    result = harmony("generate", trained, *args, "--device", "cpu", "--out", out)
    assert result.exit_code == 0, result.output
    return result


def test_training_leaves_a_model_and_says_what_to_try(harmony, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = harmony("train", recipe, "--set", "train.steps=1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("runs/tiny/model: trained in ")
    assert (tmp_path / "runs/tiny/model/model.safetensors").is_file()
    tried = re.search(r"try: harmony (.*)", result.stdout)
    assert tried
    assert harmony(*tried[1].split(), "--steps", "1", "--device", "cpu").exit_code == 0
    assert (tmp_path / "tiny.mp4").is_file()
    result = harmony("train", recipe, "--set", "train.steps=2", "--resume", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert [
        json.loads(line)["step"]
        for line in (tmp_path / "runs/tiny/log.jsonl").read_text().splitlines()
    ] == [1, 2]


def test_ctrl_c_ends_with_130_and_a_command_that_goes_on(recipe, tmp_path):
    args = [
        "-m",
        "harmony_parts",
        "train",
        str(recipe),
        "--out",
        str(tmp_path / "run"),
        "--set",
        "train.steps=100000",
        "--device",
        "cpu",
    ]
    with subprocess.Popen([sys.executable, *args], stderr=subprocess.PIPE, text=True) as process:
        log, began = tmp_path / "run" / "log.jsonl", time.monotonic()
        while (
            not (log.is_file() and log.read_text())
            and time.monotonic() - began < 60
            and process.poll() is None
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    again = said.strip().splitlines()[-1].strip()
    assert (
        again
        == f"harmony train {recipe} --out {tmp_path / 'run'} --resume --set train.steps=100000"
        " --device cpu"
    )
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def test_both_streams_are_made(harmony, trained, tmp_path):
    result = generate(
        harmony, trained, tmp_path / "new" / "joint.mp4", "--prompt", "a ball", "--seed", "5"
    )
    clip = Clip.read(tmp_path / "new" / "joint.mp4")
    assert clip.frames is not None
    assert clip.frames.shape == (6, 16, 16, 3)
    assert clip.waveform is not None
    assert re.search(r"joint.mp4: 0.5\d? s, h264 16 x 16 at 12 fps, aac at 48000 Hz", result.stdout)
    assert re.search(r"took \d+\.\d s on cpu, seed 5", result.stdout)


def test_the_same_seed_makes_the_same_clip(harmony, trained, tmp_path):
    clips = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(harmony, trained, tmp_path / f"{name}.mkv", "--seed", seed)
        clips.append(Clip.read(tmp_path / f"{name}.mkv"))
    first, same, other = (clip.frames for clip in clips)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_video_for_a_sound(harmony, trained, click_sound, tmp_path):
    generate(harmony, trained, tmp_path / "a.mp4", "--audio", click_sound)
    made, given = Clip.read(tmp_path / "a.mp4"), Clip.read(click_sound)
    assert made.frames is not None
    assert len(made.frames) == 6
    # the given sound in at most 24 bits, never the codec's reconstruction
    assert torch.allclose(made.waveform, given.waveform, atol=2**-22, rtol=0)


def test_sound_for_a_video(harmony, trained, flash, tmp_path):
    generate(harmony, trained, tmp_path / "v.mp4", "--video", flash)
    assert torch.equal(Clip.read(tmp_path / "v.mp4").frames, Clip.read(flash).frames)
    generate(harmony, trained, tmp_path / "v.wav", "--video", flash)
    sound = Clip.read(tmp_path / "v.wav")
    assert sound.frames is None
    assert sound.seconds == pytest.approx(0.5)


def test_requests_that_make_no_sense(harmony, trained, flash, click_sound, tmp_path):
    both = harmony(
        "generate", trained, "--audio", click_sound, "--video", flash, "--out", tmp_path / "x.mp4"
    )
    assert both.exit_code == 2
    assert "nothing to make" in both.stderr
    sound = harmony("generate", trained, "--audio", click_sound, "--out", tmp_path / "x.wav")
    assert sound.exit_code == 2
    assert ".mp4" in sound.stderr
    mute = harmony("generate", trained, "--video", click_sound, "--out", tmp_path / "x.mp4")
    assert mute.exit_code == 1
    assert re.search(r"flash.wav: has no (picture|video)", mute.stderr)
    assert not list(tmp_path.glob("x.*"))


@pytest.fixture
def no_sampling(monkeypatch):
    """Fails the test where a clip is sampled."""
    from harmony_parts.generate.pipeline import Pipeline

    monkeypatch.setattr(Pipeline, "generate", lambda *args, **given: pytest.fail("it was sampled"))


def test_a_video_that_the_container_does_not_take_is_told_before_sampling(
    harmony, trained, flash, tmp_path, no_sampling
):
    given, out = tmp_path / "old.mpg", tmp_path / "new" / "x.mp4"
    subprocess.run(
        [
            executable(),
            "-loglevel",
            "error",
            "-i",
            flash,
            "-c:v",
            "mpeg1video",
            "-r",
            "25",
            "-an",
            given,
        ],
        check=True,
    )
    result = harmony("generate", trained, "--video", given, "--device", "cpu", "--out", out)
    assert result.exit_code == 1
    assert "old.mpg: its mpeg1video video can't be copied into x.mp4" in result.stderr
    assert "`--out x.mkv`" in result.stderr
    assert "copy_video_from" not in result.stderr
    assert not out.parent.exists()


def test_a_given_file_is_not_written_over(
    harmony, trained, flash, click_sound, tmp_path, no_sampling
):
    link, before = tmp_path / "link.mp4", flash.read_bytes()
    link.symlink_to(flash)
    for out in (flash, link):
        result = harmony("generate", trained, "--video", flash, "--out", out, "--device", "cpu")
        assert result.exit_code == 2
        assert f"--out {out}" in result.stderr
        assert f"--video {flash}" in result.stderr
    assert flash.read_bytes() == before
    assert (
        harmony(
            "generate", trained, "--voice", click_sound, "--out", click_sound, "--device", "cpu"
        ).exit_code
        == 2
    )


def test_numbers_that_are_none(harmony, trained, tmp_path, no_sampling):
    out = tmp_path / "x.mp4"
    for args in (
        ("--seconds", "inf"),
        ("--seconds", "nan"),
        ("--seconds", "0"),
        ("--seed", 2**63),
        ("--seed", "-1"),
    ):
        result = harmony("generate", trained, *args, "--device", "cpu", "--out", out)
        assert result.exit_code == 2, (args, result.output)
        assert args[0] in result.stderr
    assert harmony("demo", "--seed", 2**63, "--out", tmp_path / "demo").exit_code == 2


def test_folders_are_made_only_to_write(harmony, tmp_path):
    assert (
        harmony(
            "generate",
            tmp_path / "none",
            "--out",
            tmp_path / "a" / "b" / "x.mp4",
            "--device",
            "cpu",
        ).exit_code
        == 1
    )
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").touch()
    result = harmony(
        "generate", tmp_path / "none", "--out", tmp_path / "file" / "x.mp4", "--device", "cpu"
    )
    assert result.exit_code == 2
    assert f"{str(tmp_path / 'file')!r} is no folder" in result.stderr


def test_a_long_clip_is_warned_of_in_one_line(harmony, trained, tmp_path):
    result = generate(harmony, trained, tmp_path / "long.mp4", "--seconds", "1", "--steps", "1")
    assert result.stderr.startswith("warning: 1.0 s is much longer")
    assert len(result.stderr.splitlines()) == 1


def test_settings_reach_the_guidance(harmony, trained):
    from harmony_parts.generate.settings import choose

    own = SyncCFG()
    assert choose(None, (), own) is own
    assert choose(None, ("video=1.5",), own) == SyncCFG(video=1.5)
    assert choose("sync-cfg", ("video=3", "audio=4"), own) == SyncCFG(video=3, audio=4)
    assert choose(None, ("use=cfg", "video=3"), own) == CFG(video=3)
    assert choose("sync-cfg", ("static.image=caption",), own) == SyncCFG(
        static=StaticVideo("caption")
    )
    assert choose("cfg", ("drop=['caption']",), own) == CFG(drop=("caption",))
    assert choose("sum", ('terms=["cfg", {use="sync-cfg", video=2}]',), own).terms == (
        CFG(),
        SyncCFG(video=2),
    )


@pytest.mark.parametrize(
    ("asked", "says", "remedy"),
    [
        (
            "skip-layer",
            (
                "knows isolate, skip-0: set `layer` to one of these numbers, where there are any"
                " (`harmony generate`: --set layer=N)"
            ),
            "layer=0",
        ),
        (
            "sum",
            (
                "$.terms: missing: expected a list (the guidances to add up, such as terms ="
                ' ["cfg", "sync-cfg"]'
            ),
            'terms=["cfg", "sync-cfg"]',
        ),
    ],
)
def test_a_guidance_that_needs_a_setting_says_what_to_type(
    harmony, trained, tmp_path, asked, says, remedy
):
    args = ("--guidance", asked, "--steps", "1")
    failed = harmony("generate", trained, *args, "--out", tmp_path / "x.mp4")
    assert failed.exit_code == 1
    assert says in failed.stderr
    generate(harmony, trained, tmp_path / "x.mp4", *args, "--set", remedy)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--guidance", "sync-cgf"), 1, "did you mean 'sync-cfg'"),
        (("--guidance", "cfg", "--set", "vidoe=3"), 1, "did you mean 'video'"),
        (
            ("--guidance", "cfg", "--set", "video=-1"),
            1,
            "$.video: video must be a finite number of at least 0, not -1",
        ),
        (
            ("--guidance", "sync-cfg", "--set", "audio=inf"),
            1,
            "$.audio: audio must be a finite number of at least 0, not inf",
        ),
        (("--steps", "0"), 2, "--steps"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_guidance_is_told_before_sampling(
    harmony, trained, tmp_path, no_sampling, args, code, says
):
    result = harmony("generate", trained, *args, "--out", tmp_path / "x.mp4")
    assert result.exit_code == code
    assert says in result.stderr


def test_models_that_are_not_there(harmony, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.parent.parent)
    (Path("runs") / "tiny").mkdir(parents=True, exist_ok=True)
    for model, says in (
        ("rnus/tiny", "did you mean 'runs/tiny'"),
        ("tiny", "did you mean 'runs/tiny'"),
        ("demo", "harmony train demo"),
    ):
        result = harmony("generate", model, "--out", tmp_path / "x.mp4")
        assert result.exit_code == 1
        assert says in result.stderr


def test_measuring_files(harmony, flash):
    result = harmony("measure", flash, flash, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [one["file"] for one in found["files"]] == [str(flash)] * 2
    assert found["files"][0]["video_matched"] == 1
    assert found["together"]["f1"]["paired"] == 1
    table = harmony("measure", flash).stdout
    assert "video_matched" in table
    assert "re-paired" not in table
    assert "re-paired" in harmony("measure", flash, flash, "--metric", "correlation").stdout
    for files, errors in ((4, False), (5, True)):  # too few say nothing about others
        assert ("+-" in harmony("measure", *[flash] * files).stdout) == errors
    strict = json.loads(harmony("measure", flash, "--set", "tolerance=0", "--json").stdout)
    assert strict["files"][0]["matched"] == 0


def test_measuring_needs_both_streams(harmony, click_sound):
    result = harmony("measure", click_sound)
    assert result.exit_code == 1
    assert "has no picture" in result.stderr


def test_the_demo_takes_what_the_command_gives(harmony, tmp_path, monkeypatch):
    """The demo itself is tested by the demo's tests; here, that the options reach it."""
    from harmony_parts.demo import run

    signature, calls = inspect.signature(run.demo), []
    monkeypatch.setattr(
        run, "demo", lambda **given: calls.append(signature.bind(**given).arguments)
    )
    result = harmony(
        "demo", "--out", tmp_path, "--seed", "3", "--steps", "20", "--set", "train.batch=2"
    )
    assert result.exit_code == 0, result.output
    (given,) = calls
    assert given == {"out": tmp_path, "seed": 3, "overrides": ("train.steps=20", "train.batch=2")}
    assert read_recipe("demo", given["overrides"]).train.steps == 20


def test_real_clips(harmony, recipe, clips, tmp_path):
    """Train on a folder, then make sound for a real video and video for its sound."""
    folder, out, real = tmp_path / "folder", tmp_path / "run", clips / "ovi_1.mp4"
    folder.mkdir()
    # one clip of the folder: reading them all is tested with the data set
    (folder / real.name).symlink_to(real)
    result = harmony(
        "train",
        recipe,
        "--data",
        folder,
        "--out",
        out,
        "--set",
        "data.use=clips",
        "--set",
        "train.prepared=2",
        "--device",
        "cpu",
    )
    assert result.exit_code == 0, result.output
    source = Clip.read(real, seconds=1)
    generate(
        harmony, out, tmp_path / "video.mp4", "--video", real, "--seconds", "1", "--steps", "1"
    )
    dubbed = Clip.read(tmp_path / "video.mp4")
    # a copied stream keeps the few frames beyond the cut that others refer to
    assert 1 <= dubbed.seconds < 1.25
    assert torch.equal(dubbed.frames[: len(source.frames)], source.frames)
    assert not torch.allclose(dubbed.waveform[:1, :8000], source.waveform[:1, :8000], atol=1e-3)
    generate(
        harmony, out, tmp_path / "audio.mp4", "--audio", real, "--seconds", "1", "--steps", "1"
    )
    seen = Clip.read(tmp_path / "audio.mp4")
    assert seen.seconds == 1
    assert seen.sample_rate == source.sample_rate
    # one AAC frame of 1024 samples may be lost where a copied stream is cut
    heard = seen.sample_rate - 1024
    assert torch.allclose(seen.waveform[:, :heard], source.waveform[:, :heard], atol=2**-12, rtol=0)
