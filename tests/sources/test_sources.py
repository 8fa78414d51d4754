"""Sources of prepared clips: what training draws from them, from any place, in any mixture."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from helpers.prepared import prepare
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.denoisers.single_branch import AudioOnly
from harmony_parts.errors import AssemblyError, MediaError, RunError
from harmony_parts.latents.order import BatchOrder, Place
from harmony_parts.latents.prepare_shards import Preparation
from harmony_parts.latents.stored import Stored
from harmony_parts.latents.stream import BatchStream
from harmony_parts.models.tensor_files import load_tensors
from harmony_parts.sources.mix import Mix, Part
from harmony_parts.sources.shards import Shards
from harmony_parts.tasks.joint import Joint
from harmony_parts.testing.contracts.sources import check_source
from harmony_parts.train.loop import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`some`: 9 clips in two lengths; `few`: 3 clips of the first length."""
    folder = tmp_path_factory.mktemp("sources")
    form = tiny.recipe().format
    formats = form, attrs.evolve(form, seconds=2.0)
    prepare(tiny.recipe(), folder / "some", clips=9, settings=Preparation(formats=formats))
    prepare(tiny.recipe(), folder / "few", clips=3)
    return folder


def stored(root: Path, source: Shards | Mix | None = None) -> Stored:
    reader = (source or Shards("some")).build(root=root)
    return Stored(reader, ("video", "audio"), frozenset({"image", "voice"}), (), CPU)


def names(
    source: Stored, batch: int, count: int, place: Place | None = None, **given: int
) -> tuple[list[tuple[str, ...]], Place]:
    """The names of the clips of `count` batches, and the place after them."""
    order = BatchOrder(source.groups, source.shapes, batch, seed=3)
    stream, place, found = BatchStream(source, order, **given), place or Place(), []
    for _ in range(count):
        fetched, place = stream.fetch(place)
        made = stream.batch(fetched)
        assert made.total == batch
        found.append(made.names)
    stream.close()
    return found, place


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 5), st.integers(0, 6), st.integers(1, 4), st.integers(1, 4))
def test_a_resumed_run_sees_the_clips_that_it_would_have(
    root: Path, batch: int, stopped: int, ranks: int, later: int
) -> None:
    """At any number of processes before and after: their rows together, batch by batch."""
    source = stored(root)
    straight, _ = names(source, batch, stopped + 4)

    def together(count: int, place: Place, ranks: int) -> tuple[list[tuple[str, ...]], Place]:
        each = [
            names(source, batch, count, place, rank=rank, ranks=ranks)
            for rank in range(min(ranks, batch))
        ]
        assert len({after for _, after in each}) == 1
        return [sum(rows, ()) for rows in zip(*(found for found, _ in each))], each[0][1]

    ranks, later = min(ranks, batch), min(later, batch)
    before, place = together(stopped, Place(), ranks)
    after, _ = together(4, Place(place.epoch, place.batch), later)
    assert before + after == straight


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(root: Path, workers: int) -> None:
    """Neither the order nor what a run sees that was stopped with batches read ahead."""
    source = stored(root)
    straight, _ = names(source, 3, 8)
    before, place = names(source, 3, 3, workers=workers)
    after, _ = names(source, 3, 5, place, workers=2)
    assert before + after == straight


def test_batches_have_one_shape(root: Path) -> None:
    source = stored(root)
    order = BatchOrder(source.groups, source.shapes, 2)
    place, lengths = Place(), set()
    for _ in range(6):
        stream = BatchStream(source, order)
        fetched, place = stream.fetch(place)
        batch = stream.batch(fetched)
        lengths.add(batch.latents["video"].shape[1])
    assert lengths == {5, 9}


def test_a_mix_draws_by_share(root: Path) -> None:
    """One to one, although one source has three times as many clips."""
    source = Mix((Part(Shards("some"), 1), Part(Shards("few"), 1)))
    reader = check_source(source, root=root)
    assert len(reader) == 12
    assert len(reader.shapes) == 2, "equal shapes of two sources are one"
    order = BatchOrder(reader.groups, reader.shape_of, 2)
    place, few, count = Place(), 0, 0
    for _ in range(60):
        draws, place = order.draws(place)
        few += sum(draw.clip >= 9 for draw in draws)
        count += len(draws)
    assert few / count == pytest.approx(0.5, abs=0.04)
    with pytest.raises(AssemblyError, match="at least one source"):
        Mix().build(root=root)


def test_any_url_that_fsspec_reads(root: Path) -> None:
    """memory:// stands for s3:// and others: the same clips, by ranges of bytes."""
    fsspec = pytest.importorskip("fsspec")
    place = fsspec.filesystem("memory")
    for file in (root / "few").iterdir():
        place.pipe_file(f"/bucket/few/{file.name}", file.read_bytes())
    there = check_source(Shards(), root="memory://bucket/few")
    here = Shards("few").build(root=root)
    for number in range(3):
        one, other = (r.read(number, 0, ("audio",)) for r in (here, there))
        assert torch.equal(one.latents["audio"], other.latents["audio"])
    assert Shards("few").build(root="memory://bucket").identity == here.identity
    with pytest.raises(MediaError, match=r"memory://bucket/none: has no prepared\.json"):
        Shards("none").build(root="memory://bucket")


def test_a_source_needs_a_place(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match=r"\$\.source\.where: .*pass --data DIR"):
        Shards().build()
    with pytest.raises(MediaError, match=r"has no prepared\.json: it isn't a folder of prepared"):
        Shards().build(root=tmp_path)


def recipe(source: Shards | Mix, **more: int) -> Recipe:
    return attrs.evolve(tiny.recipe(**more), source=source)


def go(recipe: Recipe, out: Path, root: Path, **given: object) -> dict[str, torch.Tensor]:
    made = train(recipe, out=out, data_root=root, progress=False, device="cpu", **given)  # type: ignore[arg-type]
    return load_tensors(made / "model.safetensors")


def test_training_on_shards_resumes_bit_for_bit(root: Path, tmp_path: Path) -> None:
    """Two lengths in one run; stopped after three steps, resumed with another number of workers."""
    both = Mix((Part(Shards("some")), Part(Shards("few"))))
    straight = go(recipe(both, steps=5), tmp_path / "straight", root)
    go(recipe(both, steps=3), tmp_path / "stopped", root)
    resumed = go(recipe(both, steps=5), tmp_path / "stopped", root, resume=True, workers=2)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    moved = tmp_path / "moved"
    shutil.copytree(root / "some", moved / "some")
    prepare(tiny.recipe(), moved / "few", clips=4)
    with pytest.raises(RunError, match=r"other data \(12 examples, now 13\)"):
        go(recipe(both, steps=6), tmp_path / "stopped", moved, resume=True)


def test_shards_of_other_parts_are_refused(root: Path, tmp_path: Path) -> None:
    """With the setting that differs."""
    other = recipe(Shards("few"))
    video = attrs.evolve(other.codecs.video, keep=9)  # type: ignore[type-var]
    other = attrs.evolve(other, codecs=attrs.evolve(other.codecs, video=video))
    with pytest.raises(
        RunError, match=r"\$\.codecs\.video\.keep: prepared with 8, the recipe has 9"
    ):
        go(other, tmp_path / "run", root)


def test_a_model_of_sound_alone_reads_any_shards(root: Path, tmp_path: Path) -> None:
    """Stage 1: shards of both streams, and shards that were prepared without pictures."""
    base = recipe(Shards("few"), steps=1, drop={})  # type: ignore[arg-type]
    branch = base.denoiser.audio  # type: ignore[attr-defined]
    sound = attrs.evolve(
        base,
        codecs=attrs.evolve(base.codecs, video=None),
        encoders={name: base.encoders[name] for name in ("sound", "voice")},
        denoiser=AudioOnly(layers=1, audio=branch),
        task=Joint(),
    )
    first = go(sound, tmp_path / "both", root)
    prepare(sound, tmp_path / "alone", clips=3)
    reader = Shards().build(root=tmp_path / "alone")
    assert list(reader.streams) == ["audio"]
    alone = attrs.evolve(sound, source=Shards("alone"))
    second = go(alone, tmp_path / "sound", tmp_path)
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(RunError, match="have no video, which the model needs"):
        go(recipe(Shards("alone")), tmp_path / "refused", tmp_path)
