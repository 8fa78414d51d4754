"""Writes the package of a new plugin: one part that wraps a built-in one, and passing tests."""

from __future__ import annotations

import importlib
import inspect
import json
import keyword
import re
import textwrap
from pathlib import Path
from typing import Any

from harmony_parts.assembly import signatures
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.kinds import KINDS, kind_name

# Kind -> (the built-in part that the new one wraps, the path of a part of this kind in the recipe
# of the test).
STARTING_POINTS: dict[str, tuple[str, str]] = {
    "video_codec": ("dct", "codecs.video"),
    "audio_codec": ("log-mel", "codecs.audio"),
    "encoder": ("bytes", "encoders.caption"),
    "video_branch": ("transformer", "denoiser.video"),
    "audio_branch": ("mmdit", "denoiser.audio"),
    "interaction": ("gldi", "denoiser.interaction"),
    "attention": ("reference", "denoiser.interaction.attention"),
    "style": ("alignment", "denoiser.interaction.style"),
    "denoiser": ("dual-branch", "denoiser"),
    "path": ("straight", "flow.path"),
    "shift": ("constant", "flow.shift"),
    "density": ("logit-normal", "flow.density"),
    "solver": ("euler", "sample.solver"),
    "task": ("joint", "task"),
    "anchor": ("mute", "sample.guidance.mute"),
    "guidance": ("cfg", "sample.guidance"),
    "scene": ("hammer", "data.scenes.0"),
    "reference": ("own-cut", "data.reference"),
    "data": ("soundstage", "data"),
    "metric": ("events", "metrics.0"),
    "source": ("shards", "source"),
    "filter": ("silence", "filters.0"),
    "optimizer": ("adamw", "train.optimizer"),
    "schedule": ("constant", "train.schedule"),
    "trainable": ("all", "train.trainable"),
    "strategy": ("single", "train.strategy"),
    "callback": ("log", "train.callbacks.0"),
}
# Kind -> the call of its contract check, if it isn't `check_KIND(CLASS())`.
CHECKS = {
    "encoder": "check_encoder({cls}(), parts.format, parts.codecs)",
    "anchor": "check_anchor({cls}(), parts.codecs)",
    **{
        kind: f"check_{kind}({{cls}}(), parts.format)"
        for kind in ("video_codec", "audio_codec", "data")
    },
    "source": (
        """clips = tmp_path / "clips"
    prepare_shards(read_recipe("demo", ["data.size=4"]), clips)
    check_source({cls}(), root=clips)"""
    ),
    **{
        f"{stream}_branch": f"""part = read_recipe("demo").denoiser.{stream}
    check_{stream}_branch({{cls}}(part) if WRAPS else {{cls}}())"""
        for stream in ("video", "audio")
    },
    "denoiser": (
        """part = {cls}(read_recipe("demo").denoiser) if WRAPS else {cls}()
    check_denoiser(part, codecs=parts.codecs, encoders=parts.encoders)"""
    ),
}
# Kind -> the recipe that has such a part, if it isn't the demo.
RECIPES = {"reference": "clips"}

PYPROJECT = """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "harmony-{name}"
version = "0.1.0"
description = "The {kind} `{name}` for harmony-parts."
requires-python = ">=3.11"
dependencies = ["harmony-parts"]

[project.entry-points.harmony_parts]
{name} = "{package}"

[tool.setuptools]
packages = ["{package}"]
"""
HOOK = '''\
"""The {kind} `{name}` for harmony-parts."""

from harmony_parts.plugin import hookimpl, part


@hookimpl
def {hook}():
    """Declare the part. Its module is imported when the part is first used."""
    yield part(
        "{name}",
        "{package}.{module}:{cls}",
        summary="Wraps the built-in {base} without changing it.",
    )
'''
PART = '''\
"""The {kind} `{name}`."""

from __future__ import annotations

import attrs

{imports}


@attrs.frozen
class {cls}:
    """Delegates every method to `inner`.

    Change what the methods return. Once they no longer need it, remove `inner`; the tests still
    pass.
    """

    inner: {protocol} = knob(
        default_part("{target}"),
        help="the wrapped {kind}",
    )
{methods}'''
METHOD = """
    def {name}({parameters}):
        {docstring}
        return self.inner{call}({arguments})
"""
ATTRIBUTE = '''
    @property
    def {name}(self):
        """That of the wrapped part."""
        return self.inner.{name}
'''
TEST = '''\
"""The part is found, meets the contract of its kind, and works in a recipe."""

from __future__ import annotations

import tomllib

import attrs
import {package}
import pytest
from {package}.{module} import {cls}

from harmony_parts.assembly.build import build
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.read import read_recipe, shipped_recipes
{checks}
WRAPS = "inner" in attrs.fields_dict({cls})  # until you remove that setting


@pytest.fixture
def catalogue():
    """The built-in parts and this package."""
    parts = Catalogue.discover(only=())
    parts.add("{name}", {package})
    assert not parts.failures
    return parts


def test_the_part_is_found(catalogue):
    """Loading it also checks that it has all members of its kind's protocol."""
    assert catalogue.load("{key}", "{name}") is {cls}


def test_the_part_works_in_a_recipe(catalogue):
    """In the recipe `{recipe}`, in place of the part that the recipe uses, or around it."""
    recipe = tomllib.loads(shipped_recipes()["{recipe}"].read_text(encoding="utf-8"))
    {given}table = recipe{way}
    inner = {{"inner": {before}}} if WRAPS else {{}}
    table[{last}] = {{"use": "{name}", **inner}}
    build(read_recipe(recipe, parts=catalogue))
'''
CHECK = """

def test_the_part_meets_its_contract({fixtures}):
    {prepare}{check}
"""
PROPERTIES = """

@pytest.mark.parametrize(("guidance", "holds"), cases({cls}()))
def test_every_property_of_guidance_holds(guidance, holds):
    holds(guidance)
"""
README = """\
# harmony-{name}

The {kind} `{name}` for harmony-parts.

    pip install -e .                  # install it in development mode
    harmony parts show {slug}/{name}  # its settings
    pytest                            # its tests

Use it in a recipe with `use = "{name}"`.
"""


def write_plugin(kind: str, name: str, folder: str | Path) -> Path:
    """Write the package `harmony-NAME` with one part of `kind` into `folder`; returns its path.

    The part wraps a built-in one and delegates every method to it. Raises UnknownPart if the kind
    doesn't exist, ValueError if the name can't name a package or the folder of the package exists.
    """
    key = kind_name(kind)
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise ValueError(
            f"{name!r} can't name a plugin: use lower-case letters, digits and single hyphens,"
            " begin with a letter, and avoid Python's keywords"
        )
    root = Path(folder) / f"harmony-{name}"
    if root.exists():
        raise ValueError(f"{root} already exists; choose another name, or move it away")
    for file, text in _files(key, name, module).items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    return root


def _files(key: str, name: str, module: str) -> dict[str, str]:
    """Path in the package -> text."""
    words = _words(key, name, module)
    return {
        "pyproject.toml": PYPROJECT.format(**words),
        "README.md": README.format(**words),
        f"harmony_{module}/__init__.py": HOOK.format(**words),
        f"harmony_{module}/{module}.py": PART.format(**words),
        f"tests/test_{module}.py": _tests(key, words),
    }


def _words(key: str, name: str, module: str) -> dict[str, Any]:
    """The values of the placeholders in all templates."""
    kind, (base, place) = KINDS[key], STARTING_POINTS[key]
    protocol_module, _, protocol = kind.protocol.partition(":")
    members = signatures.members(getattr(importlib.import_module(protocol_module), protocol))
    *way, last = [step if step.isdigit() else f'"{step}"' for step in place.split(".")]
    imports = [
        f"from {protocol_module} import {protocol}",
        "from harmony_parts.plugin import default_part, knob",
    ]
    return {
        "name": name,
        "key": key,
        "slug": str(kind),
        "kind": str(kind).replace("-", " "),
        "hook": kind.hook,
        "module": module,
        "package": f"harmony_{module}",
        "cls": "".join(word.capitalize() for word in name.split("-")),
        "base": base,
        "target": Catalogue.discover(only=()).find(key, base).declaration.target,
        "protocol": protocol,
        # the demo keeps all clips: without filters of its own, the recipe needs one to wrap
        "given": f'recipe["filters"] = ["{base}"]\n    ' if key == "filter" else "",
        "way": "".join(f"[{step}]" for step in way),
        "last": last,
        "recipe": RECIPES.get(key, "demo"),
        "before": f"table[{last}]" if last.isdigit() else f'table.get({last}, "{base}")',
        "imports": "\n".join(sorted(imports)),
        "methods": "".join(_member(each, function) for each, function in members.items()),
    }


def _tests(key: str, words: dict[str, Any]) -> str:
    """The test file of the package."""
    check = CHECKS.get(key, "check_{key}({cls}())").format(**words)
    imports = f"from harmony_parts.testing.contracts import check_{key}\n"
    if key == "guidance":
        imports += "from harmony_parts.testing.guidance_properties import cases\n"
    if "prepare_shards(" in check:
        imports = f"from harmony_parts.latents.prepare_shards import prepare_shards\n{imports}"
    prepare = 'parts = build(read_recipe("demo"))\n    ' if "parts." in check else ""
    fixtures = "tmp_path" if "tmp_path" in check else ""
    text = TEST.format(checks=imports, **words)
    text += CHECK.format(prepare=prepare, check=check, fixtures=fixtures)
    return text + PROPERTIES.format(**words) if key == "guidance" else text


def _member(name: str, function: Any) -> str:
    """A method or attribute that delegates to the wrapped part."""
    if function is None:
        return ATTRIBUTE.format(name=name)
    parameters = list(inspect.signature(function).parameters.values())
    shown, arguments = ["self"], []
    for each in parameters[1:]:
        by_name = each.kind is inspect.Parameter.KEYWORD_ONLY
        if by_name and "*" not in shown:
            shown.append("*")
        default = "" if each.default is each.empty else f"={_literal(each.default)}"
        shown.append(each.name + default)
        arguments.append(f"{each.name}={each.name}" if by_name else each.name)
    call = "" if name == "__call__" else f".{name}"
    return METHOD.format(
        name=name,
        parameters=", ".join(shown),
        docstring=_docstring(function),
        call=call,
        arguments=", ".join(arguments),
    )


def _literal(value: Any) -> str:
    """A default value as Python source, strings in double quotes."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _docstring(function: Any) -> str:
    """The first sentence of a protocol's method as a docstring, on as many lines as it needs."""
    paragraph = (inspect.getdoc(function) or "Delegates to the wrapped part.").split("\n\n")[0]
    sentence = " ".join(paragraph.split()).split(". ")[0].rstrip(".") + "."
    if len(sentence) <= 100 - len('        """"""'):
        return f'"""{sentence}"""'
    lines = textwrap.wrap(sentence, 89, subsequent_indent="        ")
    return '"""' + "\n".join(lines) + '\n        """'
