"""A process that trains in forks of itself and kills them with SIGKILL.

`python killed_run.py JOBS` reads and prints JSON.

A job is {"out", "event", "seconds"}: the training process is killed at that access to a file of the
run (an audit hook counts them), or after that time, or, if both are null, not at all. Its result is
{"killed", "events", "seconds"}: whether it was killed, the number of accesses, and the time it ran.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILES = {
    "open",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.remove",
    "os.chmod",
    "os.scandir",
    "os.listdir",
    "shutil.rmtree",
}


def train(out: Path, event: int | None) -> int:
    """Train in this process, resuming any existing run; returns the number of file accesses."""
    from harmony_parts.train.loop import train as run
    from helpers import tiny_training as tiny

    seen = 0

    def count(name: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if name in FILES and args and str(out) in str(args[0]):
            seen += 1
            if seen == event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    recipe = tiny.recipe(steps=7, checkpoint_every=2, log_every=3)
    run(recipe, out=out, resume=(out / "recipe.toml").is_file(), progress=False, device="cpu")
    return seen


def forked(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job in a fork of this process."""
    read, write = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, str(train(Path(job["out"]), job["event"])).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    if job["seconds"] is not None:
        time.sleep(job["seconds"])
        os.kill(child, signal.SIGKILL)  # a child that has ended still has to be waited for
    status = os.waitpid(child, 0)[1]
    seconds = time.monotonic() - began
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError(f"the run of {job} failed")
    events = int(os.read(read, 32) or 0)
    os.close(read)
    return {"killed": os.WIFSIGNALED(status), "events": events, "seconds": seconds}


if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    import torch

    import harmony_parts.train.loop  # noqa: F401
    from harmony_parts.assembly.catalogue import catalogue
    from helpers import tiny_training  # noqa: F401

    torch.set_num_threads(1)
    catalogue()
    print(json.dumps([forked(job) for job in json.loads(sys.argv[1])]))
