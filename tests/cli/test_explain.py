"""`harmony explain`: every figure against the parts themselves."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from harmony_parts.assembly.build import build
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.read import read_recipe
from harmony_parts.cli.explain import tree
from harmony_parts.cost.figures import account_or_reason, figures
from harmony_parts.cost.report import window_lines
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.errors import AssemblyError


def test_parts_settings_and_figures_are_shown(harmony, recipe):
    result = harmony("explain", recipe)
    assert result.exit_code == 0, result.output
    output = result.output
    for piece in (
        "tiny: As small as it gets.",
        "harmony/gldi  audio_window=0.1",
        "harmony/soundstage",
        "interaction",
        "T_v = 6",
        "T_a = 15",
        "a pass of one clip that computes both streams: ",
        "video self-attention",
        "8 GPUs, 8 divide a copy: ",
        "not counted: ",
    ):
        assert piece in output
    assert "joint         3 passes: joint (video and audio), mute (video), static (audio)" in output
    assert "audio-driven  2 passes: joint (video), mute (video)" in output
    assert "video-driven  2 passes: joint (audio), static (audio)" in output


def test_a_global_interaction_has_no_windows(harmony, recipe):
    for use in ("global", "none"):
        (line,) = window_lines(build(read_recipe(recipe, [f"denoiser.interaction.use={use}"])))
        assert line.startswith("none: ")
    result = harmony("explain", recipe, "--set", "denoiser.interaction.use=global")
    assert result.exit_code == 0, result.output
    assert "interaction: audio attends to video" in result.output.partition("arithmetic")[2]


@pytest.mark.parametrize(("guidance", "count"), [("cfg", 2), ("sync-cfg", 3)])
def test_passes_depend_on_the_guidance(harmony, recipe, guidance, count):
    shown = json.loads(
        harmony("explain", recipe, "--json", "--set", f"sample.guidance.use={guidance}").stdout
    )["flops"]["tasks"]["joint"]
    assert len(shown["passes"]) == count
    anchors = shown.get("anchors", {"flops": 0})["flops"]
    assert shown["clip"] == 2 * sum(shown["passes"].values()) + anchors  # the recipe's two steps


def test_json_holds_what_is_counted(harmony, recipe):
    shown = json.loads(
        harmony("explain", recipe, "--json", "--gpus", 4, "--dtype", "bfloat16").stdout
    )
    assert shown["latents"] == {"video": [6, 2, 2, 24], "audio": [15, 8]}
    assert shown["flops"]["pass"]["total"] == sum(shown["flops"]["pass"]["steps"].values())
    assert shown["flops"]["tasks"]["joint"]["passes"]["joint"] == shown["flops"]["pass"]["total"]
    numbers = sum(w["numbers"] for w in shown["parameters"].values())
    assert shown["memory"]["inference"]["weights"] == 2 * numbers
    for name, memory in shown["memory"]["training"].items():
        assert memory["one_gpu"] == 16 * numbers + memory["activations"], name
        assert 0 < memory["kept"] <= memory["activations"]
    each = shown["memory"]["each_gpu"]["gpus"]
    assert [(n, memory["shards"]) for n, memory in each.items()] == [("1", 1), ("2", 2), ("4", 4)]
    for n, memory in each.items():
        states = [memory[name] for name in ("weights", "gradients", "optimizer")]
        assert states == [2 * numbers // int(n), 2 * numbers // int(n), 12 * numbers // int(n)]
        assert memory["total"] == sum(states) + memory["gathered"] + memory["activations"]
        assert (memory["gathered"] > 0) == (n != "1")


@pytest.mark.parametrize(
    ("strategy", "shards"),
    [("single", [1, 8, 8]), ("data-parallel", [1, 1, 1]), ("{use='fsdp',shards=4}", [1, 4, 4])],
)
def test_memory_of_each_gpu_follows_the_strategy(harmony, recipe, strategy, shards):
    given = strategy if strategy.startswith("{") else f"'{strategy}'"
    shown = json.loads(
        harmony(
            "explain", recipe, "--json", "--gpus", 64, "--set", f"train.strategy={given}"
        ).stdout
    )["memory"]["each_gpu"]["gpus"]
    assert list(shown) == ["1", "2", "4", "8", "16", "32", "64"]
    assert [shown[n]["shards"] for n in ("1", "8", "64")] == shards


def test_gpus_that_share_a_clip_hold_and_do_less_of_it(harmony, recipe):
    def each(seq: int) -> dict[str, Any]:
        given = f"train.strategy={{use='fsdp',seq={seq}}}"
        shown = json.loads(harmony("explain", recipe, "--json", "--gpus", 4, "--set", given).stdout)
        return shown["memory"]["each_gpu"]

    whole, shared = each(1)["gpus"], each(2)["gpus"]
    assert list(shared) == ["1", "2", "4"]
    assert shared["1"] == whole["1"]
    for name in ("activations", "flops"):
        assert whole["2"][name] / 2 < shared["2"][name] < whole["2"][name], name
    assert shared["2"]["sent"]["weights"] == whole["2"]["sent"]["weights"] > 0
    assert whole["2"]["sent"]["tokens"] == 0 < shared["2"]["sent"]["tokens"]
    refused = each(3)
    assert refused["gpus"] == {}
    assert "can't be divided evenly among 3 processes" in refused["refused"]


@pytest.mark.parametrize("stream", ["video", "audio"])
def test_a_model_of_one_stream_is_explained(harmony, recipe, tmp_path, stream):
    table: dict[str, Any] = tomllib.loads(Path(recipe).read_text())
    other = "audio" if stream == "video" else "video"
    del table["codecs"][other], table["encoders"]["caption" if stream == "audio" else "voice"]
    table["denoiser"] = {"use": f"{stream}-only", "layers": 1, stream: table["denoiser"][stream]}
    table |= {"task": "joint", "data": table["data"]}
    (tmp_path / "one-stream.toml").write_text(tomli_w.dumps(table))
    result = harmony("explain", tmp_path / "one-stream.toml")
    assert result.exit_code == 0, result.output
    assert "none: there is one stream" in result.output
    assert f"{stream}         1 pass: joint ({stream})" in result.output
    assert f"{stream} self-attention" in result.output
    assert other + " branch" not in result.output


def test_a_denoiser_that_reads_tensor_values_is_not_counted(recipe):
    """A plugin's denoiser that reads a value: everything but FLOPs and memory is shown."""
    read = read_recipe(recipe)

    class Asks(BranchDenoiser):
        def forward(self, av, *args, **settings):
            return super().forward(av, *args, **settings) if float(av["video"].sum()) else av

    parts = build(read, empty=("denoiser",))
    parts.denoiser.__class__ = Asks
    counted = account_or_reason(read, parts, "float32")
    assert isinstance(counted, str)
    assert "meta" in counted
    assert figures(read, parts, counted, 8)["uncounted"] == counted
    assert str(tree(read, parts, counted, 8).children[-1].children[0].label) == counted


def test_the_full_size_recipe_names_its_missing_plugin():
    """The plugin that has its codecs."""
    with pytest.raises(AssemblyError, match=re.escape("diffusers/wan-vae")) as raised:
        read_recipe("harmony-5b", parts=Catalogue.discover(only=()))
    assert "pip install ./plugins/harmony-diffusers" in str(raised.value)


def test_the_expanded_recipe_is_the_same_recipe(harmony, recipe, tmp_path):
    changed = ("--set", "train.steps=7", "--set", "denoiser.layers=2")
    for flag in ("--full", "--toml"):
        (tmp_path / "expanded.toml").write_text(harmony("explain", recipe, *changed, flag).stdout)
        assert read_recipe(tmp_path / "expanded.toml") == read_recipe(recipe, changed[1::2])


def test_the_shipped_recipe_is_counted(harmony):
    """One layer of it."""
    result = harmony("explain", "demo", "--set", "denoiser.layers=1")
    assert result.exit_code == 0, result.output
    assert "harmony/sampled" in result.output
    assert "can't be counted" not in result.output
