"""An anchor is a clean stream that says nothing about the other one: mute sound, a static video.
Guidance puts it in a stream's place.
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
    """What an anchor may look at: the codecs, the current latents, the conditions, and the clean
    estimate where the pass asked for one.

    `memory` is the anchor's own for the whole run, over which codecs, conditions and shapes stay
    the same: what doesn't change is made once.
    """

    codecs: AV[VideoCodec | AudioCodec]
    latents: AV[Tensor]
    conditions: Conditions
    estimate: AV[Tensor] | None = None
    memory: MutableMapping[str, Any] = attrs.field(factory=dict)


class Anchor(Protocol):
    """Frozen and compared by value, so that equal passes are computed once. Its own spec."""

    stream: str  # the stream whose place it takes
    # True: it reads `scene.estimate`, so its pass needs the conditional one first, and it changes
    # every step
    from_estimate: bool

    def latents(self, scene: Scene) -> Tensor:
        """Clean latents, of the shape of `scene.latents[stream]`."""
