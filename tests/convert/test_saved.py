"""Saved models: shards and their index, one copy in memory, types, and models on the Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from helpers import toy_weights as toys
from safetensors.torch import load_file, save_file

from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.folder import find_model, save_model
from harmony_parts.models.tensor_files import (
    load_tensors,
    meta_tensors,
    save_tensors,
    write_tensors,
)

SMALL = {
    **toys.RECIPE,
    "denoiser": {
        "use": "dual-branch",
        "layers": 1,
        "video": {"use": "transformer", "width": 32, "heads": 2, "feed": 32, "patch": 2},
        "audio": {"use": "mmdit", "width": 32, "heads": 2, "feed": 32},
    },
}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    """Of fresh weights, none of them zero."""
    made = Pipeline.assemble(read_recipe(SMALL))
    for parameter in made.weights.parameters():
        parameter.data += 0.05
    return made


def test_small_models_are_one_file_and_large_ones_shards(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """Each takes the other's place in a folder, and what is loaded is what was saved."""
    state, folder = pipeline.weights.state_dict(), tmp_path / "model"
    sizes = {}
    for shard in (60_000, 2**30, 120_000, 60_000):
        save_model(folder, pipeline.recipe, state, shard=shard)
        names = sorted(path.name for path in folder.glob("*.safetensors*"))
        sizes[shard] = len(names)
        if shard == 2**30:
            assert names == ["model.safetensors"]
        else:
            count = len(names) - 1
            assert names == [
                *(f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)),
                "model.safetensors.index.json",
            ]
            where = json.loads((folder / names[-1]).read_text())["weight_map"]
            assert where == {name: file for file in names[:-1] for name in load_file(folder / file)}
        assert toys.same(toys.saved(folder), dict(state))
        loaded = load(folder).weights.state_dict()
        assert toys.same(dict(loaded), dict(state))
    assert sizes[60_000] > sizes[120_000] > 2


def test_the_file_is_what_safetensors_reads(tmp_path: Path) -> None:
    """All types, in one file: read by that library, and theirs by this one; tied and transposed
    tensors, scalars, and ones without numbers.
    """
    tied = torch.randn(3, 5)
    state = {
        **{
            str(dtype): (torch.randn(3, 7) * 10).to(dtype)
            for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        },
        **{
            str(dtype): torch.randint(0, 2, (5,)).to(dtype)
            for dtype in (torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)
        },
        "tied": tied,
        "turned": tied.t(),
        "scalar": torch.tensor(2.5),
        "none": torch.zeros(0, 4),
        "float8": torch.randn(3).to(torch.float8_e5m2),
    }
    save_tensors(tmp_path / "a.safetensors", state)
    read = load_file(tmp_path / "a.safetensors")
    assert read.keys() == state.keys()
    for name, tensor in state.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name].float(), tensor.float())
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in state.items()},
        tmp_path / "b.safetensors",
    )
    theirs = load_tensors(tmp_path / "b.safetensors")
    assert all(torch.equal(theirs[name].float(), tensor.float()) for name, tensor in state.items())
    for file in ("a", "b"):
        shapes = meta_tensors(tmp_path / f"{file}.safetensors")
        assert all(
            (shapes[n].shape, shapes[n].dtype) == (t.shape, t.dtype) for n, t in state.items()
        )
    with pytest.raises(ValueError, match=r"x is torch.float32 \[3\], and not torch.float32 \[2\]"):
        write_tensors(
            tmp_path / "c.safetensors", {"x": torch.zeros(2)}, lambda name: torch.zeros(3)
        )


def test_types_are_kept_or_asked_for(pipeline: Pipeline, tmp_path: Path) -> None:
    half = {
        name: tensor.to(torch.bfloat16) for name, tensor in pipeline.weights.state_dict().items()
    }
    save_model(tmp_path, pipeline.recipe, half)
    kept, wide = load(tmp_path), load(tmp_path, dtype=torch.float32)
    assert {p.dtype for p in kept.weights["denoiser"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in wide.weights.parameters()} == {torch.float32}
    assert all(
        torch.equal(tensor, half[name].float())
        for name, tensor in wide.weights.state_dict().items()
    )
    assert all(p.requires_grad for p in kept.weights["denoiser"].parameters())
    counts = {
        **half,
        "denoiser.branches.video.head.modulation": torch.zeros(2, 32, dtype=torch.int64),
    }
    save_model(tmp_path, pipeline.recipe, counts)
    with pytest.raises(
        RunError,
        match=r"of another type: denoiser.branches.video.head.modulation \(there torch.int64",
    ):
        load(tmp_path)


def test_a_missing_shard_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    save_model(tmp_path, pipeline.recipe, pipeline.weights.state_dict(), shard=100_000)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert find_model(tmp_path) == tmp_path
    shards[1].write_bytes(shards[1].read_bytes()[:-8])
    with pytest.raises(RunError, match=rf"{shards[1].name}: can't be read"):
        load(tmp_path)
    shards[1].unlink()
    with pytest.raises(
        RunError, match=rf"of {len(shards)} shards these aren't there: {shards[1].name}"
    ):
        load(tmp_path)


# --- the Hub --------------------------------------------------------------------------------------


def test_names_that_are_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"runs/a/b: no such folder$"):
        load("runs/a/b")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it weren't installed
    with pytest.raises(
        RunError,
        match=(
            "owner/name: no such folder; for models on the Hugging Face Hub: pip install"
            " huggingface_hub"
        ),
    ):
        load("owner/name")


@pytest.fixture
def hub(pipeline: Pipeline, tmp_path: Path) -> Iterator[str]:
    """A server that answers as the Hub does for one repository, owner/tiny: address of it. It
    refuses what isn't of a model.
    """
    pytest.importorskip("huggingface_hub", reason="huggingface_hub isn't installed")
    folder, commit = tmp_path / "served", "a" * 40
    save_model(folder, pipeline.recipe, pipeline.weights.state_dict(), shard=200_000)
    (folder / "code.py").write_text("raise SystemExit")

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            prefix = f"/owner/tiny/resolve/{commit}/"
            if path in (
                "/api/models/owner/tiny/revision/main",
                "/api/models/owner/tiny/revision/v1",
            ):
                files = [{"rfilename": file.name} for file in folder.iterdir()]
                body = json.dumps({"id": "owner/tiny", "sha": commit, "siblings": files}).encode()
                self.answer(200, body, {"Content-Type": "application/json"})
            elif path == f"/api/models/owner/tiny/tree/{commit}":
                tree = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": commit}
                    for file in folder.iterdir()
                ]
                self.answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})
            elif path.startswith(prefix) and not path.endswith(".py"):
                body = (folder / path.removeprefix(prefix)).read_bytes()
                self.answer(
                    200, body, {"ETag": f'"{hash(path) & 0xFFFF:x}"', "X-Repo-Commit": commit}
                )
            else:
                self.answer(
                    404,
                    b"{}",
                    {"X-Error-Code": "RepoNotFound" if "tiny" not in path else "RevisionNotFound"},
                )

        do_HEAD = do_GET

        def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


FETCH = """
import sys
from pathlib import Path
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
for name in ("owner/tiny", "owner/tiny@v1"):
    print(sum(p.numel() for p in load(name).weights.parameters()))
print(sorted(path.name for path in Path(sys.argv[1]).rglob("*.py")))
for name in ("owner/absent", "owner/tiny@v2"):
    try:
        load(name)
    except RunError as error:
        print(error)
"""


def test_models_on_the_hub(hub: str, pipeline: Pipeline, tmp_path: Path) -> None:
    """Fetched by name and revision, without what could be code; a name that isn't there, and a Hub
    that can't be reached, are told.
    """
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    environment = {
        name: value
        for name, value in environment.items()
        if "proxy" not in name.lower() and name != "HF_HUB_OFFLINE"
    }
    done = subprocess.run(
        [sys.executable, "-c", FETCH, str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    first, second, code, absent, revision = done.stdout.splitlines()
    assert int(first) == int(second) == sum(p.numel() for p in pipeline.weights.parameters())
    assert code == "[]"
    for told, name in ((absent, "owner/absent"), (revision, "owner/tiny@v2")):
        assert told.startswith(
            f"{name}: no such folder, and as a name on the Hugging Face Hub it can't be had: "
        )
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "none")}
    offline = "from harmony_parts.generate.load import load; load('owner/tiny')"
    done = subprocess.run(
        [sys.executable, "-c", offline],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert (
        "RunError: owner/tiny: no such folder, and as a name on the Hugging Face Hub it can't"
        " be had" in done.stderr
    )
