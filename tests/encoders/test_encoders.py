"""Encoders: the contract, the null forms, and what each must not depend on."""

from __future__ import annotations

import warnings
from fractions import Fraction

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harmony_parts.av import AV, Format, Prompt, drop
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.encoders import text_ids
from harmony_parts.encoders.byte_text import ByteText
from harmony_parts.encoders.reference_audio import ReferenceAudio
from harmony_parts.encoders.reference_image import ReferenceImage
from harmony_parts.encoders.text_ids import FILLER, ids_of, positions
from harmony_parts.encoders.transcript import GRN, Transcript
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.testing.contracts.encoders import TOLERANCE, check_encoder, example_prompts

FORMAT = Format(fps=Fraction(12), height=16, width=24, sample_rate=8000, seconds=1.0)
CODECS = AV(DCTVideo().build(format=FORMAT), LogMel().build(format=FORMAT))
TEXTS = (
    ByteText(width=16, heads=2, length=40),
    ByteText(field="sound", width=16, layers=2, heads=2),
    Transcript(width=16, blocks=2),
)
ALL = (
    *TEXTS,
    ByteText(layers=0),
    Transcript(blocks=0),
    ReferenceImage(),
    ReferenceAudio(),
    ReferenceAudio(seconds_max=0.25),
)

texts = st.one_of(st.none(), st.text(max_size=30), st.text(alphabet="aé雨😀", max_size=30))


def build(spec, seed=0):
    torch.manual_seed(seed)
    encoder = spec.build(format=FORMAT, codecs=CODECS)
    # GRN starts as the identity, which would hide what it depends on.
    for module in encoder.modules():
        if isinstance(module, GRN):
            nn.init.normal_(module.gamma)
            nn.init.normal_(module.beta)
    return encoder


def say(encoder, *said):
    (name,) = encoder.produces
    field = encoder.spec.field if isinstance(encoder.spec, ByteText) else "speech"
    return encoder([Prompt(**{field: text}) for text in said])[name]


@pytest.mark.parametrize("spec", ALL, ids=repr)
def test_contract(spec) -> None:
    check_encoder(spec, FORMAT, CODECS)


@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_contract_holds_once_grn_is_no_identity(spec) -> None:
    class Built:
        def build(self, **neighbours):
            return build(spec)

    check_encoder(Built(), FORMAT, CODECS)


@given(text=texts, other=texts)
@settings(max_examples=25)
@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_a_text_says_the_same_whatever_stands_beside_it(spec, text, other) -> None:
    encoder = build(spec)
    alone, beside = say(encoder, text), say(encoder, text, other)
    length = alone.mask.shape[1]
    assert alone.mask.all()
    assert beside.mask[0].sum() == length
    assert beside.mask[0, :length].all()
    assert (beside.tokens[0, :length] - alone.tokens[0]).abs().max() <= TOLERANCE
    assert not beside.tokens[0, length:].any()  # padding is 0
    assert beside.mask.shape[1] == max(
        len(ids_of(text, spec.length)), len(ids_of(other, spec.length))
    )


@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_a_text_says_something_and_its_null_form_does_not(spec) -> None:
    encoder = build(spec)
    one, other = say(encoder, "bin blue at F two now"), say(encoder, "bin blue at F too now")
    assert (one.tokens - other.tokens).abs().max() > 0.1  # every letter counts
    null = one.dropped()
    assert torch.equal(null.tokens, other.dropped().tokens)
    assert null.mask[0].tolist() == [True] + [False] * (null.mask.shape[1] - 1)
    assert not null.tokens[0, 1:].any()
    assert null.tokens[0, 0].any()
    assert null.tokens.requires_grad  # learnt


@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_absent_and_empty_texts_are_the_null_form_bit_for_bit(spec) -> None:
    condition = say(build(spec), None, "twenty bytes of text", "")
    null = condition.dropped()
    for row in (0, 2):
        assert torch.equal(condition.tokens[row], null.tokens[row])
        assert torch.equal(condition.mask[row], null.mask[row])
    dropped = condition.drop_rows(torch.tensor([False, True, False]))
    assert torch.equal(dropped.tokens, null.tokens)
    assert torch.equal(dropped.mask, null.mask)
    assert drop({"x": condition}, ["x"])["x"] is null


@given(text=st.text(alphabet="aé雨😀", max_size=40), length=st.integers(1, 50))
def test_text_is_cut_between_characters(text, length) -> None:
    ids = ids_of(text, length)
    assert len(ids) <= length
    if ids == [FILLER]:  # nothing fits, or there is nothing
        assert not text or len(text[0].encode()) > length
    else:
        kept = bytes(i - 1 for i in ids).decode()  # raises inside a character
        assert text.startswith(kept)
        # not a character less than fits
        assert kept == text or len((kept + text[len(kept)]).encode()) > length


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    assert ids_of("a\ud83d", 9) == ids_of("a?", 9)


@given(length=st.integers(1, 300), width=st.integers(1, 20).map(lambda half: 2 * half))
@settings(max_examples=15)
def test_positions_have_constant_norm_and_shift_by_rotation(length, width) -> None:
    table = positions(length, width).double()
    assert table.shape == (length, width)
    # cos^2 + sin^2 = 1 for each of width/2 rates, to float32's rounding.
    assert (table.square().sum(1) - width / 2).abs().max() <= width * 2**-23
    # <p, q> depends on q - p alone.
    products = table @ table.T
    assert (
        (products[:-1, :-1] - products[1:, 1:]).abs().max() <= 2 * width * 2**-23
        if length > 1
        else True
    )


def test_grn_by_its_equation() -> None:
    grn = GRN(3).double()
    nn.init.normal_(grn.gamma)
    nn.init.normal_(grn.beta)
    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for b in range(2):
        norms = [sum(float(x[b, t, c]) ** 2 for t in range(5)) ** 0.5 for c in range(3)]
        for c in range(3):
            scale = norms[c] / (sum(norms) / 3)
            want = grn.gamma[c] * x[b, :, c] * scale + grn.beta[c] + x[b, :, c]
            # The equation's own epsilon is 1e-6, of norms of about 2.
            assert (grn(x)[b, :, c] - want).abs().max() < 1e-5


def test_a_silent_grn_has_gradients() -> None:
    grn, x = GRN(3), torch.zeros(1, 4, 3, requires_grad=True)
    grn(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_word_moves_only_what_its_convolutions_reach() -> None:
    """Two blocks of 7 reach 6 bytes; beyond that only GRN's norm, off here, carries anything."""
    torch.manual_seed(0)
    encoder = Transcript(width=16, blocks=2).build(format=FORMAT, codecs=CODECS)
    one, other = (
        say(encoder, text).tokens[0] for text in ("aaaaaaaaaaaaaaaaaaaa", "baaaaaaaaaaaaaaaaaaa")
    )
    moved = (one - other).abs().amax(1) > 0
    assert moved[:7].all()
    assert not moved[7:].any()


def test_what_is_learnt_depends_on_torchs_seed_alone() -> None:
    for spec in TEXTS:
        a, b, c = (say(build(spec, seed), "hammer on steel").tokens for seed in (0, 0, 1))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_bytes_and_transcript_speak_the_names_of_their_fields() -> None:
    prompt = Prompt(caption="c", sound="s", speech="t")
    for field in ("caption", "sound", "speech"):
        assert set(build(ByteText(field=field))([prompt])) == {field}
    assert set(build(Transcript())([prompt])) == {"speech"}


@pytest.mark.parametrize(
    ("spec", "settings", "says"),
    [
        (ByteText, {"field": "captoin"}, "captoin"),
        (ByteText, {"width": 10, "heads": 4}, "multiple of heads"),
        (ByteText, {"length": 0}, "length"),
        (Transcript, {"width": 15}, "even"),
        (Transcript, {"blocks": -1}, "blocks"),
        (ReferenceAudio, {"seconds_max": 0.0}, "seconds_max"),
    ],
)
def test_bad_settings_are_refused_by_name(spec, settings, says) -> None:
    with pytest.raises(ValueError, match=says):
        spec(**settings)


def test_image_is_the_first_latent_of_a_clip_that_begins_with_it() -> None:
    prompts = example_prompts(FORMAT)
    condition = build(ReferenceImage())(prompts)["image"]
    assert condition.mask[:, 0].tolist() == [True] * 4 + [False]
    assert condition.tokens.shape == (5, 1, *CODECS["video"].grid, CODECS["video"].channels)
    assert not condition.dropped().tokens.any()
    assert not condition.dropped().mask.any()
    for row, prompt in enumerate(prompts[:4]):
        clip = torch.cat(
            [prompt.image[None], torch.randint(256, (8, 16, 24, 3), dtype=torch.uint8)]
        )
        first = CODECS["video"].encode(clip[None])[0, :1]
        # float32 sums of 1,536 terms
        assert (condition.tokens[row] - first).abs().max() <= TOLERANCE
        # The still clip that stands for it as an anchor begins with it too.
        still = CODECS["video"].encode(prompt.image[None, None].expand(1, 9, -1, -1, -1))[0, :1]
        assert (condition.tokens[row] - still).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(24, 16, 3, dtype=torch.uint8),
        torch.zeros(16, 24, 3),
        torch.zeros(3, 16, 24, dtype=torch.uint8),
        [[0]],
    ],
)
def test_an_image_of_another_form_is_refused_naming_both_sizes(image) -> None:
    with pytest.raises(ValueError, match=r"image of prompt 1 .*\[16, 24, 3\]") as error:
        build(ReferenceImage())([Prompt(), Prompt(image=image)])
    if isinstance(image, torch.Tensor):
        assert str(list(image.shape)) in str(error.value)


def test_voice_is_what_the_codec_makes_of_it_alone() -> None:
    codec = CODECS["audio"]
    prompts = example_prompts(FORMAT)  # voices of 0.2, 0.5, 0.8 and 1.1 s
    condition = build(ReferenceAudio(seconds_max=0.6))(prompts)["voice"]
    for row, prompt in enumerate(prompts[:4]):
        want = codec.encode(prompt.voice[None, : round(0.6 * 8000)])[0]
        assert condition.mask[row].sum() == len(want)
        assert torch.equal(condition.tokens[row, : len(want)], want)
        assert not condition.tokens[row, len(want) :].any()
    assert condition.mask.shape[1] == codec.latents(round(0.6 * 8000))
    assert not condition.mask[4].any()
    assert not condition.dropped().mask.any()
    assert not condition.dropped().tokens.any()


def test_nobody_has_a_voice() -> None:
    condition = build(ReferenceAudio())([Prompt(), Prompt()])["voice"]
    assert condition.tokens.shape == (2, 1, CODECS["audio"].channels)
    assert not condition.mask.any()


@pytest.mark.parametrize(
    ("voice", "says"),
    [
        (torch.zeros(1, 100), r"float32 \[1, 100\]"),
        (torch.zeros(0), "at least one sample"),
        (torch.zeros(9, dtype=torch.float64), "float64"),
        (torch.full((9,), torch.nan), "finite"),
        ([0.0], "list"),
    ],
)
def test_a_voice_of_another_form_is_refused(voice, says) -> None:
    with pytest.raises(ValueError, match=f"voice of prompt 1 .*{says}"):
        build(ReferenceAudio())([Prompt(), Prompt(voice=voice)])


def test_references_have_no_weights_and_need_their_codec() -> None:
    assert not build(ReferenceImage()).state_dict()
    assert not build(ReferenceAudio()).state_dict()
    with pytest.raises(AssemblyError, match="video codec"):
        ReferenceImage().build(format=FORMAT, codecs=CODECS.only(["audio"]))
    with pytest.raises(AssemblyError, match="audio codec"):
        ReferenceAudio().build(format=FORMAT, codecs=CODECS.only(["video"]))


class Leaky:
    """An encoder whose tokens depend on the padding of the batch, and faults that a test switches
    on.
    """

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def build(self, *, format, codecs):
        inner, fault = build(Transcript(width=16)), self.fault

        class Encoder(nn.Module):
            produces = (
                {"speech": 17}
                if fault == "width"
                else {"talk": 16}
                if fault == "name"
                else {"speech": 16}
            )

            def __init__(self) -> None:
                super().__init__()
                self.inner = inner
                if fault == "idle":
                    self.spare = nn.Linear(2, 2)

            def forward(self, prompts):
                said = inner(prompts)["speech"]
                if fault == "padding":
                    said = attrs.evolve(said, tokens=said.tokens + said.tokens.shape[1])
                if fault == "random":
                    said = attrs.evolve(said, tokens=said.tokens + torch.randn(()))
                if fault == "null":
                    said = attrs.evolve(said, null=None)
                if fault == "null says something":
                    said = attrs.evolve(said, null=attrs.evolve(said, null=None))
                if fault == "nan":
                    said = attrs.evolve(
                        said, tokens=said.tokens.masked_fill(~said.mask[..., None], torch.nan)
                    )
                return said if fault == "bare" else {"speech": said}

        return Encoder()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("width", "width 16.*says 17"),
        ("name", "talk"),
        ("bare", "gives a Condition; a mapping of names to Conditions is expected"),
        ("padding", "alone and in a batch"),
        ("random", "global generator"),
        ("null", "no null form"),
        ("null says something", "null form differs"),
        ("nan", "finite"),
        ("idle", "spare.weight"),
    ],
)
def test_the_check_finds_each_fault(fault, says) -> None:
    with pytest.raises(PartContractError, match=says):
        check_encoder(Leaky(fault), FORMAT, CODECS)


def test_a_text_that_is_cut_is_warned_of_once(monkeypatch) -> None:
    """Each text where clips are made, once in all in training; never one that fits."""
    monkeypatch.setattr(text_ids, "_WARNED", set())
    encoder = build(ByteText(width=16, heads=2, length=20))
    prompts = [
        Prompt(caption="a hammer strikes twice, then thrice"),
        Prompt(caption="x" * 21),
        Prompt(caption="x" * 20),
        Prompt(),
    ]
    for training, count in ((True, 1), (False, 2)):
        encoder.train(training)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for grad in (True, False):  # some of those who make clips forget to turn gradients off
                with torch.set_grad_enabled(grad):
                    encoder(prompts)
        assert len(said) == count
        assert all(
            "20 bytes" in str(one.message) and "`length`" in str(one.message) for one in said
        )
    assert "35 bytes ('a hammer strikes" in str(said[0].message)
