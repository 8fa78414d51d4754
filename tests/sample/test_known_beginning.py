"""Sampling that goes on from known first latents, of one stream or both."""

from __future__ import annotations

import pytest
import torch
from helpers.gaussian_sampling import root
from helpers.toy_guidance import AUDIO, SYNC, VIDEO, caption, flat, gaussian, latents, make
from torch import Tensor

from harmony_parts.av import AV, Condition
from harmony_parts.denoisers.known_latents import without_covered
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.flow.adams_bashforth import AdamsBashforth
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.heun import Heun
from harmony_parts.flow.protocol import Solver
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.flow.unipc import UniPC
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.data_space import DataSpace
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.sum import Sum
from harmony_parts.sample.sampler import Step
from harmony_parts.testing.gaussian_denoiser import Recorded

SHIFTS = (ConstantShift(3.0), StreamShifts(ConstantShift(9.0), ConstantShift(2.0)))
FIRST = AV(1, 2)  # known latents of each stream
GUIDANCES = (NoGuidance(), CFG(3, 2), SYNC, Sum((CFG(3, 2), SYNC)), Rescale(SYNC), DataSpace(SYNC))


def known(seed: int = 7) -> AV[Tensor]:
    return latents(seed=seed).map(lambda x, k: x[:, :k], FIRST)


def rows_of(begin: AV[Tensor]) -> Tensor:
    """Which of the numbers of both streams, flattened, are known."""
    shapes = AV(VIDEO, AUDIO)
    each = [
        torch.arange(shapes[s][0]).repeat_interleave(SIZE_OF[s])
        < (begin[s].shape[1] if s in tuple(begin) else 0)
        for s in shapes
    ]
    return torch.cat(each)


SIZE_OF = {"video": 2, "audio": 1}  # numbers of a latent


@pytest.mark.parametrize("guidance", GUIDANCES, ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("solver", [Euler(), Heun(), AdamsBashforth(), UniPC()], ids=repr)
@pytest.mark.parametrize(
    "shift", [ConstantShift(3.0), StreamShifts(ConstantShift(9.0), ConstantShift(2.0))], ids=repr
)
@pytest.mark.parametrize("together", [0, 1000])
def test_the_result_begins_with_the_known_latents(
    guidance: Guidance, solver: Solver, shift: ConstantShift, together: int
) -> None:
    """Bit for bit, at every step, in all three tasks, with one stream known or both."""
    clip, begin, seen = latents(seed=5), known(), list[Step]()
    for given in ((), ("video",), ("audio",)):
        generated = [s for s in ("video", "audio") if s not in given]
        for streams in {tuple(generated), *((s,) for s in generated)}:
            result = make(
                gaussian(),
                latents().only(generated),
                caption(),
                given=clip.only(given),
                begin=begin.only(streams),
                guidance=guidance,
                solver=solver,
                shift=shift,
                together=together,
                progress=seen.append,
            )
            for each in (result, seen[0].latents, seen[0].estimate, seen[-1].latents):
                for s in streams:
                    assert torch.equal(each[s][:, : FIRST[s]], begin[s])
                assert all(torch.equal(each[s], clip[s]) for s in given)
            seen.clear()


@pytest.mark.parametrize("streams", [("video", "audio"), ("video",), ("audio",)])
def test_the_rest_has_the_distribution_given_the_beginning(streams: tuple[str, ...]) -> None:
    """For Gaussian data noise n leads to m_r + C_r^(1/2) n, mean and covariance of the rest given
    the known latents; the error of Heun's method falls with the square of the step.
    """
    model, begin = gaussian(), known().only(streams)
    fixed = rows_of(begin)
    values = torch.cat([begin[s].flatten(1) for s in ("video", "audio") if s in streams], dim=1)
    c = model.covariance
    gain = c[~fixed][:, fixed] @ torch.linalg.inv(c[fixed][:, fixed])
    mean = model.mean[~fixed] + (values - model.mean[fixed]) @ gain.T
    left = c[~fixed][:, ~fixed] - gain @ c[fixed][:, ~fixed]
    wanted = mean + flat(latents())[:, ~fixed] @ root(left)
    errors = [
        (flat(make(model, latents(), begin=begin, solver=Heun(), steps=steps))[:, ~fixed] - wanted)
        .abs()
        .max()
        for steps in (32, 64)
    ]
    assert errors[1] < 1e-2
    assert errors[1] < errors[0] / 3
    # from the mean of the noise, to rounding: its path to the mean of the data is straight
    zero = latents().map(torch.zeros_like)
    start = flat(make(model, zero, begin=begin, steps=3))[:, ~fixed]
    torch.testing.assert_close(start, mean, rtol=0, atol=1e-12)


def test_the_denoiser_gets_known_latents_at_time_0_and_whole_anchors() -> None:
    """In every pass and every batch of passes; a stream that an anchor replaces has all of it."""
    for together in (0, 1000):
        model, begin = Recorded(gaussian()), known()
        make(model, latents(), caption(), begin=begin, guidance=SYNC, together=together)
        anchors = 0
        for call in model.calls:
            for s in call.av:
                times = call.times[s].per_latent()
                replaced = (times == 0).all(1)
                anchors += int(replaced.sum())
                noisy = ~replaced
                rows = begin[s].repeat(len(times) // len(begin[s]), *(1,) * (begin[s].ndim - 1))
                k = FIRST[s]
                assert torch.equal(call.av[s][noisy, :k], rows[noisy])
                assert (times[noisy, :k] == 0).all()
                assert (times[noisy, k:] > 0).all()
                if s == "audio":  # the anchor of silence is 0 throughout
                    assert (call.av[s][replaced] == 0).all()
        assert anchors


def test_samples_and_seeds_are_independent_of_the_beginning_of_others() -> None:
    """The known latents of one sample don't change the others."""
    begin, other = known(), known(seed=8)
    mixed = begin.map(lambda x, y: torch.cat((x[:2], y[2:])), other)
    one, two = (
        make(gaussian(), latents(), caption(), begin=b, guidance=SYNC, together=1000)
        for b in (begin, mixed)
    )
    torch.testing.assert_close(flat(one)[:2], flat(two)[:2], rtol=0, atol=1e-12)


def test_the_beginning_takes_the_place_of_a_reference_image() -> None:
    """Its mask is False there; later latents of it and other conditions stay."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    image, text = (Condition(torch.ones(2, 3, 4), mask) for _ in range(2))
    accepts = {"image": KNOWN_LATENTS, "voice": Port("audio", "clean_tokens")}
    conditions = {"image": image, "voice": text}
    left = without_covered(conditions, accepts, AV(video=torch.zeros(2, 2, 1, 1, 4)))
    assert left["image"].mask.tolist() == [[False, False, True]] * 2
    assert left["voice"] is text
    assert without_covered(conditions, accepts, AV(audio=torch.zeros(2, 2, 4))) == conditions
    assert mask.all()


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (AV(audio=torch.zeros(4, 1, 1)), "audio isn't generated"),
        (AV(video=torch.zeros(4, 3, 1, 1, 2)), "at most as many latents in time"),
        (AV(video=torch.zeros(4, 1, 1, 1, 3)), "needs the same shape"),
        (AV(video=torch.zeros(3, 1, 1, 1, 2)), "same number of samples"),
    ],
)
def test_a_beginning_that_does_not_fit_is_refused(begin: AV[Tensor], message: str) -> None:
    clip = latents()
    with pytest.raises(ValueError, match=message):
        make(gaussian(), clip.only(("video",)), given=clip.only(("audio",)), begin=begin)
