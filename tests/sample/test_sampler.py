"""The sampler, on data whose flow is known: Gaussian data x ~ N(m, C) are reached from noise n as x
= m + C^(1/2) n.
"""

from __future__ import annotations

import math
import typing
from typing import Any

import attrs
import pytest
import torch
from helpers.toy_guidance import (
    AUDIO,
    SIZE,
    SYNC,
    VIDEO,
    Constant,
    Estimate,
    Same,
    caption,
    codecs,
    flat,
    gaussian,
    latents,
    make,
)
from torch import Tensor

from harmony_parts.av import AV, Condition, Times
from harmony_parts.denoisers.protocol import Port
from harmony_parts.errors import RunError
from harmony_parts.flow.adams_bashforth import AdamsBashforth
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.heun import Heun
from harmony_parts.flow.protocol import Solver
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Guidance,
    Pass,
    StepTimes,
    conditional,
)
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.sample.pass_graph import ask, order
from harmony_parts.sample.passes import Passes, check_finite
from harmony_parts.sample.sampler import Step
from harmony_parts.sample.timetable import timetable
from harmony_parts.testing.gaussian_denoiser import GaussianDenoiser, Recorded
from harmony_parts.testing.guidance_properties import same

V = math.prod(VIDEO)


def root(matrix: Tensor) -> Tensor:
    """The symmetric square root."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.sqrt() @ vectors.T


def test_the_velocity_is_that_of_the_data() -> None:
    """E[n - x | x_t], against the linear regression that defines it, on 400,000 sampled pairs (five
    standard errors are 0.02).
    """
    model, t = gaussian(), 0.6
    random = torch.Generator().manual_seed(0)
    data = model.mean + torch.randn(400_000, SIZE, dtype=torch.float64, generator=random) @ root(
        model.covariance
    )
    noise = torch.randn(400_000, SIZE, dtype=torch.float64, generator=random)
    seen = torch.cat(
        [(1 - t) * data + t * noise, torch.ones(400_000, 1, dtype=torch.float64)], dim=1
    )
    weights = torch.linalg.lstsq(seen, noise - data).solution
    x = latents(3)
    times = AV(
        *(
            Times.uniform(torch.full((3,), t, dtype=torch.float64), shape[0])
            for shape in (VIDEO, AUDIO)
        )
    )
    want = torch.cat([flat(x), torch.ones(3, 1, dtype=torch.float64)], dim=1) @ weights
    assert torch.allclose(flat(model(x, times, {})), want, atol=0.02)


def error(
    steps: int, model: GaussianDenoiser, noise: AV[Tensor], want: Tensor, **more: Any
) -> float:
    return float(
        (flat(make(model, noise, steps=steps, **more).only(tuple(noise))) - want).abs().max()
    )


def test_joint_generation_reaches_the_data() -> None:
    """x = m + C^(1/2) n, to first order in the step; a caption moves the mean."""
    model, noise, told = gaussian(), latents(), caption()
    want = model.mean + flat(noise) @ root(model.covariance)
    coarse, fine = error(100, model, noise, want), error(200, model, noise, want)
    assert fine < 0.05
    assert 1.8 < coarse / fine < 2.2
    assert error(200, model, noise, want + told["caption"].tokens[:, 0], conditions=told) < 0.05


@pytest.mark.parametrize("made", ["video", "audio"])
def test_driven_generation_reaches_what_the_given_stream_says(made: str) -> None:
    """x | y ~ N(m_x + C_xy C_yy^-1 (y - m_y), C_xx - C_xy C_yy^-1 C_yx)."""
    model, noise, given = gaussian(), latents(seed=3).only((made,)), latents(seed=4)
    given = given.replace(**{made: None})
    x, y = (slice(V), slice(V, None)) if made == "video" else (slice(V, None), slice(V))
    c, m = model.covariance, model.mean
    gain = c[x, y] @ torch.linalg.inv(c[y, y])
    want = m[x] + (flat(given) - m[y]) @ gain.T + flat(noise) @ root(c[x, x] - gain @ c[y, x])
    coarse, fine = (
        error(100, model, noise, want, given=given),
        error(200, model, noise, want, given=given),
    )
    assert fine < 0.05
    assert 1.8 < coarse / fine < 2.2


@pytest.mark.parametrize("alone", ["video", "audio"])
def test_one_stream_alone_reaches_its_marginal(alone: str) -> None:
    model, noise = gaussian(), latents().only((alone,))
    here = slice(V) if alone == "video" else slice(V, None)
    want = model.mean[here] + flat(noise) @ root(model.covariance[here, here])
    assert error(200, model, noise, want, guidance=SYNC) < 0.05
    assert tuple(make(model, noise)) == (alone,)


@pytest.mark.parametrize(
    "guidance", [NoGuidance(), CFG(), SYNC, Sum((CFG(), SYNC))], ids=lambda g: type(g).__name__
)
def test_given_streams_come_back_untouched(guidance: Guidance) -> None:
    given = latents(seed=5)
    for stream in ("video", "audio"):
        made = make(
            gaussian(),
            given.only((stream,)),
            caption(),
            given=given.replace(**{stream: None}),
            guidance=guidance,
        )
        other = {"video": "audio", "audio": "video"}[stream]
        assert torch.equal(made[other], latents(seed=5)[other])
        assert tuple(made) == ("video", "audio")


TASKS = {"joint": ("video", "audio"), "audio-driven": ("video",), "video-driven": ("audio",)}


@pytest.mark.parametrize(
    ("guidance", "passes"),
    [
        (NoGuidance(), (1, 1, 1)),
        (CFG(1, 1), (1, 1, 1)),
        (CFG(3, 1), (2, 2, 1)),
        (CFG(3, 2), (2, 2, 2)),
        (SYNC, (3, 2, 2)),
        (attrs.evolve(SYNC, audio=1), (2, 2, 1)),
        (Sum((CFG(3, 2), SYNC)), (4, 3, 3)),
        (Sum((CFG(3, 2), CFG(5, 5))), (2, 2, 2)),
        (Sum(()), (1, 1, 1)),
    ],
    ids=repr,
)
def test_passes_per_step(guidance: Guidance, passes: tuple[int, int, int]) -> None:
    """And nothing is read that isn't made: neither a given stream, nor one whose guidance is off,
    nor an anchor.
    """
    for (task, made), count in zip(TASKS.items(), passes, strict=True):
        model, both = Recorded(gaussian()), latents()
        make(
            model,
            both.only(made),
            caption(),
            given=both.only({"video", "audio"} - set(made)),
            guidance=guidance,
            steps=3,
        )
        assert len(model.calls) == 3 * count, task
        for call in model.calls:
            assert set(call.read) <= set(made)
            assert all(call.time(stream) > 0 for stream in call.read)


def test_what_sync_cfg_asks_for() -> None:
    """In a joint step: both at t; the video with a mute sound at time 0; the sound with a video at
    time 0, from this step's estimate.
    """
    inner = gaussian()
    model, noise = Recorded(inner), latents()
    make(model, noise, guidance=SYNC, steps=1)
    joint, mute, static = sorted(
        model.calls, key=lambda call: (call.time("video") == 0, call.time("audio") == 0)
    )
    assert [(c.time("video"), c.time("audio"), c.read) for c in (joint, mute, static)] == [
        (1.0, 1.0, ("video", "audio")),
        (1.0, 0.0, ("video",)),
        (0.0, 1.0, ("audio",)),
    ]
    assert torch.equal(mute.av["audio"], torch.zeros_like(noise["audio"]))
    assert torch.equal(mute.av["video"], noise["video"])
    velocity = inner(joint.av, joint.times, {})
    assert torch.equal(static.av["video"], noise["video"] - velocity["video"])
    assert torch.equal(static.av["audio"], noise["audio"])
    order = [id(call) for call in model.calls]
    assert order.index(id(joint)) < order.index(id(static))


def test_an_anchor_that_is_the_stream_changes_nothing() -> None:
    """In a driven task, a mute sound equal to the given sound makes both passes the same: any scale
    is the identity, bit for bit.
    """
    given = latents(seed=6)
    for made, other in (("video", "audio"), ("audio", "video")):
        sync = SyncCFG(7.5, 0.0, mute=Same("audio"), static=Same("video"))
        pair = [
            make(gaussian(), given.only((made,)), given=given.only((other,)), guidance=guidance)
            for guidance in (sync, NoGuidance())
        ]
        assert torch.equal(pair[0][made], pair[1][made])


def test_scale_zero_is_generation_for_the_anchor() -> None:
    """SyncCFG at 0 in an audio-driven task is audio-driven generation for a mute sound."""
    both = latents(seed=7)
    got = make(
        gaussian(),
        both.only(("video",)),
        given=both.only(("audio",)),
        guidance=attrs.evolve(SYNC, video=0),
    )
    want = make(gaussian(), both.only(("video",)), given=AV(audio=torch.zeros_like(both["audio"])))
    assert torch.equal(got["video"], want["video"])


def test_samples_do_not_mix() -> None:
    noise, told = latents(), caption()
    guidance = Sum((CFG(3, 2), SYNC))
    rows = torch.tensor([2, 0])
    some = make(
        gaussian(),
        noise.map(lambda x: x[rows]),
        {"caption": told["caption"].rows(rows)},
        guidance=guidance,
    )
    whole = make(gaussian(), noise, told, guidance=guidance)
    assert torch.allclose(flat(some), flat(whole)[rows], rtol=1e-10, atol=1e-10)


def test_the_same_again() -> None:
    guidance = Sum((CFG(3, 2), SYNC))
    assert torch.equal(
        *(flat(make(gaussian(), latents(), caption(), guidance=guidance)) for _ in range(2))
    )


def test_one_cache_for_each_set_of_dropped_conditions() -> None:
    model, told = Recorded(gaussian()), caption()
    make(model, latents(), told, guidance=Sum((CFG(3, 2), SYNC)), steps=3)
    caches = {id(call.cache): call.conditions["caption"] for call in model.calls}
    assert len(caches) == 2
    for call in model.calls:
        assert call.conditions["caption"] is caches[id(call.cache)]
    assert {id(condition) for condition in caches.values()} == {
        id(told["caption"]),
        id(told["caption"].null),
    }


def test_dropping_what_is_not_told_costs_nothing() -> None:
    model = Recorded(gaussian())
    plain = caption()["caption"]
    for conditions in ({}, {"caption": Condition(plain.tokens, plain.mask)}):
        make(model, latents(), conditions, guidance=CFG(5, 5), steps=2)
    assert len(model.calls) == 4


@attrs.frozen
class Midpoint:
    """Two velocities a step."""

    order = 2

    def step(self, x, t, t_next, velocity, memory=None):
        there, half = x, (t + t_next) / 2
        for at, until in ((t, half), (half, t_next)):
            v = velocity(there, at)
            there = x.replace(**{s: x[s] + (until - t) * v[s] for s in v})
        return there, memory


def test_state_advances_once_a_step() -> None:
    """Whatever the number of stages, every stage of step k is given the state after step k - 1."""
    seen: list[Any] = []

    @attrs.frozen
    class Remembering:
        def passes(self, times: StepTimes, state: Any) -> list[Pass]:
            return [conditional(times)]

        def combine(self, preds: Any, times: StepTimes, state: Any) -> Any:
            seen.append(state)
            return preds[CONDITIONAL], [*(state or []), times.video]

    # the state is that after a step's first stage, so of these times
    first, second = [1.0], [1.0, 0.75]
    for solver, want in (
        (Euler(), [None, first, second]),
        (Midpoint(), [None, None, first, first, second, second]),
    ):
        seen.clear()
        make(
            gaussian(),
            latents(),
            guidance=Remembering(),
            solver=solver,
            shift=ConstantShift(1.0),
            steps=4,
        )
        del seen[len(want) :]
        assert seen == want


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("solver", [Midpoint(), Heun(), AdamsBashforth()], ids=repr)
def test_solvers_of_second_order_converge_so(solver: Solver, shift: float) -> None:
    """Half the step leaves a quarter of the error, on even and on shifted times."""
    model, noise = gaussian(), latents()
    want = model.mean + flat(noise) @ root(model.covariance)
    errors = [
        error(steps, model, noise, want, solver=solver, shift=ConstantShift(shift))
        for steps in (80, 160)
    ]
    assert errors[1] < 1e-2
    assert errors[0] / errors[1] > 3.5


@pytest.mark.parametrize(
    "guidance", [CFG(), SYNC, Window(CFG(), 0, 1)], ids=lambda g: type(g).__name__
)
def test_solvers_agree_on_guided_velocities(guidance: Guidance) -> None:
    """With many steps all reach the same; those of second order agree with each other far sooner
    than with Euler.
    """
    told, noise = caption(), latents()
    heun, adams, euler = (
        flat(make(gaussian(), noise, told, guidance=guidance, solver=solver, steps=80))
        for solver in (Heun(), AdamsBashforth(), Euler())
    )
    assert (heun - adams).abs().max() < (heun - euler).abs().max() / 5


@pytest.mark.parametrize(
    "guidance",
    [Sum((CFG(3, 2), SYNC)), SYNC, Sum((CFG(3, 2), Modality(), SkipLayer(layer=1)))],
    ids=repr,
)
@pytest.mark.parametrize("made", TASKS.values(), ids=TASKS)
def test_together_is_as_apart(guidance: Guidance, made: tuple[str, ...]) -> None:
    """Passes in one call of the denoiser give what each alone gives, to the rounding of sums in
    another order.
    """
    both = latents(3)
    given, noise, told = both.only({"video", "audio"} - set(made)), both.only(made), caption(3)
    calls, results = [], []
    for together in (0, 10**6):
        model = Recorded(gaussian(hints=("isolate", "skip-1")))
        results.append(
            flat(make(model, noise, told, given=given, guidance=guidance, together=together))
        )
        calls.append(len(model.calls))
        assert all(set(call.read) <= set(made) for call in model.calls)
    assert torch.allclose(*results, rtol=1e-10, atol=1e-10)
    assert calls[1] < calls[0] or guidance == SYNC


@attrs.frozen
class Many:
    """Passes of one and of both streams, with and without a hint, that read this or that, in no
    order.
    """

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        alone = StepTimes(times.video)
        return [
            conditional(times),
            Pass("apart", times, hints=("isolate",), read=("video",)),
            Pass("untold", times, drop=("caption",)),
            Pass("alone", alone, read=("video",)),
            Pass("apart, untold", times, drop=("caption",), hints=("isolate",), read=("audio",)),
            Pass("alone, untold", alone, drop=("caption",), read=("video",)),
        ]

    def combine(self, preds: Any, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        names = [each.name for each in self.passes(times, state)]
        return (
            AV(
                **{
                    s: (
                        sum(
                            k * preds[name][s]
                            for k, name in enumerate(names, 1)
                            if s in preds[name]
                        )
                        / 21
                    )
                    for s in times.generated()
                }
            ),
            state,
        )


def test_passes_go_together_that_are_alike() -> None:
    """Of the same streams and hints; each sees its own streams, and gives what it gives alone."""
    calls, results = [], []
    for together in (0, 10**6):
        model = Recorded(gaussian(hints=("isolate",)))
        results.append(
            flat(make(model, latents(3), caption(3), guidance=Many(), together=together))
        )
        step = model.calls[: 6 if together == 0 else 3]
        calls.append(
            sorted(
                (tuple(call.hints), tuple(call.av), call.read, len(call.av["video"]))
                for call in step
            )
        )
    both, video, apart = ("video", "audio"), ("video",), ("isolate",)
    assert calls[0] == sorted(
        [((), both, both, 3)] * 2
        + [(apart, both, video, 3), (apart, both, ("audio",), 3)]
        + [((), video, video, 3)] * 2
    )
    assert calls[1] == sorted([((), both, both, 6), (apart, both, both, 6), ((), video, video, 6)])
    assert torch.allclose(*results, rtol=1e-10, atol=1e-10)


def test_the_estimate_is_made_for_those_who_read_it() -> None:
    made: list[float] = []

    class Counted(StraightPath):
        def data(self, x: Tensor, velocity: Tensor, t: Tensor | float) -> Tensor:
            made.append(float(t))
            return super().data(x, velocity, t)

    for guidance, times in ((CFG(), []), (attrs.evolve(SYNC, audio=1), []), (SYNC, [1.0, 1.0])):
        made.clear()
        make(gaussian(), latents(), caption(), guidance=guidance, path=Counted(), steps=1)
        assert made == times


def test_the_estimate_is_the_path_s_at_each_stream_s_own_time() -> None:
    """x - t v in the precision of the latents, though the model answers in another."""
    model = Recorded(gaussian(), after=lambda _, velocity: velocity.map(lambda v: v.bfloat16()))
    passes, times, x = (
        Passes(model, {}, AV(), StraightPath(), together=0),
        StepTimes(0.7, 0.3),
        latents(),
    )
    sync = SyncCFG(3, 2, mute=Estimate("audio"), static=Estimate("video"))
    answers = passes.predict(
        order(ask(sync, times, None, hints=(), droppable=()), sync), x, times, "here"
    )
    own, mute, static = model.calls
    assert torch.equal(mute.av["audio"], x["audio"] - 0.3 * answers[CONDITIONAL]["audio"].double())
    assert torch.equal(
        static.av["video"], x["video"] - 0.7 * answers[CONDITIONAL]["video"].double()
    )
    assert [own.time("video"), own.time("audio")] == [0.7, 0.3]  # in their precision, too


def test_a_denoiser_may_answer_more_than_is_read() -> None:
    """And what wasn't asked for isn't looked at."""

    class Generous(Recorded):
        def __call__(
            self, av: AV[Tensor], times: AV[Times], conditions: Any, *, read: Any = (), **more: Any
        ) -> AV[Tensor]:
            velocity = super().__call__(av, times, conditions, **more)
            return velocity.replace(
                **{s: velocity[s] * math.nan for s in velocity if s not in read}
            )

    given = latents(seed=8).only(("audio",))
    for guidance in (CFG(3, 1), SYNC):
        for more in ({"noise": latents()}, {"noise": latents().only(("video",)), "given": given}):
            made = [
                flat(make(model, conditions=caption(), guidance=guidance, **more))
                for model in (Generous(gaussian()), gaussian())
            ]
            assert torch.equal(*made)


def test_anchors_go_in_in_the_latents_precision() -> None:
    @attrs.frozen
    class Narrow(Constant):
        def latents(self, scene: Any) -> Tensor:
            return super().latents(scene).float()

    model = Recorded(gaussian())
    make(model, latents(), guidance=attrs.evolve(SYNC, mute=Narrow("audio", 0.1)), steps=1)
    assert {call.av[s].dtype for call in model.calls for s in call.av} == {torch.float64}


@pytest.mark.parametrize(
    ("together", "sizes"),
    [(0, [3, 3, 3, 3]), (29, [3, 3, 3, 3]), (30, [6, 3, 3]), (45, [9, 3]), (10**6, [9, 3])],
)
def test_no_more_than_so_many_latents_together(together: int, sizes: list[int]) -> None:
    """3 samples of 2 + 3 latents; the static video waits for the task's own pass, the other three
    passes don't wait.
    """
    model = Recorded(gaussian())
    make(model, latents(3), caption(3), guidance=Sum((CFG(3, 2), SYNC)), steps=1, together=together)
    assert [len(call.av["video"]) for call in model.calls] == sizes


def test_a_batch_of_passes_has_one_cache() -> None:
    model = Recorded(gaussian())
    make(model, latents(), caption(), guidance=CFG(), steps=3, together=10**6)
    assert (
        len({id(call.cache) for call in model.calls})
        == len({id(call.conditions["caption"]) for call in model.calls})
        == 1
    )


def test_a_reference_image_is_repeated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A static video made of it is encoded once a run, and one made of the estimate once a step."""
    video, audio = codecs()["video"], codecs()["audio"]
    encoded: list[int] = []
    encode = type(video).encode
    monkeypatch.setattr(
        type(video),
        "encode",
        lambda codec, frames: encoded.append(len(frames)) or encode(codec, frames),
    )
    shape = (2, *video.grid, video.channels)
    size = math.prod(shape) + 4 * audio.channels
    model = GaussianDenoiser(shape, (4, audio.channels), torch.zeros(size), torch.eye(size) + 0.5)
    noise = AV(torch.randn(1, *shape), torch.randn(1, 4, audio.channels))
    picture, mask = (
        torch.zeros(1, 1, *video.grid, video.channels),
        torch.ones(1, 1, dtype=torch.bool),
    )
    for told, times in (
        ({"image": Condition(picture, mask)}, 1),
        ({"image": Condition(picture, ~mask)}, 3),
        ({}, 3),
    ):
        encoded.clear()
        make(model, noise, told, codecs=AV(video, audio), guidance=SyncCFG(1, 2), steps=3)
        assert len(encoded) == times


def test_fixed_anchors_are_made_once() -> None:
    made: list[str] = []

    @attrs.frozen
    class Counted(Constant):
        def latents(self, scene: Any) -> Tensor:
            made.append(self.stream)
            return torch.zeros_like(scene.latents[self.stream])

    def guidance(*drop: str) -> SyncCFG:
        return SyncCFG(
            3, 2, mute=Counted("audio"), static=Counted("video", from_estimate=True), drop=drop
        )

    make(gaussian(), latents(), caption(), guidance=Sum((guidance(), guidance("caption"))), steps=3)
    assert sorted(made) == ["audio", "video", "video", "video"]


def test_an_anchor_remembers_for_itself() -> None:
    """Equal anchors share a memory over the whole run, others don't."""
    made: list[float] = []

    @attrs.frozen
    class Remembers(Constant):
        def latents(self, scene: Any) -> Tensor:
            if "once" not in scene.memory:
                made.append(self.value)
                scene.memory["once"] = torch.full_like(scene.latents[self.stream], self.value)
            return scene.memory["once"]

    model = Recorded(gaussian())
    terms = [
        SyncCFG(1, 2, static=Remembers("video", value, True), drop=drop)
        for value in (2.0, 3.0)
        for drop in ((), ("caption",))
    ]
    make(model, latents(), caption(), guidance=Sum(terms), steps=2)  # type: ignore[arg-type]
    assert sorted(made) == [2.0, 3.0]
    assert (
        sorted(float(call.av["video"].mean()) for call in model.calls if call.time("video") == 0)
        == [2.0] * 4 + [3.0] * 4
    )


def test_progress_sees_every_step() -> None:
    seen: list[Step] = []
    result = make(gaussian(), latents(), steps=3, progress=seen.append)
    assert [(step.done, step.steps) for step in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1].latents is result
    assert seen[-1].estimate is result


@pytest.mark.parametrize("solver", [Euler(), Heun(), AdamsBashforth()])
def test_a_step_tells_what_it_leads_to(solver: Solver) -> None:
    """E[x | x_t] at the step's beginning, m + (1 - t) C ((1 - t)^2 C + t^2)^-1 (x_t - (1 - t) m)
    for data N(m, C); given streams as they are.
    """
    model, noise, seen = gaussian(), latents(), list[Step]()
    shift = ConstantShift(shift=3.0)
    make(model, noise, steps=4, solver=solver, shift=shift, progress=seen.append)
    for x, t, step in zip(
        [noise, *(step.latents for step in seen)], timetable(4, shift), seen[:-1], strict=False
    ):
        c, m, eye = model.covariance, model.mean, torch.eye(SIZE, dtype=torch.float64)
        gain = (1 - t) * c @ torch.linalg.inv((1 - t) ** 2 * c + t**2 * eye)
        assert torch.allclose(flat(step.estimate), m + (flat(x) - (1 - t) * m) @ gain.T, atol=1e-10)
    given = noise.only(("audio",))
    make(model, noise.only(("video",)), given=given, steps=2, solver=solver, progress=seen.append)
    assert seen[-2].estimate.audio is given.audio


def test_the_precision_is_that_of_the_noise() -> None:
    """A model that answers in bfloat16 is guided and integrated in float32, without a gradient."""
    model = Recorded(gaussian(), after=lambda _, velocity: velocity.map(lambda v: v.bfloat16()))
    made = make(
        model, latents().map(lambda x: x.float().requires_grad_()), caption(), guidance=CFG(3, 3)
    )
    for stream in made:
        assert made[stream].dtype == torch.float32
        assert not made[stream].requires_grad


def test_narrow_latents_are_guided_in_float32() -> None:
    """Of bfloat16 latents: guidance computes in float32, the solver gets their type, and times are
    float32 all along.
    """
    wide, narrow = {torch.float32}, {torch.bfloat16}

    @attrs.frozen
    class Looks(CFG):
        def combine(self, preds: Any, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
            assert {v[s].dtype for v in preds.values() for s in v} == wide
            assert same(preds[LATENTS].map(lambda x: x.bfloat16()), noise)
            return CFG.combine(self, preds, times, state)

    @attrs.frozen
    class Watches(Euler):
        def step(
            self, x: AV[Tensor], t: float, t_next: float, velocity: Any, memory: Any = None
        ) -> tuple[AV[Tensor], Any]:
            v = velocity(x, t)
            assert {v[s].dtype for s in v} == narrow
            return Euler.step(self, x, t, t_next, lambda *_: v, memory)

    model, noise = Recorded(gaussian()), latents().map(lambda x: x.bfloat16())
    made = make(model, noise, caption(), guidance=Looks(3, 3), solver=Watches(), steps=1)
    assert {made[s].dtype for s in made} == narrow
    assert {call.times[s].values.dtype for call in model.calls for s in call.times} == wide


def test_great_numbers_are_finite() -> None:
    """Whose sum isn't."""
    check_finite(AV(torch.full((4,), 3e38)), lambda: "nobody")
    for wrong in (math.inf, -math.inf, math.nan):
        with pytest.raises(RunError, match="somebody returned NaN or infinity for audio"):
            check_finite(AV(torch.zeros(2), torch.tensor([3e38, 3e38, wrong])), lambda: "somebody")


def test_with_the_real_anchors() -> None:
    """SyncCFG's own mute sound and static video, from the real codecs, in all three tasks."""
    both = codecs()
    random = torch.Generator().manual_seed(0)
    noise = AV(
        torch.randn(2, 2, *both["video"].grid, both["video"].channels, generator=random),
        torch.randn(2, 4, both["audio"].channels, generator=random),
    )
    shapes = noise.map(lambda x: tuple(x.shape[1:]))
    size = sum(math.prod(shapes[s]) for s in shapes)
    model = Recorded(
        GaussianDenoiser(shapes["video"], shapes["audio"], torch.zeros(size), torch.eye(size) + 0.5)
    )
    silence = both["audio"].encode(torch.zeros(1, both["audio"].samples(4))).expand(2, -1, -1)
    for made in TASKS.values():
        model.calls.clear()
        given = noise.only({"video", "audio"} - set(made))
        result = make(
            model, noise.only(made), given=given, codecs=both, guidance=SyncCFG(), steps=1
        )
        assert tuple(result) == ("video", "audio")
        mute = [call for call in model.calls if torch.equal(call.av["audio"], silence)]
        frames = [both["video"].decode(call.av["video"]).int() for call in model.calls]
        static = [each for each in frames if (each - each[:, :1]).abs().max() <= 1]
        assert (len(mute), len(static)) == ("video" in made, "audio" in made)


class Pictured:
    """A denoiser whose first video latent is known where the condition "image" says so; elsewhere
    it goes to 0, as does all else.
    """

    accepts: typing.ClassVar = {
        "image": Port("video", "clean_tokens"),
        "voice": Port("audio", "clean_tokens"),
    }
    hints: frozenset[str] = frozenset()
    blocks = ()

    def __init__(self) -> None:
        self.dropped: list[tuple[bool, bool]] = []

    def __call__(
        self, av: AV[Tensor], times: AV[Times], conditions: Any, *, read: Any = (), **_: Any
    ) -> AV[Tensor]:
        self.dropped.append(tuple(not conditions[name].mask.any() for name in self.accepts))  # type: ignore[arg-type]
        image, data = conditions["image"], av.map(torch.zeros_like)
        if av.video is not None:
            data["video"][:, :1] = torch.where(
                image.mask[:, :, None, None, None], image.tokens, data["video"][:, :1]
            )

        def velocity(x: Tensor, x_0: Tensor, t: Times) -> Tensor:
            t = t.per_latent().view(*x.shape[:2], *(1,) * (x.ndim - 2))  # type: ignore[assignment]
            return torch.where(t > 0, (x - x_0) / torch.where(t > 0, t, 1), 0)  # type: ignore[call-overload, operator]

        return av.map(velocity, data, times).only(read)


@pytest.mark.parametrize(
    "guidance",
    [CFG(4, 3, drop=("caption", "image", "voice")), attrs.evolve(SYNC, drop=("image", "voice"))],
    ids=repr,
)
def test_a_known_latent_leads_to_itself_whatever_guidance_drops(guidance: Guidance) -> None:
    """The given picture stays in every pass; a voice, which says no latent of the result, can be
    dropped.
    """
    noise = latents()
    picture, voice = (
        torch.full((4, 1, *VIDEO[1:]), 0.3, dtype=torch.float64),
        torch.zeros(4, 1, AUDIO[1], dtype=torch.float64),
    )
    off = torch.zeros(4, 1, dtype=torch.bool)
    told = {
        name: Condition(tokens, ~off, Condition(tokens * 0, off))
        for name, tokens in (("image", picture), ("voice", voice))
    }
    model = Pictured()
    made = make(model, noise, told, guidance=guidance)
    assert torch.allclose(made["video"][:, :1], picture, atol=1e-12)
    assert {image for image, _ in model.dropped} == {False}
    assert {voice for _, voice in model.dropped} == {False, True}
