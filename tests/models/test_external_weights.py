"""Weights of others: found in a folder, a file or on the Hub, described, and refused if absent."""

from __future__ import annotations

import hashlib
import sys
from types import SimpleNamespace

import pytest

from harmony_parts.errors import BrokenPart, RunError
from harmony_parts.models.external_weights import describe_weights, weights_file, weights_folder


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that has owner/name, with one file of weights."""
    stored = tmp_path / "cache"
    stored.mkdir()
    (stored / "model.safetensors").write_bytes(b"weights")

    def snapshot(name, revision, allow_patterns):
        if name != "owner/name":
            raise OSError(f"{name} isn't there")
        return str(stored)

    def download(name, file):
        if (name, file) != ("owner/name", "nets/raft.pth"):
            raise OSError(f"{name} has no {file}")
        return str(stored / "model.safetensors")

    fake = SimpleNamespace(snapshot_download=snapshot, hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return stored


def test_a_folder_is_given_or_comes_from_the_hub(hub, tmp_path):
    assert weights_folder(hub) == hub
    assert weights_folder("owner/name") == hub
    with pytest.raises(RunError, match="other/name isn't there"):
        weights_folder("other/name")
    with pytest.raises(BrokenPart, match="no such folder"):
        weights_folder(tmp_path / "absent")
    (hub / "model.safetensors").unlink()
    with pytest.raises(BrokenPart, match=r"no \*\.safetensors in it"):
        weights_folder("owner/name")


def test_a_file_is_given_or_comes_from_the_hub(hub):
    file = hub / "model.safetensors"
    assert weights_file(file, "nowhere") == file
    assert weights_file("owner/name/nets/raft.pth", "nowhere") == file
    with pytest.raises(BrokenPart, match=r"owner/name has no x\.pth.*published at https://there"):
        weights_file("owner/name/x.pth", "https://there")
    with pytest.raises(BrokenPart, match="no such file; the weights are published"):
        weights_file("x.pth", "https://there")


def test_what_is_said_of_weights(hub):
    file = hub / "model.safetensors"
    assert describe_weights("toy", [file]).startswith("toy: licence not stated in a README.md")
    said = describe_weights("toy", [file], "CC BY 4.0")
    assert "that of the published weights: CC BY 4.0" in said
    assert f"  model.safetensors sha256 {hashlib.sha256(b'weights').hexdigest()}" in said
    (hub / "README.md").write_text("---\nlicense: mit\n---\nwords\n", encoding="utf-8")
    assert describe_weights("toy", [file], "CC BY 4.0").startswith("toy: licence mit\n")


def test_a_published_folder_is_identified_by_its_files(tmp_path):
    """Wherever it lies; by names, sizes, and the beginnings and ends of contents."""
    from harmony_parts.models.external_weights import ENDS, folder_digest, identify_model

    one, two = tmp_path / "one" / "model", tmp_path / "two" / "model"
    for folder in (one, two):
        (folder / "vae").mkdir(parents=True)
        (folder / "vae" / "weights").write_bytes(bytes(3 * ENDS))
    assert identify_model(str(one)) == {"model": "model", "digest": folder_digest(one)}
    assert identify_model(str(two)) == identify_model(str(one), "main")
    seen = {folder_digest(one)}
    for place in (0, 3 * ENDS - 1):  # the first and the last byte
        changed = bytearray(3 * ENDS)
        changed[place] = 1
        (two / "vae" / "weights").write_bytes(changed)
        seen.add(folder_digest(two))
    (two / "vae" / "weights").rename(two / "vae" / "other")
    seen.add(folder_digest(two))
    assert len(seen) == 4


def test_a_commit_is_its_own_name():
    """It needs no Hub."""
    from harmony_parts.models.external_weights import identify_model

    commit = "0123456789" * 4
    assert identify_model("no/such", commit) == {
        "model": "no/such",
        "revision": commit,
        "commit": commit,
    }
