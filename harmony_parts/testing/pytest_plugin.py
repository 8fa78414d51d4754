"""For pytest: the mark `guidance_properties` gives a test one case for every property of the
guidances that it names.

    @pytest.mark.guidance_properties(MyGuidance(), known_failures={"affine": "it clips"})
    def test_properties(guidance, holds):
        holds(guidance)

Loaded by pytest itself where harmony-parts is installed, so nothing heavy is imported until a test
has the mark.
"""

from __future__ import annotations

from typing import Any

MARK = "guidance_properties"


def pytest_configure(config: Any) -> None:
    """Let `--strict-markers` know the mark."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(*guidances, known_failures=None): every property of these guidances, as (guidance,"
        " holds)",
    )


def pytest_generate_tests(metafunc: Any) -> None:
    """The cases of a test that has the mark."""
    for mark in metafunc.definition.iter_markers(MARK):
        from harmony_parts.testing.guidance_properties import cases

        metafunc.parametrize(("guidance", "holds"), cases(*mark.args, **mark.kwargs))
