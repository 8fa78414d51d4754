"""The files of prepared clips: tar shards, an index of them, and what they were made with.

    prepared.json        what the clips were made with, the shapes, the shards
    index.safetensors    where each clip lies, how large it is, its digest
    null.safetensors     the null forms of conditions, which all clips share
    shard-00000.tar      KEY.av.safetensors and KEY.json of each clip
    shard-00000.jsonl    a line for each clip that was considered: kept, or dropped and why

Nothing here is unpickled or unpacked: a reader takes ranges of bytes, compares their digest, and
parses safetensors and JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import attrs
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Condition, Prompt
from harmony_parts.errors import MediaError
from harmony_parts.sources.protocol import PreparedClip

FACTS, INDEX, NULL = "prepared.json", "index.safetensors", "null.safetensors"
VERSION = 1
TENSORS, TEXTS = ".av.safetensors", ".json"
FIELDS = ("caption", "sound", "speech")
MEDIA = ("image", "voice")


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:05d}.tar"


def clip_key(number: int) -> str:
    """The key of a clip in its shard: its number in the source."""
    return f"{number:08d}"


@attrs.frozen(eq=False)
class Index:
    """Columns with a row for each clip.

    `shard` int32, `offset` int64 (of the first byte), `sizes` int64 [N, 2] (of the tensors and of
    the texts), `gap` int32 (between them), `sha256` uint8 [N, 32] (of both together), `shape` int32
    (into `Prepared.shapes`), `seconds` float32.
    """

    shard: np.ndarray
    offset: np.ndarray
    sizes: np.ndarray
    gap: np.ndarray
    sha256: np.ndarray
    shape: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.shard)

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]]) -> Index:
        """The columns of the kept clips' lines."""
        rows = list(lines)

        def column(name: str, dtype: Any) -> np.ndarray:
            return np.array([row[name] for row in rows], dtype=dtype)

        digests = b"".join(bytes.fromhex(row["sha256"]) for row in rows)
        return cls(
            shard=column("shard", np.int32),
            offset=column("offset", np.int64),
            sizes=column("sizes", np.int64).reshape(-1, 2),
            gap=column("gap", np.int32),
            sha256=np.frombuffer(digests, dtype=np.uint8).reshape(-1, 32),
            shape=column("shape", np.int32),
            seconds=column("seconds", np.float32),
        )

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        columns = attrs.asdict(self, recurse=False)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in columns.items()}
        return safetensors.torch.save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> Index:
        """Raises ValueError if they aren't an index."""
        try:
            columns = {n: t.numpy() for n, t in safetensors.torch.load(data).items()}
            index = cls(**columns)
        except (SafetensorError, TypeError) as error:
            raise ValueError(f"isn't an index of prepared clips: {error}") from error
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError("its columns have different lengths")
        return index


def condition_tensors(name: str, condition: Condition) -> dict[str, Tensor]:
    """The tensors of a condition of one row, without the padding at its end and its null form."""
    valid = condition.mask[0].nonzero()
    length = int(valid.max()) + 1 if len(valid) else 0
    return {
        f"{name}/tokens": condition.tokens[0, :length].contiguous(),
        f"{name}/mask": condition.mask[0, :length].contiguous(),
    }


def conditions_from(
    tensors: Mapping[str, Tensor], null: Mapping[str, Tensor]
) -> dict[str, Condition]:
    """Conditions of one row, from the tensors of a clip and the null forms that all clips share.

    A clip's own null form (NAME/null/tokens) goes before the shared one. Null form and condition
    have one length, padded with masked zeros.
    """
    conditions = {}
    for name in sorted(n.removesuffix("/tokens") for n in tensors if n.endswith("/tokens")):
        if name.endswith("/null"):
            continue
        pairs = [(tensors[f"{name}/tokens"], tensors[f"{name}/mask"])]
        own = f"{name}/null"
        source, key = (tensors, own) if f"{own}/tokens" in tensors else (null, name)
        if f"{key}/tokens" in source:
            pairs.append((source[f"{key}/tokens"], source[f"{key}/mask"]))
        length = max(1, *(len(mask) for _, mask in pairs))
        rows = [_padded(tokens, mask, length) for tokens, mask in pairs]
        conditions[name] = attrs.evolve(rows[0], null=rows[1] if rows[1:] else None)
    return conditions


def _padded(tokens: Tensor, mask: Tensor, length: int) -> Condition:
    wide = tokens.new_zeros(1, length, *tokens.shape[1:])
    wide[0, : len(tokens)] = tokens
    known = mask.new_zeros(1, length)
    known[0, : len(mask)] = mask
    return Condition(wide, known)


def json_keeps(value: Any) -> bool:
    """Whether JSON gives the value back as it is: tuples and keys that aren't text don't pass."""
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def clip_bytes(tensors: Mapping[str, Tensor], texts: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The two members of a clip: safetensors and JSON. Equal input gives equal bytes."""
    text = json.dumps(texts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return safetensors.torch.save(dict(tensors)), text.encode("utf-8", "surrogatepass")


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append a file without owner or time, so that equal clips give equal shards.

    Returns the offset of its first byte.
    """
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))
    blocks = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return int(tar.offset) - blocks


def parse_clip(
    data: bytes,
    sizes: Sequence[int],
    gap: int,
    digest: bytes,
    null: Mapping[str, Tensor],
    round: int,
    streams: Sequence[str],
) -> PreparedClip:
    """A clip from the bytes of its members. Raises ValueError if they aren't what was written."""
    tensor_bytes, text_bytes = data[: sizes[0]], data[sizes[0] + gap :]
    if hashlib.sha256(tensor_bytes + text_bytes).digest() != digest:
        raise ValueError("its bytes aren't those that were written (SHA-256)")
    try:
        tensors = safetensors.torch.load(tensor_bytes)
        texts = json.loads(text_bytes)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"isn't a prepared clip: {error}") from error
    found = {s: tensors[f"latents/{s}"].float() for s in STREAMS if f"latents/{s}" in tensors}
    variants = max(1, int(texts.get("variants", 1)))
    given = _under("conditions/", tensors) | _under(f"variant-{round % variants}/", tensors)
    voice = f"prompt/voice-{round % variants}"
    prompt = Prompt(
        texts.get("caption"),
        texts.get("sound"),
        texts.get("speech"),
        image=tensors.get("prompt/image"),
        voice=tensors.get(voice, tensors.get("prompt/voice")),
        extra=texts.get("extra", {}),
    )
    latents = cast(AV[Tensor], AV(**{s: found[s] for s in streams}))
    conditions = conditions_from({n: _floats(t) for n, t in given.items()}, null)
    return PreparedClip(texts["name"], latents, conditions, prompt)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _floats(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


@attrs.frozen
class Storage:
    """A folder on disk, or at any URL that fsspec reads (s3://, https://, hf://, memory://)."""

    place: str

    @property
    def local(self) -> bool:
        """Whether it is a folder on disk."""
        return "://" not in self.place

    def __truediv__(self, folder: str) -> Storage:
        return Storage(f"{self.place.rstrip('/')}/{folder}" if folder else self.place)

    def read(self, name: str) -> bytes:
        """A whole file. Raises OSError."""
        with self._open(name) as file:
            return file.read()

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer at the end of the file. Raises OSError."""
        if not self.local:
            filesystem, path = self._filesystem(name)
            return bytes(filesystem.cat_file(path, start=offset, end=offset + size))
        with self._open(name) as file:
            file.seek(offset)
            return file.read(size)

    def size(self, name: str) -> int:
        """The size of a file in bytes. Raises OSError."""
        if self.local:
            return Path(self.place, name).stat().st_size
        filesystem, path = self._filesystem(name)
        return int(filesystem.size(path))

    def _open(self, name: str) -> IO[bytes]:
        if self.local:
            return Path(self.place, name).open("rb")
        filesystem, path = self._filesystem(name)
        return cast("IO[bytes]", filesystem.open(path, "rb"))

    def _filesystem(self, name: str) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError as error:
            raise MediaError(f"{self.place}: URLs need fsspec: pip install fsspec") from error
        return cast("tuple[Any, str]", fsspec.core.url_to_fs(f"{self.place}/{name}"))
