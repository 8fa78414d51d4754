"""A pytest plugin with one mark, which runs a test for every property of a guidance.

    @pytest.mark.guidance_properties(MyGuidance(), known_failures={"affine": "it clips"})
    def test_properties(guidance, holds):
        holds(guidance)

pytest loads this module wherever harmony-parts is installed, so it imports nothing heavy until a
test has the mark.
"""

from __future__ import annotations

from typing import Any

MARK = "guidance_properties"


def pytest_configure(config: Any) -> None:
    """Register the mark, as `--strict-markers` requires."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(*guidances, known_failures=None): runs the test for every property of these"
        " guidances",
    )


def pytest_generate_tests(metafunc: Any) -> None:
    """Parametrize a test that has the mark."""
    for mark in metafunc.definition.iter_markers(MARK):
        from harmony_parts.testing.guidance_properties import cases

        metafunc.parametrize(("guidance", "holds"), cases(*mark.args, **mark.kwargs))
