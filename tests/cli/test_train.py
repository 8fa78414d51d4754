"""`harmony train`, with a tiny model."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time


def test_training_saves_a_model_and_suggests_a_command(harmony, recipe, tmp_path, monkeypatch):
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


def test_ctrl_c_exits_with_130_and_prints_the_command_to_continue(recipe, tmp_path):
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
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    again = stderr.strip().splitlines()[-1].strip()
    assert (
        again
        == f"harmony train {recipe} --out {tmp_path / 'run'} --resume --set train.steps=100000"
        " --device cpu"
    )
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_run_of_adapters_says_how_they_are_used(harmony, recipe, tmp_path):
    run = tmp_path / "run"
    words = ("--set", "train.steps=1", "--set", "train.trainable.use=lora", "--device", "cpu")
    result = harmony("train", recipe, "--out", run, *words)
    assert result.exit_code == 0, result.output
    assert f"try: harmony generate MODEL --lora {run} --out tiny.mp4" in result.stdout
    result = harmony("generate", run, "--out", tmp_path / "x.mp4", "--device", "cpu")
    assert result.exit_code == 1
    assert f"{run}: has adapters, and no model: name the model that they were" in result.output
    assert "unfinished" not in result.output
