"""What the anchors of a guidance cost over a clip: calls of the codecs, and their FLOPs.

An anchor made from the estimate may decode and encode at every step. The anchors themselves run
here, on shapes, for all steps; a codec runs once for each shape that it gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor, Scene
from harmony_parts.av import AV, Conditions
from harmony_parts.cost.flops import FlopsByStep
from harmony_parts.cost.fused import fused_attention
from harmony_parts.sample.pass_graph import DenoiserRun


@attrs.define
class CodecWork:
    """Calls of codecs and their FLOPs."""

    calls: int = 0
    flops: int = 0


class CountedCodec:
    """A codec whose calls are counted. It runs on the meta device, once for each shape."""

    def __init__(self, codec: Any, work: CodecWork, results: dict[Any, tuple[Tensor, int]]) -> None:
        self._codec, self._work, self._results = codec, work, results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def encode(self, x: Tensor) -> Tensor:
        """The codec's latents of `x`."""
        return self._counted("encode", x)

    def decode(self, x: Tensor) -> Tensor:
        """What the codec decodes `x` to."""
        return self._counted("decode", x)

    def _counted(self, method: str, x: Tensor) -> Tensor:
        key = (id(self._codec), method, tuple(x.shape))
        if key not in self._results:
            with torch.no_grad(), fused_attention(), FlopsByStep("codec") as by_step:
                result = getattr(self._codec, method)(torch.empty_like(x, device="meta"))
            self._results[key] = result.to("meta"), by_step.flops.total()
        result, flops = self._results[key]
        self._work.calls += 1
        self._work.flops += flops
        return result


def anchor_work(
    runs: Sequence[DenoiserRun],
    codecs: AV[Any],
    latents: AV[Tensor],
    conditions: Conditions,
    *,
    given: Sequence[str],
    steps: int,
    velocities: int,
    results: dict[Any, tuple[Tensor, int]],
) -> CodecWork:
    """The work of all anchors of `runs` over a clip of `steps` steps, without a reference image.

    `latents` are on the meta device; `given` streams are the same at every step. `results` keeps
    those of codecs between calls.
    """
    work = CodecWork()
    counted: AV[Any] = codecs.map(lambda codec: CountedCodec(codec, work, results))
    absent = {
        name: attrs.evolve(each, mask=torch.zeros(each.mask.shape, dtype=torch.bool))
        for name, each in conditions.items()
    }
    for anchor in _distinct(anchor for run in runs for _, anchor in run.request.replace):
        memory: dict[str, Any] = {}
        times = [(s, v) for s in range(steps) for v in range(velocities)]
        for step, velocity in times if anchor.from_estimate else times[:1]:
            estimate = AV(**{s: latents[s] if s in given else latents[s].clone() for s in latents})
            anchor.latents(Scene(counted, latents, absent, estimate, memory, step, velocity))
    return work


def _distinct(anchors: Any) -> list[Anchor]:
    """Each anchor once; anchors needn't be hashable."""
    found: list[Anchor] = []
    for anchor in anchors:
        if anchor not in found:
            found.append(anchor)
    return found
