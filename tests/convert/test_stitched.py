"""Stitched pairs: before training each stream computes exactly what its parent computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import toy_weights as toys
from safetensors.torch import save_file
from torch import Tensor

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.av import AV, Condition, Prompt, Times
from harmony_parts.convert.forward import convert
from harmony_parts.convert.layouts import OVI, of_stream
from harmony_parts.convert.report import Report
from harmony_parts.errors import RunError
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.folder import load_weights


def pair(files: toys.Files, out: Path, init: Any, **more: Any) -> Report:
    """Convert Wan's video and Ovi's audio tower to a pair."""
    return convert(
        "wan",
        files.wan,
        out,
        audio=files.ovi,
        init=init,
        configs=files.configs,
        recipe=toys.RECIPE,
        **more,
    )


def audio_parent(files: toys.Files) -> torch.nn.Module:
    """Ovi's audio tower without its interaction: `audio-only` of `cross`, with its weights."""
    table = {
        **toys.RECIPE,
        "codecs": {"audio": toys.RECIPE["codecs"]["audio"]},
        "encoders": {"sound": toys.RECIPE["encoders"]["sound"]},
        "denoiser": {
            "use": "audio-only",
            "layers": toys.LAYERS,
            "audio": {
                "use": "cross",
                "width": 32,
                "heads": 2,
                "feed": 48,
                "positions_per_latent": 0.25,
                "precision": "weights",
            },
        },
        "task": "joint",
    }
    denoiser = build(read_recipe(table)).denoiser
    state = {}
    for name, tensor in files.ovi_tensors.items():
        for rule in of_stream(OVI, "audio"):
            if (ours := rule.to_ours(name)) is not None:
                state[ours] = rule.shape(tensor)
    assert isinstance(denoiser, torch.nn.Module)
    denoiser.load_state_dict(state, strict=True)
    return denoiser


def request() -> tuple[AV[Tensor], AV[Times], dict[str, Condition]]:
    """Noisy latents at two times, a clean first frame in one sample, texts of two lengths."""
    g = torch.Generator().manual_seed(3)
    latents = AV(
        torch.randn(2, 4, 4, 4, toys.VIDEO, generator=g),
        torch.randn(2, 10, toys.AUDIO, generator=g),
    )
    times = AV(
        *(
            Times.uniform(torch.tensor([0.3, 0.9], dtype=torch.float64), x.shape[1])
            for x in (latents["video"], latents["audio"])
        )
    )
    mask = torch.arange(5)[None] < torch.tensor([[5], [3]])
    image = torch.randn(2, 1, 4, 4, toys.VIDEO, generator=g)
    conditions = {
        name: Condition(torch.randn(2, 5, toys.TEXT, generator=g), mask)
        for name in ("caption", "sound")
    }
    return (
        latents,
        times,
        {**conditions, "image": Condition(image, torch.tensor([[True], [False]]))},
    )


@pytest.mark.parametrize("init", ["gldi", "global"])
@torch.no_grad()
def test_a_stitched_pair_starts_as_its_parents(
    files: toys.Files, tmp_path: Path, init: str
) -> None:
    pair(files, tmp_path / "pair", init)
    convert("wan", files.wan, tmp_path / "wan", configs=[files.wan_config], recipe=toys.WAN_RECIPE)
    stitched, video = (load(tmp_path / name).parts.denoiser for name in ("pair", "wan"))
    latents, times, conditions = request()
    made = stitched(latents, times, conditions)
    of_video = {name: conditions[name] for name in ("caption", "image")}
    assert torch.equal(
        made["video"], video(latents.only(["video"]), times.only(["video"]), of_video)["video"]
    )
    audio = audio_parent(files)(
        latents.only(["audio"]), times.only(["audio"]), {"sound": conditions["sound"]}
    )
    assert torch.equal(made["audio"], audio["audio"])
    assert made["video"].abs().mean() > 1e-3 < made["audio"].abs().mean()
    # only because the interaction is initialised to zero
    for name, parameter in stitched.named_parameters():
        if ".interaction." in name:
            parameter += 0.1
    assert not torch.equal(stitched(latents, times, conditions)["audio"], made["audio"])


def test_only_the_interaction_is_initialised(files: toys.Files, tmp_path: Path) -> None:
    """From the seed, and with the recipe's settings of the interaction."""
    report = pair(files, tmp_path / "a", "gldi", seed=1)
    fresh = [record.ours for record in report.fates("initialised")]
    assert fresh
    assert all(".interaction." in name or name.startswith("encoders.") for name in fresh)
    unused = [record.theirs for record in report.fates("unused")]
    assert all(name.startswith("video_model.") or "fusion" in name for name in unused)
    assert len(unused) == sum(
        name.startswith("video_model.") or "fusion" in name for name in files.ovi_tensors
    )
    assert load(tmp_path / "a").recipe.denoiser.interaction.audio_window == 0.25
    pair(files, tmp_path / "b", "gldi", seed=1)
    pair(files, tmp_path / "c", "gldi", seed=2)
    a, b, c = (toys.saved(tmp_path / name) for name in "abc")
    assert toys.same(a, b)
    differ = {name for name in a if not torch.equal(a[name], c[name])}
    assert any(".interaction." in name for name in differ)
    assert differ <= set(fresh)
    one, other = (a[f"denoiser.blocks.{n}.interaction.to_video.q.weight"] for n in (0, 1))
    assert not torch.equal(one, other)


def test_initialised_tensors_are_distributed_as_the_parts_initialise_them(
    files: toys.Files, tmp_path: Path
) -> None:
    """The same spread, zeros and ones as in an assembled model, in the encoders too."""
    report = pair(files, tmp_path / "pair", "mmdit")
    made = toys.saved(tmp_path / "pair")
    assembled = Pipeline.assemble(
        read_recipe(tmp_path / "pair" / "recipe.toml")
    ).weights.state_dict()
    for record in report.fates("initialised"):
        mine, want = made[record.ours].double(), assembled[record.ours].double()
        assert mine.shape == want.shape
        if want.std(unbiased=False) == 0:
            assert torch.equal(mine, want), record.ours
        elif want.numel() > 200:  # the spread of so many draws, to a fifth
            assert 0.8 < mine.std() / want.std() < 1.25, record.ours


def test_an_mmdit_takes_the_weights_that_fit_it(files: toys.Files, tmp_path: Path) -> None:
    report = pair(files, tmp_path / "pair", "mmdit")
    made, theirs = toys.saved(tmp_path / "pair"), files.ovi_tensors
    for ours, name in (
        ("blocks.1.audio.attention.q.weight", "blocks.1.self_attn.q.weight"),
        ("blocks.0.audio.ffn.2.bias", "blocks.0.ffn.2.bias"),
        ("branches.audio.listener.projections.sound.0.weight", "text_embedding.0.weight"),
        ("branches.audio.time.project.1.weight", "time_projection.1.weight"),
        ("branches.audio.head.out.weight", "head.head.weight"),
    ):
        assert torch.equal(made[f"denoiser.{ours}"], theirs[f"audio_model.{name}"])
    assert torch.equal(
        made["denoiser.blocks.0.audio.modulation"],
        theirs["audio_model.blocks.0.modulation.modulation"][0],
    )
    fresh = {
        record.ours
        for record in report.fates("initialised")
        if "interaction" not in record.ours and "encoders" not in record.ours
    }
    assert fresh == {
        f"denoiser.branches.audio.{name}"
        for name in (
            "latent_embedding.weight",
            "latent_embedding.bias",
            "reference_group",
            "target_group",
        )
    }
    pipeline = load(tmp_path / "pair")
    voice = torch.rand(1, 800) - 0.5
    assert (
        pipeline.latents([Prompt("a ball", voice=voice)], seeds=[0], steps=1)["audio"]
        .isfinite()
        .all()
    )


def test_weights_of_a_condition_that_no_checkpoint_has_are_initialised(
    files: toys.Files, tmp_path: Path
) -> None:
    """A transcript beside the sound's caption: encoder, projection and group embeddings."""
    recipe = toys.RECIPE | {
        "encoders": (
            toys.RECIPE["encoders"] | {"speech": {"use": "transcript", "width": 8, "blocks": 1}}
        )
    }
    report = convert(
        "wan",
        files.wan,
        tmp_path / "pair",
        audio=files.ovi,
        init="gldi",
        configs=files.configs,
        recipe=recipe,
    )
    fresh = {
        record.ours
        for record in report.fates("initialised")
        if "interaction" not in record.ours and not record.ours.startswith("encoders.")
    }
    listener = "denoiser.branches.audio.listener"
    projections = {
        f"{listener}.projections.speech.{n}.{part}" for n in (0, 2) for part in ("weight", "bias")
    }
    assert fresh == projections | {f"{listener}.groups.{name}" for name in ("sound", "speech")}
    assert any(record.ours.startswith("encoders.speech.") for record in report.fates("initialised"))


def test_one_ovi_checkpoint_can_be_both_parents(files: toys.Files, tmp_path: Path) -> None:
    report = convert(
        "ovi", files.ovi, tmp_path / "pair", init="gldi", configs=files.configs, recipe=toys.RECIPE
    )
    made = toys.saved(tmp_path / "pair")
    assert torch.equal(
        made["denoiser.blocks.0.video.norm3.weight"],
        files.ovi_tensors["video_model.blocks.0.norm3.weight"],
    )
    assert torch.equal(
        made["denoiser.blocks.0.audio.norm3.weight"],
        files.ovi_tensors["audio_model.blocks.0.norm3.weight"],
    )
    assert {record.theirs for record in report.fates("unused")} == {
        name for name in files.ovi_tensors if "fusion" in name
    }


def test_a_pair_loads_into_parts_to_be_trained(files: toys.Files, tmp_path: Path) -> None:
    """Parts that aren't on the meta device keep float32, whatever type the file has."""
    pair(files, tmp_path / "pair", "gldi", dtype=torch.bfloat16)
    parts = build(read_recipe(tmp_path / "pair" / "recipe.toml"))
    load_weights(parts, tmp_path / "pair")
    assert isinstance(parts.denoiser, torch.nn.Module)
    state, saved = parts.denoiser.state_dict(), toys.saved(tmp_path / "pair")
    assert all(
        tensor.dtype == torch.float32 and torch.equal(tensor, saved[f"denoiser.{name}"].float())
        for name, tensor in state.items()
    )


def test_parents_that_do_not_fit_are_refused(files: toys.Files, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="give both or neither"):
        convert("wan", files.wan, tmp_path / "x", init="gldi", recipe=toys.RECIPE)
    with pytest.raises(RunError, match="leave out `audio`"):
        convert("ovi", files.ovi, tmp_path / "x", audio=files.ovi, recipe=toys.RECIPE)
    save_file(toys.numbers(toys.wan_shapes(layers=3)), tmp_path / "deep.safetensors")
    config = tmp_path / "heads.json"
    config.write_text('{"num_heads": 2}')
    with pytest.raises(RunError, match="the video tower has 3 layers and the audio tower 2"):
        convert(
            "wan",
            tmp_path / "deep.safetensors",
            tmp_path / "x",
            audio=files.ovi,
            init="gldi",
            configs=[config, files.audio_config],
            recipe=toys.RECIPE,
        )
