"""Models on the Hugging Face Hub, with a local server in its place."""

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
from helpers import toy_weights as toys

from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.folder import save_model

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
    """A small model without zero weights."""
    made = Pipeline.assemble(read_recipe(SMALL))
    for parameter in made.weights.parameters():
        parameter.data += 0.05
    return made


def test_a_name_that_is_no_folder_is_looked_up_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"runs/a/b: no such folder$"):
        load("runs/a/b")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it weren't installed
    with pytest.raises(
        RunError,
        match=(
            "owner/name: no such folder; to fetch models from the Hugging Face Hub, pip install"
            " huggingface_hub"
        ),
    ):
        load("owner/name")


@pytest.fixture
def hub(pipeline: Pipeline, tmp_path: Path) -> Iterator[str]:
    """The address of a server that answers as the Hub does for the repository owner/tiny.

    It refuses files that aren't of a model.
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


def test_models_are_fetched_from_the_hub_without_code(
    hub: str, pipeline: Pipeline, tmp_path: Path
) -> None:
    """By name and revision; errors for an unknown name or an unreachable Hub have the cause."""
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
    for message, name in ((absent, "owner/absent"), (revision, "owner/tiny@v2")):
        assert message.startswith(
            f"{name}: no such folder, and it can't be fetched from the Hugging Face Hub: "
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
        "RunError: owner/tiny: no such folder, and it can't be fetched from the Hugging Face Hub"
        in done.stderr
    )
