"""`harmony generate` with a tiny model, on files that the tests write and on real clips."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
import torch

from harmony_parts.cli.generate import generate as command
from harmony_parts.media.clip import Clip
from harmony_parts.media.ffmpeg import executable


def generate(harmony, trained, out, *args):
    result = harmony("generate", trained, *args, "--device", "cpu", "--out", out)
    assert result.exit_code == 0, result.output
    return result


def test_both_streams_are_generated(harmony, trained, tmp_path):
    result = generate(
        harmony, trained, tmp_path / "new" / "joint.mp4", "--prompt", "a ball", "--seed", "5"
    )
    clip = Clip.read(tmp_path / "new" / "joint.mp4")
    assert clip.frames is not None
    assert clip.frames.shape == (6, 16, 16, 3)
    assert clip.waveform is not None
    assert re.search(r"joint.mp4: 0.5\d? s, h264 16 x 16 at 12 fps, aac at 48000 Hz", result.stdout)
    assert re.search(r"took \d+\.\d s on cpu, seed 5", result.stdout)


def test_the_same_seed_gives_the_same_clip(harmony, trained, tmp_path):
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
    # the given sound in 24 bits, not the codec's reconstruction
    assert torch.allclose(made.waveform, given.waveform, atol=2**-22, rtol=0)


def test_sound_for_a_video(harmony, trained, flash, tmp_path):
    generate(harmony, trained, tmp_path / "v.mp4", "--video", flash)
    assert torch.equal(Clip.read(tmp_path / "v.mp4").frames, Clip.read(flash).frames)
    generate(harmony, trained, tmp_path / "v.wav", "--video", flash)
    sound = Clip.read(tmp_path / "v.wav")
    assert sound.frames is None
    assert sound.seconds == pytest.approx(0.5)


def test_impossible_requests_are_refused(harmony, trained, flash, click_sound, tmp_path):
    both = harmony(
        "generate", trained, "--audio", click_sound, "--video", flash, "--out", tmp_path / "x.mp4"
    )
    assert both.exit_code == 2
    assert "nothing to generate" in both.stderr
    sound = harmony("generate", trained, "--audio", click_sound, "--out", tmp_path / "x.wav")
    assert sound.exit_code == 2
    assert ".mp4" in sound.stderr
    mute = harmony("generate", trained, "--video", click_sound, "--out", tmp_path / "x.mp4")
    assert mute.exit_code == 1
    assert re.search(r"flash.wav: has no (picture|video)", mute.stderr)
    assert not list(tmp_path.glob("x.*"))


@pytest.fixture
def no_sampling(monkeypatch):
    """Fails the test if a clip is sampled."""
    from harmony_parts.generate.pipeline import Pipeline

    monkeypatch.setattr(
        Pipeline, "latents", lambda *args, **given: pytest.fail("a clip was sampled")
    )


def test_a_video_that_the_container_cannot_hold_is_refused_before_sampling(
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


def test_a_given_file_is_not_overwritten(
    harmony, trained, flash, click_sound, tmp_path, no_sampling
):
    link, before = tmp_path / "link.mp4", flash.read_bytes()
    link.symlink_to(flash)
    for out in (flash, link):
        result = harmony("generate", trained, "--video", flash, "--out", out, "--device", "cpu")
        assert result.exit_code == 2
        assert f"{out} is the given video, {flash}, and would be overwritten" in result.stderr
    assert flash.read_bytes() == before
    assert (
        harmony(
            "generate", trained, "--voice", click_sound, "--out", click_sound, "--device", "cpu"
        ).exit_code
        == 2
    )


def test_invalid_numbers_are_wrong_usage(harmony, trained, tmp_path, no_sampling):
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


def test_folders_are_created_only_to_write_a_clip(harmony, tmp_path):
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


def test_a_long_clip_gets_a_warning_of_one_line(harmony, trained, tmp_path):
    result = generate(harmony, trained, tmp_path / "long.mp4", "--seconds", "1", "--steps", "1")
    assert result.stderr.startswith("warning: 1.0 s is much longer")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("guidance", "error", "remedy"),
    [
        (
            "skip-layer",
            (
                "supports isolate, skip-0: set `layer` to one of these numbers, if there are any"
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
def test_a_missing_setting_of_a_guidance_is_named(
    harmony, trained, tmp_path, guidance, error, remedy
):
    args = ("--guidance", guidance, "--steps", "1")
    failed = harmony("generate", trained, *args, "--out", tmp_path / "x.mp4")
    assert failed.exit_code == 1
    assert error in failed.stderr
    generate(harmony, trained, tmp_path / "x.mp4", *args, "--set", remedy)


@pytest.mark.parametrize(
    ("args", "code", "error"),
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
def test_bad_guidance_is_refused_before_sampling(
    harmony, trained, tmp_path, no_sampling, args, code, error
):
    result = harmony("generate", trained, *args, "--out", tmp_path / "x.mp4")
    assert result.exit_code == code
    assert error in result.stderr


def test_a_missing_model_is_answered_with_the_nearest(harmony, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained.parent.parent)
    (Path("runs") / "tiny").mkdir(parents=True, exist_ok=True)
    for model, hint in (
        ("rnus/tiny", "did you mean 'runs/tiny'"),
        ("tiny", "did you mean 'runs/tiny'"),
        ("demo", "harmony train demo"),
    ):
        result = harmony("generate", model, "--out", tmp_path / "x.mp4")
        assert result.exit_code == 1
        assert hint in result.stderr


def test_real_clips(harmony, recipe, clips, tmp_path):
    """Train on a folder, then generate sound for a real video and video for its sound."""
    folder, out, real = tmp_path / "folder", tmp_path / "run", clips / "ovi_1.mp4"
    folder.mkdir()
    # only one clip: reading all of them is tested with the data set
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


def test_shells_complete_the_files_of_a_request():
    context = click.Context(command)
    kinds = {
        parameter.name: [item.type for item in parameter.shell_complete(context, "a")]
        for parameter in command.params
        if parameter.name in ("audio", "image", "seconds")
    }
    assert kinds == {"audio": ["file"], "image": ["file"], "seconds": []}
