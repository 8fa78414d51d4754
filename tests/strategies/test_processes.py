"""Several processes train what one does, save and resume, and end together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.processes import Ended, finish, run_jobs

from harmony_parts.models.folder import load_weights, weight_files
from harmony_parts.models.saved_tensors import iter_tensors
from harmony_parts.models.tensor_files import load_tensors

FSDP, COPIES, HSDP = ["fsdp", {}], ["data-parallel", {}], ["fsdp", {"shards": 2}]
SEQ, SEQ_COPIES, SEQ_HSDP = (
    ["fsdp", {"seq": 2}],
    ["data-parallel", {"seq": 2}],
    ["fsdp", {"shards": 2, "seq": 2}],
)
ONE = ["single", {}]
TRAIN = {"steps": 4, "batch": 4, "layers": 2, "checkpoint_every": 2}
TOLERANCE = 2e-6  # of float32 weights of some 0.1: sums over two processes are rounded otherwise


def job(out: Path, ranks: int = 2, strategy: Any = FSDP, **more: Any) -> dict[str, Any]:
    train = TRAIN | more.pop("train", {})
    return {"ranks": ranks, "out": out, "strategy": strategy, "train": train, **more}


def losses(out: Path) -> list[float]:
    """The losses of all steps, and of all tasks and streams."""
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [x for y in lines for x in (y["loss"], y["grad_norm"], *y["losses"].values())]


def clips_without_reference(out: Path) -> list[int]:
    """In each line of the log: no clip is counted twice."""
    lines = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [line["without_reference"] for line in lines]


def check_alike(one: Path, other: Path) -> None:
    """Losses and weights of two runs, to the rounding of float32."""
    assert losses(other) == pytest.approx(losses(one), rel=1e-5)
    folder = "lora/adapter_model" if (one / "lora").is_dir() else "model/model"
    weights = [load_tensors(out / f"{folder}.safetensors") for out in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=0, atol=TOLERANCE, msg=name)


def result(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def test_two_processes_with_divided_weights_train_what_one_does(tmp_path: Path) -> None:
    """The loss falls by the sum of all gradients, not their mean: clipping would hide it.

    A single process may divide them too, as on a machine with one GPU.
    """
    train = {"steps": 2, "layers": 1, "clip": 0.0, "checkpoint_every": 0}
    finish(
        job(tmp_path / "one", ranks=0, strategy=ONE, train=train),
        job(tmp_path / "two", train=train),
        job(tmp_path / "alone", ranks=1, train=train),
    )
    check_alike(tmp_path / "one", tmp_path / "two")
    check_alike(tmp_path / "one", tmp_path / "alone")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole runs of one and of several processes."""
    out = tmp_path_factory.mktemp("runs")
    micro = {"micro_batch": 1}
    finish(
        job(out / "one", ranks=0, strategy=ONE),
        job(out / "fsdp"),
        job(out / "alone", ranks=1),
        job(out / "copies", strategy=COPIES),
        job(out / "hsdp", ranks=4, strategy=HSDP),
        job(out / "parts", train=micro),
        job(out / "seq", strategy=SEQ),
        job(out / "seq-copies", strategy=SEQ_COPIES, train=micro),
        job(out / "seq-hsdp", ranks=4, strategy=SEQ_HSDP),
        job(out / "one-lora", ranks=0, strategy=ONE, train={"lora": 2}),
        job(out / "lora", train={"lora": 2}),
    )
    return out


@pytest.mark.slow
def test_tasks_that_are_run_one_after_the_other_share_a_step(tmp_path: Path) -> None:
    """Each process runs the divided blocks once for each task, with or without gradients."""
    train = TRAIN | {"steps": 2, "driven_interaction": "one_way_detached", "checkpoint_every": 0}
    finish(
        job(tmp_path / "one", ranks=0, strategy=ONE, train=train),
        job(tmp_path / "two", train=train),
    )
    check_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "name", ["fsdp", "copies", "hsdp", "parts", "seq", "seq-copies", "seq-hsdp"]
)
def test_every_strategy_trains_what_one_process_does(runs: Path, name: str) -> None:
    check_alike(runs / "one", runs / name)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_shared_clips_in_bfloat16(tmp_path: Path) -> None:
    """As one process in bfloat16, which has 8 bits: sums of parts round otherwise."""
    train = TRAIN | {"steps": 2, "checkpoint_every": 0, "precision": "bfloat16"}
    one, two = tmp_path / "one", tmp_path / "two"
    finish(
        job(one, ranks=0, strategy=ONE, train=train),
        job(two, strategy=SEQ, train=train),
    )
    assert losses(two) == pytest.approx(losses(one), rel=2e-3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_clips_that_one_process_of_a_shared_model_shows_change_nothing(tmp_path: Path) -> None:
    """It generates with whole clips while the other one waits."""
    train = {"steps": 2, "batch": 2, "checkpoint_every": 0}
    finish(
        job(tmp_path / "without", strategy=SEQ_COPIES, train=train),
        job(tmp_path / "with", strategy=SEQ_COPIES, train={**train, "samples": 1}),
    )
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    assert result(tmp_path / "with") == result(tmp_path / "without")
    for step in (1, 2):
        assert (tmp_path / "with" / "samples" / f"step-000000{step}" / "0.mp4").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_adapters_on_divided_weights_are_those_of_one_process(runs: Path) -> None:
    check_alike(runs / "one-lora", runs / "lora")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("begun", "ranks", "strategy"),
    [
        ("one", 2, FSDP),
        ("one", 4, FSDP),
        ("fsdp", 0, ONE),
        ("fsdp", 1, FSDP),
        ("alone", 1, FSDP),
        ("alone", 2, FSDP),
        ("fsdp", 4, FSDP),
        ("hsdp", 2, FSDP),
        ("one", 4, SEQ_HSDP),
        ("seq", 0, ONE),
        ("seq", 2, FSDP),
        ("seq-hsdp", 2, SEQ_COPIES),
    ],
)
def test_any_number_of_processes_resumes(
    runs: Path, tmp_path: Path, begun: str, ranks: int, strategy: Any
) -> None:
    """From the checkpoint of step 2, which any number of processes wrote."""
    out = Path(shutil.copytree(runs / begun, tmp_path / "run"))
    shutil.rmtree(out / "checkpoints" / "step-0000004")
    shutil.rmtree(out / "model")
    finish(job(out, ranks=ranks, strategy=strategy, resume=True))
    check_alike(runs / "one", out)
    assert clips_without_reference(out) == clips_without_reference(runs / "one")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_shared_checkpoint_is_a_model(runs: Path) -> None:
    """Its pieces join to the weights, and load as those of any model."""
    from helpers import tiny_training as tiny

    from harmony_parts.assembly.build import build

    checkpoint = runs / "fsdp" / "checkpoints" / "step-0000004"
    final = load_tensors(runs / "fsdp" / "model" / "model.safetensors")
    merged = {
        name: tensor for place in weight_files(checkpoint) for name, tensor in iter_tensors(place)
    }
    assert merged.keys() == final.keys()
    assert all(torch.equal(merged[name], final[name]) for name in final)
    load_weights(build(tiny.recipe(layers=2), 0), checkpoint)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_process_is_named_and_the_run_resumes_bit_equal(
    runs: Path, tmp_path: Path
) -> None:
    ended = run_jobs(job(tmp_path / "run", kill=[1, 4]))[0]
    assert [each.code for each in ended] == [1, -9]
    assert "process 1 of 2 was killed" in ended[0].stderr
    assert ended[0].seconds - ended[1].seconds < 30
    finish(job(tmp_path / "run", resume=True))
    assert result(tmp_path / "run") == result(runs / "fsdp")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("fault", "code", "text", "resumes"),
    [
        ({"kill": [0, 3]}, 1, "process 0", True),
        ({"nan": [1, 3]}, 1, "step 3: the loss is nan: task ", True),
        ({"unreadable": [1, 3]}, 1, "the disk of this machine is gone", True),
        ({"interrupt": [1, 3]}, 130, "stopped after step 3 of 4", True),
        ({"full": [1]}, 1, "step-0000002: can't be written", False),
    ],
)
def test_a_fault_of_one_process_stops_all(
    runs: Path, tmp_path: Path, fault: dict[str, Any], code: int, text: str, resumes: bool
) -> None:
    """By the end of the step or the write; the run resumes to the same bits."""
    out = tmp_path / "run"
    ended: list[Ended] = run_jobs(job(out, **fault))[0]
    assert max(each.seconds for each in ended) - min(each.seconds for each in ended) < 30
    for each in ended:
        assert each.code == code or each.code == -9, each.stderr
        assert each.code == -9 or text in each.stderr
    checkpoints = out / "checkpoints"
    assert not list(checkpoints.glob(".*")), "nothing half-written is left"
    assert resumes == bool(list(checkpoints.iterdir()))
    finish(job(out, resume=resumes))
    assert result(out) == result(runs / "fsdp")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_processes_that_disagree_are_refused(tmp_path: Path) -> None:
    other = {"clip": 0.5, "seed": 3}
    jobs: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "recipe": (
            job(tmp_path / "recipe", other={"1": other}),
            ("process 1: $.train.clip: was 1.0, is now 0.5", "$.train.seed: was 0, is now 3"),
        ),
        "weights": (job(tmp_path / "weights", weights=[1]), ("process 1: initial weights",)),
        "data": (job(tmp_path / "data", examples=[1]), ("process 1: data: {'examples': 5",)),
        "single": (
            job(tmp_path / "single", strategy=ONE),
            ("2 processes were started", "train.strategy"),
        ),
        "batch": (
            job(tmp_path / "batch", train={"batch": 3}),
            ("$.train.batch: 3 clips can't be shared evenly by 2",),
        ),
        "seq": (
            job(tmp_path / "seq", strategy=["fsdp", {"seq": 3}]),
            ("$.train.strategy.seq: 2 processes can't be divided into groups of 3",),
        ),
        "heads": (
            job(tmp_path / "heads", ranks=4, strategy=["data-parallel", {"seq": 4}]),
            ("$.train.strategy.seq: 2 heads of the video branch can't be divided evenly among 4",),
        ),
        "shards": (
            job(tmp_path / "shards", strategy=["fsdp", {"shards": 3}]),
            ("$.train.strategy.shards: 2 processes",),
        ),
    }
    results = run_jobs(*(each for each, _ in jobs.values()))
    for (name, (_, texts)), ended in zip(jobs.items(), results, strict=True):
        for each in ended:
            assert each.code == 1, name
            assert all(text in each.stderr for text in texts), each.stderr
        assert not (tmp_path / name / "checkpoints").exists()
