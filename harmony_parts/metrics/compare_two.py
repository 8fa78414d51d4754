"""Two sets of clips side by side: by how much the means of a metric's numbers differ."""

from __future__ import annotations

from harmony_parts.metrics.compare import Compared, Scored, draw_cases, means, numbered


def compare_two(first: Scored, second: Scored, *, seed: int = 0) -> dict[str, Compared]:
    """Name -> `first` less `second`: of the paired means, of chance, and of the difference.

    If they share cases, such as prompts, only these count, and each draw of the bootstrap has the
    same ones on both sides: what is easy or hard for both cancels. Otherwise both are drawn
    independently. `cases` of the result is the smaller number of the two.
    """
    shared = set(first.cases) & set(second.cases)
    if shared:
        first, second = first.only(shared), second.only(shared)
        (one, other), number = numbered([first.cases, second.cases])
        drawn = draw_cases(number, seed)
        counts = drawn[:, one], drawn[:, other]
    else:
        groups = [numbered([scored.cases]) for scored in (first, second)]
        # other seeds: equal numbers of cases would else be drawn alike
        counts = tuple(  # type: ignore[assignment]
            draw_cases(number, seed + side)[:, group]
            for side, ((group,), number) in enumerate(groups)
        )
    found = {
        name: means(first, name, counts[0]).minus(means(second, name, counts[1])).compared()
        for name in first.names
        if name in second.names
    }
    return {name: compared for name, compared in found.items() if compared.paired is not None}
