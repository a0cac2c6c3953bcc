"""The things that lie about: a builder of shapes per category (host, NumPy).

A shape stands on z = 0, its box centred on the origin; `grip` is where a hand takes it.
The same generator state gives the same thing, so that look-alikes are exact copies.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from egojax.data.world import shapes
from egojax.data.world.shapes import Material, Rgb, Shape

GLAZES: tuple[Rgb, ...] = (
    (0.85, 0.84, 0.8),
    (0.75, 0.1, 0.07),
    (0.06, 0.2, 0.5),
    (0.85, 0.55, 0.08),
    (0.1, 0.42, 0.25),
    (0.08, 0.08, 0.09),
    (0.35, 0.6, 0.7),
    (0.62, 0.3, 0.45),
    (0.9, 0.75, 0.55),
)
STEEL = Material("metal", (0.6, 0.6, 0.61), (0.18, 0.18, 0.2), 0.9, 0.2)
BLACK = Material("plain", (0.02, 0.02, 0.022), (0.06, 0.06, 0.06), 0.5, 0.2)
PINE = Material("wood", (0.62, 0.4, 0.2), (0.4, 0.22, 0.09), 0.15, 0.25)


@dataclasses.dataclass(frozen=True)
class Model:
    """One thing: its mesh and how it is placed and held."""

    category: str
    shape: Shape
    grip: tuple[float, float, float]  # Object axes, metres.

    @functools.cached_property
    def radius(self) -> float:
        """Of the circle around the axis that it fills on a surface."""
        return float(np.linalg.norm(self.shape.vertices[:, :2], axis=-1).max())


def build(category: str, rng: np.random.Generator) -> Model:
    """A random thing of a category (a key of `CATEGORIES`)."""
    shape, grip = CATEGORIES[category](rng)
    middle = shape.extent.mean(0) * np.array([1.0, 1.0, 0.0])
    held = np.asarray(grip) - middle
    return Model(category, shape.moved(-middle), (held[0], held[1], held[2]))


Built = tuple[Shape, tuple[float, float, float]]


def _glaze(
    rng: np.random.Generator, kinds: tuple[str, ...], scale: float = 0.12
) -> Material:
    a, b = (GLAZES[k] for k in rng.choice(len(GLAZES), 2, replace=False))
    return Material(str(rng.choice(kinds)), a, b, 0.55, scale)


def _cup_profile(
    r: float, h: float, foot: float, wall: float
) -> list[tuple[float, float]]:
    """Foot, flaring side, round lip, inside, floor."""
    return [
        (foot * r, 0.0),
        (r * 0.93, 0.12 * h),
        (r * 0.97, 0.5 * h),
        (r, h - 0.002),
        (r - wall / 2, h),
        (r - wall, h - 0.003),
        (r * 0.97 - wall, 0.5 * h),
        (r * 0.9 - wall, 0.15 * h),
        (0.5 * r, 0.07 * h),
    ]


def _mug(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.037, 0.045), rng.uniform(0.085, 0.11)
    glaze = _glaze(rng, ("plain", "stripes", "dots", "print"), 2 * np.pi * r / 2)
    turn = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
    handle = np.stack(
        [
            r * 0.92 + 0.032 * np.cos(turn),
            0.0 * turn,
            0.5 * h + 0.33 * h * np.sin(turn),
        ],
        -1,
    )
    parts = [shapes.lathe(_cup_profile(r, h, 0.75, 0.005), glaze, 24)]
    parts.append(
        shapes.tube(handle, 0.0055, dataclasses.replace(glaze, kind="plain"), 7)
    )
    return shapes.compose(parts), (0.0, 0.0, 0.7 * h)


def _tumbler(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.032, 0.04), rng.uniform(0.1, 0.14)
    glass = Material("metal", (0.52, 0.6, 0.6), (0.3, 0.38, 0.4), 1.0, 0.3)
    return shapes.lathe(_cup_profile(r, h, 0.8, 0.003), glass, 20), (0.0, 0.0, 0.7 * h)


def _bottle(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.032, 0.042), rng.uniform(0.22, 0.3)
    body = Material(
        "plain", GLAZES[rng.integers(len(GLAZES))], (0.1, 0.1, 0.08), 0.8, 0.3
    )
    label = _glaze(rng, ("print",), 0.11)
    cap = Material(
        "plain", GLAZES[rng.integers(len(GLAZES))], (0.2, 0.2, 0.2), 0.4, 0.2
    )
    s = 0.55 * h
    profile = [
        (r * 0.9, 0.0),
        (r, 0.008),
        (r, s),
        (r * 0.85, s + 0.03),
        (0.014, 0.8 * h),
    ]
    parts = [
        shapes.lathe([*profile, (0.013, h - 0.018)], body, 20),
        shapes.lathe([(r + 8e-4, 0.12 * h), (r + 8e-4, 0.48 * h)], label, 20),
        shapes.lathe([(0.0165, h - 0.022), (0.0165, h - 0.002), (0.014, h)], cap, 12),
    ]
    return shapes.compose(parts), (0.0, 0.0, 0.62 * h)


def _pan(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.1, 0.125), rng.uniform(0.04, 0.055)
    outside = STEEL if rng.random() < 0.5 else BLACK
    profile = [(0.8 * r, 0.0), (0.88 * r, 0.006), (r, h), (r - 0.003, h + 0.001)]
    inner = [(r - 0.005, h), (0.86 * r, 0.01), (0.5 * r, 0.007)]
    bowl = shapes.lathe([*profile, *inner], outside, 28)
    grip = np.array(
        [
            [0.95 * r, 0.0, 0.8 * h],
            [r + 0.06, 0.0, h + 0.012],
            [r + 0.17, 0.0, h + 0.02],
        ]
    )
    handle = shapes.tube(grip, np.array([0.008, 0.011, 0.012]), BLACK, 8)
    return shapes.compose([bowl, handle]), (r + 0.1, 0.0, h + 0.018)


def _pot(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.085, 0.105), rng.uniform(0.1, 0.13)
    body = shapes.lathe(
        [(0.94 * r, 0.0), (r, 0.012), (r, h), (r + 0.005, h + 0.002), (0.0, h + 0.018)],
        STEEL,
        28,
    )
    knob = shapes.lathe(
        [(0.008, h + 0.016), (0.016, h + 0.034), (0.01, h + 0.042)], BLACK, 12
    )
    arc = np.linspace(-0.42, 0.42, 6)
    ears = [
        shapes.tube(
            np.stack(
                [
                    s * (r + 0.03 * np.cos(arc / 0.42 * 1.5)),
                    0.1 * arc,
                    0.8 * h + 0.0 * arc,
                ],
                -1,
            ),
            0.005,
            BLACK,
            6,
        )
        for s in (1.0, -1.0)
    ]
    return shapes.compose([body, knob, *ears]), (0.0, 0.0, h + 0.03)


def _plate(rng: np.random.Generator) -> Built:
    r = rng.uniform(0.09, 0.125)
    profile = [(0.55 * r, 0.0), (0.62 * r, 0.003), (r, 0.02), (r - 0.002, 0.023)]
    inner = [(0.66 * r, 0.009), (0.6 * r, 0.006)]
    glaze = _glaze(rng, ("plain", "stripes", "dots"), 0.5 * r)
    return shapes.lathe([*profile, *inner], glaze, 32), (0.85 * r, 0.0, 0.015)


def _bowl(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.065, 0.09), rng.uniform(0.055, 0.075)
    profile = [
        (0.45 * r, 0.0),
        (0.5 * r, 0.008),
        (0.82 * r, 0.45 * h),
        (r, h),
        (r - 0.004, h),
    ]
    inner = [(0.78 * r, 0.48 * h), (0.4 * r, 0.012)]
    glaze = _glaze(rng, ("plain", "stripes", "dots"), r)
    return shapes.lathe([*profile, *inner], glaze, 28), (0.9 * r, 0.0, 0.9 * h)


def _knife(rng: np.random.Generator) -> Built:
    length = rng.uniform(0.13, 0.18)
    blade = np.array(
        [[0.0, -0.013], [length, 0.012], [0.8 * length, 0.016], [0.0, 0.016]]
    )
    handle = shapes.extrude(shapes.rounded(0.11, 0.024, 0.01), 0.017, BLACK, 0.003)
    return shapes.compose(
        [
            shapes.extrude(blade, 0.003, STEEL).moved((0.0, 0.0, 0.006)),
            handle.moved((-0.052, 0.0, 0.0)),
        ]
    ), (-0.05, 0.0, 0.012)


def _spoon(rng: np.random.Generator) -> Built:
    length, wooden = rng.uniform(0.19, 0.26), rng.random() < 0.5
    stuff = PINE if wooden else STEEL
    x = np.linspace(-0.5, 0.5, 6) * length
    width = 0.006 if wooden else 0.004
    stem = shapes.tube(np.stack([x, 0 * x, 0.012 + 0 * x], -1), width, stuff, 6)
    head = shapes.lathe(
        [(0.010, 0.0), (0.021, 0.006), (0.024, 0.013), (0.02, 0.013), (0.012, 0.006)],
        stuff,
        14,
    )
    return shapes.compose([stem, head.moved((0.52 * length, 0.0, 0.003))]), (
        0.0,
        0.0,
        0.012,
    )


def _board(rng: np.random.Generator) -> Built:
    sx, sy = rng.uniform(0.26, 0.32), rng.uniform(0.17, 0.21)
    wood = Material("wood", (0.6, 0.38, 0.2), (0.36, 0.19, 0.08), 0.12, 0.3)
    return shapes.extrude(shapes.rounded(sx, sy, 0.025), 0.018, wood, 0.004), (
        0.45 * sx,
        0.0,
        0.012,
    )


def _box(rng: np.random.Generator) -> Built:
    sx, sy, h = rng.uniform(0.07, 0.13), rng.uniform(0.04, 0.07), rng.uniform(0.13, 0.2)
    card = _glaze(rng, ("print",), 0.16)
    return shapes.extrude(shapes.rounded(sx, sy, 0.004, 2), h, card, 0.002), (
        0.0,
        0.0,
        0.8 * h,
    )


def _jar(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.036, 0.05), rng.uniform(0.1, 0.15)
    filling = Material(
        "stone", GLAZES[rng.integers(len(GLAZES))], (0.25, 0.12, 0.05), 0.9, 0.1
    )
    lid = Material(
        "dots", GLAZES[rng.integers(len(GLAZES))], (0.7, 0.7, 0.7), 0.6, 0.06
    )
    profile = [(0.9 * r, 0.0), (r, 0.01), (r, 0.78 * h), (0.82 * r, 0.86 * h)]
    parts = [
        shapes.lathe(profile, filling, 22),
        shapes.lathe(
            [(0.88 * r, 0.84 * h), (0.88 * r, h - 0.003), (0.8 * r, h)], lid, 22
        ),
    ]
    if rng.random() < 0.6:
        label = _glaze(rng, ("print",), 0.09)
        parts.append(
            shapes.lathe([(r + 8e-4, 0.2 * h), (r + 8e-4, 0.62 * h)], label, 22)
        )
    return shapes.compose(parts), (0.0, 0.0, 0.8 * h)


def _kettle(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.075, 0.088), rng.uniform(0.18, 0.22)
    shell = Material(
        "metal" if rng.random() < 0.5 else "plain",
        GLAZES[rng.integers(len(GLAZES))],
        (0.2, 0.17, 0.14),
        0.8,
        0.3,
    )
    profile = [
        (r, 0.0),
        (r, 0.03),
        (0.93 * r, 0.5 * h),
        (0.7 * r, 0.93 * h),
        (0.3 * r, h),
        (0.1 * r, h + 0.006),
    ]
    spout = np.array(
        [[0.8 * r, 0.0, 0.62 * h], [1.15 * r, 0.0, 0.78 * h], [1.35 * r, 0.0, 0.95 * h]]
    )
    t = np.linspace(0.0, np.pi, 9)
    handle = np.stack(
        [-0.75 * r - 0.06 * np.sin(t), 0.0 * t, 0.55 * h - 0.32 * h * np.cos(t)], -1
    )
    parts = [
        shapes.lathe(profile, shell, 24),
        shapes.lathe([(1.04 * r, 0.0), (1.04 * r, 0.02), (r, 0.022)], BLACK, 24),
        shapes.lathe([(0.012, h), (0.014, h + 0.018), (0.006, h + 0.022)], BLACK, 10),
        shapes.tube(spout, np.array([0.026, 0.017, 0.013]), shell, 10),
        shapes.tube(handle, 0.011, BLACK, 8),
    ]
    return shapes.compose(parts), (-0.75 * r - 0.06, 0.0, 0.55 * h)


def _cloth(rng: np.random.Generator) -> Built:
    size, n = rng.uniform(0.2, 0.26), 15
    line = np.linspace(-0.5, 0.5, n)
    x, y = np.meshgrid(line * size, line * size * rng.uniform(0.6, 0.8))
    phase = rng.uniform(0.0, 6.0, 4)
    folds = np.sin(26 * x + 9 * y + phase[0]) + 0.7 * np.sin(30 * y - 14 * x + phase[1])
    rim = 1.0 - (2 * np.abs(line[None, :])) ** 6 * (
        0.6 + 0.4 * np.abs(2 * line[:, None])
    )
    z = 0.012 + (0.012 + 0.008 * folds) * np.clip(rim, 0.2, 1.0)
    x, y = x + 0.008 * np.sin(20 * y + phase[2]), y + 0.008 * np.sin(18 * x + phase[3])
    weave = Material(
        "plaid",
        GLAZES[rng.integers(len(GLAZES))],
        GLAZES[rng.integers(len(GLAZES))],
        0.02,
        0.11,
    )
    top = np.stack([x, y, z], -1)
    under = np.stack([x, y, np.clip(z - 0.01, 0.001, None)], -1)[:, ::-1]
    # The hem joins both sides, so that the cloth is closed.
    hem = [
        np.concatenate([s[0], s[:, -1], s[-1, ::-1], s[::-1, 0]])
        for s in (top, under[:, ::-1])
    ]
    rim_shape = shapes.loft(np.stack([hem[1], hem[0]]), weave, capped=False)
    return shapes.compose(
        [shapes.sheet(top, weave), shapes.sheet(under, weave), rim_shape]
    ), (0.0, 0.0, 0.02)


def _can(rng: np.random.Generator) -> Built:
    r, h = rng.uniform(0.033, 0.038), rng.uniform(0.1, 0.12)
    label = _glaze(rng, ("print", "stripes"), 2 * np.pi * r / 2)
    parts = [
        shapes.lathe(
            [
                (0.9 * r, 0.0),
                (r, 0.004),
                (r, h - 0.004),
                (0.92 * r, h),
                (0.9 * r, h - 0.003),
            ],
            STEEL,
            22,
        ),
        shapes.lathe([(r + 6e-4, 0.006), (r + 6e-4, h - 0.007)], label, 22),
    ]
    return shapes.compose(parts), (0.0, 0.0, 0.75 * h)


def _fruit(rng: np.random.Generator) -> Built:
    r = rng.uniform(0.034, 0.042)
    peel = Material(
        "stone",
        ((0.55, 0.05, 0.03), (0.75, 0.33, 0.02), (0.3, 0.5, 0.06))[rng.integers(3)],
        (0.6, 0.3, 0.03),
        0.4,
        0.12,
    )
    turn = np.linspace(-0.46, 0.5, 10) * np.pi
    dent = 1.0 - 0.22 * np.exp(-(((turn - 0.5 * np.pi) / 0.35) ** 2))
    profile = np.stack(
        [r * np.cos(turn), 0.93 * r + r * dent * np.sin(turn) * 0.95], -1
    )
    stalk = np.array(
        [[0.0, 0.0, 1.55 * r], [0.003, 0.0, 1.85 * r], [0.007, 0.0, 2.0 * r]]
    )
    parts = [
        shapes.lathe([tuple(p) for p in profile], peel, 18),
        shapes.tube(stalk, 0.0016, PINE, 5),
    ]
    shape = shapes.compose(parts)
    return shape.moved((0.0, 0.0, -float(shape.vertices[:, 2].min()))), (
        0.0,
        0.0,
        1.2 * r,
    )


def _teapot(rng: np.random.Generator) -> Built:
    r = rng.uniform(0.07, 0.082)
    glaze = _glaze(rng, ("plain", "dots", "stripes"), 0.15)
    profile = [
        (0.55 * r, 0.0),
        (0.85 * r, 0.25 * r),
        (r, 0.75 * r),
        (0.8 * r, 1.25 * r),
        (0.4 * r, 1.5 * r),
        (0.1 * r, 1.58 * r),
    ]
    spout = r * np.array(
        [[0.8, 0.0, 0.55], [1.25, 0.0, 0.85], [1.5, 0.0, 1.35], [1.7, 0.0, 1.45]]
    )
    t = np.linspace(0.0, np.pi, 9)
    handle = r * np.stack(
        [-0.85 - 0.55 * np.sin(t), 0.0 * t, 0.8 - 0.45 * np.cos(t)], -1
    )
    parts = [
        shapes.lathe(profile, glaze, 26),
        shapes.lathe(
            [(0.1 * r, 1.55 * r), (0.16 * r, 1.7 * r), (0.08 * r, 1.8 * r)], glaze, 12
        ),
        shapes.tube(spout, r * np.array([0.24, 0.16, 0.11, 0.09]), glaze, 9),
        shapes.tube(handle, 0.0075, glaze, 7),
    ]
    return shapes.compose(parts), (-1.35 * r, 0.0, 0.8 * r)


CATEGORIES: dict[str, Callable[[np.random.Generator], Built]] = {
    "mug": _mug,
    "bottle": _bottle,
    "pan": _pan,
    "plate": _plate,
    "bowl": _bowl,
    "knife": _knife,
    "board": _board,
    "box": _box,
    "jar": _jar,
    "kettle": _kettle,
    "spoon": _spoon,
    "cloth": _cloth,
    "tumbler": _tumbler,
    "can": _can,
    "fruit": _fruit,
    "teapot": _teapot,
    "pot": _pot,
}
