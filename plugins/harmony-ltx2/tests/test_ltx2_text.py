"""ltx2-text: contract, pieces, cache and errors; test_ltx2_pipeline compares its tokens."""

from __future__ import annotations

import ltx2_toys as toys
import pytest
import torch

from harmony_ltx2.text import LTX2Text
from harmony_parts.av import AV, Prompt
from harmony_parts.testing.contracts.encoders import check_encoder

UNREGISTERED = toys.CONNECTORS | {
    "video_connector_num_learnable_registers": None,
    "audio_connector_num_learnable_registers": None,
}


def build(**settings):
    """A tiny encoder."""
    return toys.text(**settings).build(format=toys.FORMAT, codecs=AV())


@pytest.mark.filterwarnings("ignore:a text of .* tokens:UserWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"negative": "worst quality"},
        {"cache": 0},
        {"connectors_config": toys.LATER_CONNECTORS},
        {"connectors_config": UNREGISTERED},
    ],
    ids=["negative", "cache", "2.3", "no registers"],
)
def test_it_passes_the_contract_check(settings):
    check_encoder(toys.text(**settings), toys.FORMAT, AV())


def test_one_text_gives_tokens_of_both_streams():
    """It is made of the prompt's fields."""
    encoder = build()
    said = encoder(
        [
            Prompt("a dog", "barking", "good boy"),
            Prompt('a dog barking "good boy"'),
            Prompt(),
            Prompt(caption=" "),
        ]
    )
    for condition in said.values():
        assert torch.equal(condition.tokens[0], condition.tokens[1])
        assert torch.equal(condition.tokens[2:], condition.null.tokens[2:])
        assert not torch.equal(condition.tokens[0], condition.tokens[2])
    assert not torch.equal(said["caption"].tokens, said["sound"].tokens)
    other = build(text="Seen: {caption}.")([Prompt("a dog", "barking")])
    assert torch.equal(other["sound"].tokens, encoder([Prompt("Seen: a dog.")])["sound"].tokens)


def test_a_cut_text_gives_one_warning():
    encoder = build()
    with pytest.warns(
        UserWarning,
        match=r"a text of 61 tokens .* is cut after 48.*; raise ltx2-text's setting `length`",
    ) as caught:
        encoder([Prompt("a" * 60), Prompt("b" * 70)])
    assert len(caught) == 1
    assert not build()._warned


def test_a_folder_says_which_gemma_it_has(model, tmp_path):
    """Another text model is refused by name."""
    from diffusers.pipelines.ltx2 import LTX2TextConnectors
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

    config = {name: value for name, value in toys.GEMMA4.items() if name != "model_type"}
    torch.manual_seed(0)
    later = Gemma4UnifiedForConditionalGeneration(Gemma4UnifiedConfig(**config))
    later.save_pretrained(tmp_path / "text_encoder")
    LTX2TextConnectors(**toys.LATER_CONNECTORS).save_pretrained(tmp_path / "connectors")
    settings = {"config": {}, "connectors_config": {}, "tokenizer": str(model)}
    kinds = [
        type(build(model=str(place), **settings).frozen.models[0]).__name__
        for place in (model, tmp_path)
    ]
    assert kinds == ["Gemma3ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration"]
    file = tmp_path / "text_encoder" / "config.json"
    file.write_text(file.read_text().replace('"gemma4_unified"', '"llama"'))
    with pytest.raises(ValueError, match="it is a model of type 'llama', not 'gemma3'"):
        build(model=str(tmp_path), **settings)


def test_cached_texts_are_not_encoded_again():
    """At most `cache` texts; moving the module clears them."""
    encoder, runs = build(cache=2), []
    encoder.frozen.models[0].register_forward_hook(lambda *args: runs.append(1))
    encoder.frozen.models[0].model.register_forward_hook(lambda *args: runs.append(1))
    first = encoder([Prompt("one")])["caption"].tokens
    assert torch.equal(encoder([Prompt("one")])["caption"].tokens, first)
    assert len(runs) == 2  # the null form, and the text
    encoder([Prompt("two")])
    encoder([Prompt("one")])
    assert len(runs) == 4
    encoder.to("cpu")
    assert not len(encoder._cache)
    assert not encoder.state_dict()
    assert not list(encoder.parameters())


def test_mismatched_models_and_lengths_are_refused():
    """Also an incomplete configuration, and pieces without a field."""
    with pytest.raises(
        ValueError, match=r"has 3 states .* of width 16, but the connectors expect 4 of width 16"
    ):
        build(connectors_config=toys.CONNECTORS | {"text_proj_in_factor": 4})
    with pytest.raises(ValueError, match="length 40 is not a multiple of 16"):
        build(length=40)
    with pytest.raises(ValueError, match="config and connectors_config go together"):
        LTX2Text(config=toys.GEMMA)
    with pytest.raises(
        ValueError, match=r"text must read at least one of \{caption\}, \{sound\}, \{speech\}"
    ):
        LTX2Text(text=("a photo",))
