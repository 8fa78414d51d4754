"""The dual-branch denoiser: what it promises to loops, and what an interaction may and may not
do.
"""

from __future__ import annotations

import attrs
import pytest
import torch
from torch import Tensor

from harmony_parts.av import AV, STREAMS, Condition, Format, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.denoisers.protocol import Port
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.testing.stand_ins import StubEncoder

FORMAT = Format(fps="8", height=16, width=16, sample_rate=8000, seconds=1)
CODECS: AV[VideoCodec | AudioCodec] = AV(
    DCTVideo(block=8, frames_per_latent=1, keep=12).build(format=FORMAT),
    LogMel(latents_per_second=20, hops_per_latent=1, bands=8).build(format=FORMAT),
)
WIDTHS = {"caption": 6, "speech": 5, "sound": 6, "image": 12, "voice": 8}
INTERACTIONS = {"gldi": GLDI(), "global": Global(), "none": NoInteraction()}
B, TV, TA, L = 3, 8, 20, 4


def awake(module: torch.nn.Module) -> torch.nn.Module:
    """Give every weight that starts at zero a value, so that all paths carry something."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=g) * 0.1)
    return module


def build(
    interaction: str = "gldi",
    audio: object = None,
    seed: int = 0,
    fresh: bool = False,
    **settings: object,
) -> BranchDenoiser:
    spec = DualBranch(
        layers=2,
        video=VideoTransformer(width=24, heads=2, feed=32, patch=1),
        audio=audio or MMDiT(width=16, heads=2, feed=32),
        interaction=INTERACTIONS[interaction],
        **settings,
    )
    torch.manual_seed(seed)
    denoiser = spec.build(
        codecs=CODECS,
        encoders={
            "all": StubEncoder(
                **(WIDTHS if audio is None else {"caption": 6, "sound": 6, "image": 12})
            )
        },
    )
    return (denoiser if fresh else awake(denoiser)).double()


def inputs(seed: int = 0) -> tuple[AV[Tensor], dict[str, Condition]]:
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def mask(n: int, lengths: tuple[int, ...]) -> Tensor:
        return torch.arange(n) < torch.tensor(lengths)[:, None]

    conditions = {
        name: Condition(noise(B, L, WIDTHS[name]), mask(L, (4, 2, 1)))
        for name in ("caption", "speech", "sound")
    }
    conditions["voice"] = Condition(noise(B, 5, 8), mask(5, (5, 3, 0)))
    conditions["image"] = Condition(noise(B, 1, 2, 2, 12), mask(1, (1, 0, 1)))
    return AV(noise(B, TV, 2, 2, 12), noise(B, TA, 8)), conditions


def at(video: float | tuple[float, ...], audio: float | tuple[float, ...]) -> AV[Times]:
    def times(t: float | tuple[float, ...], n: int) -> Times:
        return Times.uniform(
            torch.tensor(t if isinstance(t, tuple) else (t,) * B, dtype=torch.float64), n
        )

    return AV(times(video, TV), times(audio, TA))


def pick(rows: Tensor, av: AV[Tensor], times: AV[Times], conditions: dict[str, Condition]) -> tuple:
    """The same question for some of the samples."""
    chosen = {name: condition.rows(rows) for name, condition in conditions.items()}
    return (
        av.map(lambda x: x[rows]),
        times.map(lambda t: Times(t.values[rows], t.index[rows])),
        chosen,
    )


def same(a: AV[Tensor], b: AV[Tensor]) -> None:
    """Equal up to the order of float64 sums."""
    assert tuple(a) == tuple(b)
    for s in a:
        torch.testing.assert_close(a[s], b[s], rtol=1e-10, atol=1e-10)


def test_shapes_and_every_weight_counts() -> None:
    denoiser = build()
    av, conditions = inputs()
    out = denoiser(av, at(0.7, 0.7), conditions)
    assert out.video.shape == av.video.shape
    assert out.audio.shape == av.audio.shape
    (out.video.square().sum() + out.audio.square().sum()).backward()
    idle = {name for name, p in denoiser.named_parameters() if p.grad is None or not p.grad.any()}
    # the last layer's reference and words are read by nobody, and its style with them
    assert {name for name in idle if not name.startswith("blocks.1.interaction.style")} == set()


@pytest.mark.parametrize("interaction", ["gldi", "global"])
def test_an_interaction_starts_at_nothing(interaction: str) -> None:
    av, conditions = inputs()
    alone, together = build("none", fresh=True), build(interaction, fresh=True)
    together.load_state_dict(alone.state_dict(), strict=False)
    for denoiser in (alone, together):
        for s in STREAMS:
            torch.nn.init.ones_(denoiser.branches[s].head.out.weight)
    a, b = alone(av, at(0.7, 0.7), conditions), together(av, at(0.7, 0.7), conditions)
    assert torch.equal(a.video, b.video)
    assert torch.equal(a.audio, b.audio)


@pytest.mark.parametrize("interaction", ["gldi", "global"])
def test_streams_hear_each_other_unless_isolated(interaction: str) -> None:
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
        one = denoiser(*pick(torch.tensor([row]), av, times, conditions))
        same(one, whole.map(lambda x, row=row: x[row : row + 1]))


def test_padding_says_nothing() -> None:
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
    same(denoiser(av, at(0.7, 0.7), conditions), denoiser(av, at(0.7, 0.7), longer))


@pytest.mark.parametrize("interaction", ["gldi", "global"])
@pytest.mark.parametrize("clean", STREAMS)
def test_one_way_cuts_every_path_into_the_clean_stream(interaction: str, clean: str) -> None:
    denoiser = build(interaction, driven_interaction="one_way")
    av, conditions = inputs()
    times = at(0.0, 0.6) if clean == "video" else at(0.6, 0.0)
    noisy = "audio" if clean == "video" else "video"
    other = av.replace(**{noisy: av[noisy].flip(1)})
    # the clean stream's states don't depend on the noisy one: neither do its outputs, to the last
    # bit
    assert torch.equal(
        denoiser(av, times, conditions)[clean], denoiser(other, times, conditions)[clean]
    )
    two_way = build(interaction)
    assert not torch.equal(
        two_way(av, times, conditions)[clean], two_way(other, times, conditions)[clean]
    )
    # and where both are noisy, one-way is two-way
    same(denoiser(av, at(0.6, 0.6), conditions), two_way(av, at(0.6, 0.6), conditions))


@pytest.mark.parametrize("interaction", ["gldi", "global", "none"])
@pytest.mark.parametrize("clean", STREAMS)
def test_a_clean_stream_of_one_way_interaction_is_computed_once(
    interaction: str, clean: str
) -> None:
    """With a cache, and while its latents are the same object; what is predicted doesn't change by
    it, to the last bit.
    """
    denoiser = build(interaction, driven_interaction="one_way")
    av, conditions = inputs()
    noisy = "audio" if clean == "video" else "video"
    ran: list[str] = []
    for block in denoiser.blocks:
        for s in STREAMS:
            attend = getattr(block, s).apply_self_attention
            getattr(block, s).apply_self_attention = lambda tokens, s=s, attend=attend: (
                ran.append(s),
                attend(tokens),
            )[1]
    cache: dict = {}
    with torch.no_grad():
        for step, t in enumerate((0.9, 0.6, 0.3)):
            now = av.replace(**{noisy: av[noisy] * t})
            times = at(0.0, t) if clean == "video" else at(t, 0.0)
            wanted = denoiser(now, times, conditions, read=(noisy,))
            ran.clear()
            got = denoiser(now, times, conditions, read=(noisy,), cache=cache)
            assert ran.count(clean) == (0 if step else len(denoiser.blocks))
            assert torch.equal(got[noisy], wanted[noisy])
        # another clean stream isn't taken for the first
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
    # what stood in its place isn't seen
    covered = av.replace(
        video=torch.cat(
            (torch.where(known[:, None, None, None, None], 5.0, av.video[:, :1]), av.video[:, 1:]),
            1,
        )
    )
    assert torch.equal(denoiser(covered, at(t, t), conditions).video[:, 1:], out.video[:, 1:])
    # and a clean video has nowhere to go
    assert (denoiser(av, at(0.0, t), conditions).video[known, :1] == 0).all()


@pytest.mark.parametrize("interaction", sorted(INTERACTIONS))
@pytest.mark.parametrize("stream", STREAMS)
def test_reading_one_stream_is_reading_both(interaction: str, stream: str) -> None:
    denoiser = build(interaction)
    av, conditions = inputs()
    both = denoiser(av, at(0.7, 0.7), conditions)
    one = denoiser(av, at(0.7, 0.7), conditions, read=(stream,))
    assert tuple(one) == (stream,)
    assert torch.equal(one[stream], both[stream])


def test_the_cache_changes_nothing() -> None:
    denoiser = build()
    av, conditions = inputs()
    cache: dict[str, object] = {}
    for t in (0.9, 0.4):
        same(denoiser(av, at(t, t), conditions, cache=cache), denoiser(av, at(t, t), conditions))
    assert cache


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_may_be_absent(stream: str) -> None:
    denoiser = build()
    av, conditions = inputs()
    times = at(0.7, 0.7)
    alone = denoiser(av.only((stream,)), times.only((stream,)), conditions)
    assert torch.equal(alone[stream], denoiser(av, times, conditions, hints={"isolate"})[stream])


def test_local_interaction_reaches_no_further_than_its_windows_per_layer() -> None:
    """With one layer, an audio latent can only change the video latents whose windows hold it:
    self-attention comes before.
    """
    spec = DualBranch(
        layers=1,
        video=VideoTransformer(24, 2, 32, 1),
        audio=MMDiT(16, 2, 32),
        interaction=GLDI(audio_window=0.0, video_window=0.0),
    )
    torch.manual_seed(0)
    denoiser = awake(spec.build(codecs=CODECS, encoders={"all": StubEncoder(**WIDTHS)})).double()
    layer = denoiser.blocks[0].interaction
    av, _ = inputs()
    tables = denoiser._interaction_tables(av)
    mask = tables.video.windows.mask(TA)
    video, audio = (
        torch.randn(1, TV, 4, 24, dtype=torch.float64),
        torch.randn(1, TA, 1, 16, dtype=torch.float64),
    )
    before = layer.to_video(video, audio, tables.video)
    for j in range(TA):
        changed = audio.clone()
        changed[:, j] += 1
        after = layer.to_video(video, changed, tables.video)
        moved = (after != before).flatten(2).any(2)[0]
        assert torch.equal(moved, mask[:, j])


def test_per_latent_times_match_uniform_ones() -> None:
    denoiser = build()
    av, conditions = inputs()
    times = at(0.7, 0.7)
    spread = times.map(
        lambda t: Times(torch.cat((t.values * 0, t.values), 1), torch.ones_like(t.index))
    )
    same(denoiser(av, times, conditions), denoiser(av, spread, conditions))
    part = times.replace(video=times.video.clean_where(torch.arange(TV).expand(B, -1) < 2))
    assert not torch.allclose(
        denoiser(av, part, conditions).video, denoiser(av, times, conditions).video
    )


@pytest.mark.parametrize("interaction", sorted(INTERACTIONS))
def test_the_cross_branch_serves_every_interaction(interaction: str) -> None:
    denoiser = build(interaction, audio=CrossAudio(width=16, heads=2, feed=32))
    av, conditions = inputs()
    out = denoiser(av, at(0.7, 0.7), conditions)
    assert all(torch.isfinite(out[s]).all() for s in STREAMS)


def test_a_condition_without_a_port_is_named() -> None:
    with pytest.raises(AssemblyError, match=r"captoin.*'caption'"):
        DualBranch(layers=1, video=VideoTransformer(24, 2, 32, 1), audio=MMDiT(16, 2, 32)).build(
            codecs=CODECS, encoders={"x": StubEncoder(captoin=4)}
        )


def test_a_third_party_condition_enters_by_a_port() -> None:
    spec = DualBranch(
        layers=1,
        video=VideoTransformer(24, 2, 32, 1),
        audio=MMDiT(16, 2, 32),
        ports={"pose": Port("video", "context"), "mood": Port("audio", "add")},
    )
    denoiser = awake(
        spec.build(codecs=CODECS, encoders={"x": StubEncoder(pose=4, mood=3)})
    ).double()
    av, _ = inputs()
    g = torch.Generator().manual_seed(0)

    def said(width: int) -> Condition:
        return Condition(
            torch.randn(B, 2, width, generator=g, dtype=torch.float64),
            torch.ones(B, 2, dtype=torch.bool),
        )

    conditions = {"pose": said(4), "mood": said(3)}
    out = denoiser(av, at(0.7, 0.7), conditions, hints={"isolate"})
    other = denoiser(av, at(0.7, 0.7), conditions | {"mood": said(3)}, hints={"isolate"})
    assert torch.equal(out.video, other.video)
    assert not torch.allclose(out.audio, other.audio)


def test_cross_has_no_place_for_a_reference() -> None:
    with pytest.raises(AssemblyError, match="voice"):
        DualBranch(
            layers=1, video=VideoTransformer(24, 2, 32, 1), audio=CrossAudio(16, 2, 32)
        ).build(codecs=CODECS, encoders={"x": StubEncoder(voice=8)})


def test_bad_calls_say_what_is_missing() -> None:
    denoiser = build()
    av, conditions = inputs()
    with pytest.raises(PartContractError, match="voice"):
        denoiser(av, at(0.5, 0.5), {name: c for name, c in conditions.items() if name != "voice"})
    with pytest.raises(PartContractError, match=r"skip.*isolate"):
        denoiser(av, at(0.5, 0.5), conditions, hints={"skip"})
    with pytest.raises(ValueError, match="even width"):
        attrs.evolve(MMDiT(16, 2, 32), heads=3)


@pytest.mark.parametrize(
    ("ports", "fault"),
    [
        (
            {"caption": Port("audio", "clean_tokens")},
            "caption and voice would both be the clean tokens of the audio stream",
        ),
        (
            {"caption": Port("audio", "clean_tokens"), "voice": Port("audio", "context")},
            "8 channels; this condition has 6",
        ),
        ({"voice": Port("video", "clean_tokens")}, "image and voice would both"),
    ],
)
def test_clean_tokens_that_cannot_be_are_refused(ports: dict[str, Port], fault: str) -> None:
    spec = DualBranch(
        layers=1, video=VideoTransformer(24, 2, 32, 1), audio=MMDiT(16, 2, 32), ports=ports
    )
    with pytest.raises(AssemblyError, match=fault):
        spec.build(codecs=CODECS, encoders={"x": StubEncoder(caption=6, image=12, voice=8)})


@pytest.mark.parametrize("how", ["context", "add"])
def test_latents_may_be_told_as_words(how: str) -> None:
    spec = DualBranch(
        layers=1,
        video=VideoTransformer(24, 2, 32, 1),
        audio=MMDiT(16, 2, 32),
        interaction=NoInteraction(),
        ports={"image": Port("audio", how)},
    )
    denoiser = awake(spec.build(codecs=CODECS, encoders={"x": StubEncoder(image=12)})).double()
    av, conditions = inputs()
    other = Condition(conditions["image"].tokens + 1, conditions["image"].mask)
    one, two = (
        denoiser(av, at(0.7, 0.7), {"image": c}).audio for c in (conditions["image"], other)
    )
    masked = ~conditions["image"].mask[:, 0]
    assert torch.equal(one[masked], two[masked])
    assert not torch.allclose(one[~masked], two[~masked])


def test_a_grid_that_does_not_split_into_patches_is_refused() -> None:
    with pytest.raises(ValueError, match="2 x 2 don't split into patches of 3 x 3"):
        DualBranch(
            layers=1, video=VideoTransformer(24, 2, 32, patch=3), audio=MMDiT(16, 2, 32)
        ).build(codecs=CODECS, encoders={})
