"""The contract of denoisers: what ships keeps it, and each of its points can be broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from harmony_parts.av import AV, Condition
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.denoisers.ports import PORTS, accepted
from harmony_parts.denoisers.protocol import Port
from harmony_parts.denoisers.single_branch import AudioOnly, VideoOnly
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.style.none import NoStyle
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.gaussian_denoiser import GaussianDenoiser
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

VIDEO, MMDIT, CROSS = VideoTransformer(12, 2, 16, 4), MMDiT(12, 2, 16), CrossAudio(12, 2, 16)
CODECS: AV[Any] = AV(StubCodec(4, (4, 8), 6.0), StubCodec(3, (), 14.0))
ALL: Any = {"all": StubEncoder(caption=5, image=4, sound=6, speech=4, voice=3)}
LAST = ["blocks.1.interaction.style.*"]  # of the last layer, the reference is read by nobody
EVERY = ["blocks.*.interaction.style.*"]  # without a voice, there is no reference
SEVERAL: Any = {"all": StubEncoder(caption=5, pose=4, mood=3, sound=6, image=4)}
PORTED = {"pose": Port("video", "context"), "mood": Port("audio", "add")}

KEEP: dict[str, tuple[DualBranch, dict[str, Any]]] = {
    "gldi, mmdit": (DualBranch(2, VIDEO, MMDIT, GLDI()), {"encoders": ALL, "idle": LAST}),
    "gldi, mmdit, one way": (
        DualBranch(2, VIDEO, MMDIT, GLDI(), "one_way"),
        {"encoders": ALL, "idle": LAST},
    ),
    "gldi, cross": (DualBranch(1, VIDEO, CROSS, GLDI(audio_window=0.0)), {"idle": EVERY}),
    "gldi without style": (
        DualBranch(1, VIDEO, MMDIT, GLDI(style=NoStyle(), width=8)),
        {"encoders": ALL},
    ),
    "global, mmdit": (DualBranch(1, VIDEO, MMDIT, Global()), {"encoders": ALL}),
    "global, cross, one way": (DualBranch(1, VIDEO, CROSS, Global(), "one_way"), {}),
    "none, mmdit, one way": (
        DualBranch(1, VIDEO, MMDIT, NoInteraction(), "one_way"),
        {"encoders": ALL},
    ),
    "none, cross": (DualBranch(1, VIDEO, CROSS, NoInteraction()), {}),
    "as precise as weights": (
        DualBranch(
            1,
            attrs.evolve(VIDEO, precision="weights"),
            attrs.evolve(MMDIT, precision="weights"),
            Global(),
        ),
        {"encoders": ALL},
    ),
    "computed again": (DualBranch(1, VIDEO, CROSS, Global(), recompute="all"), {}),
    "ports of one's own": (
        DualBranch(1, VIDEO, CROSS, Global(), ports=PORTED),
        {"encoders": SEVERAL},
    ),
}


@pytest.mark.parametrize("name", KEEP)
def test_dual_branches_keep_it(name: str) -> None:
    spec, settings = KEEP[name]
    check_denoiser(spec, **settings)


def test_denoisers_of_one_stream_keep_it() -> None:
    check_denoiser(VideoOnly(1, VIDEO), codecs=AV(video=CODECS.video))
    check_denoiser(AudioOnly(1, CROSS), codecs=AV(audio=CODECS.audio))
    told: Any = {"all": StubEncoder(sound=6, voice=3)}
    denoiser: Any = check_denoiser(
        AudioOnly(1, MMDIT), codecs=AV(audio=CODECS.audio), encoders=told
    )
    assert denoiser.accepts == {name: PORTS[name] for name in ("sound", "voice")}


@attrs.frozen
class Analytic:
    """The denoiser whose answers are known, for any number of latents, and with a caption of any
    width that can't be left out.
    """

    def build(self, *, codecs: AV[Any], encoders: Mapping[str, Any]) -> nn.Module:
        """It has no weights."""
        accepted(encoders, {"caption": GaussianDenoiser.accepts["caption"]}, codecs)
        return AnyLength()


class AnyLength(nn.Module):
    """See `Analytic`."""

    accepts, hints, blocks = GaussianDenoiser.accepts, frozenset[str](), ()

    def forward(self, av: AV[Any], times: AV[Any], conditions: Any, **settings: Any) -> AV[Any]:
        """A Gaussian in which all numbers of both streams go together."""
        shapes = AV(*(None if x is None else tuple(x.shape[1:]) for x in (av.video, av.audio)))
        video, audio = shapes.video or (), shapes.audio or ()
        # of a stream that is absent: one number
        size = sum(prod(shapes[s]) for s in shapes) + (2 - len(tuple(shapes)))
        caption = conditions.get("caption")
        if caption is None:
            raise PartContractError("the caption is missing")
        words = Condition(pad(caption.tokens, (0, size - caption.tokens.shape[-1])), caption.mask)
        inner = GaussianDenoiser(video, audio, torch.zeros(size), 0.5 * torch.eye(size) + 0.5)
        return inner(av, times, {"caption": words}, **settings)


def test_the_analytic_denoiser_keeps_it() -> None:
    check_denoiser(
        Analytic(),
        codecs=AV(StubCodec(2, (1, 2), 6.0), StubCodec(1, (), 9.0)),
        encoders={"x": StubEncoder(caption=4)},
        latents=AV(2, 3),
    )


# --- broken ones ----------------------------------------------------------------------------------

Change = Callable[[Any], Any]
SPEC = DualBranch(1, VIDEO, MMDIT, Global())


@attrs.frozen
class Broken:
    """A denoiser with one fault."""

    change: Change
    layers: int = 1

    def build(self, **neighbours: Any) -> Any:
        """A real one, changed; what `change` returns, if it returns something."""
        denoiser = attrs.evolve(SPEC, layers=self.layers).build(**neighbours)
        return self.change(denoiser) or denoiser


@attrs.frozen
class Deaf:
    """A denoiser that takes conditions for which it has no place, or names none that it refuses."""

    says: str | None = None

    def build(self, *, codecs: AV[Any], encoders: Mapping[str, Any]) -> Any:
        """Without them."""
        known = {
            name: encoder
            for name, encoder in encoders.items()
            if set(encoder.produces) <= set(PORTS)
        }
        if self.says is not None and known != dict(encoders):
            raise AssemblyError(self.says)
        return SPEC.build(codecs=codecs, encoders=known)


def sets(**attributes: Any) -> Change:
    """Attributes exchanged."""

    def change(denoiser: Any) -> None:
        for name, value in attributes.items():
            setattr(denoiser, name, value)

    return change


def call(other: Callable[..., Any]) -> Change:
    """A fault of the call: `other` gets the real one, then the arguments."""

    def change(denoiser: Any) -> None:
        real = denoiser.forward
        denoiser.forward = lambda av, times, conditions, **settings: other(
            real, av, times, conditions, **settings
        )

    return change


def out(other: Callable[[AV[Any], AV[Any], AV[Any]], AV[Any]]) -> Change:
    """Of velocities, latents and times."""
    return call(
        lambda real, av, times, conditions, **settings: other(
            real(av, times, conditions, **settings), av, times
        )
    )


def forgives(real: Any, av: Any, times: Any, conditions: Any, **settings: Any) -> Any:
    """It takes silence for a condition that isn't there."""
    silence = Condition(torch.zeros(3, 1, 6), torch.zeros(3, 1, dtype=torch.bool))
    return real(av, times, {"sound": silence} | conditions, **settings)


def hints(other: Callable[[frozenset[str]], Any]) -> Change:
    """What becomes of the hints."""
    return call(
        lambda real, *given, **settings: real(
            *given, **settings | {"hints": other(frozenset(settings.get("hints", ())))}
        )
    )


def boasts(denoiser: Any) -> None:
    """It says that it knows a hint at which it fails."""
    denoiser.hints |= {"louder"}
    hints(lambda given: 1 / 0 if "louder" in given else given)(denoiser)


def leaks(to: str) -> Change:
    """A stream hears the mean of the other, whatever is asked for."""
    other = {"video": "audio", "audio": "video"}[to]

    def change(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
        if len(tuple(av)) < 2 or getattr(v, to) is None:
            return v
        return v.replace(
            **{to: v[to] + 0.01 * av[other].flatten(1).mean(1).view(-1, *(1,) * (v[to].ndim - 1))}
        )

    return out(change)


def told_both(real: Any, av: Any, times: Any, conditions: Any, **settings: Any) -> Any:
    """The video hears the sound's words, whatever is asked for."""
    v, sound = real(av, times, conditions, **settings), conditions["sound"]
    mean = (sound.tokens * sound.mask[..., None]).flatten(1).sum(1)
    return (
        v if v.video is None else v.replace(video=v.video + 0.01 * mean[:, None, None, None, None])
    )


def keeps_answer(
    real: Any, av: Any, times: Any, conditions: Any, cache: Any = None, **settings: Any
) -> Any:
    """One answer for all steps."""
    made = real(av, times, conditions, **settings)
    return made if cache is None else cache.setdefault("answer", made)


def keeps_hints(real: Any, *given: Any, cache: Any = None, hints: Any = (), **settings: Any) -> Any:
    """It remembers what was asked for first."""
    return real(
        *given, hints=hints if cache is None else cache.setdefault("hints", hints), **settings
    )


def keeps_clean(
    real: Any, av: Any, times: Any, conditions: Any, cache: Any = None, **settings: Any
) -> Any:
    """Clean sound is always the same."""
    if cache is not None and av.audio is not None and not times.audio.values.any():
        av = av.replace(audio=cache.setdefault("clean", av.audio))
    return real(av, times, conditions, **settings)


def alone(error: Exception) -> Change:
    """It takes both streams only, and says so in its own way."""

    def other(real: Any, av: Any, *given: Any, **settings: Any) -> Any:
        if len(tuple(av)) < 2:
            raise error
        return real(av, *given, **settings)

    return call(other)


def reads_more(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
    """A stream that is read alone is another."""
    return v if len(tuple(v)) == len(tuple(av)) else v.map(lambda x: 1.01 * x)


def peeks(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
    """It sees what stands where the picture is."""
    if v.video is None:
        return v
    seen = av.video[:, :1].flatten(1).mean(1)[:, None, None, None, None]
    return v.replace(video=torch.cat((v.video[:, :1], v.video[:, 1:] + seen), dim=1))


def drifts(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
    """Even at time 0 it goes somewhere."""
    return (
        v
        if v.video is None
        else v.replace(video=v.video + (times.video.per_latent() == 0)[:, :, None, None, None])
    )


def blocks_of_functions(denoiser: Any) -> None:
    """Blocks that aren't modules."""
    del denoiser.blocks
    denoiser.blocks = [torch.relu]


def shares_a_layer(denoiser: Any) -> None:
    """Two blocks have one audio layer."""
    denoiser.blocks[1].audio = denoiser.blocks[0].audio


def restores_its_blocks(denoiser: Any) -> None:
    """Each call runs the blocks that it was built with."""
    blocks, real = denoiser.blocks, denoiser.forward

    def forward(*given: Any, **settings: Any) -> Any:
        denoiser.blocks = blocks
        return real(*given, **settings)

    denoiser.forward = forward


FAULTS: list[tuple[Any, str]] = [
    (Broken(lambda denoiser: SimpleNamespace(accepts=denoiser.accepts)), "build a torch module"),
    (
        Broken(sets(accepts={"caption": "context", "sound": "context", "image": "clean_tokens"})),
        "have `accepts`, a mapping",
    ),
    (
        Broken(sets(accepts={"caption": PORTS["caption"]})),
        "accept the conditions that its encoders produce",
    ),
    (Broken(sets(hints={"isolate"})), "have `hints`, a frozenset"),
    (Broken(lambda denoiser: delattr(denoiser, "blocks")), "have `blocks`, a sequence"),
    (Broken(blocks_of_functions), "have `blocks`, a sequence"),
    (Broken(shares_a_layer, layers=2), "share no weight between its `blocks`"),
    (Broken(restores_its_blocks, layers=2), "run the blocks of its ModuleList `blocks`"),
    (Deaf(), "raise AssemblyError, naming the condition"),
    (Deaf("$.denoiser: no"), "raise AssemblyError, naming the condition"),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: x[..., :1]))),
        "velocities of the video of the latents' shape",
    ),
    (
        Broken(out(lambda v, av, times: v.replace(audio=None))),
        "velocities of the audio of the latents' shape.*it gave None",
    ),
    (
        Broken(
            call(
                lambda real, av, *given, **settings: real(
                    av.map(lambda x: x.add_(1)), *given, **settings
                )
            )
        ),
        "leave the latents, times",
    ),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: x + x.mean(0)))),
        "give each sample of a batch what it gives it alone",
    ),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: x.to(torch.float16)))),
        "velocities of torch.float64 or torch.float64",
    ),
    (
        Broken(call(forgives)),
        "raise PartContractError, naming 'sound', where that condition is missing",
    ),
    (
        Broken(hints(lambda given: given & {"isolate", "skip-0"})),
        "raise PartContractError, naming the hint",
    ),
    (
        Broken(out(lambda v, av, times: v if len(tuple(v)) == 2 else AV())),
        r"velocities of the .* where read=\(",
    ),
    (Broken(out(reads_more)), "the same velocities whether or not the other stream is read"),
    (Broken(boasts), "run with the hint 'louder'"),
    (
        Broken(hints(lambda given: given - {"isolate"})),
        "let nothing of the audio.* through to the video",
    ),
    (Broken(leaks("video")), "let nothing of the audio.* through to the video"),
    (Broken(leaks("audio")), "let nothing of the video.* through to the audio"),
    (Broken(call(told_both)), "let nothing of the audio.* through to the video"),
    (Broken(call(keeps_answer)), "answer the same with a cache"),
    (Broken(call(keeps_hints)), "answer the same with a cache.*, with the hint 'isolate' too"),
    (Broken(call(keeps_clean)), "answer the same with a cache.*, where the audio is clean too"),
    (
        Broken(alone(KeyError("no 'audio' stream here"))),
        "answer the video alone, or raise PartContractError.* not KeyError",
    ),
    (Broken(alone(PartContractError("it takes both"))), "name the audio in its PartContractError"),
    (
        Broken(out(lambda v, av, times: v if len(tuple(av)) == 2 else v.map(lambda x: x / 0))),
        "finite velocities of the .* is absent",
    ),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: 1.1 * x))),
        r"\(x_t - known\) / t where the condition 'image'",
    ),
    (Broken(out(peeks)), "not see what stands in the place of a known latent"),
    (Broken(out(drifts)), "answer with 0 for a latent known from 'image' at time 0"),
    (
        Broken(lambda denoiser: denoiser.register_parameter("spare", nn.Parameter(torch.ones(1)))),
        "none reaches branches.audio.reference_group, spare",
    ),
]


@pytest.mark.parametrize(("spec", "must"), FAULTS, ids=[must for _, must in FAULTS])
def test_a_broken_one_is_found(spec: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=f"must .*{must}"):
        check_denoiser(spec)


def test_weights_are_not_idle_for_nothing() -> None:
    check_denoiser(SPEC, idle=["branches.audio.reference_group"])  # there is no voice
    with pytest.raises(
        PartContractError, match=r"not be said to have idle weights 'branches.video.\*'"
    ):
        check_denoiser(SPEC, idle=["branches.audio.reference_group", "branches.video.*"])


def test_what_cannot_be_built_is_told_as_in_assembly() -> None:
    with pytest.raises(AssemblyError, match="voice"):
        check_denoiser(KEEP["none, cross"][0], encoders=ALL)
