"""All that a run on a GPU should answer, the most important first: `make gpu`.

Each item has a limit, and its result is kept at once as a line of results.jsonl, so that a cut
loses nothing; a second run does what is left. It needs no environment: wheels in `--wheels` are
unpacked, and metadata and entry points are written from the pyproject files. Only the standard
library is imported here, since nothing else may be there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
RESULTS = "results.jsonl"
LEAST = 15  # seconds that an item needs, at the least
GRACE = 5  # seconds between asking a process to end and killing it


class Item(NamedTuple):
    """One question: a command and the seconds that it may take; `cuda`: only with a GPU."""

    name: str
    limit: float
    command: tuple[str, ...]
    cuda: bool = True
    env: Mapping[str, str] = {}


def items(out: Path, jobs: int, python: str = sys.executable) -> list[Item]:
    """All items, in the order of their worth."""
    module = (python, "-m")
    here = "harmony_parts.benchmarks."
    tests = (*module, "pytest", "-q", "-p", "no:cacheprovider", "-n")
    local = (*module, here + "local_attention", "--device", "cuda", "--runs", "20")
    model = (*module, here + "model", "--device", "cuda", "--json")
    triton = ("--set", "denoiser.interaction.attention=triton")
    several = (
        f"for k in $(seq 0 {jobs - 1}); do {python} -m {here}gpu_tasks compile $k {jobs} & done;"
        " wait"
    )
    memcheck = ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9")
    parity = ("tests/gpu/test_cuda.py",)
    report = {"HARMONY_GPU_REPORT": str(out / "steps.jsonl")}
    return [
        Item("smoke", 60, (*module, here + "gpu_tasks", "smoke"), cuda=False),
        Item("doctor", 20, (*module, "harmony_parts", "doctor"), cuda=False),
        Item("kernels", 110, (*tests, str(jobs), "tests/gpu/test_kernels.py")),
        Item("local", 60, (*local, "--no-compile", "--json", str(out / "local-attention.json"))),
        Item("compile", 45, ("bash", "-c", several)),
        Item("tune", 45, (*module, here + "gpu_tasks", "tune")),
        Item("model", 50, (*model, str(out / "model-6.json"), "--layers", "6", "--steps", "4")),
        Item(
            "model-triton",
            50,
            (*model, str(out / "model-6-triton.json"), "--layers", "6", "--steps", "4", *triton),
        ),
        Item("parity", 80, (*tests, "8", *parity, "-k", "not time_and_memory")),
        Item(
            "sanitizer",
            75,
            (*memcheck, *module, here + "gpu_tasks", "tiny"),
            env={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        ),
        Item("steps", 40, (*tests, "0", *parity, "-k", "time_and_memory"), env=report),
        Item("whole", 100, (*model, str(out / "model.json"), "--steps", "2", *triton)),
        Item("compiled", 90, (*local, "--json", str(out / "local-attention-compiled.json"))),
    ]  # fmt: skip


def append(out: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the results, on the disk before this returns; a cut line before it stays."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / RESULTS).open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(out: Path) -> list[dict[str, Any]]:
    """The results so far, without lines that were cut."""
    found = []
    file = out / RESULTS
    for line in file.read_bytes().splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def finished(lines: Sequence[Mapping[str, Any]]) -> set[str]:
    """The items that have succeeded; all others are tried again."""
    return {line["item"] for line in lines if line.get("rc") == 0 and "item" in line}


def run_item(item: Item, limit: float, log: Path, env: Mapping[str, str]) -> int:
    """The exit status of an item, 124 if it ran past its limit; no process of it is left."""
    with log.open("ab") as file:
        try:
            process = subprocess.Popen(
                item.command,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**env, **item.env},
                start_new_session=True,
            )
        except OSError as error:
            file.write(f"{item.name}: {error}\n".encode())
            return 127
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return 124
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue


def run_all(
    todo: Sequence[Item],
    out: Path,
    *,
    budget: float,
    cuda: bool,
    skip: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Run the items that have no result yet, in order, within `budget` seconds altogether."""
    began, done = now(), finished(read_lines(out))
    out.mkdir(parents=True, exist_ok=True)
    for item in todo:
        left = budget - (now() - began)
        if item.name in done:
            continue
        reason = (
            "as asked" if item.name in skip
            else "no CUDA device" if item.cuda and not cuda
            else "no time" if left < LEAST
            else ""
        )  # fmt: skip
        if reason:
            append(out, {"item": item.name, "skipped": reason})
            print(f"{item.name}: skipped, {reason}", flush=True)
            continue
        start = now()
        rc = run_item(item, min(item.limit, left), out / "log.txt", env or os.environ)
        seconds = round(now() - start, 1)
        append(out, {"item": item.name, "rc": rc, "seconds": seconds})
        print(f"{item.name}: {'good' if rc == 0 else f'failed ({rc})'}, {seconds} s", flush=True)


def write_metadata(folder: Path, root: Path = ROOT) -> list[Path]:
    """Write what importlib.metadata reads of the library and its plugins, as if installed.

    Returns the folders to put on the path.
    """
    files = [root / "pyproject.toml", *sorted(root.glob("plugins/*/pyproject.toml"))]
    for file in files:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = dict(project.get("entry-points", {}))
        groups["console_scripts"] = project.get("scripts", {})
        text = [
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
            for group, entries in groups.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(text))
    return [folder, *(file.parent for file in files)]


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel, whose programs stay executable: `extractall` forgets that."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = Path(archive.extract(member, folder))
            if member.external_attr >> 16 & 0o111 and path.is_file():
                path.chmod(path.stat().st_mode | 0o755)


def environment(work: Path, wheels: Path, out: Path) -> dict[str, str]:
    """The environment of the items: unpacked wheels, this checkout and its metadata on the path."""
    site = work / "site"
    for wheel in sorted(wheels.glob("*.whl")):
        unpack(wheel, site)
    path = [site, *write_metadata(work / "metadata")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")]),
        "HARMONY_GPU_OUT": str(out),
        "TRITON_CACHE_DIR": str(work / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
    }


def has_cuda() -> bool:
    """Whether torch finds a CUDA device, asked in another process."""
    asked = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", asked], capture_output=True).returncode == 0


def main() -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    parser.add_argument("--budget", type=float, default=530, help="seconds for everything")
    parser.add_argument("--skip", nargs="*", default=[], metavar="ITEM")
    parser.add_argument("--wheels", type=Path, default=Path("out/wheels"))
    parser.add_argument("--jobs", type=int, default=12, help="processes that compile at once")
    given = parser.parse_args()
    out = given.out.resolve()
    with tempfile.TemporaryDirectory() as work:
        env = environment(Path(work), given.wheels, out)
        todo, cuda = items(out, given.jobs), has_cuda()
        run_all(todo, out, budget=given.budget, cuda=cuda, skip=given.skip, env=env)


if __name__ == "__main__":
    main()
