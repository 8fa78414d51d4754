"""A pinned revision of a repository on the Hub, from its cache: nothing is fetched here."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers_toys as toys
import pytest
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler

from harmony_diffusers.flow_match import FlowMatchShift
from harmony_diffusers.wan_vae import WanVAE
from harmony_parts.models import external_weights

NAME = "someone/tiny"
COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's cache with two commits of a repository: other weights, and another shift."""
    from huggingface_hub import constants

    home = tmp_path / f"models--{NAME.replace('/', '--')}"
    for seed, (revision, commit) in enumerate(COMMITS.items()):
        place = home / "snapshots" / commit
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            AutoencoderKLWan(**toys.WAN21).save_pretrained(place / "vae")
        FlowMatchEulerDiscreteScheduler(shift=2.0 + seed).save_pretrained(place / "scheduler")
        index = {"_class_name": "P", "vae": ["diffusers", "AutoencoderKLWan"]}
        index["scheduler"] = ["diffusers", "FlowMatchEulerDiscreteScheduler"]
        (place / "model_index.json").write_text(json.dumps(index))
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / revision).write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    external_weights._commit.cache_clear()
    yield
    external_weights._commit.cache_clear()


def test_a_revision_is_that_of_weights_and_times(hub) -> None:
    """A branch, a tag and a commit; the index is that of the revision, too."""
    frames = torch.zeros(1, 1, 32, 48, 3, dtype=torch.uint8)
    made = {}
    for revision in ("", "main", "v1", COMMITS["v1"]):
        vae = WanVAE(model=NAME, revision=revision).build(format=toys.VIDEO)
        shift = FlowMatchShift(model=NAME, revision=revision).times.shift
        made[revision] = (shift, vae.encode(frames))
    assert torch.equal(made[""][1], made["main"][1])
    assert torch.equal(made["v1"][1], made[COMMITS["v1"]][1])
    assert not torch.equal(made["main"][1], made["v1"][1])
    assert [shift for shift, _ in made.values()] == [2.0, 2.0, 3.0, 3.0]
    with pytest.raises(ValueError, match="set `model` to a folder with it, or to a repository"):
        WanVAE(model=NAME, revision="v2").build(format=toys.VIDEO)


def test_a_clip_notes_the_commit(hub) -> None:
    """And the revision that was asked for, if any."""
    for revision, commit in (("", "a" * 40), ("v1", "b" * 40), ("b" * 40, "b" * 40)):
        asked = {"revision": revision} if revision else {}
        known = external_weights.identify_model(NAME, revision)
        assert known == {"model": NAME, **asked, "commit": commit}
    assert external_weights.identify_model(NAME, "v2") == {"model": NAME, "revision": "v2"}
