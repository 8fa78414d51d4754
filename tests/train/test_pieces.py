"""The pieces of a run: the order of clips, the moving average, preparing, checkpoints and the
log.
"""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.assembly.build import build
from harmony_parts.av import Condition
from harmony_parts.errors import RunError
from harmony_parts.latents.encode import encode_examples
from harmony_parts.latents.order import ClipOrder
from harmony_parts.latents.prepare import _joined, choose_examples, prepare_clips
from harmony_parts.latents.sources import OnTheFly
from harmony_parts.models.snapshot import Snapshot, load_snapshot
from harmony_parts.train.checkpoint import load_last_checkpoint, save_checkpoint
from harmony_parts.train.ema import EMA
from harmony_parts.train.log import Log

CPU = torch.device("cpu")


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 100))
def test_an_epoch_holds_every_clip_once(size: int, batch: int, seed: int) -> None:
    order, generator = ClipOrder(size), torch.Generator().manual_seed(seed)
    seen = torch.cat([order.next(batch, generator) for _ in range(3 * size)])
    epochs = seen[: len(seen) // size * size].view(-1, size)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(size).expand_as(epochs))
    assert size < 8 or not torch.equal(epochs[0], epochs[1])


@given(st.floats(0, 0.9999), st.integers(1, 40))
def test_the_average_follows_its_equation(decay: float, steps: int) -> None:
    walk = torch.randn(
        steps + 1, 3, generator=torch.Generator().manual_seed(steps), dtype=torch.float64
    )
    ema, expected = EMA({"w": walk[0]}, decay), walk[0]
    for step in range(1, steps + 1):
        ema.update({"w": walk[step]}, step)
        d = min(decay, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * walk[step]
    torch.testing.assert_close(ema.average["w"], expected, rtol=1e-12, atol=1e-12)


def test_prepared_clips_are_what_would_be_made_on_the_fly() -> None:
    """Same latents and conditions, with the chunks of preparing (18 clips: two chunks) in between;
    only padding may be longer.
    """
    recipe = tiny.recipe()
    parts, data = build(recipe, 0), recipe.data.build(format=recipe.format, root=None)
    generator = torch.Generator().manual_seed(3)
    source = prepare_clips(
        data,
        choose_examples(len(data), 18, generator),
        recipe.format,
        parts.codecs,
        parts.encoders,
        generator=generator,
        device=CPU,
    )  # type: ignore[arg-type]
    fly = OnTheFly(data, recipe.format, parts.codecs, parts.encoders, CPU)  # type: ignore[arg-type]
    assert len(source) == len(set(source.names)) == 18
    index = torch.tensor([17, 0, 5])
    made = source.batch(index, generator)
    same = fly.batch(torch.tensor([int(name.rsplit("-", 1)[1]) for name in made.names]), generator)
    assert made.names == same.names
    for stream in made.latents:
        # batches of another size, in float32
        torch.testing.assert_close(made.latents[stream], same.latents[stream], rtol=0, atol=1e-5)
    assert (
        made.conditions.keys() == same.conditions.keys() == {"caption", "sound", "image", "voice"}
    )
    for name, condition in made.conditions.items():
        other = same.conditions[name]
        assert torch.equal(condition.mask, other.mask)
        torch.testing.assert_close(condition.tokens, other.tokens, rtol=0, atol=1e-5)


def test_a_data_set_smaller_than_what_is_prepared_is_used_evenly() -> None:
    recipe = tiny.recipe()
    parts, data = build(recipe, 0), type(recipe.data)(size=3).build(format=recipe.format, root=None)  # type: ignore[call-arg]
    chosen = choose_examples(3, 8, torch.Generator())
    names = prepare_clips(
        data, chosen, recipe.format, parts.codecs, {}, generator=torch.Generator(), device=CPU
    ).names
    assert sorted(names.count(name) for name in set(names)) == [2, 3, 3]


def test_a_clip_of_another_format_is_named() -> None:
    recipe = tiny.recipe()
    other = tiny.recipe().data.build(
        format=type(recipe.format)(fps=8, height=16, width=16, sample_rate=4000, seconds=2.0),
        root=None,
    )
    with pytest.raises(
        RunError,
        match=r"ball-0-0: has frames of \[16, 16, 16, 3\]; the model's format is \[8, 16, 16, 3\]",
    ):
        encode_examples(
            [other.example(0, torch.Generator())], recipe.format, build(recipe, 0).codecs, CPU
        )


def test_joining_conditions_pads_with_what_does_not_count() -> None:
    def ones(length: int) -> Condition:
        return Condition(torch.ones(2, length, 3), torch.ones(2, length, dtype=torch.bool))

    short, long = (attrs.evolve(ones(length), null=ones(length)) for length in (1, 4))
    whole = _joined([short, long])
    assert whole.tokens.shape == (4, 4, 3)
    assert whole.mask.sum(1).tolist() == [1, 1, 4, 4]
    assert whole.null is not None
    assert whole.null.mask.sum(1).tolist() == [1, 1, 4, 4]


def point(step: int) -> Snapshot:
    return Snapshot(step, {"weights": {"w": torch.full((3,), float(step))}}, {"place": step / 3})


def test_checkpoints_come_back_and_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 20, 300):
        save_checkpoint(tmp_path, point(step))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-0000020", "step-0000300"]
    last = load_last_checkpoint(tmp_path, pytest.fail)
    assert last is not None
    assert (last.step, last.facts) == (300, {"place": 100.0})
    assert torch.equal(last.tensors["weights"]["w"], torch.full((3,), 300.0))


@pytest.mark.parametrize("fault", ["flipped", "short", "gone", "state gone", "state cut"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path: Path, fault: str) -> None:
    save_checkpoint(tmp_path, point(1))
    folder = save_checkpoint(tmp_path, point(2))
    file = folder / ("state.json" if "state" in fault else "weights.safetensors")
    data = bytearray(file.read_bytes())
    if fault == "flipped":
        data[-1] ^= 1
        file.write_bytes(data)
    elif "gone" in fault:
        file.unlink()
    else:
        file.write_bytes(data[: len(data) // 2])
    (tmp_path / ".step-0000003.part").mkdir()  # one that was never finished
    said: list[str] = []
    last = load_last_checkpoint(tmp_path, said.append)
    assert last is not None
    assert last.step == 1
    assert len(said) == 1
    assert str(file) in said[0]
    # saving that step again replaces it, and clears up
    save_checkpoint(tmp_path, point(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000001", "step-0000002"]
    assert load_snapshot(folder).step == 2


def test_the_log_forgets_what_a_resumed_run_does_again(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step}) for step in (1, 2, 3)]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"step": 4, "lo']), encoding="utf-8")
    with Log(tmp_path, step=2, steps=9, progress=False):
        pass
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8") == "".join(
        line + "\n" for line in lines[:2]
    )


def test_preparing_is_told_in_lines_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harmony_parts.report.pace.FIRST", 0.0)
    for progress in (True, False):
        with Log(tmp_path, step=0, steps=9, progress=progress) as log:
            assert list(log.track(range(3), 3)) == [0, 1, 2]
        said = capsys.readouterr().err.splitlines()
        assert [line.partition(", about")[0] for line in said] == (
            ["preparing clips: 2 of 3"] if progress else []
        )
