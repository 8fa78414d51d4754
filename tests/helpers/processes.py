"""Training in several processes on the CPU, as torchrun starts them but without its restarts.

`python processes.py JOB` reads JSON, trains in this process and prints nothing.

A job is {"out", "train", "strategy"}: the run folder, settings of the tiny training, and the name
and settings of a strategy; further keys are faults: `kill` [rank, step] (SIGKILL itself before that
step), `nan` [rank, step] (a clip that isn't finite), `interrupt` [rank, step], `full` [rank]
(no room for a checkpoint), `other` {rank: settings} (a rank's own settings of the training).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import attrs

HERE = Path(__file__).parent


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    stderr: str
    seconds: float


def run_processes(
    ranks: int, job: dict[str, Any], timeout: float = 240, *, local: int | None = None
) -> list[Ended]:
    """Run a job in so many processes; returns how each ended. None is left behind."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = {**job, "out": str(job["out"])}
    began, processes = time.monotonic(), []
    for rank in range(ranks):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HARMONY_PARTS_PLUGINS": "none",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(local or ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, json.dumps(job)],
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
        )
    ended = []
    try:
        for process in processes:
            left = max(1.0, timeout - (time.monotonic() - began))
            stderr = process.communicate(timeout=left)[1]
            ended.append(Ended(process.returncode, stderr, time.monotonic() - began))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return ended


def finish(ranks: int, job: dict[str, Any], **more: Any) -> None:
    """Run a job that must succeed in all processes."""
    for rank, ended in enumerate(run_processes(ranks, job, **more)):
        assert ended.code == 0, f"process {rank}:\n{ended.stderr}"


def strategy_of(name: str, **settings: Any) -> Any:
    """A strategy by its name."""
    from harmony_parts.strategies.data_parallel import DataParallel
    from harmony_parts.strategies.fsdp import FSDP
    from harmony_parts.strategies.single import Single

    return {"single": Single, "data-parallel": DataParallel, "fsdp": FSDP}[name](**settings)


def recipe_of(job: dict[str, Any], rank: int = 0) -> Any:
    """The recipe of a job."""
    from harmony_parts.trainable.lora import LoRA
    from helpers import tiny_training as tiny

    settings = {**job.get("train", {}), **job.get("other", {}).get(str(rank), {})}
    size = {name: settings.pop(name) for name in ("width", "layers") if name in settings}
    if "lora" in settings:
        settings["trainable"] = LoRA(rank=settings.pop("lora"))
    name, more = job.get("strategy", ["single", {}])
    return tiny.recipe(**size, **settings, strategy=strategy_of(name, **more))


def prepare_faults(job: dict[str, Any], rank: int) -> None:
    """Let this process fail as its job says."""
    import torch

    from harmony_parts.train import loop

    real = loop.draw_batch

    def draw(state: Any, batches: Any) -> Any:
        here = [rank, state.step + 1]
        if job.get("kill") == here:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.get("interrupt") == here:
            os.kill(os.getpid(), signal.SIGINT)
        if job.get("lost") == here:
            batches = attrs.evolve(batches) if attrs.has(type(batches)) else batches
            batches.source.fetch = _fail
        batch = real(state, batches)
        if job.get("nan") == here:
            batch.latents["audio"].fill_(torch.nan)
        return batch

    loop.draw_batch = draw
    if job.get("full") == [rank]:
        from harmony_parts.train import shared_checkpoint

        shared_checkpoint.file_digest = _full


def _fail(draws: Any) -> Any:
    raise OSError("the disk of this machine is gone")


def _full(path: Path) -> str:
    import errno

    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def main() -> None:
    """The job, in this process."""
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    import torch

    from harmony_parts.errors import HarmonyError
    from harmony_parts.train.loop import train

    torch.set_num_threads(1)
    job, rank = json.loads(sys.argv[1]), int(os.environ["RANK"])
    prepare_faults(job, rank)
    out = Path(job["out"])
    try:
        train(
            recipe_of(job, rank),
            out=out,
            resume=job.get("resume", False),
            progress=False,
            device="cpu",
        )
    except HarmonyError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
