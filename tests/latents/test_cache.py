"""The cache of prepared clips: bit-equal to clips prepared again, and never stale."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from helpers import tiny_training as tiny

from harmony_parts.assembly.build import build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import Prompt
from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.protocol import Dataset, Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.latents import cache
from harmony_parts.latents.cache import cache_key
from harmony_parts.latents.conditions import is_frozen
from harmony_parts.latents.made_with import made_with, weights_digest
from harmony_parts.latents.prepare import choose_examples, prepare_clips
from harmony_parts.latents.sources import Prepared
from harmony_parts.train import data as training_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips in the model's format."""
    root = tmp_path_factory.mktemp("clips")
    world = Soundstage().build(format=tiny.recipe().format)
    for i in range(3):
        world.example(i).clip.save(root / f"{i}.mkv")
    return root


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of examples that were encoded, for each time that any were."""
    counts: list[int] = []

    def watched(dataset, chosen, *args, **given):
        counts.append(len(chosen))
        return prepare_clips(dataset, chosen, *args, **given)

    monkeypatch.setattr(training_data, "prepare_clips", watched)
    return counts


def source(recipe: Recipe, out: Path, root: Path | None = None) -> Prepared:
    _, run = tiny.begin(recipe, out, root)
    assert isinstance(run.batches.source, Prepared)
    return run.batches.source


def test_cached_clips_are_bit_equal_to_the_saved_ones(tmp_path: Path, prepared: list[int]) -> None:
    """Latents, conditions of frozen encoders, prompts with their tensors, names; so every batch."""
    made, cached = (source(tiny.recipe(), tmp_path) for _ in range(2))
    assert prepared == [8]
    assert cached.names == made.names
    index = torch.tensor([7, 0, 3])
    encoders: Any = build(tiny.recipe(), 0).encoders
    one, other = (p.batch(index) for p in (made, cached))
    for stream in one.latents:
        assert torch.equal(one.latents[stream], other.latents[stream])
    assert one.conditions.keys() == other.conditions.keys() >= {"caption", "image"}
    for name, condition in one.conditions.items():
        for own, its in (
            (condition, other.conditions[name]),
            (condition.dropped(), other.conditions[name].dropped()),
        ):
            assert torch.equal(own.mask, its.mask), name
            if is_frozen(encoders[name]):
                assert torch.equal(own.tokens, its.tokens), name
    for own, its in zip(made.prompts, cached.prompts, strict=True):
        assert own.caption == its.caption
        assert torch.equal(own.image, its.image)
        assert torch.equal(own.voice, its.voice)


def test_a_changed_file_is_never_loaded_from_the_cache(
    folder: Path, tmp_path: Path, prepared: list[int]
) -> None:
    """Even with the same name, length and time. The same files in another folder are the same."""
    root = Path(shutil.copytree(folder, tmp_path / "clips"))
    recipe = attrs.evolve(tiny.recipe(prepared=4), data=ClipFolder())
    first = source(recipe, tmp_path / "run", root)
    moved = Path(shutil.copytree(root, tmp_path / "moved"))
    source(recipe, tmp_path / "run", moved)
    assert prepared == [4]
    for name in ("0.mkv", "1.mkv", "2.mkv"):
        stamp = (root / name).stat()
        (root / name).write_bytes((folder / "0.mkv").read_bytes())
        import os

        os.utime(root / name, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    other = source(recipe, tmp_path / "run", root)
    assert prepared == [4, 4]
    assert not torch.equal(first.latents["video"], other.latents["video"])
    assert len(list((tmp_path / "run" / "prepared").iterdir())) == 1, "one entry a run"


def key_of(recipe: Recipe, seed: int | None = None) -> str | None:
    parts, data = (
        build(recipe, recipe.train.seed if seed is None else seed),
        recipe.data.build(format=recipe.format, root=None),
    )
    chosen = choose_examples(len(data), recipe.train.prepared, torch.Generator().manual_seed(0))
    return cache_key(recipe, data, chosen, made_with(recipe, parts))


def test_the_key_covers_everything_that_clips_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.recipe()
    codecs = attrs.evolve(base.codecs, video=attrs.evolve(base.codecs.video, keep=9))
    others = {
        "codec": attrs.evolve(base, codecs=codecs),
        "format": attrs.evolve(base, format=attrs.evolve(base.format, fps=4)),
        "data": attrs.evolve(base, data=Soundstage(size=64, seed=1)),
        "encoder": attrs.evolve(
            base,
            encoders={
                **base.encoders,
                "voice": attrs.evolve(base.encoders["voice"], seconds_max=0.5),
            },
        ),
        "seed": tiny.but(base, seed=1),
        "count": tiny.but(base, prepared=9),
    }
    names = {what: key_of(recipe) for what, recipe in others.items()}
    assert key_of(base) == key_of(tiny.recipe()) is not None
    assert key_of(base) == key_of(tiny.but(base, steps=99, ema=0.5, batch=1)), (
        "the training settings aren't part of it"
    )
    assert len({key_of(base), *names.values()}) == 1 + len(names)
    before = key_of(base)
    monkeypatch.setattr("importlib.metadata.distributions", list)
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    assert key_of(base) == before, "packages and machines aren't part of it"


def test_the_key_covers_the_weights_of_external_modules() -> None:
    """Such as a codec's autoencoder, whose weights may change in a folder of the same name."""
    model = torch.nn.BatchNorm1d(2)
    codec = SimpleNamespace(external_modules=(model,))
    digests = [weights_digest(SimpleNamespace(external_modules=())), weights_digest(codec)]
    for tensor in (model.weight, model.num_batches_tracked):
        tensor.data += 1
        digests.append(weights_digest(codec))
    assert len(set(digests)) == len(digests)


class WithoutFingerprints:
    """A data set with only the members that every data set has."""

    def __init__(self, inner: Dataset) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def example(self, index: int, generator: torch.Generator) -> Example:
        return self.inner.example(index, generator)


def test_clips_that_cannot_be_identified_are_not_cached(
    tmp_path: Path, prepared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set without fingerprints; prompts that JSON would change."""
    build = Soundstage.build
    with monkeypatch.context() as patch:
        patch.setattr(
            Soundstage, "build", lambda *args, **given: WithoutFingerprints(build(*args, **given))
        )
        for _ in range(2):
            source(tiny.recipe(), tmp_path)
    assert prepared == [8, 8]
    made = source(tiny.recipe(), tmp_path / "other")
    cache.save_prepared(
        tmp_path / "cache",
        "x",
        attrs.evolve(made, prompts=tuple(Prompt(extra={"times": (1, 2)}) for _ in made.prompts)),
    )
    assert not (tmp_path / "cache").exists()


def test_a_damaged_entry_is_reported_and_prepared_again(
    tmp_path: Path, prepared: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = source(tiny.recipe(), tmp_path)
    (file,) = (tmp_path / "prepared").glob("*/latents.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    again = source(tiny.recipe(), tmp_path)
    assert f"{file}: is damaged" in capsys.readouterr().err
    assert prepared == [8, 8]
    assert torch.equal(first.latents["audio"], again.latents["audio"])
    source(tiny.recipe(), tmp_path)
    assert prepared == [8, 8], "the clips that were prepared again are cached"
