"""The packages that the metrics stand on, each imported only when a metric is built."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

import attrs

from harmony_parts.errors import BrokenPart


@attrs.frozen
class Library:
    """A package: its name on the index, its module, its licence, and the weights that it holds."""

    package: str
    module: str
    licence: str
    weights: str = "none"

    def load(self) -> ModuleType:
        """The module. Raises BrokenPart, naming what is missing, if it can't be imported."""
        try:
            return import_module(self.module)
        except ImportError as error:
            raise BrokenPart(
                f"this metric needs the package {self.package} ({self.licence}), which can't be"
                f" imported: {error}. pip install harmony-metrics-speech, in a fresh environment"
                " if its versions clash with others"
            ) from error

    def __str__(self) -> str:
        return f"{self.package} {version(self.package)} ({self.licence}; weights: {self.weights})"


SILERO = Library("silero-vad", "silero_vad", "MIT", "2.3 MB")
SPEECHMOS = Library("speechmos", "speechmos.dnsmos", "MIT", "1.4 MB")
DISTILLMOS = Library("distillmos", "distillmos", "MIT", "17 MB")
RESEMBLYZER = Library("Resemblyzer", "resemblyzer", "Apache-2.0", "17 MB")
TORCHCREPE = Library("torchcrepe", "torchcrepe", "MIT", "2 MB")
JIWER = Library("jiwer", "jiwer", "Apache-2.0")
PYPINYIN = Library("pypinyin", "pypinyin", "MIT")
ALL = (SILERO, SPEECHMOS, DISTILLMOS, RESEMBLYZER, TORCHCREPE, JIWER, PYPINYIN)
