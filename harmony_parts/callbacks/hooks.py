"""The built-in callbacks."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_callback() -> Iterator[PartDeclaration]:
    """The log, and TensorBoard."""
    yield part(
        "log",
        "harmony_parts.callbacks.log:LogFile",
        summary="Writes `log.jsonl`: a line of numbers every `train.log_every` steps.",
    )
    yield part(
        "tensorboard",
        "harmony_parts.callbacks.tensorboard:TensorBoard",
        summary="Writes the numbers of the log to the folder `tensorboard` of the run.",
    )
