"""The flow of `make gpu`, with small commands: limits, budget, cuts, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import torch

from harmony_parts.benchmarks import gpu_results, gpu_settings, gpu_tasks
from harmony_parts.benchmarks.gpu import run_all, unpack, write_metadata
from harmony_parts.benchmarks.gpu_items import Item, items
from harmony_parts.benchmarks.gpu_report import gathered, tables
from harmony_parts.benchmarks.gpu_results import RESULTS, append, read_lines, record

ROOT = Path(__file__).parents[2]


def item(name: str, code: str, limit: float = 60, cuda: bool = False) -> Item:
    return Item(name, limit, (sys.executable, "-c", code), cuda)


def states(out: Path) -> list[tuple[str, object]]:
    return [(x["item"], x.get("rc", x.get("skipped"))) for x in read_lines(out / RESULTS)]


def test_limits_skips_and_failures_stop_nothing(tmp_path: Path) -> None:
    todo = [
        item("slow", "import time; time.sleep(60)", limit=0.5),
        item("bad", "raise SystemExit(3)"),
        Item("absent", 5, ("no-such-command-here",), False),
        item("gpu", "", cuda=True),
        item("unwanted", ""),
        item("good", ""),
    ]
    run_all(todo, tmp_path, budget=100, cuda=False, skip=["unwanted"])
    assert states(tmp_path) == [
        ("slow", 124), ("bad", 3), ("absent", 127), ("gpu", "no CUDA device"),
        ("unwanted", "as asked"), ("good", 0),
    ]  # fmt: skip
    run_all(todo[1:4], tmp_path, budget=100, cuda=True)
    run_all([todo[5]], tmp_path, budget=100, cuda=True)
    assert states(tmp_path)[6:] == [("bad", 3), ("absent", 127), ("gpu", 0)]


def test_the_budget_is_for_all_items(tmp_path: Path) -> None:
    at = iter(range(0, 1000, 40))
    run_all([item(n, "") for n in "abc"], tmp_path, budget=130, cuda=True, now=lambda: next(at))
    assert states(tmp_path) == [("a", 0), ("b", "no time"), ("c", "no time")]


CUT = """
import sys
from pathlib import Path
from harmony_parts.benchmarks.gpu import run_all
from harmony_parts.benchmarks.gpu_items import Item
out = Path(sys.argv[1])
def item(name, code): return Item(name, 60, (sys.executable, "-c", code), False)
begun = f"import time, pathlib; pathlib.Path({str(out / 'begun')!r}).touch()"
wait = begun + f"; time.sleep(float({sys.argv[2]}))"
run_all([item("first", ""), item("second", wait), item("third", "")], out, budget=100, cuda=False)
"""


def test_a_killed_run_goes_on_with_what_is_left(tmp_path: Path) -> None:
    """It is killed outright in the second item, and the line that it was writing is cut."""
    process = subprocess.Popen([sys.executable, "-c", CUT, str(tmp_path), "20"])
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"item": "second", "rc')
    assert states(tmp_path) == [("first", 0)]
    subprocess.run([sys.executable, "-c", CUT, str(tmp_path), "0"], check=True)
    assert states(tmp_path) == [("first", 0), ("second", 0), ("third", 0)]


def test_items_are_in_the_order_of_worth(tmp_path: Path) -> None:
    """Together they take two runs of ten minutes, and each less than its limit."""
    todo = items(tmp_path, 4)
    names = [each.name for each in todo]
    assert names[:2] == ["smoke", "doctor"]
    assert names[-1] == "compiled"
    assert len(set(names)) == len(names)
    assert all(0 < each.expected < each.limit <= 110 for each in todo)
    assert 600 < sum(each.expected for each in todo) < 2 * 530


def test_a_rehearsal_has_every_item_on_the_cpu(tmp_path: Path) -> None:
    rehearsed, real = items(tmp_path, 4, rehearse=True), items(tmp_path, 4)
    assert [each.name for each in rehearsed] == [each.name for each in real]
    for each in rehearsed:
        assert not each.cuda
        assert each.env["HARMONY_GPU_DEVICE"] == "cpu"
        assert "cuda" not in each.command
        assert "compute-sanitizer" not in each.command
    for each in real[2:]:
        assert each.cuda


def test_the_page_says_what_each_item_answers_and_takes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    for each in items(tmp_path, 4):
        assert f"| `{each.name}` | {each.expected:.0f} s |" in page, each.name


def test_every_file_and_module_of_an_item_exists(tmp_path: Path) -> None:
    for each in items(tmp_path, 4):
        for word in each.command:
            if word.startswith(("tests/", "plugins/")):
                assert (ROOT / word).is_file(), word
            if word.startswith("harmony_parts.benchmarks."):
                assert (ROOT / (word.replace(".", "/") + ".py")).is_file(), word


def test_a_copy_is_far_larger_than_a_cache(tmp_path: Path, monkeypatch) -> None:
    """2 GiB on a GPU; small copies would be timed from its L2 cache."""
    sizes: list[int] = []
    monkeypatch.setattr(gpu_results, "OUT", tmp_path)
    monkeypatch.setattr(gpu_tasks, "copy_bandwidth", lambda _, size, runs: sizes.append(size) or 1)
    for name in ("machine", "kernels", "training_steps", "clip"):
        monkeypatch.setattr(gpu_tasks, name, lambda *_: {})
    gpu_tasks.smoke(torch.device("cuda"))
    assert sizes == [2**31]


def test_a_smoke_test_with_a_fault_is_tried_again(tmp_path: Path, monkeypatch) -> None:
    """Every figure is kept, and the item fails."""
    monkeypatch.setattr(gpu_results, "OUT", tmp_path)
    for name in ("training_steps", "machine"):
        monkeypatch.setattr(gpu_tasks, name, lambda *_: {"seconds": 1.0})
    monkeypatch.setattr(gpu_tasks, "copy_bandwidth", lambda *_: 1e9)

    def broken(device: torch.device) -> dict[str, object]:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu_tasks, "clip", lambda *_: {"frames": 9})
    assert gpu_tasks.smoke(torch.device("cpu"))
    monkeypatch.setattr(gpu_tasks, "clip", broken)
    assert not gpu_tasks.smoke(torch.device("cpu"))
    last = read_lines(tmp_path / RESULTS)[-1]
    assert last["error"] == "RuntimeError: no kernel image"


def test_metadata_is_that_of_the_projects(tmp_path: Path) -> None:
    folders = write_metadata(tmp_path, ROOT)
    found = {d.metadata["Name"]: d for d in distributions(path=[str(tmp_path)])}
    assert found.keys() >= {"harmony-parts", "harmony-diffusers"}
    points = {p.name for p in found["harmony-parts"].entry_points if p.group == "console_scripts"}
    assert "harmony" in points
    assert ROOT in folders


def test_a_plugin_without_its_requirements_is_left_out(tmp_path: Path, capsys) -> None:
    """As with pip: a part that can't be imported would be a fault of the installation."""
    for name, needs in (("library", []), ("plugins/b", ["a-plugin>=1"]),
                        ("plugins/a", ["Torch[extra]>=2; python_version>'3'"]),
                        ("plugins/c", ["library", "no_such.thing"]),
                        ("plugins/d", ["c-plugin"])):  # fmt: skip
        file = tmp_path / name.replace("library", ".") / "pyproject.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        own = name if name == "library" else f"{name[-1]}-plugin"
        file.write_text(f"[project]\nname = '{own}'\nversion = '1'\ndependencies = {needs}\n")
    folders = write_metadata(tmp_path / "metadata", tmp_path)
    found = {d.name for d in distributions(path=[str(tmp_path / "metadata")])}
    assert found == {"library", "a-plugin", "b-plugin"}
    assert tmp_path / "plugins/a" in folders
    assert tmp_path / "plugins/c" not in folders
    assert "left out: c-plugin, which needs no-such-thing" in capsys.readouterr().out


def test_programs_in_wheels_stay_executable(tmp_path: Path) -> None:
    """ffmpeg is one, in imageio-ffmpeg's."""
    wheel, site = tmp_path / "some-1.0-py3-none-any.whl", tmp_path / "site"
    with zipfile.ZipFile(wheel, "w") as archive:
        program = zipfile.ZipInfo("some/binaries/program")
        program.external_attr = 0o755 << 16
        archive.writestr(program, "#!/bin/sh\necho it runs\n")
        archive.writestr("some/__init__.py", "")
    unpack(wheel, site)
    made = site / "some" / "binaries" / "program"
    assert subprocess.run([made], capture_output=True, text=True).stdout == "it runs\n"
    assert not os.access(site / "some" / "__init__.py", os.X_OK)


def test_the_default_settings_come_first() -> None:
    """And all are asked for at both windows."""
    from harmony_parts.kernels.local_cross_attention import launch

    if not launch.INTERPRETING:
        for kernel, settings in gpu_settings.SETTINGS.items():
            default = launch.config(kernel, 128, 16, torch.bfloat16)
            assert settings[0] == (*default, 1)
    assert len(set(gpu_settings.runs())) == len(list(gpu_settings.runs()))


def test_figures_are_kept_at_once_and_reported(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gpu_results, "OUT", tmp_path)
    about = {"kernel": "frames_read_forward", "reach": 0.15, "tile": 64, "warps": 4, "stages": 3}

    def broken() -> dict[str, object]:
        raise RuntimeError("out of resources")

    record("setting", broken, **about, split=1)
    good = {"ms": 0.1, "of_copy": 0.8, "same": True}
    record("setting", lambda: good, **about, split=1)
    record("setting", broken, **about, split=2)
    append(tmp_path, {"item": "tune", "rc": 0, "seconds": 3.0})
    append(tmp_path, {"item": "tune", "skipped": "no time"})
    (tmp_path / "model.json").write_text(json.dumps({"results": []}))
    report = gathered(tmp_path)
    assert report["items"] == {"tune": {"rc": 0, "seconds": 3.0}}
    assert [x["ok"] for x in report["figures"]] == [True, False]
    page = tables(report)
    assert "| frames_read_forward | 0.15 s | 64, 4, 3, 1 | 0.100 | 80% |  |" in page
    assert "out of resources" in page
    assert report["reports"] == {"model": {"results": []}}


def test_reports_become_tables(tmp_path: Path) -> None:
    """Of the benchmarks, whole or cut, and of the tests; a cut line of those is left out."""
    times = {"median": 0.002, "low": 0.001, "high": 0.003, "least": 0.001, "runs": 3}
    row = {"shape": "5 s", "direction": "video reads audio", "name": "triton", "fault": "",
           "forward": times, "backward": None, "forward_host": times, "backward_host": None,
           "forward_bytes": 10**6, "backward_bytes": 1}  # fmt: skip
    local = {"unfinished": True, "copy_bytes_per_second": 1e9, "rows": [row], "memory": []}
    result = {"what": "forward", "layers": 6, "seconds": times, "host_seconds": times,
              "of_matmul": 0.5, "peak_bytes": 2 * 10**9, "predicted_bytes": 10**9}  # fmt: skip
    model = {"matmul_flops_per_second": 1.0, "results": [result]}
    (tmp_path / "local-attention.json").write_text(json.dumps(local))
    (tmp_path / "model-6.json").write_text(json.dumps(model))
    line = json.dumps({"recipe": "demo", "seconds_per_step": 0.25, "versions": {}})
    (tmp_path / "steps.jsonl").write_text(line + "\n" + line[:9])
    profile = {"figure": "profile", "what": "forward", "ok": True, "ms": 4.0}
    append(tmp_path, profile | {"kernels": [["gemm", 3, 1.0]]})
    batch = {"figure": "together", "ok": True, "latents": 96, "apart_ms": 3.0, "together_ms": 2.0}
    append(tmp_path, batch | {"clips": 1, "frames": 6})
    append(tmp_path, batch | {"clips": 2, "frames": 6, "latents": 192})
    page = tables(gathered(tmp_path))
    assert "| local-attention (cut) | 5 s, video reads audio: triton | 2 (2) | 50% |  |  |" in page
    assert "| model-6 | forward, 6 layers | 0.002 | 0.002 | 50% | 2, 1 |" in page
    assert "| demo | seconds_per_step: 0.25 |" in page
    assert page.count("| demo |") == 1
    assert "| forward: gemm | 3 | 1.000 | 25% |" in page
    assert "| 96 latents | 3.00 ms | 2.00 ms |\n| 192 latents |" in page
