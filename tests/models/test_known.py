"""What a model knows: words, and the texts that are nearest to a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_parts.assembly.read import read_recipe
from harmony_parts.data.soundstage import SoundstageSet
from harmony_parts.errors import RunError
from harmony_parts.models.known import EXAMPLES, FILE, learn, read_known, stem, write_known


@pytest.fixture(scope="module")
def world():
    """The texts of the clips that harmony-tiny is trained on."""
    recipe = read_recipe("tiny/joint")
    data = recipe.data.build(format=recipe.format)
    assert isinstance(data, SoundstageSet)
    return learn(map(data.texts, range(2000)))


@pytest.mark.parametrize(
    "prompt",
    [
        "a red ball bounces on wood",
        "a red rubber ball bounces on a wooden floor, in front of a grey wall",
        "A large steel ball is bouncing on the grass.",
        "the hammers strike an anvil",
        "a pink robot talks",
        "somebody walks on gravel",
    ],
)
def test_paraphrases_in_known_words_are_known(world, prompt):
    assert world["caption"].unknown(prompt) == []


@pytest.mark.parametrize(
    ("field", "text", "words"),
    [
        ("caption", "a dog barks", ["dog", "barks"]),
        ("caption", "a red ball bounces on the moon", ["moon"]),
        ("caption", "red is the colour of a tomato", ["tomato"]),
        ("caption", "from there", ["from", "there"]),
        ("sound", "three wooden knocks and a violin", ["violin"]),
        ("speech", "hello World, goodbye", ["world"]),
        ("speech", "苹果鱼六", []),
        ("speech", "月亮很大", ["很", "大"]),
    ],
)
def test_other_words_are_named(world, field, text, words):
    """Chinese by character; prepositions only if there is nothing else."""
    assert world[field].unknown(text) == words


def test_the_nearest_share_most_words(world):
    for near in world["caption"].nearest("a dog bounces on the grass"):
        assert "ball bounces on grass" in near
    assert len(set(world["speech"].nearest("quite other words"))) == 3


def test_held_out_prompts_are_known(world):
    """Those of a benchmark are of the same world: no warning among hundreds of clips."""
    recipe = read_recipe("tiny/joint", ["data.held_out=true"])
    data = recipe.data.build(format=recipe.format)
    for index in range(len(data)):
        for field, text in data.texts(index).items():
            assert not text or world[field].unknown(text) == []


def test_texts_are_those_of_the_example():
    """Without rendering it."""
    recipe = read_recipe("tiny/joint", ["format.height=16", "format.width=16"])
    data = recipe.data.build(format=recipe.format)
    for index in range(4):
        prompt = data.example(index).prompt
        texts = {name: getattr(prompt, name) for name in ("caption", "sound", "speech")}
        assert data.texts(index) == texts


@given(st.lists(st.text("ab 水鱼'-", max_size=12), max_size=30))
def test_what_was_learned_is_known(texts):
    """Every text, in any order."""
    known = learn([{"caption": text} for text in texts])
    for text in texts:
        assert "caption" not in known or known["caption"].unknown(text) == []
    assert all(len(each.examples) <= EXAMPLES for each in known.values())


def test_examples_cover_the_words():
    """Texts with new words come first, so that few examples have them all."""
    many = [{"caption": f"a ball {k % 7}"} for k in range(3 * EXAMPLES)]
    known = learn([*many, {"caption": "a rare robot"}])["caption"]
    assert "a rare robot" in known.examples
    assert len(known.examples) == 8


@pytest.mark.parametrize(
    "words", [("bounce", "bounces", "bounced", "bouncing"), ("wood", "wooden")]
)
def test_forms_of_a_word_have_one_stem(words):
    assert len(set(map(stem, words))) == 1


def test_the_file_is_read_as_it_was_written(world, tmp_path: Path):
    assert read_known(tmp_path) == {}
    write_known(tmp_path, world)
    assert read_known(tmp_path) == world
    (tmp_path / FILE).write_text('{"caption": ["a"]}')
    with pytest.raises(RunError, match=r"known\.json: can't be read as the words"):
        read_known(tmp_path)
