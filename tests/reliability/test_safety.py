"""Downloaded files never run code, whatever their names."""

from __future__ import annotations

import ast
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from helpers import tiny_training as tiny

import harmony_parts
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.train.loop import train

PACKAGE = Path(harmony_parts.__file__).parent


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps."""
    out = tmp_path_factory.mktemp("safety") / "run"
    train(tiny.recipe(steps=2, checkpoint_every=1), out=out, progress=False, device="cpu")
    return out


def test_pickled_weights_are_refused_and_never_run(run: Path, tmp_path: Path) -> None:
    """The bomb works when unpickled, but loading it as weights or as a checkpoint doesn't."""
    fuse = tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(fuse))
    pickle.loads(bomb)
    assert fuse.is_dir()
    fuse.rmdir()
    out = Path(shutil.copytree(run, tmp_path / "run"))
    (out / "model" / "model.safetensors").write_bytes(bomb)
    with pytest.raises(RunError, match=r"model\.safetensors: can't be read"):
        load(out)
    torch.save({"weights": Bomb(fuse)}, out / "model" / "model.safetensors")
    with pytest.raises(RunError, match=r"model\.safetensors: can't be read"):
        load(out)
    for file in out.glob("checkpoints/*/*.safetensors"):
        file.write_bytes(bomb)
    # starts over: no checkpoint is intact
    train(tiny.recipe(steps=3), out=out, resume=True, progress=False, device="cpu")
    assert not fuse.exists()


def test_no_module_reads_pickles() -> None:
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                if names == ["pickle", "UnpicklingError"]:  # only to recognise a refusal
                    continue
                assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & set(names), file
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                called = ast.unparse(node.func)
                if called == "torch.load":  # for other projects' checkpoints, without their code
                    assert "weights_only=True" in ast.unparse(node), file
                assert called not in (
                    "eval",
                    "exec",
                    "np.load",
                    "numpy.load",
                    "os.system",
                ), f"{file}: {called}"
