"""Faulty checkpoints and full disks: a named cause, no code run, and never a partial model."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import toy_weights as toys
from safetensors.torch import save_file

import harmony_parts.models.folder
from harmony_parts.convert.forward import convert
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load


def wan(files: toys.Files, checkpoint: Path, out: Path, **more: Any) -> Any:
    """Convert a Wan checkpoint."""
    return convert(
        "wan", checkpoint, out, configs=[files.wan_config], recipe=toys.WAN_RECIPE, **more
    )


def only_remain(folder: Path, *names: str) -> None:
    """Assert that the folder has only files of those names."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_truncated_file_is_refused(files: toys.Files, tmp_path: Path) -> None:
    save_file(files.wan_tensors, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for length in (3, 500, len(whole) - 1):
        (tmp_path / "a.safetensors").write_bytes(whole[:length])
        with pytest.raises(RunError, match=r"a\.safetensors: can't be read"):
            wan(files, tmp_path / "a.safetensors", tmp_path / "out")
    torch.save(files.wan_tensors, tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-100])
    with pytest.raises(RunError, match=r"a\.pt: can't be read"):
        wan(files, tmp_path / "a.pt", tmp_path / "out")
    only_remain(tmp_path, "a.safetensors", "a.pt")


def test_missing_shards_and_several_models_in_a_folder_are_refused(
    files: toys.Files, tmp_path: Path
) -> None:
    for index in (True, False):
        folder = toys.sharded(tmp_path / f"wan-{index}", files.wan_tensors, index=index)
        (folder / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
        with pytest.raises(
            RunError,
            match=(
                r"of 3 shards these are missing:"
                r" diffusion_pytorch_model-00002-of-00003\.safetensors"
            ),
        ):
            wan(files, folder, tmp_path / "out")
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text("{}")
    with pytest.raises(RunError, match="can't be read as an index"):
        wan(files, folder, tmp_path / "out")
    several = tmp_path / "several"
    several.mkdir()
    for name in ("model.safetensors", "model_960x960.safetensors"):
        save_file(files.wan_tensors, several / name)
    with pytest.raises(
        RunError, match=r"model_960x960\.safetensors: the folder has several models; name one file"
    ):
        wan(files, several, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"no \.safetensors file in this folder"):
        wan(files, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(RunError, match="no such file or folder"):
        wan(files, tmp_path / "absent", tmp_path / "out")


class Runs:
    """Creates a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.proof),)


def test_code_in_a_checkpoint_is_never_run(files: toys.Files, tmp_path: Path) -> None:
    """In torch.save's present and old format, and in a bare pickle."""
    proof, evil = tmp_path / "ran", {**files.wan_tensors, "more": Runs(tmp_path / "ran")}
    torch.save(evil, tmp_path / "zip.pt")
    torch.save(evil, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Runs(proof)))
    for name, cause in (
        ("zip.pt", "could run code"),
        ("old.pt", "save it again with torch.save"),
        ("bare.pt", r"bare\.pt: "),
    ):
        with pytest.raises(RunError, match=cause):
            wan(files, tmp_path / name, tmp_path / "out")
        assert not proof.exists()
    torch.load(tmp_path / "zip.pt", weights_only=False)  # unguarded loading does run it
    assert proof.exists()


def test_other_types_are_refused_and_values_that_are_not_finite_warned_of(
    files: toys.Files, tmp_path: Path
) -> None:
    for dtype in (torch.int8, torch.float8_e4m3fn):
        save_file(
            {**files.wan_tensors, "blocks.0.ffn.0.weight": torch.zeros(48, 32).to(dtype)},
            tmp_path / "a.safetensors",
        )
        with pytest.raises(
            RunError,
            match=r"such as blocks\.0\.ffn\.0\.weight .*a quantised checkpoint can't be converted",
        ):
            wan(files, tmp_path / "a.safetensors", tmp_path / "out")
    holes = files.wan_tensors["blocks.1.ffn.0.bias"].clone()
    holes[3] = torch.nan
    save_file({**files.wan_tensors, "blocks.1.ffn.0.bias": holes}, tmp_path / "a.safetensors")
    with pytest.warns(
        UserWarning,
        match=(
            r"1 tensors have NaN or infinite values, such as"
            r" denoiser\.blocks\.1\.video\.ffn\.0\.bias"
        ),
    ):
        report = wan(files, tmp_path / "a.safetensors", tmp_path / "out")
    assert report.not_finite == ("denoiser.blocks.1.video.ffn.0.bias",)
    assert (
        "Not finite: denoiser.blocks.1.video.ffn.0.bias"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_an_existing_folder_is_never_overwritten(files: toys.Files, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="already exists"):
        wan(files, files.wan, tmp_path / "out")
    only_remain(tmp_path / "out", "mine.txt")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match="can't be written"):
        wan(files, files.wan, tmp_path / "file" / "out")


def test_a_missing_plugin_is_named(files: toys.Files, tmp_path: Path) -> None:
    """The shipped recipes take their codecs from a plugin."""
    script = (
        "import sys; from harmony_parts.convert import convert; convert('ovi', sys.argv[1],"
        " sys.argv[2], configs=sys.argv[3:])"
    )
    words = [
        sys.executable,
        "-c",
        script,
        str(files.ovi),
        str(tmp_path / "out"),
        *map(str, files.configs),
    ]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HARMONY_PARTS_PLUGINS": "none"},
    )
    assert "there is no video-codec called 'diffusers/wan-vae'" in done.stderr
    assert "the recipe was written with harmony-diffusers, which isn't installed" in done.stderr


LIMITED = """
import resource, sys
from helpers import toy_weights as toys
from harmony_parts.convert import convert
from harmony_parts.errors import RunError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    convert("wan", sys.argv[1], sys.argv[3], configs=[sys.argv[2]], recipe=toys.WAN_RECIPE)
except RunError as error:
    print(error)
"""


def child(script: str, *args: object) -> list[str]:
    """A command line for a script that can import the test helpers."""
    return [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{script}",
        *map(str, args),
    ]


def test_a_full_disk_is_reported_and_nothing_remains(
    files: toys.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before writing, if the free space is too small, and during it (RLIMIT_FSIZE)."""
    done = subprocess.run(
        child(LIMITED, files.wan, files.wan_config, tmp_path / "out"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "the model can't be written: [Errno 27] File too large" in done.stdout, done.stderr
    usage = harmony_parts.convert.forward.shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"needs 0\.0 GiB, but the disk has 0\.0 GiB left"):
        wan(files, files.wan, tmp_path / "out")
    only_remain(tmp_path)


STOPPED = """
import sys, time
from helpers import toy_weights as toys
from harmony_parts.convert import convert
def slow(done, total):
    if done == 20:
        print("half way", flush=True)
        time.sleep(60)
convert("wan", sys.argv[1], sys.argv[3], configs=[sys.argv[2]], recipe=toys.WAN_RECIPE, progress=slow, shard=20_000)
"""  # noqa: E501


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_conversion_leaves_no_partial_model(
    files: toys.Files, tmp_path: Path, how: signal.Signals
) -> None:
    """Ctrl-C cleans up; SIGKILL leaves a hidden folder, which the next conversion ignores."""
    command = child(STOPPED, files.wan, files.wan_config, tmp_path / "out")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half way\n"
        process.send_signal(how)
        process.wait(30)
    assert not (tmp_path / "out").exists()
    if how == signal.SIGINT:
        only_remain(tmp_path)
    wan(files, files.wan, tmp_path / "out")
    load(tmp_path / "out")


def test_other_files_and_other_models_checkpoints_are_refused(
    files: toys.Files, tmp_path: Path
) -> None:
    """With the command for the model that it is."""
    (tmp_path / "notes.txt").write_text("no weights")
    torch.save(files.wan_tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(
        RunError,
        match=r"notes\.txt: can't be read: it is neither a \.safetensors nor a torch\.save file$",
    ):
        wan(files, tmp_path / "notes.txt", tmp_path / "out")
    with pytest.raises(
        RunError,
        match=(
            r"old\.pt: can't be read: it has the format from before PyTorch 1\.6: save it again"
            r" with torch\.save$"
        ),
    ):
        wan(files, tmp_path / "old.pt", tmp_path / "out")
    with pytest.raises(RunError, match=r"names of Ovi's towers \(`harmony convert ovi`"):
        wan(files, files.ovi, tmp_path / "out")
    with pytest.raises(RunError, match=r"names of Wan's tensors \(`harmony convert wan`"):
        convert("ovi", files.wan, tmp_path / "out", configs=files.configs, recipe=toys.RECIPE)
    with pytest.raises(RunError, match="is for an audio tower"):
        convert("wan", files.wan, tmp_path / "out", configs=files.configs, recipe=toys.WAN_RECIPE)
