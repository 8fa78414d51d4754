"""Encoders: the contract, null forms, and independence of the rest of the batch."""

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
from harmony_parts.encoders.word_text import WordText
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.testing.contracts.encoders import TOLERANCE, check_encoder, example_prompts

FORMAT = Format(fps=Fraction(12), height=16, width=24, sample_rate=8000, seconds=1.0)
CODECS = AV(DCTVideo().build(format=FORMAT), LogMel().build(format=FORMAT))
TEXTS = (
    ByteText(width=16, heads=2, length=40),
    ByteText(field="sound", width=16, layers=2, heads=2),
    Transcript(width=16, blocks=2),
    WordText(field="sound", width=16, heads=2),
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
    # GRN starts as the identity, which would hide a dependence on padding.
    for module in encoder.modules():
        if isinstance(module, GRN):
            nn.init.normal_(module.gamma)
            nn.init.normal_(module.beta)
    return encoder


def condition_of(encoder, *texts):
    (name,) = encoder.produces
    field = encoder.spec.field if isinstance(encoder.spec, ByteText | WordText) else "speech"
    return encoder([Prompt(**{field: text}) for text in texts])[name]


@pytest.mark.parametrize("spec", ALL, ids=repr)
def test_contract(spec) -> None:
    check_encoder(spec, FORMAT, CODECS)


@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_the_contract_holds_when_grn_is_not_the_identity(spec) -> None:
    class Built:
        def build(self, **neighbours):
            return build(spec)

    check_encoder(Built(), FORMAT, CODECS)


@given(text=texts, other=texts)
@settings(max_examples=25)
@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_a_text_is_encoded_independently_of_the_batch(spec, text, other) -> None:
    encoder = build(spec)
    alone, beside = condition_of(encoder, text), condition_of(encoder, text, other)
    length = alone.mask.shape[1]
    assert alone.mask.all()
    assert beside.mask[0].sum() == length
    assert beside.mask[0, :length].all()
    assert (beside.tokens[0, :length] - alone.tokens[0]).abs().max() <= TOLERANCE
    assert not beside.tokens[0, length:].any()  # padding is 0
    assert beside.mask.shape[1] == max(length, condition_of(encoder, other).mask.shape[1])


@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_every_letter_counts_and_the_null_form_is_one_learnt_token(spec) -> None:
    encoder = build(spec)
    one, other = (
        condition_of(encoder, "bin blue at F two now"),
        condition_of(encoder, "bin blue at F too now"),
    )
    assert (one.tokens - other.tokens).abs().max() > 0.1  # every letter counts
    null = one.dropped()
    assert torch.equal(null.tokens, other.dropped().tokens)
    assert null.mask[0].tolist() == [True] + [False] * (null.mask.shape[1] - 1)
    assert not null.tokens[0, 1:].any()
    assert null.tokens[0, 0].any()
    assert null.tokens.requires_grad  # it is learnt


@pytest.mark.parametrize("spec", TEXTS, ids=repr)
def test_absent_and_empty_texts_are_bitwise_the_null_form(spec) -> None:
    condition = condition_of(build(spec), None, "twenty bytes of text", "")
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
    if ids == [FILLER]:  # no character fits, or the text is empty
        assert not text or len(text[0].encode()) > length
    else:
        kept = bytes(i - 1 for i in ids).decode()  # raises inside a character
        assert text.startswith(kept)
        # one more character wouldn't fit
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
    # <p, q> depends only on q - p.
    products = table @ table.T
    assert (
        (products[:-1, :-1] - products[1:, 1:]).abs().max() <= 2 * width * 2**-23
        if length > 1
        else True
    )


def test_grn_follows_its_equation() -> None:
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


def test_grn_of_zeros_has_finite_gradients() -> None:
    grn, x = GRN(3), torch.zeros(1, 4, 3, requires_grad=True)
    grn(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_changed_byte_affects_only_the_receptive_field() -> None:
    """Two convolutions of width 7 reach 6 bytes; GRN, which reaches all, is off here."""
    torch.manual_seed(0)
    encoder = Transcript(width=16, blocks=2).build(format=FORMAT, codecs=CODECS)
    one, other = (
        condition_of(encoder, text).tokens[0]
        for text in ("aaaaaaaaaaaaaaaaaaaa", "baaaaaaaaaaaaaaaaaaa")
    )
    moved = (one - other).abs().amax(1) > 0
    assert moved[:7].all()
    assert not moved[7:].any()


def test_fresh_weights_depend_only_on_torchs_seed() -> None:
    for spec in TEXTS:
        a, b, c = (condition_of(build(spec, seed), "hammer on steel").tokens for seed in (0, 0, 1))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_text_encoders_produce_the_condition_of_their_field() -> None:
    prompt = Prompt(caption="c", sound="s", speech="t")
    for field in ("caption", "sound", "speech"):
        assert set(build(ByteText(field=field))([prompt])) == {field}
    assert set(build(Transcript())([prompt])) == {"speech"}


@pytest.mark.parametrize(
    ("spec", "settings", "message"),
    [
        (ByteText, {"field": "captoin"}, "captoin"),
        (ByteText, {"width": 10, "heads": 4}, "multiple of heads"),
        (ByteText, {"length": 0}, "length"),
        (Transcript, {"width": 15}, "even"),
        (Transcript, {"blocks": -1}, "blocks"),
        (ReferenceAudio, {"seconds_max": 0.0}, "seconds_max"),
    ],
)
def test_an_invalid_setting_is_named(spec, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**settings)


def test_the_image_condition_is_the_first_latent_of_a_clip_that_begins_with_it() -> None:
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
        # The repeated image, which is the static anchor, has the same first latent.
        repeated = CODECS["video"].encode(prompt.image[None, None].expand(1, 9, -1, -1, -1))[0, :1]
        assert (condition.tokens[row] - repeated).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(24, 16, 3, dtype=torch.uint8),
        torch.zeros(16, 24, 3),
        torch.zeros(3, 16, 24, dtype=torch.uint8),
        [[0]],
    ],
)
def test_an_image_of_another_size_or_type_is_refused_naming_both(image) -> None:
    with pytest.raises(ValueError, match=r"image of prompt 1 .*\[16, 24, 3\]") as error:
        build(ReferenceImage())([Prompt(), Prompt(image=image)])
    if isinstance(image, torch.Tensor):
        assert str(list(image.shape)) in str(error.value)


def test_each_voice_is_encoded_by_itself() -> None:
    codec = CODECS["audio"]
    prompts = example_prompts(FORMAT)  # voices of 0.2, 0.5, 0.8 and 1.1 s
    condition = build(ReferenceAudio(seconds_max=0.6))(prompts)["voice"]
    for row, prompt in enumerate(prompts[:4]):
        want = codec.encode(prompt.voice[None, :, : round(0.6 * 8000)])[0]
        assert condition.mask[row].sum() == len(want)
        assert torch.equal(condition.tokens[row, : len(want)], want)
        assert not condition.tokens[row, len(want) :].any()
    assert condition.mask.shape[1] == codec.latents(round(0.6 * 8000))
    assert not condition.mask[4].any()
    assert not condition.dropped().mask.any()
    assert not condition.dropped().tokens.any()


def test_a_voice_has_the_formats_channels() -> None:
    format = attrs.evolve(FORMAT, channels=2)
    codec = LogMel().build(format=format)
    encoder = check_encoder(ReferenceAudio(), format, AV(audio=codec))
    voice = torch.rand(2, 4000, generator=torch.Generator().manual_seed(0)) - 0.5
    condition = encoder([Prompt(voice=voice)])["voice"]
    assert torch.equal(condition.tokens, codec.encode(voice[None]))
    with pytest.raises(ValueError, match=r"float32 \[2, samples\] .*float32 \[1, 4000\]"):
        encoder([Prompt(voice=voice[:1])])


def test_a_batch_without_voices_has_one_masked_latent() -> None:
    condition = build(ReferenceAudio())([Prompt(), Prompt()])["voice"]
    assert condition.tokens.shape == (2, 1, CODECS["audio"].channels)
    assert not condition.mask.any()


@pytest.mark.parametrize(
    ("voice", "message"),
    [
        (torch.zeros(100), r"float32 \[1, samples\] .*float32 \[100\]"),
        (torch.zeros(2, 100), r"float32 \[2, 100\]"),
        (torch.zeros(1, 0), "at least one sample"),
        (torch.zeros(1, 9, dtype=torch.float64), "float64"),
        (torch.full((1, 9), torch.nan), "finite"),
        ([0.0], "list"),
    ],
)
def test_a_voice_of_another_shape_or_type_is_refused(voice, message) -> None:
    with pytest.raises(ValueError, match=f"voice of prompt 1 .*{message}"):
        build(ReferenceAudio())([Prompt(), Prompt(voice=voice)])


def test_references_have_no_weights_and_need_their_codec() -> None:
    assert not build(ReferenceImage()).state_dict()
    assert not build(ReferenceAudio()).state_dict()
    with pytest.raises(AssemblyError, match="video codec"):
        ReferenceImage().build(format=FORMAT, codecs=CODECS.only(["audio"]))
    with pytest.raises(AssemblyError, match="audio codec"):
        ReferenceAudio().build(format=FORMAT, codecs=CODECS.only(["video"]))


class Faulty:
    """An encoder with one fault, which the test names."""

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
                condition = inner(prompts)["speech"]
                if fault == "padding":
                    condition = attrs.evolve(
                        condition, tokens=condition.tokens + condition.tokens.shape[1]
                    )
                if fault == "random":
                    condition = attrs.evolve(condition, tokens=condition.tokens + torch.randn(()))
                if fault == "null":
                    condition = attrs.evolve(condition, null=None)
                if fault == "null is not a null form":
                    condition = attrs.evolve(condition, null=attrs.evolve(condition, null=None))
                if fault == "nan":
                    outside = ~condition.mask[..., None]
                    tokens = condition.tokens.masked_fill(outside, torch.nan)
                    condition = attrs.evolve(condition, tokens=tokens)
                return condition if fault == "bare" else {"speech": condition}

        return Encoder()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("width", "width 16.*declares 17"),
        ("name", "talk"),
        ("bare", "gives a Condition; a mapping of names to Conditions is expected"),
        ("padding", "alone and in a batch"),
        ("random", "global generator"),
        ("null", "no null form"),
        ("null is not a null form", "null form differs"),
        ("nan", "finite"),
        ("idle", "spare.weight"),
    ],
)
def test_the_check_finds_each_fault(fault, message) -> None:
    with pytest.raises(PartContractError, match=message):
        check_encoder(Faulty(fault), FORMAT, CODECS)


def test_a_cut_text_gives_one_warning(monkeypatch) -> None:
    """Once per text in generation, once altogether in training, never for a text that fits."""
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
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for grad in (True, False):  # generation may run with gradients enabled
                with torch.set_grad_enabled(grad):
                    encoder(prompts)
        assert len(caught) == count
        assert all(
            "20 bytes" in str(one.message) and "`length`" in str(one.message) for one in caught
        )
    assert "35 bytes ('a hammer strikes" in str(caught[0].message)
