"""An approximation: an anchor that is made only at every k-th step, and kept in between."""

from __future__ import annotations

import attrs
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor, Scene
from harmony_parts.plugin import default_part, knob


@attrs.frozen
class Refresh:
    """Keeps the latents of another anchor for `every` steps.

    This isn't the paper's SyncCFG: between two refreshes the negative prediction is that of an
    older estimate. It saves the codec's work, which `harmony explain` counts: at the paper's size a
    static video is 0.4 PFLOP, and a pass 0.6. The latents are the same tensor until they are made
    anew, so a one-way model reuses what it read of them, too.
    """

    anchor: Anchor = knob(
        default_part("harmony_parts.anchors.static:StaticVideo"), help="the anchor that is kept"
    )
    every: int = knob(
        4,
        help="steps from one refresh to the next; the first step always makes the anchor",
        unit="steps",
        off=1,
        validator=attrs.validators.ge(1),
    )
    each_velocity: bool = knob(
        False,
        help=(
            "whether a solver's further velocities of such a step, as Heun's second, make the"
            " anchor anew from their own estimate"
        ),
        off=True,
    )

    @property
    def stream(self) -> str:
        """The stream that it replaces."""
        return self.anchor.stream

    @property
    def from_estimate(self) -> bool:
        """Whether the anchor that is kept uses the estimate."""
        return self.anchor.from_estimate

    def latents(self, scene: Scene) -> Tensor:
        """The anchor's latents, made now or at an earlier step."""
        memory, fresh = scene.memory, scene.step % self.every == 0
        again = fresh and (self.each_velocity or memory.get("step") != scene.step)
        if again or "latents" not in memory:
            inner = attrs.evolve(scene, memory=memory.setdefault("inner", {}))
            memory["latents"], memory["step"] = self.anchor.latents(inner), scene.step
        kept: Tensor = memory["latents"]
        return kept
