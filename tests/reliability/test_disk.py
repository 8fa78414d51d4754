"""A full disk, and a process killed while it writes: never a partial file, always a named cause.

RLIMIT_FSIZE stands in for a full disk: the kernel then fails in the middle of a write, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from helpers import tiny_training as tiny

from harmony_parts.errors import RunError
from harmony_parts.media import ffmpeg
from harmony_parts.media.clip import Clip
from harmony_parts.train.loop import train

ROOT = Path(__file__).parents[2]


def python(code: str, *args: object) -> subprocess.Popen[str]:
    """A new Python process that can import this library and the tests' helpers."""
    head = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'tests')!r}, {str(ROOT)!r}]\nimport"
        " torch; torch.set_num_threads(1)\n"
    )
    command = [sys.executable, "-c", head + textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


FULL = """
    import resource, traceback
    from pathlib import Path
    from helpers import tiny_training as tiny
    from harmony_parts.errors import HarmonyError
    from harmony_parts.train.loop import train
    from harmony_parts.media.clip import Clip

    out = Path(sys.argv[1])
    recipe = tiny.recipe(steps=4, checkpoint_every=2)
    train(tiny.recipe(steps=2, checkpoint_every=2), out=out / "run", progress=False, device="cpu")
    clip = Clip(torch.randint(256, (40, 64, 64, 3), dtype=torch.uint8), 24, torch.rand(2, 80000) - 0.5, 48000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    for what in ("run", "new", "mp4", "mkv", "wav", "flac"):
        try:
            if what in ("run", "new"):
                train(recipe, out=out / what, resume=what == "run", progress=False, device="cpu")
            else:
                clip.save(out / f"x.{what}")
        except HarmonyError as error:
            print(f"{what}: {type(error).__name__}: {error}".replace("\\n", " "))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    train(recipe, out=out / "run", resume=True, progress=False, device="cpu")
    train(recipe, out=out / "straight", progress=False, device="cpu")
"""  # noqa: E501


def test_a_full_disk(tmp_path: Path) -> None:
    """Each error names its file and cause, and nothing partial stays; with room the run resumes."""
    process = python(FULL, tmp_path)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    errors = dict(line.partition(": ")[::2] for line in stdout.splitlines())
    assert set(errors) == {"run", "new", "mp4", "mkv", "wav", "flac"}, stdout
    for what in ("run", "new"):
        assert errors[what].startswith("RunError: "), errors[what]
        assert "can't be written" in errors[what]
        assert str(tmp_path / what) in errors[what]
    for what in ("mp4", "mkv", "wav", "flac"):
        assert errors[what].startswith(f"MediaError: {tmp_path / f'x.{what}'}: "), errors[what]
    assert {path.name for path in tmp_path.iterdir()} == {"run", "new", "straight"}
    weights = [
        (tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("run", "straight")
    ]
    assert weights[0] == weights[1]
    assert not list(tmp_path.glob("run/**/.*.part*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_log_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    """The disk is full between checkpoints: the run ends with the cause, and resumes."""
    out = tmp_path / "run"
    first = train(tiny.recipe(steps=2), out=out, progress=False, device="cpu")
    (out / "log.jsonl").rename(tmp_path / "saved.jsonl")
    (out / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"log\.jsonl: the log can't be written: .*No space left"):
        train(tiny.recipe(steps=4), out=out, resume=True, progress=False, device="cpu")
    (out / "log.jsonl").unlink()
    (tmp_path / "saved.jsonl").rename(out / "log.jsonl")
    assert train(tiny.recipe(steps=4), out=out, resume=True, progress=False, device="cpu") == first
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
        4,
    ]


WRITING = """
    from pathlib import Path
    from harmony_parts.media.clip import Clip

    clip = Clip(torch.randint(256, (60, 128, 128, 3), dtype=torch.uint8), 24, torch.rand(2, 120000) - 0.5, 48000)
    print("ready", flush=True)
    for number in range(10000):
        clip.save(Path(sys.argv[1], f"{number}.{sys.argv[2]}"))
"""  # noqa: E501


@pytest.mark.parametrize("suffix", ["mp4", pytest.param("flac", marks=pytest.mark.slow)])
def test_a_killed_writer_leaves_only_whole_files(suffix: str, tmp_path: Path) -> None:
    """SIGKILL while files are written in a row: all named files are whole, no ffmpeg is left."""
    process = python(WRITING, tmp_path, suffix)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    until = time.monotonic() + 60
    while not (tmp_path / f"1.{suffix}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.05)
    process.kill()
    process.communicate()
    files = sorted(tmp_path.glob(f"[0-9]*.{suffix}"))
    assert len(files) >= 2
    for file in files:
        assert Clip.read(file).seconds == 2.5
    wait_for_no_process_with(str(tmp_path))


READING = """
    from harmony_parts.media.clip import Clip

    print("ready", flush=True)
    while True:
        Clip.read(sys.argv[1], height=2000, width=2000)
"""


@pytest.mark.slow
def test_a_killed_reader_leaves_no_ffmpeg(tmp_path: Path) -> None:
    command = [
        ffmpeg.executable(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc=s=320x240:d=5",
        str(tmp_path / "x.mp4"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    process = python(READING, tmp_path / "x.mp4")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.7)
    process.kill()
    process.communicate()
    wait_for_no_process_with(str(tmp_path))


def wait_for_no_process_with(text: str) -> None:
    """Wait, at most ten seconds, until no process has `text` in its command line."""
    if not Path("/proc").is_dir():
        pytest.skip("processes are listed by /proc")
    until = time.monotonic() + 10
    while left := [
        p
        for p in Path("/proc").glob("[0-9]*/cmdline")
        if text.encode() in _read(p) and p.parent.name != str(os.getpid())
    ]:
        assert time.monotonic() < until, [_read(p).replace(b"\0", b" ") for p in left]
        time.sleep(0.05)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


LOCKING = """
    import time
    from pathlib import Path
    from harmony_parts.models.lock import lock_folder

    with lock_folder(Path(sys.argv[1])):
        print("ready", flush=True)
        time.sleep(1000)
"""


def test_a_second_process_in_a_run_folder_is_refused(tmp_path: Path) -> None:
    """The error has the first one's process id; once that is killed, the folder is free."""
    first, recipe = python(LOCKING, tmp_path / "run"), tiny.recipe(steps=1)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "ready\n"
        with pytest.raises(
            RunError, match=rf"run: process {first.pid} on .* is training in this folder"
        ):
            train(recipe, out=tmp_path / "run", progress=False, device="cpu")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    finally:
        first.kill()
        first.communicate()
    train(recipe, out=tmp_path / "run", progress=False, device="cpu")
