"""Floating-point operations of a pass, counted by torch's own formulas as the real denoiser runs,
and by the step that they belong to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from harmony_parts.av import AV, STREAMS
from harmony_parts.cost.fused import fused_attention
from harmony_parts.cost.parameters import HEARS
from harmony_parts.denoisers.protocol import StreamLayers
from harmony_parts.interaction.protocol import Exchange

REST = "embeddings, heads, conditions"
# of a BranchBlock
STEPS = {
    "apply_self_attention": "self-attention",
    "apply_text_attention": "text attention",
    "apply_feed_forward": "feed-forward",
}


class ByStep(TorchDispatchMode):
    """While it is entered, counts under the innermost step that is open. A multiplication and an
    addition are two operations; matrix products, convolutions and attention count, and nothing
    else: what torch.utils.flop_counter has formulas for. (Its FlopCounterMode also keeps track of
    modules, and with that keeps what a backward pass would free.)"""

    def __init__(self, outermost: str) -> None:
        super().__init__()
        self.flops = Counter[str]()
        self._open = [outermost]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and count it."""
        made = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops[self._open[-1]] += formula(*args, **(kwargs or {}), out_val=made)
        return made

    def within(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` as a step."""

        @wraps(call)
        def step(*args: Any, **settings: Any) -> Any:
            self._open.append(name)
            try:
                return call(*args, **settings)
            finally:
                self._open.pop()

        return step


@contextmanager
def counted(denoiser: Any) -> Iterator[Counter[str]]:
    """Step -> operations of what runs inside. Of a denoiser that isn't made of joint blocks there
    is one step, the whole.
    """
    blocks = [block for block in denoiser.blocks if isinstance(block, StreamLayers)]
    by_step = ByStep(REST if blocks else type(denoiser).__name__)
    with ExitStack() as stack:
        stack.enter_context(fused_attention())
        _label(blocks, by_step, stack)
        stack.enter_context(by_step)
        yield by_step.flops


def _label(blocks: Iterable[StreamLayers], by_step: ByStep, stack: ExitStack) -> None:
    """Make steps of what joint blocks do, until the stack is closed."""
    for block in blocks:
        for stream in STREAMS:
            layer = getattr(block, stream)
            for method, what in STEPS.items() if layer is not None else ():
                setattr(layer, method, by_step.within(f"{stream} {what}", getattr(layer, method)))
                stack.callback(delattr, layer, method)
        interaction: Any = block.interaction
        if isinstance(interaction, nn.Module):
            for module, name in (
                (interaction, "interaction"),
                *(
                    (child, f"interaction: {HEARS.get(n, n)}")
                    for n, child in interaction.named_children()
                ),
            ):
                module.forward = by_step.within(name, module.forward)
                stack.callback(delattr, module, "forward")
            handle = interaction.register_forward_hook(
                lambda _module, _args, exchange: _labelled(exchange, by_step)
            )
            stack.callback(handle.remove)


def _labelled(exchange: AV[Exchange], by_step: ByStep) -> AV[Exchange]:
    """Terms are computed later, inside the text attention, and are the interaction's all the
    same.
    """

    def one(received: Exchange, stream: str) -> Exchange:
        if received.term is None:
            return received
        return Exchange(
            received.hidden,
            received.reference,
            by_step.within(f"interaction: {HEARS[f'to_{stream}']}", received.term),
        )

    return exchange.map(one, AV(*STREAMS))
