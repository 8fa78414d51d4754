"""`harmony prepare`, killed again and again: the same bytes as unkilled, in bounded memory.

The slow test prepares 240 clips of Soundstage, or as many as HARMONY_PREPARE_CLIPS says.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

CLIPS = int(os.environ.get("HARMONY_PREPARE_CLIPS", "240"))
KILLS = 5
MEMORY = 2e9  # bytes, of the process and its workers together
SHARD = max(8, CLIPS // 30)


def start(out: Path, clips: int, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "harmony_parts", "prepare", "soundstage", str(out)]
    command += ["--recipe", "demo", "--set", f"data.size={clips}", "--workers", str(workers)]
    command += ["--shard-clips", str(SHARD), "--device", "cpu"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def tree(pid: int) -> list[int]:
    """The process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(each for child in children for each in tree(int(child)))]


def memory(pid: int) -> int:
    """The bytes that a process and its children hold, shared pages once (PSS)."""
    total = 0
    for each in tree(pid):
        try:
            for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
                total += int(line.split()[1]) * 1024 if line.startswith("Pss:") else 0
        except OSError:
            continue
    return total


class Peak(threading.Thread):
    """The most memory that a process held."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.process, self.most = process, 0

    def run(self) -> None:
        while self.process.poll() is None:
            self.most = max(self.most, memory(self.process.pid))
            time.sleep(0.3)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    }


def finish(out: Path, clips: int, workers: int) -> int:
    """Run to the end; returns the peak of memory."""
    process = start(out, clips, workers)
    peak = Peak(process)
    peak.start()
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr.decode()
    peak.join()
    return peak.most


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(3600 * 3)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_the_same_bytes_after_five_kills(tmp_path: Path) -> None:
    """SIGKILL to the main process at random moments; its workers end by themselves."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    began = time.monotonic()
    peaks = [finish(straight, CLIPS, workers=1)]
    a_shard = (time.monotonic() - began) * SHARD / CLIPS  # s: a fixed wait would outlast a fast run
    dice, kills = random.Random(5), 0
    while kills < KILLS:
        done = len(list(killed.glob("*.jsonl"))) if killed.is_dir() else 0
        process = start(killed, CLIPS, workers=kills % 3)
        peak = Peak(process)
        peak.start()
        more = dice.randint(1, max(1, CLIPS // SHARD // (KILLS + 2)))
        while process.poll() is None and len(list(killed.glob("*.jsonl"))) < done + more:
            time.sleep(0.05)
        time.sleep(dice.random() * a_shard)
        workers = tree(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        kills += 1
        peaks.append(peak.most)
        until = time.monotonic() + 30
        while any(map(is_alive, workers)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not any(map(is_alive, workers)), "a worker outlived its process by 30 s"
    assert not (killed / "prepared.json").exists()
    peaks.append(finish(killed, CLIPS, workers=2))
    assert digests(killed) == digests(straight)
    assert max(peaks) < MEMORY
    print(f"{CLIPS} clips, {kills} kills, peak {max(peaks) / 1e6:.0f} MB")
