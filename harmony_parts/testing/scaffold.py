"""A new plugin, written: a package with one part, whose tests pass as generated."""

from __future__ import annotations

import importlib
import inspect
import keyword
import re
from pathlib import Path
from typing import Any

from harmony_parts.assembly import signatures
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.kinds import KINDS, kind_name

# Kind -> the built-in part that a new one begins as, and where the demo's recipe has one of the
# kind.
BEGINS: dict[str, tuple[str, str]] = {
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
    "data": ("soundstage", "data"),
    "metric": ("events", "metrics.0"),
}
# Kinds with a contract check, and how it is called.
CHECKS = {
    "encoder": "check_encoder({cls}(), parts.format, parts.codecs)",
    "anchor": "check_anchor({cls}(), parts.codecs)",
    **{
        kind: f"check_{kind}({{cls}}(), parts.format)"
        for kind in ("video_codec", "audio_codec", "data")
    },
    **{
        kind: f"check_{kind}({{cls}}())" for kind in ("interaction", "attention", "style", "metric")
    },
    **{
        f"{stream}_branch": f'check_{stream}_branch({{cls}}(read_recipe("demo").denoiser.{stream}))'
        for stream in ("video", "audio")
    },
    # in the last layer nobody hears the reference sound, so weights of a style there wouldn't learn
    "denoiser": (
        """recipe = read_recipe("demo", ["denoiser.interaction.style=none"])
    check_denoiser({cls}(recipe.denoiser), codecs=parts.codecs, encoders=parts.encoders)"""
    ),
    **{
        kind: f"check_{kind}({{cls}}())"
        for kind in ("path", "shift", "density", "solver", "task", "guidance")
    },
}

PYPROJECT = """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "harmony-{name}"
version = "0.1.0"
description = "The {kind} {name} for harmony-parts."
requires-python = ">=3.11"
dependencies = ["harmony-parts"]

[project.entry-points.harmony_parts]
{name} = "{package}"

[tool.setuptools]
packages = ["{package}"]
"""
HOOK = '''\
"""The {kind} `{name}` for harmony_parts."""

from harmony_parts.plugin import hookimpl, part


@hookimpl
def {hook}():
    """One part; nothing is imported until somebody uses it."""
    yield part(
        "{name}",
        "{package}.{module}:{cls}",
        summary="The built-in {base} as it is, to begin from.",
    )
'''
PART = '''\
"""The {kind} `{name}`."""

from __future__ import annotations

import attrs

{imports}


@attrs.frozen
class {cls}:
    """The {kind} inside it as it is: change what a method returns, or write it anew and take `inner` out."""

    inner: {protocol} = knob(default_part("{target}"), help="what this one begins as")
{methods}'''  # noqa: E501
METHOD = '''
    def {name}({parameters}):
        """{says}"""
        return self.inner{call}({arguments})
'''
ATTRIBUTE = '''
    @property
    def {name}(self):
        """As `{protocol}` says."""
        return self.inner.{name}
'''
TEST = '''\
"""The part is found, keeps the contract of its kind, and works in a recipe."""

from __future__ import annotations

import tomllib

import {package}
import pytest
from {package}.{module} import {cls}

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe, shipped_recipes
from harmony_parts.assembly.catalogue import Catalogue
{checks}

@pytest.fixture
def known():
    """The built-in parts, and this package."""
    found = Catalogue.discover(only=())
    found.add("{name}", {package})
    assert not found.failures
    return found


def test_it_is_found_and_has_what_its_kind_asks_for(known):
    assert known.load("{key}", "{name}") is {cls}


def test_it_works_in_a_recipe(known):
    """Around the part that the demo has in its place."""
    recipe = tomllib.loads(shipped_recipes()["demo"].read_text(encoding="utf-8"))
    place = recipe{way}
    place[{last}] = {{"use": "{name}", "inner": {before}}}
    build(read_recipe(recipe, parts=known))
'''
CHECK = """

def test_contract():
    {prepare}{check}
"""
PROPERTIES = """

@pytest.mark.parametrize(("guidance", "holds"), cases({cls}()))
def test_properties(guidance, holds):
    holds(guidance)
"""
README = """\
# harmony-{name}

The {kind} `{name}` for harmony-parts.

`pip install -e .`, and `harmony parts list {kind}` lists it; `pytest` runs its tests. In a recipe: `use = "{name}"`.
"""  # noqa: E501


def write_plugin(kind: str, name: str, folder: str | Path) -> Path:
    """Write the package `harmony-NAME` with one part of `kind` into `folder`, and return where it
    is.

    The part begins as a built-in one, method by method. Raises UnknownPart for a kind that doesn't
    exist, ValueError for a name that can't be a package's or a folder that is there already.
    """
    key = kind_name(kind)
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise ValueError(
            f"{name!r} can't name a plugin: lower-case letters, digits and single hyphens, a letter"
            " first, and no word of Python's"
        )
    root = Path(folder) / f"harmony-{name}"
    if root.exists():
        raise ValueError(f"{root} is there already; take another name, or move it away")
    for file, text in _files(key, name, module).items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text, encoding="utf-8")
    return root


def _files(key: str, name: str, module: str) -> dict[str, str]:
    """File -> text."""
    kind, (base, place) = KINDS[key], BEGINS[key]
    protocol_module, _, protocol = kind.protocol.partition(":")
    *way, last = [step if step.isdigit() else f'"{step}"' for step in place.split(".")]
    words: dict[str, Any] = {
        "name": name,
        "key": key,
        "kind": str(kind).replace("-", " "),
        "hook": kind.hook,
        "module": module,
        "package": f"harmony_{module}",
        "cls": "".join(word.capitalize() for word in name.split("-")),
        "base": base,
        "target": Catalogue.discover(only=()).find(key, base).declaration.target,
        "protocol_module": protocol_module,
        "protocol": protocol,
        "way": "".join(f"[{step}]" for step in way),
        "last": last,
        "before": f"place[{last}]" if last.isdigit() else f'place.get({last}, "{base}")',
        "imports": "\n".join(
            sorted(
                [
                    f"from {protocol_module} import {protocol}",
                    "from harmony_parts.plugin import default_part, knob",
                ]
            )
        ),
    }
    members = signatures.members(getattr(importlib.import_module(protocol_module), protocol))
    words["methods"] = "".join(
        _member(each, function, protocol) for each, function in members.items()
    )
    check = CHECKS.get(key, "").format(**words)
    needs_parts = "parts." in check
    prepare = 'parts = build(read_recipe("demo"))\n    ' if needs_parts else ""
    imported = [f"from harmony_parts.testing.contracts import check_{key}\n"] if check else []
    imported += (
        ["from harmony_parts.testing.guidance_properties import cases\n"]
        if key == "guidance"
        else []
    )
    test = TEST.format(checks="".join(imported), **words)
    test += CHECK.format(prepare=prepare, check=check) if check else ""
    test += PROPERTIES.format(**words) if key == "guidance" else ""
    return {
        "pyproject.toml": PYPROJECT.format(**words),
        "README.md": README.format(**words),
        f"harmony_{module}/__init__.py": HOOK.format(**words),
        f"harmony_{module}/{module}.py": PART.format(**words),
        f"tests/test_{module}.py": test,
    }


def _member(name: str, function: Any, protocol: str) -> str:
    """One method, or attribute, handed on to the part inside."""
    if function is None:
        return ATTRIBUTE.format(name=name, protocol=protocol)
    parameters = list(inspect.signature(function).parameters.values())
    shown, handed = ["self"], []
    for each in parameters[1:]:
        by_name = each.kind is inspect.Parameter.KEYWORD_ONLY
        if by_name and "*" not in shown:
            shown.append("*")
        shown.append(each.name if each.default is each.empty else f"{each.name}={each.default!r}")
        handed.append(f"{each.name}={each.name}" if by_name else each.name)
    says = (inspect.getdoc(function) or f"As `{protocol}` says.").splitlines()[0]
    call = "" if name == "__call__" else f".{name}"
    return METHOD.format(
        name=name, parameters=", ".join(shown), says=says, call=call, arguments=", ".join(handed)
    )
