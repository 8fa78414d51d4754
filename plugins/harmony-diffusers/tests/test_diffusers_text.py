"""umt5: equal to diffusers' Wan pipeline; contract, texts, null forms and location of weights."""

from __future__ import annotations

import html
import logging
from types import SimpleNamespace

import diffusers_toys as toys
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_diffusers.texts import cleaned, text_of
from harmony_diffusers.umt5 import UMT5
from harmony_parts.av import AV, Prompt
from harmony_parts.testing.contracts.encoders import check_encoder

OVI = ("{caption}", "<S>{speech}<E>", "<AUDCAP>{sound}<ENDAUDCAP>")
BOTH = {"caption": OVI, "sound": OVI}
NEGATIVE = {"caption": "blurry", "sound": "robotic, muffled"}


def build(**settings):
    """A tiny encoder."""
    return toys.umt5(**settings).build(format=toys.VIDEO, codecs=AV())


@pytest.fixture(scope="module")
def ovi():
    """As in Ovi: both streams have the same text, each with its own null form."""
    return build(conditions=BOTH, negative=NEGATIVE)


@pytest.mark.filterwarnings("ignore:a text of .* tokens:UserWarning")
@pytest.mark.parametrize(
    "settings",
    [{}, {"conditions": BOTH, "negative": NEGATIVE}, {"cache": 0}, {"precision": "bfloat16"}],
    ids=str,
)
def test_it_passes_the_contract_check(settings):
    check_encoder(toys.umt5(**settings), toys.VIDEO, AV())


def test_tokens_equal_diffusers():
    """The Wan pipeline pads and masks a batch; here each text is encoded alone, so the order of
    float32 sums differs.
    """
    from diffusers import WanPipeline

    encoder = build()
    texts = ["a dog barks twice", "  two&amp;nbsp;words,\n one  line ", "雨が屋根に", "é" * 60]
    pipeline = SimpleNamespace(
        tokenizer=encoder._tokenizer, text_encoder=encoder.frozen.models[0], _execution_device="cpu"
    )
    direct = WanPipeline._get_t5_prompt_embeds(pipeline, texts, max_sequence_length=48)
    with pytest.warns(
        UserWarning,
        match=r"a text of 121 tokens .* is cut after 48.*; raise umt5's setting `length`",
    ):
        condition = encoder([Prompt(caption=text) for text in texts])["caption"]
    assert condition.tokens.shape == (4, 48, 32)
    assert condition.tokens.dtype == torch.float32
    assert torch.allclose(condition.tokens, direct, atol=2e-6)
    assert condition.mask.all()
    assert (condition.tokens[0, 18:] == 0).all()  # 17 bytes and the end of the text
    assert (condition.tokens[0, :18] != 0).any(dim=1).all()


def test_a_cut_text_gives_one_warning(caplog):
    """Even if several conditions cut it, and without the tokenizer's own warning."""
    encoder = build(conditions=BOTH)
    encoder._tokenizer.model_max_length = 48
    caplog.set_level(logging.WARNING)
    logging.getLogger("transformers").addHandler(
        caplog.handler
    )  # it doesn't propagate to the root logger
    try:
        with pytest.warns(UserWarning, match="a text of 61 tokens") as caught:
            encoder([Prompt(caption="a" * 60)])
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert len(caught) == 1
    assert not caplog.records


def test_one_model_for_several_conditions(ovi):
    """Both have the same tokens, and each its null form."""
    assert ovi.produces == {"caption": 32, "sound": 32}
    conditions = ovi([Prompt(caption="a dog", sound="barks"), Prompt()])
    assert torch.equal(conditions["caption"].tokens[0], conditions["sound"].tokens[0])
    for name, negative in NEGATIVE.items():
        null = build()([Prompt(caption=negative)])["caption"].tokens[0]
        assert torch.equal(conditions[name].null.tokens, null.expand(2, -1, -1))
        assert torch.equal(conditions[name].tokens[1], null)
    assert not torch.equal(conditions["caption"].null.tokens, conditions["sound"].null.tokens)


def test_pieces_without_their_field_are_left_out():
    """A field is absent if it is `None`, empty or blank."""
    full = Prompt(caption="a dog", sound="barks", speech="good boy")
    assert text_of(OVI, full) == "a dog <S>good boy<E> <AUDCAP>barks<ENDAUDCAP>"
    assert text_of(OVI, Prompt(caption="a dog", speech="", sound=" ")) == "a dog"
    assert text_of(OVI, Prompt(sound="barks")) == "<AUDCAP>barks<ENDAUDCAP>"
    assert text_of(OVI, Prompt(caption="  ")) is None
    assert text_of(("Photo.", "{caption}"), Prompt(caption="{sound}")) == "Photo. {sound}"
    assert text_of(("Photo.", "{caption}"), Prompt(sound="barks")) is None
    assert UMT5(conditions={"caption": "{caption}"}) == UMT5()


@toys.few
@given(
    words=st.lists(st.text(alphabet="ab&<>\"'", min_size=1), min_size=1),
    blank=st.sampled_from([" ", "\n", "\t ", "\u3000"]),
    times=st.integers(0, 2),
)
def test_cleaning_removes_entities_and_extra_white_space(words, blank, times):
    plain = escaped = " ".join(words)
    if html.unescape(html.unescape(plain)) != plain:
        return
    for _ in range(times):
        escaped = html.escape(escaped)
    assert cleaned(blank + escaped.replace(" ", blank)) == plain


def test_the_cache_has_the_most_recent_texts(monkeypatch):
    """A cached text has the same tokens without another run of the model."""
    encoder = build(cache=2)
    runs = []
    encoder.frozen.models[0].register_forward_hook(lambda *args: runs.append(1))
    first = encoder([Prompt(caption="one")])["caption"].tokens  # with the null form: two texts
    assert torch.equal(encoder([Prompt(caption="one")])["caption"].tokens, first)
    assert len(runs) == 2
    encoder([Prompt(caption="two")])  # evicts "one"
    assert torch.equal(encoder([Prompt(caption="one")])["caption"].tokens, first)
    assert len(runs) == 4
    assert len(encoder._cache) == 2


def test_weights_move_with_the_module_but_are_not_saved(ovi):
    """They aren't trained either, and keep their precision, which is a setting."""
    assert not ovi.state_dict()
    assert not list(ovi.parameters())
    assert not any(weight.requires_grad for weight in ovi.frozen.parameters())
    encoder = torch.nn.ModuleDict({"text": build(precision="bfloat16")})
    encoder.to(torch.float64).train()
    frozen = encoder["text"].frozen
    assert frozen.dtype == torch.bfloat16
    assert not frozen.models[0].training
    encoder.to("meta")
    assert frozen.device.type == "meta"
    encoder.to(torch.float32)
    with pytest.raises(ValueError, match="no weights to move"):
        encoder.to_empty(device="cpu")


def test_it_is_counted_at_full_size_without_weights():
    """umt5-xxl's encoder, counted on the meta device: embedding, 24 layers (attention, gated MLP,
    position table, two norms), norm.
    """
    with torch.device("meta"):
        encoder = UMT5(conditions=BOTH).build(format=toys.VIDEO, codecs=AV())
    layer = 4 * 4096 * 4096 + 3 * 4096 * 10240 + 32 * 64 + 2 * 4096
    assert (
        sum(weight.numel() for weight in encoder.frozen.parameters())
        == 256384 * 4096 + 24 * layer + 4096
        == 5_680_910_336
    )
    condition = encoder([Prompt(caption="a dog"), Prompt()])["caption"]
    assert condition.tokens.shape == (2, 512, 4096)
    assert condition.tokens.device.type == "meta"


def test_invalid_settings_are_named():
    with pytest.raises(ValueError, match="conditions is empty"):
        UMT5(conditions={})
    for pieces in ([], ["a photo"], ["{caption}", "{style}"], ["{caption"], ["{}"], "{style}"):
        with pytest.raises(
            ValueError,
            match=r"conditions.caption must read at least one of \{caption\}, \{sound\}, \{spe",
        ):
            UMT5(conditions={"caption": pieces})
    with pytest.raises(
        ValueError, match=r"negative\.sound: no such condition; choose one of caption"
    ):
        UMT5(negative={"sound": "noise"})
