"""Completion by the shell, plain progress, exit codes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harmony_parts.cli.completion import SHELLS, VARIABLE


def complete(*words: str) -> list[str]:
    """The completions for the last word in bash, by a process that must not import torch."""
    script = (
        "import sys\ntry:\n    from harmony_parts.cli.main import main; main()\nfinally:\n   "
        " assert 'torch' not in sys.modules"
    )
    environment = {
        **os.environ,
        VARIABLE: "bash_complete",
        "COMP_WORDS": " ".join(("harmony", *words)),
        "COMP_CWORD": str(len(words)),
        "HARMONY_PARTS_PLUGINS": "none",
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_commands_options_and_names_are_completed():
    assert complete("gen") == ["generate"]
    assert "--batch" in complete("generate", "--b")
    assert complete("train", "cl")[0] == "clips"
    assert complete("parts", "show", "guidance/sy") == ["guidance/sync-cfg"]
    assert complete("generate", "m", "--guidance", "sync") == ["sync-cfg"]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_its_script(harmony, shell):
    if shell == "bash" and not shutil.which("bash"):
        pytest.skip("click asks bash for its version")
    result = harmony("completion", shell)
    assert result.exit_code == 0, result.output
    assert f"{VARIABLE}={shell}_complete" in result.output


def test_the_help_tells_the_exit_codes(harmony):
    said = " ".join(harmony("--help").output.split())
    assert "Exit codes: 0 success, 1 error (see stderr), 2 wrong usage, 130 interrupted." in said


def test_ctrl_c_in_a_batch_ends_with_130_and_the_rest_can_be_made(harmony, trained, tmp_path):
    (tmp_path / "b.jsonl").write_text('{"steps": 3}\n' * 400)
    args = [
        "generate",
        trained,
        "--batch",
        tmp_path / "b.jsonl",
        "--out",
        tmp_path / "clips",
        "--device",
        "cpu",
    ]
    command = [sys.executable, "-m", "harmony_parts", *map(str, args)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while (
            len(list(tmp_path.glob("clips/*.json"))) < 2
            and time.monotonic() < until
            and process.poll() is None
        ):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "of 400 clips; the same command continues from there" in said
    assert "Traceback" not in said
    made = {path.name for path in (tmp_path / "clips").iterdir() if not path.name.startswith(".")}
    done = [name for name in made if name.endswith(".json")]
    assert len(done) >= 2
    assert {name.removesuffix(".json") for name in done} <= made
