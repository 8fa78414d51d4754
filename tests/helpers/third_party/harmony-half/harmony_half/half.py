import attrs
import torch
from harmony_parts.guidance.protocol import CONDITIONAL, Guidance
@attrs.frozen
class Half:
    inner: Guidance
    def passes(self, times, state):
        return self.inner.passes(times, state)
    def combine(self, preds, times, state):
        guided, state = self.inner.combine(preds, times, state)
        return guided.map(lambda g, plain: torch.lerp(plain, g, 0.5), preds[CONDITIONAL]), state
