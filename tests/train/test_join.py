"""Models of one stream become the branches of a pair, which begins where its parts ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch
from click.testing import CliRunner
from helpers import tiny_training as tiny
from torch import Tensor

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.read import write_recipe
from harmony_parts.assembly.recipe import Codecs, Recipe
from harmony_parts.av import AV, STREAMS, Times
from harmony_parts.cli.main import cli
from harmony_parts.denoisers.single_branch import AudioOnly, VideoOnly
from harmony_parts.encoders.byte_text import ByteText
from harmony_parts.errors import RunError
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.latents.conditions import conditions_of
from harmony_parts.latents.encode import encode_examples
from harmony_parts.models.folder import saved_modules
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.optimizers.adamw import AdamW
from harmony_parts.tasks.joint import Joint
from harmony_parts.train.loop import train
from harmony_parts.train.model import build_model
from harmony_parts.train.objective import losses

CPU, SEED = torch.device("cpu"), 5
OF = {"video": ("caption", "image"), "audio": ("sound", "voice")}
PAIR = tiny.recipe(layers=2, steps=1, warmup=0)


def alone(stream: str, recipe: Recipe = PAIR, **names: str) -> Recipe:
    """The recipe of one stream's branch, with its encoders under other `names`."""
    spec: object = (
        VideoOnly(layers=2, video=recipe.denoiser.video)
        if stream == "video"
        else AudioOnly(layers=2, audio=recipe.denoiser.audio)
    )
    return attrs.evolve(
        recipe,
        name=f"{stream} alone",
        codecs=Codecs(**{stream: getattr(recipe.codecs, stream)}),
        encoders={names.get(name, name): recipe.encoders[name] for name in OF[stream]},
        denoiser=spec,
        task=Joint(),
        train=attrs.evolve(
            recipe.train, drop={}, steps=2, optimizer=AdamW(learning_rate=0.05), seed=SEED
        ),
    )


Models = Callable[..., Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """`models(stream, **names)`: the folder of a trained run of one stream."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def of(stream: str, **names: str) -> Path:
        key = (stream, *names.items())
        if key not in made:
            made[key] = folder / f"{stream}{len(made)}"
            train(alone(stream, **names), out=made[key], progress=False, device="cpu")
        return made[key]

    return of


def batch(recipe: Recipe, parts: Parts) -> tuple[AV[Tensor], dict]:
    data = recipe.data.build(format=recipe.format, root=None)
    examples = [data.example(i, torch.Generator().manual_seed(i)) for i in range(3)]
    latents = encode_examples(examples, recipe.format, parts.codecs, CPU)
    return latents, conditions_of(parts.encoders.values(), [e.prompt for e in examples])


@torch.no_grad()
def first_loss(recipe: Recipe, start: list[Path], streams: tuple[str, ...]) -> dict[str, Tensor]:
    """The errors of each clip and stream before the first step, at given times and noise."""
    parts, _ = build_model(recipe, CPU, start)
    saved_modules(parts).eval()
    (latents, conditions), g = batch(recipe, parts), torch.Generator().manual_seed(1)
    draw = PAIR.flow.draw
    both = AV(4, 16)
    plan = Joint().plan(3, draw, g, both)
    noise = latents.only(streams).map(
        lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    )
    only = attrs.evolve(
        plan,
        times=AV(
            **{s: Times.uniform(plan.times[s].values[:, 0], latents[s].shape[1]) for s in streams}
        ),
        weights=plan.weights.only(streams),
    )
    found = losses(parts.denoiser, latents, noise, conditions, only, recipe.flow.path)
    return {s: found.entries[s] for s in streams}


@pytest.mark.parametrize("interaction", [GLDI(), Global()], ids=["gldi", "global"])
def test_the_first_loss_of_a_joined_pair_is_that_of_its_parts(
    models: Models, interaction: object
) -> None:
    pair = attrs.evolve(PAIR, denoiser=attrs.evolve(PAIR.denoiser, interaction=interaction))
    start = [models("video"), models("audio")]
    joined = first_loss(pair, start, STREAMS)
    fresh = first_loss(pair, [], STREAMS)
    for folder, stream in zip(start, STREAMS):
        part = first_loss(alone(stream), [folder], (stream,))
        assert torch.equal(joined[stream], part[stream])
        assert (joined[stream] - fresh[stream]).abs().min() > 1e-3


def test_checkpoints_join_as_the_models_of_their_runs(models: Models) -> None:
    """Each has the average of its weights, and its recipe in the run folder."""
    runs = [models(stream) for stream in STREAMS]
    joined = first_loss(PAIR, runs, STREAMS)
    found = first_loss(PAIR, [run / "checkpoints" / "step-0000002" for run in runs], STREAMS)
    for stream in STREAMS:
        assert torch.equal(found[stream], joined[stream])


def test_every_tensor_has_its_place_whatever_the_encoders_are_called(models: Models) -> None:
    """Each tensor of both models, bit for bit; only the interaction is new."""
    start = [models("audio", sound="what_is_heard"), models("video")]
    parts, report = build_model(PAIR, CPU, start)
    ours = saved_modules(parts).state_dict()
    theirs: dict[str, Tensor] = {}
    for folder in start:
        theirs |= load_tensors(folder / "model" / "model.safetensors")
    renamed = {n.replace("what_is_heard", "sound"): tensor for n, tensor in theirs.items()}
    assert renamed.keys() == {name for name in ours if ".interaction." not in name}
    assert all(torch.equal(ours[name], tensor) for name, tensor in renamed.items())
    assert report == (
        f"the video branch is that of {start[1] / 'model'}",
        f"the audio branch is that of {start[0] / 'model'}",
        f"the encoder caption is that of {start[1] / 'model'}",
        f"the encoder sound is that of {start[0] / 'model'}, called what_is_heard there",
        "the interaction begins fresh",
    )
    assert all(p.requires_grad for p in parts.denoiser.parameters())


def test_a_branch_that_no_model_brings_begins_fresh_and_the_report_says_so(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts, report = build_model(PAIR, CPU, [models("audio")])
    fresh, _ = build_model(PAIR, CPU)
    assert "the video branch begins fresh: no model brings it" in report
    assert "the encoder caption begins fresh: no model brings it" in report
    ours, new = saved_modules(parts).state_dict(), saved_modules(fresh).state_dict()
    for name in ours:
        if ".video." in name or ".caption." in name or ".interaction." in name:
            assert torch.equal(ours[name], new[name])
    out = tmp_path / "run"
    train(PAIR, out=out, start=models("audio"), progress=False, device="cpu")
    said = capsys.readouterr().err
    card = (out / "model" / "README.md").read_text(encoding="utf-8")
    for line in report:
        assert line in said
        assert line in card
    more = tiny.but(PAIR, steps=2)
    train(more, out=out, resume=True, progress=False, device="cpu")
    assert report[0] in (out / "model" / "README.md").read_text(encoding="utf-8")


def test_a_condition_that_the_model_lacks_begins_fresh(models: Models) -> None:
    more = attrs.evolve(PAIR, encoders={**PAIR.encoders, "speech": ByteText("speech", 16, heads=2)})
    start = [models("video"), models("audio")]
    parts, report = build_model(more, CPU, start)
    assert "the encoder speech begins fresh: no model brings it" in report
    assert any("inputs for speech begin fresh" in line for line in report)
    theirs = load_tensors(start[1] / "model" / "model.safetensors")
    ours = saved_modules(parts).state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def wider(recipe: Recipe) -> Recipe:
    audio = attrs.evolve(recipe.denoiser.audio, width=64)
    return attrs.evolve(recipe, denoiser=attrs.evolve(recipe.denoiser, audio=audio))


def deeper(recipe: Recipe) -> Recipe:
    return attrs.evolve(recipe, denoiser=attrs.evolve(recipe.denoiser, layers=3))


def other_sound(recipe: Recipe) -> Recipe:
    sound = attrs.evolve(recipe.encoders["sound"], layers=2)
    return attrs.evolve(recipe, encoders={**recipe.encoders, "sound": sound})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            wider,
            r"model.safetensors: its audio branch doesn't fit .*"
            r"\$\.denoiser\.audio\.width: was 32, is now 64",
        ),
        (deeper, r"missing: denoiser\.blocks\.2\..*\$\.denoiser\.layers: was 2, is now 3"),
        (other_sound, r"its encoder sound doesn't fit.*missing: encoders\.sound\.layers\.1"),
    ],
)
def test_a_misfit_is_refused_with_file_and_setting(models: Models, change, match: str) -> None:
    with pytest.raises(RunError, match=f"(?s){match}") as error:
        build_model(change(PAIR), CPU, [models("video"), models("audio")])
    assert "recipe.toml, or start from another model" in str(error.value)


def test_two_models_of_one_stream_and_models_of_more_streams_are_refused(models: Models) -> None:
    audio = models("audio")
    with pytest.raises(RunError, match="both bring the audio branch; start from one of them"):
        build_model(PAIR, CPU, [audio, audio])
    with pytest.raises(RunError, match=r"recipe\.toml: \$\.codecs: this model has the streams"):
        build_model(alone("video"), CPU, [audio])


def test_another_codec_is_reported(models: Models) -> None:
    codecs = attrs.evolve(PAIR.codecs, audio=attrs.evolve(PAIR.codecs.audio, iterations=2))
    _, report = build_model(attrs.evolve(PAIR, codecs=codecs), CPU, [models("audio")])
    assert any(line.startswith("$.codecs.audio.iterations: was") for line in report)


def test_without_a_checkpoint_the_joined_weights_are_not_forgotten(
    models: Models, tmp_path: Path
) -> None:
    """Resuming would begin with fresh weights."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "recipe.toml").write_text(write_recipe(PAIR))
    (out / "start.txt").write_text("the audio branch is that of elsewhere\n")
    with pytest.raises(RunError, match="begin it again with the same `start`"):
        train(PAIR, out=out, resume=True, progress=False, device="cpu")
    train(PAIR, out=out, start=[models("audio")], progress=False, device="cpu")
    assert "elsewhere" not in (out / "start.txt").read_text()


def test_the_command_joins_models(models: Models, tmp_path: Path) -> None:
    recipe = tmp_path / "pair.toml"
    recipe.write_text(write_recipe(PAIR))
    words = ["train", recipe, "--out", tmp_path / "run", "--device", "cpu"]
    words += ["--start", models("video"), "--start", models("audio")]
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert f"the audio branch is that of {models('audio')}" in result.output
