"""What the checks of interactions and style parts share: branches, inputs, and common checks."""

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
from harmony_parts.testing.contracts.require import generator, no_global_randomness, require

CHANNELS = AV(4, 3)
SAMPLES = 3
EXACT = 1e-5
"""How far equal float32 results may be apart, relative to the largest.

They are sums of 10^2 terms in another order, a few deep.
"""
ROUGH = 0.05
"""How far bfloat16 may be from float64, relative to the largest: a dozen roundings of 2^-8."""

Results = Mapping[str, Tensor]
"""What a layer returns, by a name for messages."""


@attrs.frozen
class Shape:
    """Latents per stream, rows and columns of a video latent, tokens of the reference audio."""

    video: int
    audio: int
    grid: tuple[int, int]
    reference: int


SHAPES = (Shape(3, 8, (4, 8), 4), Shape(1, 1, (4, 4), 1), Shape(5, 3, (8, 4), 0))
"""More audio than video latents; one of each; fewer audio latents and no reference."""


@attrs.frozen(eq=False)
class LayerInputs:
    """What a layer is called with: tokens of both streams, and the layout for its tables."""

    streams: AV[Tokens]
    layout: Layout

    def with_tokens(self, stream: str, **fields: Any) -> LayerInputs:
        """The inputs with other fields of a stream's tokens."""
        return attrs.evolve(
            self, streams=self.streams.replace(**{stream: replace(self.streams[stream], **fields)})
        )

    def cast(self, dtype: torch.dtype) -> LayerInputs:
        """The inputs with hidden states and reference in that type."""
        cast = {
            s: {
                f: x.to(dtype)
                for f in ("hidden", "reference")
                if (x := getattr(self.streams[s], f)) is not None
            }
            for s in STREAMS
        }
        return self.with_tokens("video", **cast["video"]).with_tokens("audio", **cast["audio"])


def make_branches(specs: AV[BranchSpec] | None, device: str = "cpu") -> AV[Branch]:
    """Build branches, by default small built-in ones that differ in width and heads.

    An audio branch is built with a reference audio if it takes one.
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
                pass  # it takes no reference
        return spec.build(channels=channels, grid=grid, conditions={})

    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        return specs.map(made, CHANNELS, AV(*STREAMS))


@torch.no_grad()
def layer_inputs(
    branches: AV[Branch], shape: Shape, rows: slice = slice(None), device: str = "cpu"
) -> LayerInputs:
    """Noise of this shape, embedded by the branches, each sample at its own time.

    In some samples, the last tokens of the reference are padding.
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
        conditions = {"voice": Condition(voice, mask)} if stream == "audio" else {}
        projected = branch.project_conditions(conditions)
        tokens: Tokens = branch.embed(x, Times.uniform(now, x.shape[1]), projected)
        if stream == "audio" and not shape.reference:
            return replace(tokens, reference=None, reference_mask=None)
        # a branch that takes no reference: give the layer one all the same
        if stream == "audio" and tokens.reference is None:
            return replace(
                tokens, reference=noise(shape.reference, branch.width), reference_mask=mask
            )
        return tokens

    # as Wan's: the first latent covers one frame, the others four each
    clock = _clock([0.04, *[0.16] * (shape.video - 1)])
    length = float(clock[-1, 1]) / shape.audio
    layout = Layout(
        AV(clock, _clock([length] * shape.audio)),
        AV(branches["video"].grid(av["video"].shape), (1, 1)),
        torch.device(device),
    )
    return LayerInputs(av.map(embedded, branches, AV(*STREAMS)), layout)


def _clock(lengths: list[float]) -> Tensor:
    edges = torch.tensor([0.0, *lengths], dtype=torch.float64).cumsum(0)
    return torch.stack((edges[:-1], edges[1:]), 1)


def make_layer(spec: Any, branches: AV[Branch]) -> nn.Module:
    """Build one layer in evaluation mode, with perturbed weights, so that no output is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer, other = spec.build(branches=branches), spec.build(branches=branches)
    require(isinstance(layer, nn.Module), spec, "build a torch module")
    assert isinstance(layer, nn.Module)
    others = {
        id(p) for module in (other, *(branches[s] for s in branches)) for p in _parameters(module)
    }
    shared = [name for name, p in layer.named_parameters() if id(p) in others]
    require(
        not shared,
        spec,
        f"build layers that share no weights with others or with branches; {', '.join(shared)} are"
        " shared",
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
    run: Callable[[nn.Module, Any], Results],
    given: Any,
) -> None:
    """Check repeatability, no change in place, a gradient for every weight, and saved weights."""
    before = copy.deepcopy(given)
    with no_global_randomness(spec):
        first, again = run(layer, given), run(layer, given)
    require(
        unchanged(given, before),
        spec,
        "change no argument: one of its tensors was changed in place",
    )
    require(same(first, again, 0.0), spec, "return the same for the same inputs")
    _check_gradients(spec, layer, first)
    with torch.device("meta"):
        empty = spec.build(branches=branches).eval()
    try:
        empty.load_state_dict(layer.state_dict(), assign=True)
        for name, buffer in layer.named_buffers():
            owner, _, last = name.rpartition(".")
            setattr(empty.get_submodule(owner), last, buffer)
        filled = same(first, run(empty, given), 0.0)
    except (RuntimeError, NotImplementedError):
        filled = False  # a tensor is still on the meta device
    require(
        filled,
        spec,
        "compute only with parameters and buffers: an empty layer that gets those of another one"
        " returns something else",
    )


def _check_gradients(spec: Any, layer: nn.Module, results: Results) -> None:
    weights = {name: weight for name, weight in layer.named_parameters() if weight.requires_grad}
    if not weights:
        return
    random = generator(2)
    # random factors, because the plain sum of a norm's output has no gradient
    terms = [
        (x * torch.randn(x.shape, generator=random)).sum()
        for x in results.values()
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
    spec: Any, layer: nn.Module, run: Callable[[nn.Module, torch.dtype], Results]
) -> None:
    """Other types of weights and hidden states: results close to float64, in a fitting type."""
    exact: Results = {}
    for weights, hidden, near in (
        (torch.float64, torch.float64, 0.0),
        (torch.float32, torch.float32, EXACT),
        (torch.bfloat16, torch.float32, ROUGH),
        (torch.bfloat16, torch.bfloat16, ROUGH),
    ):
        what = f"work with {_name(weights)} weights and {_name(hidden)} hidden states"
        try:
            with torch.no_grad():
                results = run(copy.deepcopy(layer).to(weights), hidden)
        except RuntimeError as error:
            raise PartContractError(f"{spec!r} must {what}: {_line(error)}") from error
        exact = exact or results
        wide = [
            name for name, x in results.items() if torch.promote_types(x.dtype, hidden) != hidden
        ]
        require(not wide, spec, f"{what}; {', '.join(wide)} is wider than what it is added to")
        require(same(exact, results, near), spec, f"{what}, with results near those in float64")


def check_meta(spec: Any, branches: AV[Branch], run: Callable[[nn.Module], Results]) -> None:
    """The layer runs on the meta device."""
    try:
        with torch.device("meta"):
            layer = spec.build(branches=branches)
        run(layer)
    except (RuntimeError, NotImplementedError) as error:
        raise PartContractError(
            f"{spec!r} must run on the meta device, where costs are counted: it may not read a"
            f" tensor's value ({_line(error)})"
        ) from error


def same(one: Results, two: Results, tolerance: float) -> bool:
    """Whether names are equal, and values within `tolerance` of the largest."""

    def near(x: Tensor, y: Tensor) -> bool:
        x, y = x.detach().double(), y.detach().double()
        return x.shape == y.shape and bool(((x - y).abs() <= tolerance * x.abs().max()).all())

    return one.keys() == two.keys() and all(near(one[name], two[name]) for name in one)


def unchanged(given: Any, copied: Any) -> bool:
    """Whether all tensors in `given`, at any depth, equal those in its copy."""
    if isinstance(given, Tensor):
        return torch.equal(given, copied)
    if isinstance(given, list | tuple):
        return all(map(unchanged, given, copied))
    if isinstance(given, dict):
        return all(unchanged(given[key], copied[key]) for key in given)
    fields = (
        getattr(type(given), "__attrs_attrs__", ())
        or getattr(type(given), "__dataclass_fields__", {}).values()
    )
    return all(
        unchanged(getattr(given, field.name), getattr(copied, field.name)) for field in fields
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def require_like(spec: Any, what: str, found: Tensor, wanted: Tensor) -> Tensor:
    """Require finite floats of the shape of `wanted`, which messages call `what`."""
    finite = found.is_meta or bool(found.isfinite().all())
    defect = "" if finite else " with NaN or infinity"
    require(
        found.shape == wanted.shape and found.is_floating_point() and finite,
        spec,
        f"return finite floats of the shape of {what}, {list(wanted.shape)}, not {found.dtype}"
        f" {list(found.shape)}{defect}",
    )
    return found
