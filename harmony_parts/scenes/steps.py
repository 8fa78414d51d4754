"""Somebody walks past; each step lands with a crunch or a knock, and raises a little dust."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event
from harmony_parts.scenes.canvas import PAINTS, WALLS, Canvas, Colour, pick
from harmony_parts.scenes.captions import count
from harmony_parts.scenes.mixer import Mixer, Struck
from harmony_parts.scenes.rhythm import Rhythm

GROUND, HIP, STRIDE = 0.86, 0.50, 0.24
LEG = 0.168  # length of a thigh, and of a shin with its foot

PATHS: dict[str, Colour] = {
    "gravel": (0.42, 0.40, 0.37),
    "wooden": (0.50, 0.33, 0.17),
    "snowy": (0.66, 0.70, 0.76),
}
SOUNDS = {
    "gravel": (Struck((), (), (), 0.8, 0.05), "crunching footstep"),
    "wooden": (
        Struck((130, 212, 455, 890), (0.4, 0.25, 0.15, 0.1), (0.06, 0.05, 0.03, 0.02), 0.3, 0.01),
        "hollow footstep",
    ),
    "snowy": (Struck((310, 470), (0.10, 0.08), (0.05, 0.04), 0.45, 0.09), "soft footstep"),
}


@attrs.frozen
class Steps:
    """Somebody walks on gravel, wood or snow; the clothes vary."""

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> StepsTake:
        """A random walk for a clip of `seconds`."""
        paths = list(PATHS)
        return StepsTake(
            paths[rng.integers(len(paths))],
            pick(rng, PAINTS),
            pick(rng, PAINTS),
            pick(rng, WALLS),
            bool(rng.integers(2)),
            rhythm.times(rng, seconds),
        )


@attrs.frozen(eq=False)
class StepsTake:
    """A walk on `path` in a coat and trousers, to the left or right; feet land at `times` [N] s."""

    path: str
    coat: tuple[str, Colour]
    trousers: tuple[str, Colour]
    backdrop: tuple[str, Colour]
    left: bool
    times: np.ndarray = attrs.field(converter=np.asarray)

    def again(self, rng: np.random.Generator, seconds: float) -> StepsTake:
        """The same walker at other times."""
        return attrs.evolve(self, times=Rhythm().times(rng, seconds))

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    @property
    def events(self) -> list[Event]:
        """The steps, by turns of the right and the left foot."""
        x = 0.5 + (-1 if self.left else 1) * STRIDE / 2
        return [
            Event(float(t), f"{('right', 'left')[k % 2]} foot", (x, GROUND))
            for k, t in enumerate(self.times)
        ]

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        ground = "on gravel" if self.path == "gravel" else f"on a {self.path} path"
        does = "walks" if len(self.times) else "stands"
        return (
            f"somebody in a {self.coat[0]} coat {does} {ground}, in front of a {self.backdrop[0]}"
            " wall"
        )

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        return count(len(self.times), SOUNDS[self.path][1])

    def _feet(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place of the walker on the path, and of both feet: x [2, T, 1, 1], y above ground.

        Landing k is at k STRIDE; a foot lifts when the other one lands.
        """
        steps = np.arange(-1, len(self.times) + 1)
        lands = (
            np.concatenate([[-9.0], self.times, [99.0]])
            if len(self.times)
            else np.array([-9.0, 99.0])
        )
        # the foot begins its swing at most 0.5 s before it lands
        lifts = np.maximum(lands[:-1], lands[1:] - 0.5)
        x, up = [], []
        for foot in (0, 1):
            at = np.full_like(t, float(steps[0] if steps[0] % 2 == foot else steps[0] - 1))
            high = np.zeros_like(t)
            for k, begin, end in zip(steps[1:], lifts, lands[1:], strict=True):
                if k % 2 == foot and end < 99:
                    share = np.clip((t - begin) / (end - begin), 0, 1)
                    at = np.where(t >= begin, k - 2 * (1 - share), at)
                    high += np.sin(np.pi * share) * 0.07
            x.append(at * STRIDE)
            up.append(high)
        return (x[0] + x[1]) / 2, np.stack(x), np.stack(up)

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames, with the camera beside the walker."""
        facing, t = (-1 if self.left else 1), canvas.middle
        body, feet, up = self._feet(t)
        canvas.ground(GROUND, PATHS[self.path])
        plank = 0.25
        for k in range(7):  # marks on the path and posts behind it show the motion
            x = np.mod(plank * k - facing * body, 7 * plank) - 0.375
            canvas.paint(canvas.box(x, GROUND + 0.08, 0.012, 0.045, 0.5), (0.12, 0.10, 0.09), 0.55)
            if k % 3 == 0:
                canvas.paint(canvas.box(x, GROUND - 0.20, 0.022, 0.20), (0.05, 0.05, 0.06), 0.45)
        canvas.flare(self.times, 0.5 + facing * STRIDE / 2, GROUND - 0.01, 0.36, 0.85)

        sway = 0.012 * np.abs(feet[0] - feet[1]) / STRIDE
        hip = HIP + sway
        canvas.paint(canvas.disc(0.5, GROUND + 0.02, 0.2, 0.03), (0.02, 0.02, 0.02), 0.4)
        cloth, skin = np.array(self.coat[1]), (0.87, 0.66, 0.52)
        for k in (1, 0):
            shade = (1.0, 0.62)[k]
            ankle_x = 0.5 + facing * (feet[k] - body)
            ankle_y = GROUND - 0.035 - up[k]
            across, down = ankle_x - 0.5, ankle_y - hip
            far = np.hypot(across, down)
            bend = np.sqrt(np.maximum(LEG**2 - far * far / 4, 0))  # two links of equal length
            knee_x = 0.5 + across / 2 + facing * bend * down / far
            knee_y = hip + down / 2 - facing * bend * across / far
            colour = tuple(np.array(self.trousers[1]) * shade * 0.7)
            canvas.paint(canvas.line(0.5, hip, knee_x, knee_y, 0.036), colour)
            canvas.paint(canvas.line(knee_x, knee_y, ankle_x, ankle_y, 0.028), colour)
            canvas.paint(
                canvas.line(
                    ankle_x, ankle_y + 0.015, ankle_x + facing * 0.055, ankle_y + 0.02, 0.020
                ),
                (0.10, 0.08, 0.08),
            )
            if k == 1:
                self._arm(canvas, hip, facing * (feet[0] - feet[1]), 0.6)
                canvas.paint(canvas.line(0.5, hip - 0.22, 0.5, hip, 0.075), tuple(cloth))
                canvas.paint(canvas.disc(0.5 + facing * 0.01, hip - 0.35, 0.072), skin)
                canvas.paint(
                    canvas.disc(0.5 - facing * 0.012, hip - 0.375, 0.070, 0.055), (0.20, 0.13, 0.09)
                )
                canvas.paint(
                    canvas.disc(0.5 + facing * 0.045, hip - 0.35, 0.010), (0.05, 0.05, 0.05)
                )
        self._arm(canvas, hip, -facing * (feet[0] - feet[1]), 0.85)

    def _arm(self, canvas: Canvas, hip: np.ndarray, reach: np.ndarray, shade: float) -> None:
        colour = tuple(np.array(self.coat[1]) * shade)
        canvas.paint(canvas.line(0.5, hip - 0.22, 0.5 + 0.45 * reach, hip - 0.05, 0.026), colour)

    def sound(self, mixer: Mixer) -> None:
        """A step sounds of its ground."""
        body, facing = SOUNDS[self.path][0], (-1 if self.left else 1)
        for time in self.times:
            mixer.strike(float(time), body, 0.9, 0.5 + facing * STRIDE / 2)
