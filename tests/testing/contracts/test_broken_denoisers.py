"""Each point of the contract of denoisers, broken by a faulty denoiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from torch import nn

from harmony_parts.av import AV, Condition
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.denoisers.ports import PORTS
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.interaction.global_cross import Global
from harmony_parts.testing.contracts.denoisers import check_denoiser

VIDEO, MMDIT = VideoTransformer(12, 2, 16, 4), MMDiT(12, 2, 16)

Change = Callable[[Any], Any]
SPEC = DualBranch(1, VIDEO, MMDIT, Global())


@attrs.frozen
class Broken:
    """A denoiser with one fault."""

    change: Change
    layers: int = 1

    def build(self, **neighbours: Any) -> Any:
        """A built-in denoiser, changed in place, or what `change` returns."""
        denoiser = attrs.evolve(SPEC, layers=self.layers).build(**neighbours)
        return self.change(denoiser) or denoiser


@attrs.frozen
class IgnoresUnknown:
    """A denoiser built with conditions without a port; `says`: the error that it raises, if any."""

    says: str | None = None

    def build(self, *, codecs: AV[Any], encoders: Mapping[str, Any]) -> Any:
        """A built-in denoiser without those conditions."""
        known = {
            name: encoder
            for name, encoder in encoders.items()
            if set(encoder.produces) <= set(PORTS)
        }
        if self.says is not None and known != dict(encoders):
            raise AssemblyError(self.says)
        return SPEC.build(codecs=codecs, encoders=known)


def sets(**attributes: Any) -> Change:
    """Set these attributes."""

    def change(denoiser: Any) -> None:
        for name, value in attributes.items():
            setattr(denoiser, name, value)

    return change


def call(other: Callable[..., Any]) -> Change:
    """Replace the call: `other` gets the original one, then its arguments."""

    def change(denoiser: Any) -> None:
        real = denoiser.forward
        denoiser.forward = lambda av, times, conditions, **settings: other(
            real, av, times, conditions, **settings
        )

    return change


def out(other: Callable[[AV[Any], AV[Any], AV[Any]], AV[Any]]) -> Change:
    """Replace the velocities: `other` gets them, the latents and the times."""
    return call(
        lambda real, av, times, conditions, **settings: other(
            real(av, times, conditions, **settings), av, times
        )
    )


def replaces_missing(real: Any, av: Any, times: Any, conditions: Any, **settings: Any) -> Any:
    """It replaces a missing condition by zeros."""
    zeros = Condition(torch.zeros(3, 1, 6), torch.zeros(3, 1, dtype=torch.bool))
    return real(av, times, {"sound": zeros} | conditions, **settings)


def hints(other: Callable[[frozenset[str]], Any]) -> Change:
    """Replace the hints."""
    return call(
        lambda real, *given, **settings: real(
            *given, **settings | {"hints": other(frozenset(settings.get("hints", ())))}
        )
    )


def lists_a_hint_that_fails(denoiser: Any) -> None:
    """A hint in its `hints` raises an error."""
    denoiser.hints |= {"louder"}
    hints(lambda given: 1 / 0 if "louder" in given else given)(denoiser)


def leaks(to: str) -> Change:
    """A stream gets the mean of the other one, with any hint."""
    other = {"video": "audio", "audio": "video"}[to]

    def change(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
        if len(tuple(av)) < 2 or getattr(v, to) is None:
            return v
        return v.replace(
            **{to: v[to] + 0.01 * av[other].flatten(1).mean(1).view(-1, *(1,) * (v[to].ndim - 1))}
        )

    return out(change)


def leaks_sound_caption(real: Any, av: Any, times: Any, conditions: Any, **settings: Any) -> Any:
    """The video gets the mean of the sound caption, with any hint."""
    v, sound = real(av, times, conditions, **settings), conditions["sound"]
    mean = (sound.tokens * sound.mask[..., None]).flatten(1).sum(1)
    return (
        v if v.video is None else v.replace(video=v.video + 0.01 * mean[:, None, None, None, None])
    )


def caches_velocities(
    real: Any, av: Any, times: Any, conditions: Any, cache: Any = None, **settings: Any
) -> Any:
    """The velocities of the first step for all steps."""
    made = real(av, times, conditions, **settings)
    return made if cache is None else cache.setdefault("velocities", made)


def caches_hints(
    real: Any, *given: Any, cache: Any = None, hints: Any = (), **settings: Any
) -> Any:
    """The hints of the first step for all steps."""
    return real(
        *given, hints=hints if cache is None else cache.setdefault("hints", hints), **settings
    )


def caches_clean_audio(
    real: Any, av: Any, times: Any, conditions: Any, cache: Any = None, **settings: Any
) -> Any:
    """The first clean audio for any clean audio."""
    if cache is not None and av.audio is not None and not times.audio.values.any():
        av = av.replace(audio=cache.setdefault("clean", av.audio))
    return real(av, times, conditions, **settings)


def refuses_one_stream(error: Exception) -> Change:
    """It raises this error for one stream."""

    def other(real: Any, av: Any, *given: Any, **settings: Any) -> Any:
        if len(tuple(av)) < 2:
            raise error
        return real(av, *given, **settings)

    return call(other)


def scales_one_stream(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
    """Velocities are other ones if only one stream is read."""
    return v if len(tuple(v)) == len(tuple(av)) else v.map(lambda x: 1.01 * x)


def sees_replaced_latents(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
    """It uses the latents that known latents replace."""
    if v.video is None:
        return v
    seen = av.video[:, :1].flatten(1).mean(1)[:, None, None, None, None]
    return v.replace(video=torch.cat((v.video[:, :1], v.video[:, 1:] + seen), dim=1))


def moves_at_time_0(v: AV[Any], av: AV[Any], times: AV[Any]) -> AV[Any]:
    """Velocities at time 0 aren't 0."""
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
    (Broken(restores_its_blocks, layers=2), "run exactly the blocks in its ModuleList `blocks`"),
    (IgnoresUnknown(), "raise AssemblyError, naming the condition"),
    (IgnoresUnknown("$.denoiser: no"), "raise AssemblyError, naming the condition"),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: x[..., :1]))),
        "velocities of the video in the latents' shape",
    ),
    (
        Broken(out(lambda v, av, times: v.replace(audio=None))),
        "velocities of the audio in the latents' shape.*not None",
    ),
    (
        Broken(
            call(
                lambda real, av, *given, **settings: real(
                    av.map(lambda x: x.add_(1)), *given, **settings
                )
            )
        ),
        "change none of its latents, times",
    ),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: x + x.mean(0)))),
        "keep the samples of a batch independent",
    ),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: x.to(torch.float16)))),
        "velocities of torch.float64 or torch.float64",
    ),
    (
        Broken(call(replaces_missing)),
        "raise PartContractError, naming 'sound', if that condition is missing",
    ),
    (
        Broken(hints(lambda given: given & {"isolate", "skip-0"})),
        "raise PartContractError, naming the hint",
    ),
    (
        Broken(out(lambda v, av, times: v if len(tuple(v)) == 2 else AV())),
        r"velocities of the .* with read=\(",
    ),
    (
        Broken(out(scales_one_stream)),
        "the same velocities of the .* whether or not the other stream is read",
    ),
    (Broken(lists_a_hint_that_fails), "run with the hint 'louder'"),
    (
        Broken(hints(lambda given: given - {"isolate"})),
        "let nothing of the audio.* influence the video",
    ),
    (Broken(leaks("video")), "let nothing of the audio.* influence the video"),
    (Broken(leaks("audio")), "let nothing of the video.* influence the audio"),
    (Broken(call(leaks_sound_caption)), "let nothing of the audio.* influence the video"),
    (Broken(call(caches_velocities)), "return the same velocities with a cache"),
    (
        Broken(call(caches_hints)),
        "the same velocities with a cache.*, also with the hint 'isolate'",
    ),
    (
        Broken(call(caches_clean_audio)),
        "the same velocities with a cache.*, also if the audio is clean",
    ),
    (
        Broken(refuses_one_stream(KeyError("no 'audio' stream here"))),
        "run with only the video, or raise a PartContractError.* not KeyError",
    ),
    (
        Broken(refuses_one_stream(PartContractError("it takes both"))),
        "name the audio in its PartContractError",
    ),
    (
        Broken(out(lambda v, av, times: v if len(tuple(av)) == 2 else v.map(lambda x: x / 0))),
        "finite velocities of the .* is absent",
    ),
    (
        Broken(out(lambda v, av, times: v.map(lambda x: 1.1 * x))),
        r"\(x_t - known\) / t for a latent that the condition 'image'",
    ),
    (Broken(out(sees_replaced_latents)), "ignore the latents that the known latents"),
    (Broken(out(moves_at_time_0)), "return 0 for a latent that 'image' gives, at time 0"),
    (
        Broken(lambda denoiser: denoiser.register_parameter("spare", nn.Parameter(torch.ones(1)))),
        "none reaches branches.audio.reference_group, spare",
    ),
]


@pytest.mark.parametrize(("spec", "must"), FAULTS, ids=[must for _, must in FAULTS])
def test_a_broken_denoiser_is_found(spec: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=f"must .*{must}"):
        check_denoiser(spec)
