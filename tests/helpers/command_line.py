"""The command line in this process, with a tiny recipe and the model trained from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harmony_parts.cli.main import cli

RECIPE = """
name = "tiny"
summary = "As small as it gets."

[format]
fps = 12
height = 16
width = 16
sample_rate = 8000
seconds = 0.5

[codecs]
video = { use = "dct", frames_per_latent = 1, keep = 24 }
audio = { use = "log-mel", latents_per_second = 30, hops_per_latent = 1, bands = 8, iterations = 2 }

[encoders]
caption = { use = "bytes", width = 8, heads = 2, layers = 0 }
voice = "reference-audio"

[denoiser]
use = "dual-branch"
layers = 1
video = { use = "transformer", width = 24, heads = 2, feed = 24, patch = 1 }
audio = { use = "mmdit", width = 24, heads = 2, feed = 24 }
interaction = { use = "gldi", audio_window = 0.1, video_window = 0.1, attention = "reference" }

[flow]
path = "straight"
density = "logit-normal"
shift = "constant"

[task]
use = "sampled"

[data]
use = "soundstage"
size = 8

[train]
steps = 3
batch = 2
prepared = 4
log_every = 1

[sample]
guidance = "sync-cfg"
solver = "euler"
shift = "constant"
steps = 2
"""

Harmony = Callable[..., Result]


def jsonl(path: Path, *lines: object) -> Path:
    """Write a batch file: a JSON object, or text as it is given, per line."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the tiny recipe."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def harmony() -> Harmony:
    """`harmony("parts", "list")` returns exit code, output (stdout and stderr) and exception."""

    def run(*args: object, **env: str) -> Result:
        return CliRunner(env={"COLUMNS": "100", **env}).invoke(
            cli, [str(arg) for arg in args], prog_name="harmony"
        )

    return run


@pytest.fixture(scope="session")
def trained(harmony: Harmony, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a model trained for three steps."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    result = harmony("train", recipe, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return out
