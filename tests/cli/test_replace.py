"""What `generate` does with a file that exists, and `explain` with folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from harmony_parts.cli.main import cli

QUICK = ("--seconds", "0.25", "--steps", "1", "--device", "cpu")


def test_an_existing_file_is_replaced_only_if_that_is_wanted(harmony, trained, tmp_path) -> None:
    out = tmp_path / "a.mp4"
    out.write_bytes(b"mine")
    refused = harmony("generate", trained, *QUICK, "--out", out)
    assert refused.exit_code == 2
    assert "exists; choose another --out, or add --force" in " ".join(refused.output.split())
    assert out.read_bytes() == b"mine"
    assert harmony("generate", trained, *QUICK, "--out", out, "--force").exit_code == 0
    assert out.read_bytes() != b"mine"


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_terminal_is_asked(trained, tmp_path, monkeypatch, answer) -> None:
    out = tmp_path / "a.wav"
    out.write_bytes(b"mine")
    monkeypatch.setattr("harmony_parts.cli.generate.may_ask", lambda: True)
    words = ["generate", str(trained), *QUICK, "--out", str(out)]
    result = CliRunner().invoke(cli, words, input=f"{answer}\n")
    assert (result.exit_code == 0) is (answer == "y"), result.output
    assert (out.read_bytes() == b"mine") is (answer == "n")


def test_explain_takes_the_folder_of_a_run_or_a_model(harmony, trained, recipe) -> None:
    """The same model, by its run, by its model folder and by its recipe."""
    found = [
        json.loads(harmony("explain", where, "--json").output)
        for where in (trained, trained / "model", recipe)
    ]
    assert found[0] == found[1] == found[2]
    shown = harmony("explain", trained, "--gpus", "4").output
    assert "4 GPUs, 4 divide a copy: " in " ".join(shown.split())


def test_a_model_without_its_guidance_s_plugin_loads_with_another(
    harmony, trained, tmp_path: Path
) -> None:
    import shutil

    import harmony_parts as hp
    from harmony_parts.errors import AssemblyError

    model = tmp_path / "model"
    shutil.copytree(trained / "model", model)
    text = (model / "recipe.toml").read_text()
    start, end = text.index("[sample.guidance]"), text.index("[sample.solver]")
    (model / "recipe.toml").write_text(
        text[:start]
        + '[sample.guidance]\nuse = "absent/strong"\nscale = 3.0\n\n'
        + text[end:]
        + '\n[harmony.plugins]\nabsent = "harmony-absent 1.0"\n'
    )
    words = ("generate", model, *QUICK, "--out", tmp_path / "a.wav")
    refused = harmony(*words)
    assert refused.exit_code == 1
    assert "another one does: --guidance none" in " ".join(refused.output.split())
    assert harmony(*words, "--guidance", "sync-cfg").exit_code == 0
    with pytest.raises(AssemblyError, match="absent"):
        hp.load(model)
    assert isinstance(hp.load(model, guidance="none").recipe.sample.guidance, hp.NoGuidance)
