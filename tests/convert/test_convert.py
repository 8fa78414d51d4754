"""Converting whole checkpoints: every tensor is accounted for, and converting back is bit-equal."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest
import torch
from helpers import toy_weights as toys
from safetensors.torch import load_file, save_file

from harmony_parts.convert.back import convert_back
from harmony_parts.convert.forward import convert
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ovi_converts_to_a_model_and_back_bit_for_bit(
    files: toys.Files, tmp_path: Path, dtype: torch.dtype
) -> None:
    theirs = {name: tensor.to(dtype) for name, tensor in files.ovi_tensors.items()}
    save_file(theirs, tmp_path / "theirs.safetensors")
    report = convert(
        "ovi",
        tmp_path / "theirs.safetensors",
        tmp_path / "ovi",
        configs=files.configs,
        recipe=toys.RECIPE,
    )
    assert len(report.fates("mapped")) == len(theirs)
    assert not report.fates("unused")
    assert all(record.ours.startswith("encoders.") for record in report.fates("initialised"))
    recipe = tomllib.loads((tmp_path / "ovi" / "recipe.toml").read_text())["denoiser"]
    assert recipe["use"].endswith("dual-branch")
    assert (
        recipe["layers"],
        recipe["video"]["heads"],
        recipe["audio"]["feed"],
        recipe["video"]["patch"],
    ) == (2, 2, 48, 2)
    assert (
        recipe["audio"]["positions_per_latent"],
        recipe["interaction"]["constant"],
        recipe["interaction"]["rope_map"],
    ) == (0.25, 0.25, "constant")
    pipeline = load(tmp_path / "ovi")
    assert pipeline.weights["denoiser"].blocks[0].video.modulation.dtype == dtype
    assert pipeline.generate("a ball", sound="a knock", steps=1).clip.waveform.isfinite().all()
    assert convert_back("ovi", tmp_path / "ovi", tmp_path / "back.safetensors") == len(theirs)
    assert toys.same(load_file(tmp_path / "back.safetensors"), theirs)


def test_wan_converts_to_a_video_model_and_back_bit_for_bit(
    files: toys.Files, tmp_path: Path
) -> None:
    """From indexed shards of 50 kB, and in diffusers' naming."""
    convert(
        "wan",
        files.wan,
        tmp_path / "wan",
        configs=[files.wan_config],
        recipe=toys.WAN_RECIPE,
        shard=50_000,
    )
    shards = sorted(tmp_path.glob("wan/model-*.safetensors"))
    assert len(shards) > 2
    index = json.loads((tmp_path / "wan" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    assert index["metadata"]["total_size"] == sum(
        tensor.numel() * 4 for tensor in toys.saved(tmp_path / "wan").values()
    )
    assert all(sum(t.numel() * 4 for t in load_file(shard).values()) <= 50_000 for shard in shards)
    assert load(tmp_path / "wan").generate("a ball", steps=1).clip.waveform is None
    convert_back("wan", tmp_path / "wan", tmp_path / "a.safetensors")
    assert toys.same(load_file(tmp_path / "a.safetensors"), files.wan_tensors)
    convert_back("wan-diffusers", tmp_path / "wan", tmp_path / "b.safetensors")
    convert(
        "wan",
        tmp_path / "b.safetensors",
        tmp_path / "again",
        configs=[files.wan_config],
        recipe=toys.WAN_RECIPE,
    )
    assert toys.same(toys.saved(tmp_path / "again"), toys.saved(tmp_path / "wan"))


def test_every_file_format_of_a_checkpoint_gives_the_same_model(
    files: toys.Files, tmp_path: Path
) -> None:
    """A file, shards with and without index, torch.save plain or nested, a diffusers pipeline."""
    theirs = files.wan_tensors
    save_file(theirs, tmp_path / "one.safetensors")
    toys.sharded(tmp_path / "globbed", theirs, index=False)
    toys.sharded(tmp_path / "pipeline" / "transformer", theirs)
    for name, content in (
        ("plain.pth", theirs),
        ("module.pt", {"module": theirs, "step": 3}),
        ("app.pt", {"app": {"model": theirs}}),
    ):
        torch.save(content, tmp_path / name)
    want = None
    for name in ("one.safetensors", "globbed", "pipeline", "plain.pth", "module.pt", "app.pt"):
        convert(
            "wan",
            tmp_path / name,
            tmp_path / f"out-{name}",
            configs=[files.wan_config],
            recipe=toys.WAN_RECIPE,
        )
        made = toys.saved(tmp_path / f"out-{name}")
        want = want or made
        assert toys.same(made, want), name


def test_the_card_and_the_report_cover_every_tensor(files: toys.Files, tmp_path: Path) -> None:
    report = convert(
        "ovi",
        files.ovi,
        tmp_path / "ovi",
        configs=files.configs,
        recipe=toys.RECIPE,
        dtype=torch.bfloat16,
    )
    card = (tmp_path / "ovi" / "README.md").read_text()
    assert hashlib.sha256(files.ovi.read_bytes()).hexdigest() in card
    assert "Apache-2.0" in card
    assert "model.safetensors" in card
    table = json.loads(report.json())
    assert (
        table["counts"]["mapped"]
        == len(files.ovi_tensors)
        == sum(row["fate"] == "mapped" for row in table["tensors"])
    )
    (patches,) = [
        row for row in table["tensors"] if row.get("theirs") == "video_model.patch_embedding.weight"
    ]
    assert patches["ours"] == "denoiser.branches.video.patch_embedding.weight"
    assert (patches["their_shape"], patches["shape"]) == ([32, 12, 1, 2, 2], [32, 48])
    assert sum(tensors for fate, _, tensors, _ in report.table() if fate == "mapped") == len(
        files.ovi_tensors
    )
    assert len(list(report.table())) < 20
    assert {tensor.dtype for tensor in toys.saved(tmp_path / "ovi").values()} == {torch.bfloat16}


def test_a_mismatch_is_refused_unless_partial_names_it(files: toys.Files, tmp_path: Path) -> None:
    theirs = dict(files.wan_tensors)
    del theirs["blocks.1.norm3.weight"]
    theirs["extra.weight"] = torch.zeros(3)
    theirs["head.head.weight"] = torch.zeros(5, 32)
    save_file(theirs, tmp_path / "odd.safetensors")

    def run(*partial: str) -> list[str]:
        report = convert(
            "wan",
            tmp_path / "odd.safetensors",
            tmp_path / "out",
            configs=[files.wan_config],
            recipe=toys.WAN_RECIPE,
            partial=partial,
            seed=4,
        )
        return [
            record.ours
            for record in report.fates("initialised")
            if record.ours.startswith("denoiser.")
        ]

    with pytest.raises(RunError) as raised:
        run()
    for part in (
        "in 3 tensors",
        "denoiser.blocks.1.video.norm3.weight [32] isn't in the checkpoint",
        "extra.weight [3] has no counterpart in the recipe's model",
        (
            "denoiser.branches.video.head.out.weight is [48, 32] in the recipe's model, but"
            " head.head.weight [5, 32]"
        ),
        "--partial",
    ):
        assert part in str(raised.value)
    with pytest.raises(RunError, match="in 1 tensors"):
        run("*.norm3.*", "extra*")
    with pytest.raises(
        RunError, match=r"'extra.wieght' matches no tensor .*did you mean 'extra.weight'"
    ):
        run("extra.wieght")
    assert not (tmp_path / "out").exists()
    assert sorted(run("*.norm3.*", "extra*", "*.head.out.weight")) == [
        "denoiser.blocks.1.video.norm3.weight",
        "denoiser.branches.video.head.out.weight",
    ]
    made = toys.saved(tmp_path / "out")
    assert torch.equal(made["denoiser.blocks.1.video.norm3.weight"], torch.ones(32))
    assert not made["denoiser.branches.video.head.out.weight"].any()


def test_sizes_are_checked_against_the_configuration(files: toys.Files, tmp_path: Path) -> None:
    def run(**changed: object) -> None:
        config = {
            name: value for name, value in (toys.WAN_CONFIG | changed).items() if value is not None
        }
        (tmp_path / "config.json").write_text(json.dumps(config))
        convert(
            "wan",
            files.wan,
            tmp_path / "out",
            configs=[tmp_path / "config.json"],
            recipe=toys.WAN_RECIPE,
        )

    with pytest.raises(
        RunError,
        match=(
            r"another model than the video tensors: width 64 \(the tensors: 32\), layers 3 \(the"
            r" tensors: 2\)"
        ),
    ):
        run(dim=64, num_layers=3)
    with pytest.raises(RunError, match=r"qk_norm = False, which isn't supported here"):
        run(qk_norm=False)
    with pytest.raises(
        RunError, match="a width of 32 isn't a multiple of 128: give the configuration"
    ):
        run(num_heads=None)
    with pytest.raises(RunError, match="these are the names of Wan's tensors"):
        convert("ovi", files.wan, tmp_path / "out", recipe=toys.RECIPE)
    with pytest.raises(RunError, match=r"no tensor for branches\.video\.patch_embedding\.weight"):
        convert("wan", files.ovi, tmp_path / "out", recipe=toys.WAN_RECIPE)
    run()
    # heads of 128, without a configuration
    wide = toys.numbers(toys.wan_shapes(width=256, feed=8, layers=1))
    save_file(wide, tmp_path / "wide.safetensors")
    convert("wan", tmp_path / "wide.safetensors", tmp_path / "wide", recipe=toys.WAN_RECIPE)
    assert (
        tomllib.loads((tmp_path / "wide" / "recipe.toml").read_text())["denoiser"]["video"]["heads"]
        == 2
    )


def test_a_model_of_another_layout_does_not_convert_back(files: toys.Files, tmp_path: Path) -> None:
    convert("ovi", files.ovi, tmp_path / "ovi", configs=files.configs, recipe=toys.RECIPE)
    with pytest.raises(
        RunError,
        match=(
            r"doesn't fit the layout wan: \d+ tensors have no counterpart in it, such as"
            r" denoiser\.blocks\.0\.audio"
        ),
    ):
        convert_back("wan", tmp_path / "ovi", tmp_path / "x.safetensors")
    left = ["*.audio.*", "*.interaction.*"]
    convert_back("wan", tmp_path / "ovi", tmp_path / "x.safetensors", partial=left)
    names = {
        f"video_model.{name.replace('.modulation', '.modulation.modulation') if 'blocks' in name else name}"  # noqa: E501
        for name in toys.wan_shapes()
    }
    assert names == {
        name
        for name in files.ovi_tensors
        if name.startswith("video_model.") and "fusion" not in name
    }
    assert load_file(tmp_path / "x.safetensors").keys() == toys.wan_shapes().keys()
    with pytest.raises(RunError, match="already exists"):
        convert_back("wan", tmp_path / "ovi", tmp_path / "x.safetensors", partial=left)
