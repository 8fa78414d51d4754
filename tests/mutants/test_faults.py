"""Faults that were once invisible: each is put into a copy of the package, and tests must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PAPER = "parity/test_paper_network.py"


@attrs.frozen
class Fault:
    """`old` in a file of the package becomes `new`; `test` is a file of tests that notices."""

    file: str
    old: str
    new: str
    test: str = PAPER


FAULTS = {
    "no rotation in GLDI": Fault(
        "interaction/gldi.py",
        "angles(at_queries, pairs).to(device),\n            angles(at_keys, pairs)",
        "0 * angles(at_queries, pairs).to(device),\n            0 * angles(at_keys, pairs)",
    ),
    "only keys are rotated": Fault(
        "interaction/gldi.py", "angles(at_queries, pairs)", "0 * angles(at_queries, pairs)"
    ),
    "the RoPE map is inverted": Fault(
        "interaction/positions.py", "len(queries) / len(keys)", "len(keys) / len(queries)"
    ),
    "the RoPE map is inverted, by values": Fault(
        "interaction/positions.py",
        "len(queries) / len(keys)",
        "len(keys) / len(queries)",
        "interaction/test_positions.py",
    ),
    "the constant isn't inverted for the audio": Fault(
        "interaction/gldi.py", "1 / spec.constant", "spec.constant"
    ),
    "the audio has the video's window": Fault(
        "interaction/gldi.py", "spec.video_window", "spec.audio_window"
    ),
    "reach is ignored": Fault(
        "interaction/gldi.py", "windows(queries, keys, reach)", "windows(queries, keys, 0.0)"
    ),
    "the reference ends on the target's first token": Fault(
        "branches/mmdit.py", "mask.sum(1, keepdim=True)", "mask.sum(1, keepdim=True) + 1"
    ),
    "words are modulated at time 0": Fault(
        "branches/mmdit.py", "times.index[:, -1:]", "times.index[:, :1]"
    ),
    "words are rotated": Fault(
        "branches/mmdit.py",
        "_identity(rope, context.shape[1])",
        "rope[:, -1:].expand(-1, context.shape[1], -1, -1)",
    ),
    "style sees one latent": Fault(
        "style/alignment.py", "video.flatten(1, 2)", "video[:, :1].flatten(1, 2)"
    ),
    "a style token sees one latent": Fault(
        "style/tokens.py", "video.flatten(1, 2)", "video[:, :1].flatten(1, 2)"
    ),
    "style is left out": Fault(
        "denoisers/joint_block.py",
        '_with_style(read, streams["audio"], interaction, may_receive.audio)',
        'streams["audio"]',
    ),
    "style enters a clean stream": Fault(
        "denoisers/joint_block.py", "_allowed(residual, may_receive)", "residual"
    ),
    "clean samples get a gradient": Fault(
        "denoisers/joint_block.py", "x, x.detach())", "x, x)", "denoisers/test_branch_denoiser.py"
    ),
    "training times aren't shifted": Fault(
        "assembly/recipe.py",
        "lambda shift: shift(t)",
        "lambda shift: t",
        "train/test_stream_shifts.py",
    ),
    "all samples have one generator": Fault(
        "train/chance.py", "{step}:{sample}", "{step}", "train/test_chance.py"
    ),
    "weight decay is ignored": Fault(
        "optimizers/adamw.py",
        "((decaying, self.weight_decay), (others, 0.0))",
        "((decaying, 0.0), (others, 0.0))",
        "optimizers/test_adamw.py",
    ),
    "the bootstrap's error is halved": Fault(
        "metrics/compare.py",
        "means.std(ddof=1)",
        "means.std(ddof=1) / 2",
        "metrics/test_compare.py",
    ),
    "the voice is always the file's start": Fault(
        "references/lengths.py",
        "at = position * sum(free for _, free in places)",
        "at = 0.0",
        "data/test_clips.py",
    ),
    "all tasks of a clip have one noise": Fault(
        "train/chance.py",
        "rows.normal_(generator=generator)",
        "rows.copy_(torch.randn(rows.shape[1:], generator=generator))",
        "train/test_objective.py",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(name: str, tmp_path: Path) -> None:
    """pytest's status 1 is failed tests; any other one is a fault of this test."""
    fault = FAULTS[name]
    shutil.copytree(ROOT / "harmony_parts", tmp_path / "harmony_parts")
    for shared in ("tests", "plugins", "pyproject.toml", "conftest.py"):
        (tmp_path / shared).symlink_to(ROOT / shared)
    file = tmp_path / "harmony_parts" / fault.file
    text = file.read_text(encoding="utf-8")
    assert text.count(fault.old) == 1
    file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    command = (
        *(sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"),
        f"tests/{fault.test}",
    )
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stdout[-3000:] + result.stderr[-1000:]
    assert "ImportError" not in result.stdout
