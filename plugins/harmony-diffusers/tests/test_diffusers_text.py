"""umt5 against the text path of diffusers' Wan pipeline; the contract of encoders; texts, null
forms, and where the weights are.
"""

from __future__ import annotations

import html
import logging
from types import SimpleNamespace

import diffusers_toys as toys
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harmony_diffusers.umt5 import UMT5, cleaned, text_of
from harmony_parts.av import AV, Prompt
from harmony_parts.testing.contracts.encoders import check_encoder

OVI = ("{caption}", "<S>{speech}<E>", "<AUDCAP>{sound}<ENDAUDCAP>")
BOTH = {"caption": OVI, "sound": OVI}
NEGATIVE = {"caption": "blurry", "sound": "robotic, muffled"}


def build(**settings):
    """An encoder of a tiny form."""
    return toys.umt5(**settings).build(format=toys.VIDEO, codecs=AV())


@pytest.fixture(scope="module")
def ovi():
    """As Ovi uses it: both streams read the same text, each with a null form of its own."""
    return build(conditions=BOTH, negative=NEGATIVE)


@pytest.mark.filterwarnings("ignore:a text of .* tokens:UserWarning")
@pytest.mark.parametrize(
    "settings",
    [{}, {"conditions": BOTH, "negative": NEGATIVE}, {"cache": 0}, {"precision": "bfloat16"}],
    ids=str,
)
def test_it_keeps_the_contract(settings):
    """That of every encoder."""
    check_encoder(toys.umt5(**settings), toys.VIDEO, AV())


def test_tokens_are_those_of_diffusers():
    """The Wan pipeline pads texts together and masks; here each is encoded alone, so float32 sums
    differ in their order.
    """
    from diffusers import WanPipeline

    encoder = build()
    texts = ["a dog barks twice", "  two&amp;nbsp;words,\n one  line ", "雨が屋根に", "é" * 60]
    pipeline = SimpleNamespace(
        tokenizer=encoder._tokenizer, text_encoder=encoder.frozen.models[0], _execution_device="cpu"
    )
    direct = WanPipeline._get_t5_prompt_embeds(pipeline, texts, max_sequence_length=48)
    with pytest.warns(
        UserWarning, match=r"a text of 121 tokens .* is cut after 48.*; umt5's setting `length`"
    ):
        condition = encoder([Prompt(caption=text) for text in texts])["caption"]
    assert condition.tokens.shape == (4, 48, 32)
    assert condition.tokens.dtype == torch.float32
    assert torch.allclose(condition.tokens, direct, atol=2e-6)
    assert condition.mask.all()
    assert (condition.tokens[0, 18:] == 0).all()  # 17 bytes and the end of the text
    assert (condition.tokens[0, :18] != 0).any(dim=1).all()


def test_a_long_text_is_told_of_once(caplog):
    """Though it is cut in several conditions, and though the tokenizer, which knows a longest
    length too, would say something of its own.
    """
    encoder = build(conditions=BOTH)
    encoder._tokenizer.model_max_length = 48
    caplog.set_level(logging.WARNING)
    logging.getLogger("transformers").addHandler(caplog.handler)  # it doesn't hand on to the root
    try:
        with pytest.warns(UserWarning, match="a text of 61 tokens") as told:
            encoder([Prompt(caption="a" * 60)])
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert len(told) == 1
    assert not caplog.records


def test_one_model_for_several_conditions(ovi):
    """The same tokens for both, and a null form of each."""
    assert ovi.produces == {"caption": 32, "sound": 32}
    said = ovi([Prompt(caption="a dog", sound="barks"), Prompt()])
    assert torch.equal(said["caption"].tokens[0], said["sound"].tokens[0])
    for name, negative in NEGATIVE.items():
        null = build()([Prompt(caption=negative)])["caption"].tokens[0]
        assert torch.equal(said[name].null.tokens, null.expand(2, -1, -1))
        assert torch.equal(said[name].tokens[1], null)
    assert not torch.equal(said["caption"].null.tokens, said["sound"].null.tokens)


def test_the_text_of_ovi():
    """Pieces without their field are left out, however it is absent."""
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
def test_cleaned_text_is_plain(words, blank, times):
    """Entities, once or twice over, and blanks of any kind make no difference."""
    plain = escaped = " ".join(words)
    if html.unescape(html.unescape(plain)) != plain:
        return
    for _ in range(times):
        escaped = html.escape(escaped)
    assert cleaned(blank + escaped.replace(" ", blank)) == plain


def test_the_cache_holds_so_many_texts(monkeypatch):
    """The last ones; one that is read again is the same, without another run of the model."""
    encoder = build(cache=2)
    runs = []
    encoder.frozen.models[0].register_forward_hook(lambda *args: runs.append(1))
    first = encoder([Prompt(caption="one")])["caption"].tokens  # with the null form: two texts
    assert torch.equal(encoder([Prompt(caption="one")])["caption"].tokens, first)
    assert len(runs) == 2
    encoder([Prompt(caption="two")])  # puts "one" out
    assert torch.equal(encoder([Prompt(caption="one")])["caption"].tokens, first)
    assert len(runs) == 4
    assert len(encoder._kept) == 2


def test_weights_move_but_are_not_saved(ovi):
    """Nothing to save or train; another device is followed, another precision isn't: that is a
    setting.
    """
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


def test_full_size_without_weights():
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


def test_settings_that_make_no_sense_are_refused():
    """Each by its name."""
    with pytest.raises(ValueError, match="conditions is empty"):
        UMT5(conditions={})
    for pieces in ([], ["a photo"], ["{caption}", "{style}"], ["{caption"], ["{}"], "{style}"):
        with pytest.raises(
            ValueError, match=r"conditions.caption must read \{caption\}, \{sound\}, \{speech\}"
        ):
            UMT5(conditions={"caption": pieces})
    with pytest.raises(
        ValueError, match=r"negative\.sound: there is no such condition; there are: caption"
    ):
        UMT5(negative={"sound": "noise"})
