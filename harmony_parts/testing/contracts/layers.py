"""What the checks of interactions and style parts have in common: branches, what they hand to a
layer, and what any layer must hold.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, STREAMS, Condition, Times
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.protocol import Branch, BranchSpec, Tokens
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.interaction.protocol import Layout
from harmony_parts.testing.contracts.require import generator, own_randomness, require

CHANNELS = AV(4, 3)
SAMPLES = 3
EXACT = 1e-5
"""How far a float32 result may be from what it is otherwise, relative to the largest: sums of 10^2
terms in another order, a few deep.
"""
ROUGH = 0.05
"""The same of bfloat16 against float64: a dozen roundings of 2^-8, one after the other."""

Heard = Mapping[str, Tensor]
"""What a layer gives, by name."""


@attrs.frozen
class Shape:
    """Of a batch: latents in time of both streams, rows and columns of a video latent, tokens of
    the reference sound.
    """

    video: int
    audio: int
    grid: tuple[int, int]
    reference: int


SHAPES = (Shape(3, 8, (4, 8), 4), Shape(1, 1, (4, 4), 1), Shape(5, 3, (8, 4), 0))
"""More sounds than frames, one of each, fewer sounds than frames and no reference."""


@attrs.frozen(eq=False)
class Scene:
    """What a layer is handed: tokens of both streams, and the layout that its tables are made
    for.
    """

    streams: AV[Tokens]
    layout: Layout

    def but(self, stream: str, **fields: Any) -> Scene:
        """The same with other fields of a stream's tokens."""
        return attrs.evolve(
            self, streams=self.streams.replace(**{stream: replace(self.streams[stream], **fields)})
        )

    def cast(self, dtype: torch.dtype) -> Scene:
        """The same with hidden states and reference in that type."""
        cast = {
            s: {
                f: x.to(dtype)
                for f in ("hidden", "reference")
                if (x := getattr(self.streams[s], f)) is not None
            }
            for s in STREAMS
        }
        return self.but("video", **cast["video"]).but("audio", **cast["audio"])


def make_branches(specs: AV[BranchSpec] | None, device: str = "cpu") -> AV[Branch]:
    """Branches of those settings, by default small built-in ones that differ in width and heads;
    told a reference sound where they take one.
    """
    specs = specs or AV(
        VideoTransformer(width=24, heads=2, feed=16, patch=2), MMDiT(width=32, heads=4, feed=16)
    )

    def made(spec: BranchSpec, channels: int, stream: str) -> Branch:
        grid = SHAPES[0].grid if stream == "video" else ()
        if stream == "audio":
            try:
                return spec.build(
                    channels=channels, grid=grid, conditions={"voice": ("clean_tokens", channels)}
                )
            except AssemblyError:
                pass  # it has no place for a reference
        return spec.build(channels=channels, grid=grid, conditions={})

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        return specs.map(made, CHANNELS, AV(*STREAMS))


@torch.no_grad()
def scene(
    branches: AV[Branch], shape: Shape, rows: slice = slice(None), device: str = "cpu"
) -> Scene:
    """Noise of that shape as the branches embed it, each sample at its own time; of the reference,
    the last tokens of some samples are padding.
    """
    random = generator()

    def noise(*size: int) -> Tensor:
        return torch.randn(SAMPLES, *size, generator=random)[rows].to(device)

    av = AV(
        noise(shape.video, *shape.grid, CHANNELS["video"]), noise(shape.audio, CHANNELS["audio"])
    )
    voice = noise(shape.reference, CHANNELS["audio"])
    # the first token counts in all samples
    mask = (torch.arange(shape.reference) <= torch.arange(SAMPLES)[:, None])[rows].to(device)
    now = torch.linspace(0.9, 0.2, SAMPLES)[rows].to(device)

    def embedded(x: Tensor, branch: Any, stream: str) -> Tokens:
        told = {"voice": Condition(voice, mask)} if stream == "audio" else {}
        tokens: Tokens = branch.embed(
            x, Times.uniform(now, x.shape[1]), branch.project_conditions(told)
        )
        if stream == "audio" and not shape.reference:
            return replace(tokens, reference=None, reference_mask=None)
        # a branch without a place for one: the layer needn't know
        if stream == "audio" and tokens.reference is None:
            return replace(
                tokens, reference=noise(shape.reference, branch.width), reference_mask=mask
            )
        return tokens

    # as Wan's: the first latent is one frame, then four each
    clock = _clock([0.04, *[0.16] * (shape.video - 1)])
    length = float(clock[-1, 1]) / shape.audio
    layout = Layout(
        AV(clock, _clock([length] * shape.audio)),
        AV(branches["video"].grid(av["video"].shape), (1, 1)),
        torch.device(device),
    )
    return Scene(av.map(embedded, branches, AV(*STREAMS)), layout)


def _clock(lengths: list[float]) -> Tensor:
    edges = torch.tensor([0.0, *lengths], dtype=torch.float64).cumsum(0)
    return torch.stack((edges[:-1], edges[1:]), 1)


def make_layer(spec: Any, branches: AV[Branch]) -> nn.Module:
    """One layer for use, a torch module with weights of its own, each moved a little so that none
    is at the zero where outputs start.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer, other = spec.build(branches=branches), spec.build(branches=branches)
    require(isinstance(layer, nn.Module), spec, "build a torch module")
    assert isinstance(layer, nn.Module)
    kept = {
        id(p) for module in (other, *(branches[s] for s in branches)) for p in _parameters(module)
    }
    shared = [name for name, p in layer.named_parameters() if id(p) in kept]
    require(
        not shared,
        spec,
        f"have weights of its own in every layer that it builds; {', '.join(shared)} belong"
        " elsewhere too",
    )
    random = generator(1)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=random))
    return layer.eval()


def _parameters(module: Any) -> list[nn.Parameter]:
    return list(module.parameters()) if isinstance(module, nn.Module) else []


def check_layer(
    spec: Any,
    layer: nn.Module,
    branches: AV[Branch],
    hear: Callable[[nn.Module, Any], Heard],
    given: Any,
) -> None:
    """What any layer must do: the same again, what it is given left as it is, a gradient for every
    weight, and room for saved ones.
    """
    kept = copy.deepcopy(given)
    with own_randomness(spec):
        first, again = hear(layer, given), hear(layer, given)
    require(
        unchanged(given, kept),
        spec,
        "leave what it is given as it is: one of its tensors was changed in place",
    )
    require(same(first, again, 0.0), spec, "give the same for the same")
    _check_gradients(spec, layer, first)
    with torch.device("meta"):
        empty = spec.build(branches=branches).eval()
    try:
        empty.load_state_dict(layer.state_dict(), assign=True)
        for name, buffer in layer.named_buffers():
            owner, _, last = name.rpartition(".")
            setattr(empty.get_submodule(owner), last, buffer)
        filled = same(first, hear(empty, given), 0.0)
    except (RuntimeError, NotImplementedError):
        filled = False  # a tensor without numbers is left
    require(
        filled,
        spec,
        "hold what it computes with as parameters and buffers: built empty and filled with those,"
        " it isn't the same",
    )


def _check_gradients(spec: Any, layer: nn.Module, heard: Heard) -> None:
    weights = {name: weight for name, weight in layer.named_parameters() if weight.requires_grad}
    if not weights:
        return
    random = generator(2)
    # random numbers, for the plain sum of what a norm gives has no gradient
    terms = [
        (x * torch.randn(x.shape, generator=random)).sum()
        for x in heard.values()
        if x.requires_grad
    ]
    grads = (
        torch.autograd.grad(torch.stack(terms).sum(), list(weights.values()), allow_unused=True)
        if terms
        else [None] * len(weights)
    )
    idle = [
        name for name, grad in zip(weights, grads, strict=True) if grad is None or not grad.any()
    ]
    require(
        not idle,
        spec,
        "let a gradient reach every weight, or freeze it (requires_grad_(False)); none reaches"
        f" {', '.join(idle)}",
    )


def check_types(
    spec: Any, layer: nn.Module, hear: Callable[[nn.Module, torch.dtype], Heard]
) -> None:
    """Weights and hidden states in other types: nearly what float64 gives, and no wider than what
    it is added to.
    """
    exact: Heard = {}
    for weights, hidden, near in (
        (torch.float64, torch.float64, 0.0),
        (torch.float32, torch.float32, EXACT),
        (torch.bfloat16, torch.float32, ROUGH),
        (torch.bfloat16, torch.bfloat16, ROUGH),
    ):
        what = f"work with {_name(weights)} weights and {_name(hidden)} hidden states"
        try:
            with torch.no_grad():
                heard = hear(copy.deepcopy(layer).to(weights), hidden)
        except RuntimeError as error:
            raise PartContractError(f"{spec!r} must {what}: {_line(error)}") from error
        exact = exact or heard
        wide = [name for name, x in heard.items() if torch.promote_types(x.dtype, hidden) != hidden]
        require(not wide, spec, f"{what}; {', '.join(wide)} is wider than what it is added to")
        require(same(exact, heard, near), spec, f"{what}, and give nearly the same as in float64")


def check_meta(spec: Any, branches: AV[Branch], hear: Callable[[nn.Module], Heard]) -> None:
    """On the meta device, where tensors have no numbers and costs are counted."""
    try:
        with torch.device("meta"):
            layer = spec.build(branches=branches)
        hear(layer)
    except (RuntimeError, NotImplementedError) as error:
        raise PartContractError(
            f"{spec!r} must run on the meta device, where costs are counted: no number may be asked"
            f" of a tensor ({_line(error)})"
        ) from error


def same(one: Heard, two: Heard, tolerance: float) -> bool:
    """Whether they have the same names, and the same numbers to within `tolerance` of the
    largest.
    """

    def near(x: Tensor, y: Tensor) -> bool:
        x, y = x.detach().double(), y.detach().double()
        return x.shape == y.shape and bool(((x - y).abs() <= tolerance * x.abs().max()).all())

    return one.keys() == two.keys() and all(near(one[name], two[name]) for name in one)


def unchanged(given: Any, kept: Any) -> bool:
    """Whether all tensors in it, at any depth, are as in its copy."""
    if isinstance(given, Tensor):
        return torch.equal(given, kept)
    if isinstance(given, list | tuple):
        return all(map(unchanged, given, kept))
    if isinstance(given, dict):
        return all(unchanged(given[key], kept[key]) for key in given)
    fields = (
        getattr(type(given), "__attrs_attrs__", ())
        or getattr(type(given), "__dataclass_fields__", {}).values()
    )
    return all(unchanged(getattr(given, field.name), getattr(kept, field.name)) for field in fields)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
