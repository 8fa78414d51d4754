"""Arguments are typed: the error for an unknown one gives its name, mypy finds wrong types."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from helpers import tiny_training as tiny

from harmony_parts.generate.arguments import ELSEWHERE
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.generate.request import Request

ROOT = Path(__file__).parents[2]
KNOWN = inspect.signature(Pipeline.generate).parameters


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.assemble(tiny.recipe())


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("negative_prompt", "it is called `negative` here"),
        ("num_inference_steps", "it is called `steps` here"),
        ("guidance_scale", "a setting of `guidance`: guidance=hp.CFG(video=4, audio=3)"),
        ("num_frames", "the length is `seconds`"),
        ("generator", "it is called `seed` here"),
        ("height", "the model's format fixes it"),
        ("promt", "(did you mean 'prompt'?)"),
        ("setps", "(did you mean 'steps'?)"),
    ],
)
def test_the_error_for_an_unknown_argument_gives_its_name_here(
    pipeline: Pipeline, name: str, answer: str
) -> None:
    with pytest.raises(TypeError) as error:
        pipeline.generate("a ball", **{name: 3})
    assert str(error.value).startswith(f"generate has no argument {name!r}")
    assert answer in str(error.value)
    with pytest.raises(TypeError, match="generate_many has no argument"):
        pipeline.generate_many(["a ball"], **{name: 3})


def test_each_field_of_a_request_is_an_argument() -> None:
    fields = {field.name for field in attrs.fields(Request)}
    assert KNOWN.keys() - {"self", "progress"} == fields
    assert not ELSEWHERE.keys() & KNOWN.keys()
    assert all(parameter.kind != parameter.VAR_KEYWORD for parameter in KNOWN.values())


WRONG = """
import harmony_parts as hp
pipeline = hp.load("model")
pipeline.generate("a ball", steps="three")
pipeline.generate("a ball", negative_prompt="blur")
pipeline.generate("a ball", guidance="cfg")
pipeline.generate_many("a ball", seeds="one")
frames = pipeline.generate("a ball", steps=3, guidance=hp.CFG(3, 2)).frames
reveal_type(frames)
"""


@pytest.mark.slow
def test_mypy_finds_wrong_types_and_the_examples_are_clean(tmp_path: Path) -> None:
    """With --strict, as a user's own code is checked; `make check` has the same cache."""
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    options = ["--strict", "--follow-imports=silent", "--cache-dir", ".mypy_cache/strict"]

    def mypy(*what: str) -> list[str]:
        command = [sys.executable, "-m", "mypy", *options, *what]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return [line.partition(".py:")[2] for line in done.stdout.splitlines() if ".py:" in line]

    found = mypy(str(file))
    assert {int(line.split(":")[0]) for line in found} == {4, 5, 6, 7, 9}
    for number, message in [
        (4, 'Argument "steps" to "generate" of "Pipeline" has incompatible type "str"'),
        (5, 'Unexpected keyword argument "negative_prompt"'),
        (6, 'Argument "guidance" to "generate"'),
        (7, 'Argument "seeds" to "generate_many"'),
        (9, "Tensor | None"),
    ]:
        assert any(line.startswith(f"{number}: ") and message in line for line in found)
    assert not mypy("examples")
