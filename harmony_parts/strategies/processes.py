"""The processes that torchrun started: connected, agreeing, and ending together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import Any

import attrs
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from harmony_parts.errors import RunError
from harmony_parts.layers.sequence import WHOLE, VideoShare
from harmony_parts.strategies.protocol import SavedTensor
from harmony_parts.strategies.sequence import make_share, share_tokens
from harmony_parts.strategies.shards import divide, local_norm, local_part

GRACE = 5.0  # s in which processes that noticed a lost one say that they are alive
ALIVE = "lost connection"  # the report of a process that notices that another one is gone
RUNS = count()  # runs of this process, such as the stages of a curriculum
BUCKET = 2**25  # numbers that are summed in one message


@attrs.frozen(eq=False)
class Processes:
    """This process among `ranks`, by torch.distributed: gloo between CPUs, NCCL between GPUs.

    It has a copy of all weights, or a part of them if `shards` (not 0) processes divide them.
    """

    rank: int
    ranks: int
    device: torch.device
    store: Any  # texts that outlive a process
    shards: int = 0
    share: VideoShare = WHOLE

    @property
    def seq(self) -> int:
        """Processes that share the tokens of a clip."""
        return self.share.size

    @property
    def loads_on(self) -> torch.device:
        """The host, if the whole model need not fit on the device."""
        return self.device if not self.shards else torch.device("cpu")

    def prepare(self, units: Sequence[nn.Module]) -> None:
        """Move the weights to the device, or divide them."""
        if self.seq > 1:
            share_tokens(units, self.share)
        if self.shards:
            return divide(units, self.device.type, self.ranks, self.shards)
        for unit in units:
            unit.to(self.device)

    @contextmanager
    def alone(self, units: Sequence[nn.Module]) -> Iterator[None]:
        """With whole clips, if they are shared. Raises RunError if weights are divided."""
        if self.shards:
            raise RunError(
                "a model whose weights are divided between processes can't generate in one of them:"
                " leave out the callbacks that generate, or train with the strategy `data-parallel`"
            )
        try:
            if self.seq > 1:
                share_tokens(units, WHOLE)
            yield
        finally:
            if self.seq > 1:
                share_tokens(units, self.share)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Tell the others why this process ends, or find out which one has ended, and why."""
        try:
            yield
        except Exception as error:
            lost = _is_lost_connection(error)
            self._report(ALIVE if lost else str(error) or type(error).__name__)
            if not lost:
                self._set(_key(self.rank, "done"), "")
                raise
            cause = self._explain(error)
            self._set(_key(self.rank, "done"), "")
            raise RunError(cause) from error
        except BaseException as error:
            self._report(str(error) or type(error).__name__)
            self._set(_key(self.rank, "done"), "")
            raise
        else:
            self._set(_key(self.rank, "done"), "")
        finally:
            # closes the connections: whoever waits for this process gets an error
            dist.destroy_process_group()
            self._wait_for_readers()

    def _report(self, text: str) -> None:
        self._set(_key(self.rank), text)

    def _set(self, key: str, text: str) -> None:
        with suppress(RuntimeError):  # the process that holds the texts is gone itself
            self.store.set(key, text)

    def _wait_for_readers(self) -> None:
        """Without torchrun, process 0 holds the texts of all: it waits until they are read.

        But for GRACE seconds at most, since a process that was killed reads nothing.
        """
        if self.rank or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            return
        until = time.monotonic() + GRACE
        done = [_key(rank, "done") for rank in range(1, self.ranks)]
        while time.monotonic() < until and not self.store.check(done):
            time.sleep(0.05)

    def _explain(self, error: Exception) -> str:
        """Which process has ended, and why, from what each has reported."""
        others = [rank for rank in range(self.ranks) if rank != self.rank]
        until = time.monotonic() + GRACE
        try:
            while time.monotonic() < until and not self.store.check([_key(r) for r in others]):
                time.sleep(0.1)
            said = {r: self.store.get(_key(r)) for r in others if self.store.check([_key(r)])}
        except RuntimeError:
            return "process 0, which holds the connections of all, was killed or can't be reached"
        for rank, text in said.items():
            if text.decode() != ALIVE:
                return f"process {rank} of {self.ranks} has stopped: {text.decode()}"
        if silent := [str(rank) for rank in others if rank not in said]:
            return (
                f"process {', '.join(silent)} of {self.ranks} was killed or doesn't answer any"
                " more; resume from the last checkpoint"
            )
        return f"the processes lost their connection: {error}"

    def agree(self, go: bool) -> bool:
        """By the least of all answers."""
        answer = torch.tensor(int(go))
        dist.all_reduce(answer, dist.ReduceOp.MIN)
        return bool(answer)

    def gather(self, text: str) -> list[str]:
        """The texts of all processes, by rank."""
        texts: list[str] = [""] * self.ranks
        dist.all_gather_object(texts, text)
        return texts

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum, as a new tensor."""
        total = numbers.clone()
        dist.all_reduce(total)
        return total

    def clip(self, parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
        """By the norm over all parts. Those of divided weights were summed in the backward pass."""
        trained = list(parameters)
        gradients = [p.grad for p in trained if isinstance(p.grad, DTensor)]
        norms = [local_norm(gradients)] if gradients else []
        parts = [gradient.to_local() for gradient in gradients]
        whole = self._sum_whole([p for p in trained if not isinstance(p, DTensor)])
        norms += [torch.nn.utils.get_total_norm(whole)] if whole else []
        if not norms:
            return torch.zeros(())
        norm = torch.linalg.vector_norm(torch.stack(norms)) if len(norms) > 1 else norms[0]
        if max_norm:
            torch._foreach_mul_([*parts, *whole], (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def _sum_whole(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Sum whole gradients over all processes, in place, and return them.

        A parameter that only some processes used has a gradient in all afterwards.
        """
        if not parameters:
            return []
        used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32)
        dist.all_reduce(used, dist.ReduceOp.MAX)
        gradients: list[Tensor] = []
        for parameter, somewhere in zip(parameters, used.tolist(), strict=True):
            if somewhere:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            sums = flat.split([gradient.numel() for gradient in bucket])
            for gradient, total in zip(bucket, sums, strict=True):
                gradient.copy_(total.view_as(gradient))
        return gradients

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On the host of process 0, one after the other."""
        result = {}
        for name, tensor in tensors.items():
            value = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if not self.rank:
                result[name] = value.detach().cpu()
        return result

    def part(self, saved: SavedTensor, like: Tensor | None) -> Tensor:
        """The rows of this process, if `like` is divided and of the same shape."""
        if isinstance(like, DTensor) and tuple(like.shape) == tuple(saved.shape):
            return local_part(saved, like)
        return saved.read()


def connect(device: torch.device, timeout: float, shards: int = 0, seq: int = 1) -> Processes:
    """Connect the processes that a launcher started, by its environment variables.

    On GPUs each process has the one of its local rank. `timeout`: seconds that a process waits for
    another. `shards`: how many divide a copy of the weights, 0 if none does; `seq`: how many share
    the tokens of a clip. Raises RunError.
    """
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    limit = timedelta(seconds=timeout)
    try:
        store, rank, ranks = next(dist.rendezvous("env://", timeout=limit))
        store = dist.PrefixStore(f"run {next(RUNS)}", store)  # apart from what earlier ones wrote
        dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=limit)
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            f"the processes can't be connected: {error}; start them by torchrun, and see that all"
            " machines reach MASTER_ADDR and MASTER_PORT"
        ) from error
    share = make_share(device.type, ranks, seq)
    return Processes(rank, ranks, device, store, shards, share)


def _key(rank: int, what: str = "ended") -> str:
    return f"harmony_parts/{what}/{rank}"


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in groups of one type and some BUCKET numbers."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(g.numel() for g in bucket) + gradient.numel() > BUCKET
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def _is_lost_connection(error: Exception) -> bool:
    """Whether an error is that of a collective operation that another process left."""
    words = ("gloo", "NCCL", "nccl", "onnection closed", "onnection reset", "imed out")
    text = str(error)
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in words)
    )
