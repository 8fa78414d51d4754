"""The gaps between the events of a take."""

from __future__ import annotations

import attrs
import numpy as np

# s: no event before FIRST or within LAST of the end of a clip; events are at least REST apart
FIRST, REST, LAST = 0.12, 0.35, 0.15


@attrs.frozen
class Rhythm:
    """Irregular events: gaps are uniform from `rest` to `longest` seconds; none if `silent`."""

    rest: float = REST
    longest: float = 1.1
    silent: bool = False

    def times(self, rng: np.random.Generator, seconds: float) -> np.ndarray:
        """Event times [N] in s, the first after FIRST, the last before `seconds` - LAST.

        There is at least one, unless the clip is too short for it.
        """
        if self.silent:
            return np.zeros(0)
        end = seconds - LAST
        time = rng.uniform(FIRST, FIRST + 0.6 * self.longest)
        times = []
        while time < end:
            times.append(time)
            time += rng.uniform(self.rest, self.longest)
        if not times and end > FIRST:
            times.append(rng.uniform(FIRST, end))
        return np.array(times)
