"""An anchor is a clean stream without information about the other one: silence, a static video.

Guidance replaces a stream by its anchor.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Protocol

import attrs
from torch import Tensor

from harmony_parts.av import AV, Conditions
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec


@attrs.frozen(eq=False)
class Scene:
    """The inputs of an anchor: codecs, current latents, conditions, and the clean estimate.

    `estimate` is `None` unless the anchor's pass needs the conditional pass. `memory` belongs to
    the anchor for the whole run, over which codecs, conditions and shapes stay the same: use it to
    cache what doesn't change. `step` is the number of the sampling step, from 0, and `velocity`
    that of the velocity within it, of which a solver such as Heun's evaluates two.
    """

    codecs: AV[VideoCodec | AudioCodec]
    latents: AV[Tensor]
    conditions: Conditions
    estimate: AV[Tensor] | None = None
    memory: MutableMapping[str, Any] = attrs.field(factory=dict)
    step: int = 0
    velocity: int = 0


class Anchor(Protocol):
    """A frozen class, compared by value, so that equal passes run once. It is its own spec."""

    stream: str  # the stream that it replaces
    # whether it uses `scene.estimate`: then its pass needs the conditional pass, and the anchor
    # changes at every step
    from_estimate: bool

    def latents(self, scene: Scene) -> Tensor:
        """Clean latents with the shape of `scene.latents[stream]`."""
