"""How exactly a GPU multiplies float32 numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch

Method = TypeVar("Method", bound=Callable[..., Any])


def _operations() -> tuple[Any, ...]:
    """Where torch keeps a setting for products of float32."""
    cudnn: Any = torch.backends.cudnn  # whose type lacks `conv` and `rnn`
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """Matrix products and convolutions of float32 on a GPU: in TF32, or in full float32.

    TF32 rounds the inputs to 10 bits of mantissa (a relative error of 2^-11), and is several times
    faster. torch's own default is TF32 for convolutions and not for matrix products; within this
    block both are alike. The setting belongs to the whole process, and is restored afterwards. It
    changes nothing for other types, or on a CPU. Source: torch.backends, "fp32_precision".
    """
    before = [operation.fp32_precision for operation in _operations()]
    try:
        for operation in _operations():
            operation.fp32_precision = "tf32" if tf32 else "ieee"
        yield
    finally:
        for operation, precision in zip(_operations(), before, strict=True):
            operation.fp32_precision = precision


def in_own_precision(method: Method) -> Method:
    """A method within `float32_products(tf32=self.tf32)`."""

    @wraps(method)
    def within(self: Any, *args: Any, **kwargs: Any) -> Any:
        with float32_products(tf32=self.tf32):
            return method(self, *args, **kwargs)

    return cast(Method, within)
