"""An own network: what it lacks is said at once, and the wrapper makes it a denoiser."""

from __future__ import annotations

import attrs
import pytest
import torch
from helpers import tiny_training as tiny
from torch import nn

import harmony_parts as hp
from harmony_parts.codecs.protocol import grid_of
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.sample.sampler import sample
from harmony_parts.testing.contracts import check_denoiser
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

CODECS = hp.AV(StubCodec(4, (2, 3), 8.0), StubCodec(5, (), 25.0))
ENCODERS = {"text": StubEncoder(caption=16, sound=16), "image": StubEncoder(image=4)}


class Mixer(nn.Module):
    """Mixes each latent with the mean of all of both streams, its time and the texts."""

    def __init__(self, codecs, text=16, width=32):
        super().__init__()
        sizes = {s: codecs[s].channels * torch.Size(grid_of(codecs[s])).numel() for s in codecs}
        self.enter = nn.ModuleDict({s: nn.Linear(n + 1, width) for s, n in sizes.items()})
        self.leave = nn.ModuleDict({s: nn.Linear(width, n) for s, n in sizes.items()})
        self.text = nn.Linear(text, width)

    def forward(self, av, times, conditions):
        w = self.text.weight
        h = {
            s: self.enter[s](
                torch.cat((av[s].flatten(2).to(w), times[s].per_latent()[..., None].to(w)), -1)
            )
            for s in av
        }
        mean = sum(x.tanh().mean(1, keepdim=True) for x in h.values())
        for name in ("caption", "sound"):
            c = conditions[name]
            mean = mean + (self.text(c.tokens.to(w)) * c.mask[..., None]).sum(1, keepdim=True)
        return hp.AV(**{s: self.leave[s]((h[s] + mean).tanh()).view_as(av[s]) for s in av})


@attrs.frozen
class Mixed:
    """The settings of a `Mixer`, as a plugin would write them."""

    width: int = 32

    def build(self, *, codecs, encoders):
        network = Mixer(codecs, width=self.width)
        return hp.OwnNetwork(network).build(codecs=codecs, encoders=encoders)


def test_the_wrapper_meets_the_contract():
    check_denoiser(Mixed(), codecs=CODECS, encoders=ENCODERS)


def test_it_generates_in_a_recipe_with_text_and_sync_guidance():
    recipe = tiny.recipe()
    codecs = hp.Pipeline.assemble(recipe).codecs
    encoders = {name: recipe.encoders[name] for name in ("caption", "sound", "image")}
    own = attrs.evolve(recipe, denoiser=hp.OwnNetwork(Mixer(codecs)), encoders=encoders)
    pipeline = hp.Pipeline.assemble(own)
    for guidance in (hp.CFG(), hp.SyncCFG()):
        assert pipeline.generate("a red ball", sound="a thud", steps=2, guidance=guidance).clip
    with pytest.raises(PartContractError, match="the hint isolate; the denoiser supports none"):
        pipeline.generate("a red ball", sound="a thud", steps=2, guidance=hp.Modality())


def test_a_function_without_weights_is_enough():
    """A perfect guess of zeros: v = x_t / t."""

    def zeros(av, times, conditions):
        return av.map(
            lambda x, t: x / t.per_latent().reshape(*x.shape[:2], *[1] * (x.ndim - 2)), times
        )

    recipe = attrs.evolve(tiny.recipe(), denoiser=hp.OwnNetwork(zeros), encoders={})
    recipe = tiny.but(recipe, drop={})
    found = hp.Pipeline.assemble(recipe).latents([hp.Prompt()], seeds=[0], steps=3)
    for stream in found:
        assert found[stream].abs().max() < 1e-6


@pytest.mark.parametrize(
    "wrong",
    [Mixer(CODECS), nn.Linear(2, 2), Mixer, lambda av, times, conditions: av],
    ids=["a network", "a layer", "a class", "a function"],
)
def test_one_error_says_what_a_recipe_s_denoiser_lacks(wrong):
    with pytest.raises(AssemblyError, match=r"\$.denoiser: \S+ has no build.*OwnNetwork.*Bring a"):
        hp.Pipeline.assemble(attrs.evolve(tiny.recipe(), denoiser=wrong))


@attrs.frozen
class Spec:
    """Builds what it is given."""

    made: object

    def build(self, *, codecs, encoders):
        return self.made


def test_one_error_says_what_a_built_denoiser_lacks():
    lacks = (
        r"\$.denoiser: Mixer is no denoiser: it has no accepts, hints, blocks and can't be called"
        r" as \(av, times, conditions, \*, hints, read, cache\): got an unexpected keyword argument"
        r" 'hints'; wrap .*OwnNetwork"
    )
    with pytest.raises(AssemblyError, match=lacks):
        hp.Pipeline.assemble(attrs.evolve(tiny.recipe(), denoiser=Spec(Mixer(CODECS))))
    with pytest.raises(
        AssemblyError, match=r"it has no accepts, hints, blocks and can't be called;"
    ):
        hp.Pipeline.assemble(attrs.evolve(tiny.recipe(), denoiser=Spec(3)))


def test_the_sampler_says_it_too():
    noise = hp.AV(torch.zeros(1, 2, 2, 3, 4), torch.zeros(1, 3, 5))
    settings = {
        "codecs": CODECS,
        "guidance": hp.NoGuidance(),
        "solver": hp.Euler(),
        "shift": hp.ConstantShift(),
        "path": hp.StraightPath(),
        "steps": 1,
    }
    with pytest.raises(PartContractError, match="Mixer is no denoiser: it has no accepts"):
        sample(Mixer(CODECS), noise, {}, **settings)
    wrapped = hp.OwnNetwork(lambda av, times, conditions: av.video)
    with pytest.raises(PartContractError, match="returned Tensor; it should return an AV"):
        sample(wrapped.build(codecs=CODECS, encoders={}), noise, {}, **settings)


@pytest.mark.parametrize(
    ("network", "fault"),
    [
        (nn.Linear(2, 2), r"Linear can't be called as \(av, times, conditions\): too many"),
        (nn.Linear, r"Linear is a class: make it, Linear\(\.\.\.\)"),
        (None, "NoneType can't be called"),
    ],
    ids=str,
)
def test_a_network_that_takes_other_arguments_is_refused_where_it_is_given(network, fault) -> None:
    with pytest.raises(PartContractError, match=fault):
        hp.OwnNetwork(network)
