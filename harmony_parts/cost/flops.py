"""FLOPs of a pass by step, counted by torch's own formulas as the real denoiser runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeGuard

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from harmony_parts.av import AV, STREAMS
from harmony_parts.cost.fused import fused_attention
from harmony_parts.cost.parameters import interaction_name
from harmony_parts.denoisers.protocol import StreamLayers
from harmony_parts.interaction.protocol import Exchange

OUTSIDE_BLOCKS = "embeddings, heads, conditions"
# steps of a BranchBlock
STEPS = {
    "apply_self_attention": "self-attention",
    "apply_text_attention": "text attention",
    "apply_feed_forward": "feed-forward",
}


class FlopsByStep(TorchDispatchMode):
    """Counts FLOPs under the innermost open step while it is entered.

    A multiplication and an addition are two operations. Only operators with a formula in
    torch.utils.flop_counter count: matrix products, convolutions and attention. (Its
    FlopCounterMode also tracks modules, which keeps alive tensors that a backward pass would free.)
    """

    def __init__(self, outermost: str) -> None:
        super().__init__()
        self.flops = Counter[str]()
        self._open = [outermost]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run and count an operator."""
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops[self._open[-1]] += formula(*args, **(kwargs or {}), out_val=out)
        return out

    def within(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, counted under the step `name`."""

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
    """Yields step -> FLOPs of everything that runs inside.

    Blocks with a layer per stream are counted by their steps, others as the step "blocks"; a
    denoiser without blocks is a single step.
    """
    by_step = FlopsByStep(OUTSIDE_BLOCKS if len(denoiser.blocks) else type(denoiser).__name__)
    with ExitStack() as stack:
        stack.enter_context(fused_attention())
        for block in denoiser.blocks:
            if _has_stream_layers(block):
                _label_steps(block, by_step, stack)
            else:
                _label(block, "forward", "blocks", by_step, stack)
        stack.enter_context(by_step)
        yield by_step.flops


def _has_stream_layers(block: Any) -> TypeGuard[StreamLayers]:
    """By name: from Python 3.12 on, `isinstance` of a protocol misses a module's submodules."""
    return all(hasattr(block, name) for name in (*STREAMS, "interaction"))


def _label(module: Any, method: str, step: str, by_step: FlopsByStep, stack: ExitStack) -> None:
    """Count a module's method under a step until the stack is closed."""
    setattr(module, method, by_step.within(step, getattr(module, method)))
    stack.callback(delattr, module, method)


def _label_steps(block: StreamLayers, by_step: FlopsByStep, stack: ExitStack) -> None:
    """Count the layers and the interaction of a block by their steps."""
    for stream in STREAMS:
        layer = getattr(block, stream)
        for method, step in STEPS.items() if layer is not None else ():
            _label(layer, method, f"{stream} {step}", by_step, stack)
    interaction: Any = block.interaction
    if not isinstance(interaction, nn.Module):
        return
    for method in ("update_reference", "forward"):
        _label(interaction, method, "interaction", by_step, stack)
    for name, child in interaction.named_children():
        _label(child, "forward", interaction_name(name), by_step, stack)
    handle = interaction.register_forward_hook(
        lambda _module, _args, exchange: _label_terms(exchange, by_step)
    )
    stack.callback(handle.remove)


def _label_terms(exchange: AV[Exchange], by_step: FlopsByStep) -> AV[Exchange]:
    """Count terms, computed later inside the text attention, under the interaction."""

    def label(received: Exchange, stream: str) -> Exchange:
        if received.term is None:
            return received
        term = by_step.within(interaction_name(f"to_{stream}"), received.term)
        return Exchange(received.hidden, term)

    return exchange.map(label, AV(*STREAMS))
