"""From a data set to tar shards of prepared clips: in parallel, in bounded memory, resumable."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import safetensors.torch
import torch

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.assembly.tables import unstructure
from harmony_parts.av import AV, Format
from harmony_parts.errors import RunError
from harmony_parts.filters.protocol import FilterSpec
from harmony_parts.latents.candidates import (
    Candidate,
    Candidates,
    chance_of,
    duplicates,
    listing_digest,
)
from harmony_parts.latents.clip_encoder import ClipEncoder
from harmony_parts.latents.made_with import made_with
from harmony_parts.latents.prepare_report import prepare_report, report_lines
from harmony_parts.latents.shard_writer import ShardWriter, is_complete, read_lines, write_shard
from harmony_parts.media.files import replace, replace_text
from harmony_parts.models.lock import lock_folder
from harmony_parts.references.protocol import Piece
from harmony_parts.sources.shard_files import (
    FACTS,
    INDEX,
    NULL,
    VERSION,
    Index,
    shard_name,
)

PLAN, REPORT = "plan.json", "report.json"
MAX_FAILURES = 32  # unreadable recordings in a row, before the disk is blamed


@attrs.frozen
class Preparation:
    """How clips are prepared; each setting is part of what identifies the result.

    `formats` are the lengths and sizes of clips, each recording getting the one that fits; by
    default the recipe's alone. `variants` is the number of reference voices a clip.
    """

    formats: tuple[Format, ...] = ()
    filters: tuple[FilterSpec, ...] = ()
    variants: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    seed: int = 0
    dtype: str = "float32"
    shard_clips: int = attrs.field(default=512, validator=attrs.validators.ge(1))


def prepare_shards(
    recipe: Recipe,
    out: Path,
    *,
    root: Path | None = None,
    settings: Preparation | None = None,
    workers: int = 0,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Prepare the recipe's data set into the folder `out`; returns the report, as `report.json`.

    `workers` processes read (or render) and filter; this one encodes, a clip at a time. At most
    two decoded clips a worker are in memory. A shard is complete or absent, so the same call
    continues after a kill, and writes the bytes that it would have written without. Recordings that
    can't be read, that repeat another's content, or that a filter drops are left out and counted.

    Raises RunError if `out` holds other files or another preparation, if the disk is full, if a
    clip isn't in the format, or if nothing is left; MediaError if the data set can't be opened.
    """
    settings = settings or Preparation()
    formats = settings.formats or (recipe.format,)
    place = torch.device(device)
    _check_free(out)
    sets = tuple(recipe.data.build(format=form, root=root) for form in formats)
    filters = tuple(spec.build() for spec in settings.filters)
    candidates = Candidates(formats, sets, filters, settings.variants, settings.seed)
    encoder = ClipEncoder(recipe, formats, place, settings.dtype)
    facts = made_with(recipe, encoder.parts[0])
    plan = _plan(recipe, settings, formats, candidates, facts)
    with lock_folder(out, "preparing clips in"):
        _open(out, plan)
        shards = range(-(-len(candidates) // settings.shard_clips))
        todo = [k for k in shards if not is_complete(out, k)]
        if len(todo) < len(shards):
            say(f"{len(shards) - len(todo)} of {len(shards)} shards are there already")
        if todo:
            (out / FACTS).unlink(missing_ok=True)
            _write_shards(out, todo, settings, candidates, encoder, workers, progress)
        return _finish(out, len(shards), encoder, facts, plan, settings)


def _check_free(out: Path) -> None:
    """Raise RunError if the folder has files that aren't a preparation's."""
    files = [p for p in out.iterdir() if not p.name.startswith(".")] if out.is_dir() else []
    if files and not (out / PLAN).is_file():
        raise RunError(
            f"{out}: has files that `harmony prepare` didn't write, such as {files[0].name}; choose"
            " an empty or a new folder"
        )


def _plan(
    recipe: Recipe,
    settings: Preparation,
    formats: Sequence[Format],
    candidates: Candidates,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """All that the bytes of the result depend on."""
    table = unstructure(recipe)
    return {
        "version": VERSION,
        "made_with": facts,
        "formats": [[f.frames, f.height, f.width] for f in formats],
        "data": table["data"],
        "recordings": len(candidates),
        "listing": listing_digest(candidates.sets[0]),
        "filters": [unstructure(spec, kind="filter") for spec in settings.filters],
        "variants": settings.variants,
        "seed": settings.seed,
        "dtype": settings.dtype,
        "shard_clips": settings.shard_clips,
    }


def _open(out: Path, plan: Mapping[str, Any]) -> None:
    """Begin or continue the preparation in a folder. Raises RunError if it is another one."""
    for left in out.glob(".*.part"):
        left.unlink(missing_ok=True)
    text = json.dumps(plan, indent=1, sort_keys=True)
    file = out / PLAN
    if not file.is_file():
        return replace_text(file, text)
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file}: is damaged ({error}); prepare into a new folder") from error
    now = json.loads(text)
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        raise RunError(
            f"{out}: holds clips that were prepared otherwise: {', '.join(changed)} changed since"
            f" (see {PLAN}); prepare into a new folder"
        )
    return None


def _write_shards(
    out: Path,
    todo: Sequence[int],
    settings: Preparation,
    candidates: Candidates,
    encoder: ClipEncoder,
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    total, size = len(candidates), settings.shard_clips
    repeated = duplicates(candidates.sets[0])
    members = {k: range(k * size, min(total, (k + 1) * size)) for k in todo}
    wanted = [n for k in todo for n in members[k] if n not in repeated]
    found = iter(_loaded(candidates, wanted, workers))
    done, failures = total - sum(map(len, members.values())), 0
    for shard in todo:
        before: Sequence[AV[Any]] | None = None
        with write_shard(out, shard) as writer:
            for number in members[shard]:
                if number in repeated:
                    same = {"name": _name(candidates, number)}
                    why = f"same content as {_name(candidates, repeated[number])}"
                    writer.drop(number, "duplicate", why, same)
                else:
                    candidate = next(found)
                    failures = failures + 1 if candidate.fault else 0
                    if failures == MAX_FAILURES:
                        raise RunError(
                            f"{candidate.fault}\n{failures} recordings in a row can't be read: is"
                            " the disk still connected? The same command continues"
                        )
                    before = _add(writer, candidate, before, settings, candidates, encoder)
                done += 1
                progress(done, total)


def _loaded(candidates: Candidates, numbers: Sequence[int], workers: int) -> Iterator[Candidate]:
    """What workers make of these recordings, in order."""
    return iter(
        torch.utils.data.DataLoader(
            candidates,
            batch_size=None,
            sampler=numbers,
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=2 if workers else None,
            generator=torch.Generator(),
        )
    )


def _as_it_is(candidate: Any) -> Any:
    return candidate


def _name(candidates: Candidates, number: int) -> str:
    names = getattr(candidates.sets[0], "names", None)
    return str(number) if names is None else names[number]


def _add(
    writer: ShardWriter,
    candidate: Candidate,
    before: Sequence[AV[Any]] | None,
    settings: Preparation,
    candidates: Candidates,
    encoder: ClipEncoder,
) -> Sequence[AV[Any]] | None:
    """Judge a recording, and encode and write it if it is kept; returns its features."""
    number, example = candidate.number, candidate.example
    if example is None:
        name = {"name": _name(candidates, number)}
        writer.drop(number, "unreadable", candidate.fault, name)
        return before
    filters = candidates.filters
    faults = [f.fault(x.video, x.audio) for f, x in zip(filters, candidate.features)]
    facts: dict[str, Any] = {"name": example.name}
    if filters:
        chance = {} if before is None else chance_of(filters, candidate.features, before)
        facts["filters"] = [fault is None for fault in faults]
        facts["chance"] = {str(k): fault is None for k, fault in chance.items()}
    for k, fault in enumerate(faults):
        if fault is not None:
            writer.drop(number, f"filter {k}", fault, facts)
            return candidate.features
    tensors = encoder.tensors(example, candidate.shape, candidate.voices)
    facts |= {"seconds": example.clip.seconds, "shapes": _shapes(tensors)}
    texts = encoder.texts(example, 1 + len(candidate.voices)) | {
        "seconds": example.clip.seconds,
        "cut": _piece(example.origin, candidates),
        "references": [_piece(piece, candidates) for piece in candidate.references],
    }
    writer.keep(number, tensors, texts, facts)
    return candidate.features


def _piece(piece: Piece | None, candidates: Candidates) -> dict[str, Any] | None:
    """Where a sound comes from: the name of its recording, and the seconds."""
    if piece is None:
        return None
    name = _name(candidates, piece.recording)
    return {"recording": name, "begin": round(piece.begin, 6), "end": round(piece.end, 6)}


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    return {
        name.removeprefix("latents/"): list(tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith("latents/")
    }


def _finish(
    out: Path,
    shards: int,
    encoder: ClipEncoder,
    facts: Mapping[str, Any],
    plan: Mapping[str, Any],
    settings: Preparation,
) -> dict[str, Any]:
    """Write index, report and `prepared.json`, which makes the folder complete."""
    lines = [line for k in range(shards) for line in read_lines(out, k)]
    kept = [line for line in lines if line["kept"]]
    report = prepare_report(lines, [each["use"] for each in plan["filters"]])
    try:
        replace_text(out / REPORT, json.dumps(report, indent=1, ensure_ascii=False))
        if not kept:
            why = "\n".join(report_lines(report))
            raise RunError(f"{out}: no clip is left of {len(lines)} ({REPORT}):\n{why}")
        shapes: list[dict[str, list[int]]] = []
        for line in kept:
            if line["shapes"] not in shapes:
                shapes.append(line["shapes"])
            line["shape"] = shapes.index(line["shapes"])
        null = safetensors.torch.save(encoder.null_tensors())
        replace(out / NULL, lambda part: part.write_bytes(null))
        replace(out / INDEX, lambda part: part.write_bytes(Index.of(kept).to_bytes()))
        counts = Counter(line["shard"] for line in kept)
        whole = {
            "version": VERSION,
            "key": hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:32],
            "made_with": facts,
            "clips": len(kept),
            "seconds": sum(line["seconds"] for line in kept),
            "streams": list(encoder.streams),
            "variants": settings.variants,
            "shapes": shapes,
            "shards": [
                {
                    "name": shard_name(k),
                    "clips": counts[k],
                    "bytes": (out / shard_name(k)).stat().st_size,
                }
                for k in range(shards)
            ],
        }
        replace_text(out / FACTS, json.dumps(whole, indent=1))
    except OSError as error:
        raise RunError(f"{out}: can't be written: {error}") from error
    return report
