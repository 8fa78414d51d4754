"""Errors of the sampler name the part, the pass, the step and the remedy."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import SYNC, Constant, Estimate, caption, flat, gaussian, latents, make
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError, RunError
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import Pass, StepTimes, conditional
from harmony_parts.sample.sampler import Step
from harmony_parts.testing.gaussian_denoiser import Recorded


def test_the_faulty_pass_of_a_batch_is_named() -> None:
    def broken(call: int, velocity: AV[Tensor]) -> AV[Tensor]:
        if call == 2:
            # the last sample belongs to the second of the two passes
            velocity["video"][-1] = math.nan
        return velocity

    with pytest.raises(
        RunError, match=r"at step 2 of 4 .*, pass 'dropped' returned NaN or infinity for video"
    ):
        make(
            Recorded(gaussian(), after=broken), latents(), caption(), guidance=CFG(), together=10**6
        )


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("can't allocate memory: 9 GB"),
    ],
)
def test_out_of_memory_names_remedies(raised: Exception) -> None:
    def full(call: int, velocity: AV[Tensor]) -> AV[Tensor]:
        if call == 3:
            raise raised
        return velocity

    with pytest.raises(
        RunError,
        match=r"out of memory at step 3 of 4 .*video \[4, 2, 1, 1, 2\].*together=0.*fewer seconds",
    ):
        make(Recorded(gaussian(), after=full), latents(), caption(), guidance=CFG(), together=100)
    with pytest.raises(RuntimeError, match="another fault"):
        make(
            Recorded(
                gaussian(), after=lambda *_: (_ for _ in ()).throw(RuntimeError("another fault"))
            ),
            latents(),
        )


def test_an_exception_of_progress_cancels_the_run() -> None:
    """It propagates unchanged, and the next run isn't affected."""

    class Stop(Exception):
        pass

    def stop(step: Step) -> None:
        if step.done == 2:
            raise Stop

    model = Recorded(gaussian())
    with pytest.raises(Stop):
        make(model, latents(), guidance=SYNC, progress=stop)
    assert len(model.calls) == 6
    assert torch.equal(*(flat(make(m, latents(), guidance=SYNC)) for m in (model, gaussian())))


@attrs.frozen
class Requests:
    """A guidance that requests the given passes and returns the first prediction, or `result`."""

    requested: tuple[Pass, ...]
    result: Any = attrs.field(default=None, repr=False)

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        return [attrs.evolve(each, times=times) for each in self.requested]

    def combine(self, preds: Any, times: StepTimes, state: Any) -> Any:
        return (
            preds[self.requested[0].name].only(times.generated())
            if self.result is None
            else self.result
        ), state


NOW = StepTimes(1.0, 1.0)
OWN = conditional(NOW)


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ([], "requested no passes"),
        ([OWN, OWN], "'joint' twice"),
        ([OWN, Pass("a", NOW, needs=("b",))], "'a', which needs b; its passes are joint, a"),
        (
            [Pass("a", NOW, drop=("caption",), needs=("b",)), Pass("b", NOW, needs=("a",))],
            "need each other: ",
        ),
        ([OWN, Pass("a", NOW, hints=("blur",))], "hint blur; the denoiser supports skip"),
        (
            [OWN, Pass("a", NOW, replace={"audio": Constant("video")})],
            "an anchor for video, in place of audio",
        ),
        (
            [OWN, Pass("a", NOW, replace={"audio": Constant("audio")}, read=("audio",))],
            "reads audio; it predicts video",
        ),
        (
            [Pass("a", NOW, replace={"video": Estimate("video")}), OWN],
            "must run after the conditional pass",
        ),
        (
            [OWN, Pass("a", NOW, replace={"video": Estimate("video")})],
            "must run after the conditional pass",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_passes_that_cannot_run_are_named(requested: list[Pass], message: str) -> None:
    with pytest.raises(PartContractError, match=r"Requests|Estimate") as caught:
        make(gaussian(hints=("skip",)), latents(), caption(), guidance=Requests(tuple(requested)))
    assert message in str(caught.value)


def test_wrong_anchors_are_named() -> None:
    @attrs.frozen
    class Wrong(Constant):
        how: Any = attrs.field(default=None, repr=False)

        def latents(self, scene: Any) -> Tensor:
            return self.how(super().latents(scene))

    for kind, how, message in (
        (
            PartContractError,
            lambda x: x[:, :1],
            r"returned \{'audio': \[4, 1, 1\]\}; it should be \{'audio': \[4, 3, 1\]\}",
        ),
        (
            PartContractError,
            lambda x: AV(audio=x),
            "returned a AV; it should return the",
        ),
        (PartContractError, lambda x: None, "returned a NoneType; it should"),
        (PartContractError, lambda x: x[:1], r"returned \{'audio': \[1, 3, 1\]\}"),
        (RunError, lambda x: x + math.inf, "returned NaN or infinity for audio"),
    ):
        with pytest.raises(
            kind, match=r"Wrong\(stream='audio'.* at step 1 of 4 .*, pass 'mute' " + message
        ):
            make(gaussian(), latents(), guidance=attrs.evolve(SYNC, mute=Wrong("audio", how=how)))


def test_wrong_results_are_named() -> None:
    noise = latents()
    for result in (noise.only(("video",)), noise.map(lambda x: x[:1])):
        with pytest.raises(PartContractError, match=r"the guidance Requests.* at step 1 of 4"):
            make(gaussian(), noise, guidance=Requests((OWN,), result))
    with pytest.raises(
        RunError, match=r"the guidance Requests.* at step 1 of 4 .*NaN or infinity for video"
    ):
        make(gaussian(), noise, guidance=Requests((OWN,), noise.map(lambda x: x / 0)))
    model = Recorded(
        gaussian(),
        after=lambda call, velocity: (
            velocity.map(lambda v: v * math.nan) if call == 5 else velocity
        ),
    )
    with pytest.raises(
        RunError,
        match=(
            r"the denoiser Recorded at step 3 of 4 .*, pass 'joint' returned NaN or infinity for"
            r" video"
        ),
    ):
        make(model, noise, caption(), guidance=CFG())
    with pytest.raises(PartContractError, match=r"the denoiser Recorded at step 1 of 4"):
        make(Recorded(gaussian(), after=lambda _, velocity: velocity.only(("audio",))), noise)


@pytest.mark.parametrize("begin", [AV(), latents().map(lambda x: x[:, :1])], ids=["new", "goes on"])
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (lambda v: v * math.nan, RunError, "returned NaN or infinity for video"),
        (lambda v: v[:, :1], PartContractError, r"returned \{'video': \[4, 1, .*; it should be "),
        (lambda v: v[:1], PartContractError, r"returned \{'video': \[1, 2, .*; it should be "),
    ],
    ids=["NaN", "length", "batch"],
)
def test_the_denoiser_is_named_by_its_own_name(
    begin: AV[Tensor], fault: Any, error: type[Exception], message: str
) -> None:
    """With known first latents too, which something else puts around it."""
    model = Recorded(gaussian(), after=lambda _, velocity: velocity.map(fault))
    with pytest.raises(error, match=r"the denoiser Recorded at step 1 of 4 .*joint' " + message):
        make(model, latents(), begin=begin)


def test_solvers_that_evaluate_time_0_are_named() -> None:
    @attrs.frozen
    class Heun(Euler):
        def step(self, x, times, next_times, velocity, memory=None):
            moved, _ = Euler.step(self, x, times, next_times, velocity)
            velocity(moved, next_times)
            return moved, None

    with pytest.raises(
        PartContractError,
        match=r"Heun.* evaluated .* video at time 0.0 and audio at time 0.0 in step 4 of 4",
    ):
        make(gaussian(), latents(), solver=Heun())


def test_errors_name_the_time_of_each_stream() -> None:
    """One time if they are equal; that of the generated stream if the other is given."""
    pair = StreamShifts(ConstantShift(12.0), ConstantShift(3.0))

    def message(shift: Any, given: AV[Tensor] = AV()) -> str:
        after = lambda call, v: v.map(lambda v: v / 0) if call == 2 else v  # noqa: E731
        noise = latents().replace(**dict.fromkeys(given))
        with pytest.raises(RunError) as caught:
            make(Recorded(gaussian(), after), noise, given=given, shift=shift)
        return str(caught.value)

    assert "at step 2 of 4 (time 0.9), pass" in message(ConstantShift(3.0))
    assert "at step 2 of 4 (times video 0.973, audio 0.9), pass" in message(pair)
    assert "at step 2 of 4 (time 0.9), pass" in message(pair, latents().only(("video",)))


def test_inconsistent_arguments_are_refused() -> None:
    noise = latents()
    with pytest.raises(ValueError, match="nothing to generate"):
        make(gaussian(), AV(), given=noise)
    with pytest.raises(ValueError, match="audio is both"):
        make(gaussian(), noise, given=noise.only(("audio",)))
    with pytest.raises(ValueError, match="same number of samples"):
        make(gaussian(), noise.only(("video",)), given=latents(3).only(("audio",)))
    with pytest.raises(ValueError, match="steps"):
        make(gaussian(), noise, steps=0)
