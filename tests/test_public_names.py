"""The names of `import harmony_parts`, and what importing them loads."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import harmony_parts as hp

SOURCE = Path(hp.__file__)


@pytest.mark.parametrize("name", hp._NAMES)
def test_each_public_name_can_be_imported(name):
    """And is listed by `dir`."""
    assert getattr(hp, name) is vars(hp)[name]
    assert name in dir(hp)


def test_type_checkers_see_the_same_public_names():
    """The table of lazy names agrees with the imports under TYPE_CHECKING."""
    block = next(node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    imported = {
        alias.asname: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    # `Sum as _Sum`, then `SumGuidance = _Sum`
    renamed = [node for node in block.body if isinstance(node, ast.Assign)]
    imported |= {node.targets[0].id: imported.pop(node.value.id) for node in renamed}
    table = {name: target.partition(":") for name, target in hp._NAMES.items()}
    assert imported == {
        name: (f"harmony_parts.{module}", attribute or name)
        for name, (module, _, attribute) in table.items()
    }


def test_no_public_name_is_the_name_of_a_module():
    """Importing such a module would replace the name."""
    assert {module.name for module in pkgutil.iter_modules(hp.__path__)}.isdisjoint(hp._NAMES)


def test_unknown_names_are_attribute_errors():
    """With the usual message."""
    with pytest.raises(AttributeError, match="no attribute 'SynkCFG'"):
        _ = hp.SynkCFG
    assert hp.__version__


@pytest.mark.parametrize(
    "code",
    [
        (
            "import harmony_parts; dir(harmony_parts); harmony_parts.__version__;"
            " harmony_parts.Format(25, 8, 8, 16000, 1).frames"
        ),
        "from harmony_parts.plugin import hookimpl, knob, part",
        "import harmony_parts.hookspecs",
        (
            "from harmony_parts.assembly.catalogue import Catalogue;"
            " found = Catalogue.discover(only=()); assert found.list() and not found.failures"
        ),
        "from harmony_parts.assembly.read import shipped_recipes; shipped_recipes()",
    ],
)
def test_torch_is_not_imported(code):
    """Before a part is used."""
    subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nassert 'torch' not in sys.modules"],
        check=True,
        timeout=60,
    )
