"""Weights that others publish: where they are, and what they are called, licensed and hashed as."""

from __future__ import annotations

import functools
import hashlib
import importlib
import re
from collections.abc import Sequence
from pathlib import Path

from harmony_parts.errors import BrokenPart
from harmony_parts.models.hub import locate_model

CARD = "README.md"
COMMIT = re.compile("[0-9a-f]{40}")
ENDS = 2**20  # bytes of a file's beginning and of its end that a digest reads


def weights_folder(name: str | Path) -> Path:
    """The folder `name`, or that of the Hub's model "owner/name"; it has `*.safetensors`.

    Raises BrokenPart for a folder without weights, RunError if the Hub can't give it.
    """
    folder = locate_model(name)
    if not any(folder.glob("*.safetensors")):
        state = "there are no *.safetensors in it" if folder.is_dir() else "there is no such folder"
        raise BrokenPart(
            f"{name}: {state}; it must be a folder of published weights, or a name on the Hugging"
            ' Face Hub such as "owner/name"'
        )
    return folder


def weights_file(name: str | Path, published: str) -> Path:
    """The file `name`, or that of the Hub's model "owner/name/FILE".

    Raises BrokenPart, which says where the weights are `published`, if there is none.
    """
    path, parts = Path(name), Path(name).parts
    if path.is_file():
        return path
    cause = "there is no such file"
    if len(parts) > 2 and not path.is_absolute():
        try:
            from huggingface_hub import hf_hub_download

            return Path(hf_hub_download("/".join(parts[:2]), "/".join(parts[2:])))
        # not installed, unknown names, and a Hub that can't be reached
        except (ImportError, OSError, ValueError) as error:
            cause += f", and the Hub doesn't give it: {' '.join(str(error).split())[:200]}"
    raise BrokenPart(f"{name}: {cause}; the weights are published at {published}")


def describe_weights(name: str, files: Sequence[Path], licence: str = "") -> str:
    """The name of weights, their licence, and the sha256 of each file.

    The licence is that of the front matter of the README.md beside them, else `licence`, which is
    that of the published ones.
    """
    card = files[0].parent / CARD if files else Path(CARD)
    text = card.read_text(encoding="utf-8") if files and card.is_file() else ""
    stated = re.search(r"^license:\s*(\S+)", text, re.MULTILINE)
    said = stated[1] if stated else f"not stated in a {CARD} beside it"
    if not stated and licence:
        said += f"; that of the published weights: {licence}"
    lines = [f"{name}: licence {said}"]
    for file in files:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        lines.append(f"  {file.name} sha256 {digest}")
    return "\n".join(lines)


def identify_model(model: str, revision: str = "") -> dict[str, str]:
    """What identifies a published model: of a folder its name and digest, of a model on the Hub its
    name, the revision that was asked for, and the commit that this is.

    The commit is left out if neither the Hub can be reached nor its cache has it.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return {"model": folder.resolve().name, "digest": folder_digest(folder)}
    known = {"model": model, "revision": revision, "commit": _commit(model, revision)}
    return {name: value for name, value in known.items() if value}


@functools.cache  # weights are loaded once, and the Hub is slow
def _commit(name: str, revision: str) -> str:
    if COMMIT.fullmatch(revision):
        return revision
    try:
        hub = importlib.import_module("huggingface_hub")
        # no file, but the folder of the commit
        return Path(hub.snapshot_download(name, revision=revision or None, allow_patterns=[])).name
    except (ImportError, OSError, ValueError):
        return ""


def folder_digest(folder: Path) -> str:
    """16 hexadecimal digits of the files of a model's folder: names, sizes, and contents.

    Of a file of more than 2 MiB only the first and the last MiB are read, so that this takes a
    moment and not as long as reading the weights.
    """
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(ENDS))
            stream.seek(max(ENDS, size - ENDS))
            digest.update(stream.read())
    return digest.hexdigest()[:16]
