"""The built-in callbacks."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_callback() -> Iterator[PartDeclaration]:
    """The log, TensorBoard, and clips."""
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
    yield part(
        "samples",
        "harmony_parts.callbacks.samples:Samples",
        summary="Generates a few held-out clips every so many steps, and measures their sync.",
    )
