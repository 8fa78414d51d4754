"""The denoiser of branches: independence of streams and samples, one-way models, caching."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.small_denoiser import INTERACTIONS, TV, B, at, build, inputs
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Condition, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.errors import PartContractError
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.style.alignment import StyleAlignment
from harmony_parts.style.tokens import StyleTokens


def rows_of(
    rows: Tensor, av: AV[Tensor], times: AV[Times], conditions: dict[str, Condition]
) -> tuple:
    """The inputs of some of the samples."""
    chosen = {name: condition.rows(rows) for name, condition in conditions.items()}
    return (
        av.map(lambda x: x[rows]),
        times.map(lambda t: Times(t.values[rows], t.index[rows])),
        chosen,
    )


def assert_close(a: AV[Tensor], b: AV[Tensor]) -> None:
    """Equal up to the order of float64 sums."""
    assert tuple(a) == tuple(b)
    for s in a:
        torch.testing.assert_close(a[s], b[s], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("style", [StyleAlignment(), StyleTokens(tokens=3)])
def test_velocities_have_the_shapes_of_latents_and_every_weight_gets_a_gradient(
    style: Any, layers: int
) -> None:
    denoiser = build(GLDI(style=style), layers=layers)
    av, conditions = inputs()
    out = denoiser(av, at(0.7, 0.7), conditions)
    assert out.video.shape == av.video.shape
    assert out.audio.shape == av.audio.shape
    (out.video.square().sum() + out.audio.square().sum()).backward()
    idle = {name for name, p in denoiser.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == set()


@pytest.mark.parametrize("interaction", ["gldi", "global"])
def test_streams_influence_each_other_unless_isolated(interaction: str) -> None:
    denoiser = build(interaction)
    av, conditions = inputs()
    other = AV(av.video, av.audio.flip(1))
    assert not torch.allclose(
        denoiser(av, at(0.7, 0.7), conditions).video,
        denoiser(other, at(0.7, 0.7), conditions).video,
    )
    alone = [denoiser(x, at(0.7, 0.7), conditions, hints={"isolate"}).video for x in (av, other)]
    assert torch.equal(*alone)


@pytest.mark.parametrize("interaction", sorted(INTERACTIONS))
def test_samples_are_independent(interaction: str) -> None:
    denoiser = build(interaction)
    av, conditions = inputs()
    times = at((0.9, 0.5, 0.2), (0.9, 0.0, 0.4))
    whole = denoiser(av, times, conditions)
    for row in range(B):
        one = denoiser(*rows_of(torch.tensor([row]), av, times, conditions))
        assert_close(one, whole.map(lambda x, row=row: x[row : row + 1]))


def test_padding_has_no_effect() -> None:
    denoiser = build()
    av, conditions = inputs()

    def padded(condition: Condition) -> Condition:
        junk = torch.full((B, 3, condition.tokens.shape[-1]), 9.0, dtype=torch.float64)
        return Condition(
            torch.cat((condition.tokens, junk), 1),
            torch.cat((condition.mask, torch.zeros(B, 3, dtype=torch.bool)), 1),
        )

    longer = {
        name: condition if name == "image" else padded(condition)
        for name, condition in conditions.items()
    }
    assert_close(denoiser(av, at(0.7, 0.7), conditions), denoiser(av, at(0.7, 0.7), longer))


@pytest.mark.parametrize("interaction", ["gldi", "global"])
@pytest.mark.parametrize("clean", STREAMS)
def test_one_way_cuts_every_path_into_the_clean_stream(interaction: str, clean: str) -> None:
    denoiser = build(interaction, driven_interaction="one_way")
    av, conditions = inputs()
    times = at(0.0, 0.6) if clean == "video" else at(0.6, 0.0)
    noisy = "audio" if clean == "video" else "video"
    other = av.replace(**{noisy: av[noisy].flip(1)})
    # the clean stream's states don't depend on the noisy one, so its outputs are equal bit for bit
    assert torch.equal(
        denoiser(av, times, conditions)[clean], denoiser(other, times, conditions)[clean]
    )
    two_way = build(interaction)
    assert not torch.equal(
        two_way(av, times, conditions)[clean], two_way(other, times, conditions)[clean]
    )
    # if both are noisy, one-way is two-way
    assert_close(denoiser(av, at(0.6, 0.6), conditions), two_way(av, at(0.6, 0.6), conditions))


def gradients(denoiser: BranchDenoiser, *inputs: Any) -> dict[str, Tensor]:
    """Of all weights, for a loss on the streams' velocities where they aren't clean."""
    av, times, conditions = inputs
    denoiser.zero_grad()
    out = denoiser(av, times, conditions)
    noisy = times.map(lambda t: t.per_latent().amax(1) > 0)
    sum(out[s][noisy[s]].square().sum() for s in STREAMS).backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in denoiser.named_parameters()
    }


@pytest.mark.parametrize("interaction", ["gldi", "global"])
@pytest.mark.parametrize("clean", STREAMS)
def test_a_detached_clean_stream_gets_no_gradient(interaction: str, clean: str) -> None:
    """Its velocities, and the gradients of all else, are those of one-way interaction."""
    one_way = build(interaction, driven_interaction="one_way")
    detached = build(interaction, driven_interaction="one_way_detached")
    av, conditions = inputs()
    times = at(0.0, 0.6) if clean == "video" else at(0.6, 0.0)
    whole, without = (gradients(model, av, times, conditions) for model in (one_way, detached))
    own = {name for name in whole if clean in name.split(".") and "interaction" not in name}
    assert any(whole[name].any() for name in own)
    assert not any(without[name].any() for name in own)
    for name in whole.keys() - own:
        torch.testing.assert_close(without[name], whole[name], rtol=1e-10, atol=1e-12)
    assert_close(detached(av, times, conditions), one_way(av, times, conditions))


@pytest.mark.parametrize("interaction", ["gldi", "global"])
def test_detached_samples_of_several_tasks_may_share_a_batch(interaction: str) -> None:
    """Their gradient is the sum of those of each alone; only the cost differs."""
    denoiser = build(interaction, driven_interaction="one_way_detached")
    av, conditions = inputs()
    times = at((0.0, 0.6, 0.4), (0.7, 0.0, 0.4))
    whole = gradients(denoiser, av, times, conditions)
    parts = [
        gradients(denoiser, *rows_of(torch.tensor([n]), av, times, conditions)) for n in range(B)
    ]
    for name, gradient in whole.items():
        expected = sum(part[name] for part in parts)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("interaction", ["gldi", "global", "none"])
@pytest.mark.parametrize("clean", STREAMS)
def test_a_clean_stream_of_one_way_interaction_is_computed_once(
    interaction: str, clean: str
) -> None:
    """With a cache, while its latents are the same object; velocities are the same bit for bit."""
    denoiser = build(interaction, driven_interaction="one_way")
    av, conditions = inputs()
    noisy = "audio" if clean == "video" else "video"
    computed: list[str] = []
    for block in denoiser.blocks:
        for s in STREAMS:
            attend = getattr(block, s).apply_self_attention
            getattr(block, s).apply_self_attention = lambda tokens, s=s, attend=attend: (
                computed.append(s),
                attend(tokens),
            )[1]
    cache: dict = {}
    with torch.no_grad():
        for step, t in enumerate((0.9, 0.6, 0.3)):
            now = av.replace(**{noisy: av[noisy] * t})
            times = at(0.0, t) if clean == "video" else at(t, 0.0)
            wanted = denoiser(now, times, conditions, read=(noisy,))
            computed.clear()
            got = denoiser(now, times, conditions, read=(noisy,), cache=cache)
            assert computed.count(clean) == (0 if step else len(denoiser.blocks))
            assert torch.equal(got[noisy], wanted[noisy])
        # another clean stream isn't mistaken for the first
        other = av.replace(**{clean: av[clean] + 1})
        assert torch.equal(
            denoiser(other, times, conditions, read=(noisy,), cache=cache)[noisy],
            denoiser(other, times, conditions, read=(noisy,))[noisy],
        )
        hinted = {"hints": {"isolate"}, "read": (noisy,)}
        assert torch.equal(
            denoiser(av, times, conditions, cache=cache, **hinted)[noisy],
            denoiser(av, times, conditions, **hinted)[noisy],
        )


def test_a_known_first_latent_leads_to_itself() -> None:
    denoiser = build()
    av, conditions = inputs()
    t = 0.7
    out = denoiser(av, at(t, t), conditions)
    estimate = av.video - t * out.video
    known = conditions["image"].mask[:, 0]
    torch.testing.assert_close(estimate[known, :1], conditions["image"].tokens[known])
    assert not torch.allclose(estimate[~known, :1], conditions["image"].tokens[~known])
    # the latent that it replaces has no effect
    covered = av.replace(
        video=torch.cat(
            (torch.where(known[:, None, None, None, None], 5.0, av.video[:, :1]), av.video[:, 1:]),
            1,
        )
    )
    assert torch.equal(denoiser(covered, at(t, t), conditions).video[:, 1:], out.video[:, 1:])
    # at time 0 its velocity is 0
    assert (denoiser(av, at(0.0, t), conditions).video[known, :1] == 0).all()


@pytest.mark.parametrize("interaction", sorted(INTERACTIONS))
@pytest.mark.parametrize("stream", STREAMS)
def test_velocities_of_a_stream_do_not_depend_on_reading_the_other(
    interaction: str, stream: str
) -> None:
    denoiser = build(interaction)
    av, conditions = inputs()
    both = denoiser(av, at(0.7, 0.7), conditions)
    one = denoiser(av, at(0.7, 0.7), conditions, read=(stream,))
    assert tuple(one) == (stream,)
    assert torch.equal(one[stream], both[stream])


def test_a_cache_changes_no_velocity() -> None:
    denoiser = build()
    av, conditions = inputs()
    cache: dict[str, object] = {}
    for t in (0.9, 0.4):
        assert_close(
            denoiser(av, at(t, t), conditions, cache=cache), denoiser(av, at(t, t), conditions)
        )
    assert cache


@pytest.mark.parametrize("stream", STREAMS)
def test_one_stream_without_the_other_is_as_if_isolated(stream: str) -> None:
    denoiser = build()
    av, conditions = inputs()
    times = at(0.7, 0.7)
    alone = denoiser(av.only((stream,)), times.only((stream,)), conditions)
    assert torch.equal(alone[stream], denoiser(av, times, conditions, hints={"isolate"})[stream])


def test_equal_times_per_latent_match_a_uniform_time() -> None:
    denoiser = build()
    av, conditions = inputs()
    times = at(0.7, 0.7)
    spread = times.map(
        lambda t: Times(torch.cat((t.values * 0, t.values), 1), torch.ones_like(t.index))
    )
    assert_close(denoiser(av, times, conditions), denoiser(av, spread, conditions))
    part = times.replace(video=times.video.clean_where(torch.arange(TV).expand(B, -1) < 2))
    assert not torch.allclose(
        denoiser(av, part, conditions).video, denoiser(av, times, conditions).video
    )


@pytest.mark.parametrize("interaction", sorted(INTERACTIONS))
def test_the_cross_branch_works_with_every_interaction(interaction: str) -> None:
    denoiser = build(interaction, audio=CrossAudio(width=16, heads=2, feed=32))
    av, conditions = inputs()
    out = denoiser(av, at(0.7, 0.7), conditions)
    assert all(torch.isfinite(out[s]).all() for s in STREAMS)


def test_missing_conditions_and_unknown_hints_are_named() -> None:
    denoiser = build()
    av, conditions = inputs()
    with pytest.raises(PartContractError, match="voice"):
        denoiser(av, at(0.5, 0.5), {name: c for name, c in conditions.items() if name != "voice"})
    with pytest.raises(PartContractError, match=r"skip.*isolate"):
        denoiser(av, at(0.5, 0.5), conditions, hints={"skip"})
