"""Run drawn mutants against the tests that should notice them, and write a table.

    python tests/mutants/run.py --each 14 --seed 0 --out mutants.json [--room tasks]

A process imports what the package needs but not the package, and forks one child for each mutant;
the child imports the package with the mutated file and runs the tests, fast ones only, until one
fails. Mutants in `equivalent.toml` compute the same; it says why of each.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from draw import PACKAGE, ROOMS, ROOT, Mutant, draw

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
CPU_LIMIT, LIMIT = 120, 1800  # seconds of a mutant; one that never ends is noticed, too
SEED, EACH = 0, 14  # of the table in docs/results
FATES = {0: "survived", 1: "noticed", 2: "noticed", None: "endless", -signal.SIGKILL: "endless"}
"""pytest's exit status -> what became of a mutant. 2: the tests can't even be collected."""
PRELOADED = (
    *("torch", "torchaudio", "numpy", "hypothesis", "pytest", "_pytest.fixtures", "cattrs"),
    *("rich.progress", "click.testing", "PIL.Image", "safetensors.torch", "tomli_w", "soundfile"),
    *("torch.utils.checkpoint", "torch.utils.tensorboard", "hypothesis.extra.numpy"),
)
PAPER = "parity/test_paper_network.py"
TESTS: Mapping[str, tuple[str, ...]] = {
    "layers": ("layers", PAPER, "parity/test_wan.py", "branches", "denoisers"),
    "branches": (
        *("branches", PAPER, "parity/test_wan.py", "parity/test_ovi.py"),
        *("testing/contracts/test_branches.py", "denoisers", "models/test_file_kinds.py"),
    ),
    "interaction": ("interaction", PAPER, "testing/contracts/test_interactions.py", "denoisers"),
    "style": ("style", PAPER, "testing/contracts/test_style.py", "denoisers"),
    "denoisers": (
        *("denoisers", PAPER, "testing/contracts/test_denoisers.py", "assembly/test_build.py"),
        *("parity/test_ovi.py", "generate/test_seams.py"),
    ),
    "tasks": ("tasks", "train/test_objective.py", "train/test_step.py"),
    "flow": ("flow", "train/test_stream_shifts.py", "sample"),
    "train": (
        *(f"train/test_{name}.py" for name in ("ema", "log", "objective", "step", "run_folder")),
        "train",
        "cli/test_train.py",
    ),
    "data": ("data", "train/test_data.py"),
    "metrics": ("metrics", "testing/contracts/test_metrics.py"),
}
"""Folders and files of tests for each folder of the package, in the order in which they run."""


def equivalent() -> dict[str, str]:
    """Name of a mutant -> why it computes the same."""
    if not EQUIVALENT.is_file():
        return {}
    return tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))


def run(mutant: Mutant | None, room: str) -> dict[str, Any]:
    """Whether the tests of a room notice a mutant; without one, whether they pass."""
    began, (read, write) = time.perf_counter(), os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            _test(mutant, room, write)
        os._exit(99)
    os.close(write)
    status = _wait(child)
    with os.fdopen(read, encoding="utf-8") as pipe:
        test = pipe.read()
    seconds = round(time.perf_counter() - began, 1)
    return {"fate": FATES.get(status, "unclear"), "test": test, "seconds": seconds}


def _wait(child: int) -> int | None:
    """The exit status of a child, or `None` if it had to be ended."""

    def end(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(LIMIT)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _imported(mutant: Mutant) -> bool:
    """Whether the package's own module came from the mutant."""
    module = sys.modules.get("harmony_parts." + mutant.file.removesuffix(".py").replace("/", "."))
    return module is None or isinstance(module.__spec__.loader, MutatedFile)


def _test(mutant: Mutant | None, room: str, pipe: int) -> None:
    """In the child: import the mutant, run the tests, and exit with pytest's status."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    out = os.open(os.environ.get("MUTANT_OUTPUT", os.devnull), os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(ROOT)
    if mutant is not None:
        sys.meta_path.insert(0, MutatedFile(mutant))
    import pytest

    # plain: pytest rewrites the assertions of the package, too, and would import it by itself
    words = ["-x", "-q", "-m", "not slow", "--assert=plain", "-p", "no:cacheprovider"]
    if mutant is not None and (own := _own_tests(mutant.file)):
        status = int(pytest.main([*words, own], plugins=[FirstFailure(pipe)]))
        if status in FATES and FATES[status] == "noticed" and _imported(mutant):
            os._exit(status)
    words += [f"tests/{test}" for test in TESTS[room]]
    status = int(pytest.main(words, plugins=[FirstFailure(pipe)]))
    os._exit(status if mutant is None or _imported(mutant) else 99)


def _own_tests(file: str) -> str | None:
    """The tests of a file of the package: most mutants are noticed there, and it is quick."""
    room, _, name = file.partition("/")
    own = Path("tests", room, f"test_{name}")
    folder = own if own.is_file() else own.parent
    return None if folder == Path("tests/train") or not folder.exists() else str(folder)


class FirstFailure:
    """A pytest plugin: reports the first test that fails, which hypothesis needn't shrink."""

    def __init__(self, pipe: int) -> None:
        self.pipe, self.failed = pipe, False

    def pytest_sessionstart(self) -> None:
        """After all configuration."""
        from hypothesis import Phase, settings

        settings.register_profile("mutants", phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write the name of the test."""
        if report.failed and not self.failed:
            self.failed = True
            os.write(self.pipe, report.nodeid.encode())


class MutatedFile(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module of the package from a mutant's source."""

    def __init__(self, mutant: Mutant) -> None:
        self.path = str(PACKAGE / mutant.file)
        self.module = "harmony_parts." + mutant.file.removesuffix(".py").replace("/", ".")
        self.source = mutant.source().encode()

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Only of the module that was mutated."""
        if name != self.module:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_filename(self, fullname: str) -> str:
        """The path of the file itself."""
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        """The mutated source."""
        return self.source


def table(
    rooms: Iterable[str],
    each: int,
    seed: int,
    known: Mapping[str, dict[str, Any]],
    bare: bool = True,
) -> Iterator[dict[str, Any]]:
    """A row for each mutant; equivalent ones, and those of which a row is `known`, aren't run.

    With `bare` the tests run without a mutant first, which raises RuntimeError if they fail.
    """
    same = equivalent()
    for room in rooms:
        drawn = draw(room, each, seed)
        if bare and (result := run(None, room))["fate"] != "survived":
            raise RuntimeError(f"the tests of {room} fail without a mutant: {result}")
        for mutant in drawn:
            if mutant.name in known:
                yield known[mutant.name]
                continue
            row = {"room": room, "mutant": mutant.name, "line": mutant.line}
            if mutant.name in same:
                yield row | {"fate": "equivalent", "reason": same[mutant.name]}
            else:
                yield row | run(mutant, room)


def _noticed(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    rows = [
        row for file in files for row in json.loads(file.read_text(encoding="utf-8"))["mutants"]
    ]
    return {row["mutant"]: row for row in rows if row["fate"] in ("noticed", "endless")}


def main() -> int:
    """Write the table, and return 1 if a mutant survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--room", choices=ROOMS, action="append")
    parser.add_argument("--each", type=int, default=EACH, help="mutants of each folder")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--known", type=Path, action="append", help="a table whose noticed mutants aren't run again"
    )
    parser.add_argument("--not-bare", action="store_true", help="don't test the package itself")
    given = parser.parse_args()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert "harmony_parts" not in sys.modules
    rows, known = [], _noticed(given.known or ())
    for row in table(given.room or ROOMS, given.each, given.seed, known, not given.not_bare):
        rows.append(row)
        print(f"{row['fate']:10} {row['mutant']}  {row.get('test') or ''}", flush=True)
        if given.out is not None:
            summary = {"seed": given.seed, "fates": Counter(r["fate"] for r in rows)}
            given.out.write_text(json.dumps({**summary, "mutants": rows}, indent=1) + "\n")
    return int(any(row["fate"] in ("survived", "unclear") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
