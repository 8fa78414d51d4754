"""All that a run on a GPU should answer, the most important first: `make gpu`.

Each item has a limit, and its result is kept at once as a line of results.jsonl, so that a cut
loses nothing; a second run does what is left. It needs no environment: wheels in `--wheels` are
unpacked, and metadata and entry points are written from the pyproject files. Only the standard
library is imported here, since nothing else may be there.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from harmony_parts.benchmarks.gpu_items import Item, items
from harmony_parts.benchmarks.gpu_results import RESULTS, append, finished, read_lines

ROOT = Path(__file__).parents[2]
LEAST = 15  # seconds that an item needs, at the least
GRACE = 5  # seconds between asking a process to end and killing it


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
    began, done = now(), finished(read_lines(out / RESULTS))
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


def write_metadata(folder: Path, root: Path = ROOT, site: Path | None = None) -> list[Path]:
    """Write what importlib.metadata reads of the library and its plugins, as if installed.

    A plugin that needs packages which are neither here nor in `site` is left out, as pip would.
    Returns the folders to put on the path.
    """
    there = {_name(d.name) for d in distributions(path=[*([str(site)] if site else []), *sys.path])}
    projects = {}
    for file in [root / "pyproject.toml", *sorted(root.glob("plugins/*/pyproject.toml"))]:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        projects[_name(project["name"])] = file, project
    library, *plugins = projects
    there |= {library}
    found = [library]
    while new := [p for p in plugins if p not in found and _needs(projects[p][1]) <= there]:
        there |= set(new)
        found += new
    for name in found:
        _write_info(folder, projects[name][1])
    for name in sorted(set(plugins) - set(found)):
        missing = ", ".join(sorted(_needs(projects[name][1]) - there))
        print(f"left out: {name}, which needs {missing}", flush=True)
    return [folder, *(projects[name][0].parent for name in found)]


def _name(text: str) -> str:
    """A package's name in its normal form."""
    return re.sub(r"[-_.]+", "-", text).lower()


def _needs(project: Mapping[str, Any]) -> set[str]:
    """The packages that a project requires, without their versions."""
    return {_name(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in project["dependencies"]}


def _write_info(folder: Path, project: Mapping[str, Any]) -> None:
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
    path = [site, *write_metadata(work / "metadata", site=site)]
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
    parser.add_argument("--out", type=Path, help="by default out/gpu, or out/gpu-rehearsal")
    parser.add_argument("--budget", type=float, help="seconds for everything; by default 530")
    parser.add_argument("--skip", nargs="*", default=[], metavar="ITEM")
    parser.add_argument("--wheels", type=Path, default=Path("out/wheels"))
    parser.add_argument("--jobs", type=int, default=12, help="processes that compile at once")
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="run every item on this CPU with toy sizes, ten times as long; figures mean nothing",
    )
    given = parser.parse_args()
    longer = 10 if given.rehearse else 1
    out = (given.out or Path("out/gpu-rehearsal" if given.rehearse else "out/gpu")).resolve()
    with tempfile.TemporaryDirectory() as work:
        env = environment(Path(work), given.wheels, out)
        todo = items(out, given.jobs, rehearse=given.rehearse)
        run_all(
            [item._replace(limit=item.limit * longer) for item in todo],
            out,
            budget=given.budget or 530 * longer,
            cuda=has_cuda(),
            skip=given.skip,
            env=env,
        )


if __name__ == "__main__":
    main()
