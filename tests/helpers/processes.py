"""Training runs in several processes on the CPU, connected as torchrun connects them.

`python processes.py JOBS` reads and prints JSON. It imports everything once, and forks the
processes of one job after the other.

A job is {"ranks", "out", "train", "strategy"}: the number of processes (0: one, without the
variables of a launcher), the run folder, settings of the tiny training, and the name and settings
of a strategy. `resume` and `local`, the processes of a machine, are as they are called. Further
keys are faults: [rank, step] for `kill` (SIGKILL before that step), `nan` (clips that aren't
finite), `interrupt` (Ctrl-C) and `unreadable` (no clip can be read); `full` [rank], no room for a
checkpoint; `weights` [rank] and `examples` [rank], that it begins with others; `other` {rank:
settings of the training of that process}.

The result of a job is [[exit code, stderr, seconds], ...] of its processes.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
LIMIT = 240.0  # s, for one job


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    stderr: str
    seconds: float


def run_jobs(*jobs: dict[str, Any]) -> list[list[Ended]]:
    """Run jobs in a new process; no process is left."""
    texts = [{**job, "out": str(job["out"])} for job in jobs]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HARMONY_PARTS_PLUGINS": "none"}
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(texts)],
        capture_output=True,
        text=True,
        timeout=LIMIT * len(jobs),
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    return [[Ended(*each) for each in result] for result in results]


def finish(*jobs: dict[str, Any]) -> None:
    """Run jobs that must succeed in all processes."""
    for job, result in zip(jobs, run_jobs(*jobs), strict=True):
        for rank, ended in enumerate(result):
            assert ended.code == 0, f"{job}, process {rank}:\n{ended.stderr}"


# --- in the new process ---------------------------------------------------------------------------


def forked(job: dict[str, Any]) -> list[tuple[int, str, float]]:
    """Run a job in forks of this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    began, children, logs = time.monotonic(), [], []
    for rank in range(max(1, job["ranks"])):
        logs.append(tempfile.TemporaryFile("w+"))  # noqa: SIM115 (closed below)
        child = os.fork()
        if child == 0:
            os.dup2(logs[-1].fileno(), sys.stderr.fileno())
            code = 1
            try:
                code = train(job, rank, port)
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    ended: dict[int, tuple[int, float]] = {}
    while len(ended) < len(children):
        late = time.monotonic() - began > LIMIT
        for child in children:
            if child in ended:
                continue
            if late:
                os.kill(child, signal.SIGKILL)
            done, status = os.waitpid(child, 0 if late else os.WNOHANG)
            if done:
                ended[child] = os.waitstatus_to_exitcode(status), time.monotonic() - began
        time.sleep(0.02)
    results = []
    for child, log in zip(children, logs, strict=True):
        log.seek(0)
        results.append((ended[child][0], log.read(), ended[child][1]))
        log.close()
    return results


def train(job: dict[str, Any], rank: int, port: int) -> int:
    """A process of a job; returns its exit code."""
    from harmony_parts.errors import HarmonyError
    from harmony_parts.train import loop

    if ranks := job["ranks"]:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "LOCAL_WORLD_SIZE": str(job.get("local", ranks)),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    _prepare_faults(job, rank)
    try:
        out, resume = Path(job["out"]), job.get("resume", False)
        loop.train(recipe_of(job, rank), out=out, resume=resume, progress=False, device="cpu")
    except HarmonyError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"interrupted: {error}", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def recipe_of(job: dict[str, Any], rank: int = 0) -> Any:
    """The recipe of a job; `driven_interaction` is a setting of its denoiser, and `samples` are the
    steps between the clips that it generates.
    """
    import attrs

    from harmony_parts.callbacks.log import LogFile
    from harmony_parts.callbacks.samples import Samples
    from harmony_parts.strategies.data_parallel import DataParallel
    from harmony_parts.strategies.fsdp import FSDP
    from harmony_parts.strategies.single import Single
    from harmony_parts.trainable.lora import LoRA
    from helpers import tiny_training as tiny

    settings = {"checkpoint_every": 0, **job["train"], **job.get("other", {}).get(str(rank), {})}
    size = {name: settings.pop(name) for name in ("width", "layers") if name in settings}
    if "lora" in settings:
        settings["trainable"] = LoRA(rank=settings.pop("lora"))
    name, more = job.get("strategy", ["single", {}])
    spec = {"single": Single, "data-parallel": DataParallel, "fsdp": FSDP}[name]
    driven = settings.pop("driven_interaction", "two_way")
    if "samples" in settings:
        samples = Samples(every=settings.pop("samples"), clips=1, steps=1)
        settings["callbacks"] = (LogFile(), samples)
    recipe = tiny.recipe(**size, **settings, strategy=spec(**more))
    denoiser = attrs.evolve(recipe.denoiser, driven_interaction=driven)
    return attrs.evolve(recipe, denoiser=denoiser)


def _prepare_faults(job: dict[str, Any], rank: int) -> None:
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
        if job.get("unreadable") == here:
            batches.fetch = _raise_gone
        batch = real(state, batches)
        if job.get("nan") == here:
            batch.latents["audio"].fill_(torch.nan)
        return batch

    loop.draw_batch = draw
    if job.get("weights") == [rank]:
        build = loop.build_model

        def other(*given: Any) -> Any:
            parts, origin = build(*given)
            with torch.no_grad():
                next(parts.denoiser.parameters()).add_(1e-3)
            return parts, origin

        loop.build_model = other
    if job.get("examples") == [rank]:
        from harmony_parts.train.data import TrainingData

        opened = loop.open_data

        def fewer(*given: Any, **more: Any) -> TrainingData:
            data = opened(*given, **more)
            data.identity["examples"] = 5
            return data

        loop.open_data = fewer
    if job.get("full") == [rank]:
        from harmony_parts.train import shared_checkpoint

        shared_checkpoint.file_digest = _raise_full


def _raise_gone(place: Any) -> Any:
    raise OSError("the disk of this machine is gone")


def _raise_full(path: Path) -> str:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def main() -> None:
    """All jobs."""
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    import torch
    import torch._dynamo  # FSDP and optimizers import it when they are first used

    import harmony_parts.strategies.processes
    import harmony_parts.train.loop
    import harmony_parts.train.shared_checkpoint  # noqa: F401
    from harmony_parts.assembly.catalogue import catalogue
    from helpers import tiny_training  # noqa: F401

    torch.set_num_threads(1)
    catalogue()
    print(json.dumps([forked(job) for job in json.loads(sys.argv[1])]))


if __name__ == "__main__":
    main()
