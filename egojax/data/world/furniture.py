"""The furniture of a room, standing where it is told (host, NumPy)."""

import dataclasses

import numpy as np

from egojax.data.world import shapes
from egojax.data.world.materials import Looks
from egojax.data.world.shapes import Material, Shape

TOP = 0.90  # Height of the worktop.


def _handle(
    x0: float, x1: float, y: float, z: float, looks: Looks, upright: float = 0.0
) -> Shape:
    """A bar in front of a door or drawer, on two feet."""
    bar = np.array(
        [
            [x0, y, z],
            [x0, y - 0.03, z],
            [x1, y - 0.03, z + upright],
            [x1, y, z + upright],
        ]
    )
    inner = 0.5 * (bar[1:3].mean(0) + bar[1:3])
    return shapes.tube(np.concatenate([bar[:2], inner, bar[2:]]), 0.006, looks.steel, 6)


def worktop(
    looks: Looks, x: tuple[float, float], north: float, sink_x: float, drawer_x: float
) -> Shape:
    """Cabinets with doors, a slab with a sink in it, an empty slot for the drawer."""
    front, back, under = north + 0.03, north + 0.62, TOP - 0.04
    s0, s1, t0, t1 = sink_x - 0.24, sink_x + 0.24, north + 0.12, north + 0.5
    slab = [((x[0], north), (s0, back)), ((s1, north), (x[1], back))]
    slab += [((s0, north), (s1, t0)), ((s0, t1), (s1, back))]
    parts = [shapes.box((*a, under), (*b, TOP), looks.worktop) for a, b in slab]
    parts.append(_basin(looks, (s0, s1, t0, t1)))
    d0, d1, low = drawer_x - 0.25, drawer_x + 0.25, TOP - 0.22
    for a, b in (
        ((x[0], 0.1), (s0, under)),
        ((s1, 0.1), (d0, under)),
        ((d1, 0.1), (x[1], under)),
    ):
        parts.append(
            shapes.box((a[0], front, a[1]), (b[0], back, b[1]), looks.front, skip="-z")
        )
    parts.append(shapes.box((s0, front, 0.1), (s1, back, TOP - 0.24), looks.front))
    parts.append(
        shapes.box((s0, front, TOP - 0.24), (s1, front + 0.02, under), looks.front)
    )
    parts.append(shapes.box((d0, front, 0.1), (d1, back, low), looks.front))
    parts.append(shapes.box((x[0], front + 0.05, 0.0), (x[1], back, 0.1), looks.dark))
    for left in np.arange(x[0] + 0.02, x[1] - 0.3, 0.5):
        if abs(left + 0.25 - drawer_x) < 0.5:
            continue
        parts.append(
            shapes.box(
                (left, front - 0.018, 0.12),
                (left + 0.48, front, under - 0.01),
                looks.front,
            )
        )
        parts.append(
            _handle(left + 0.05, left + 0.051, front - 0.018, 0.6, looks, 0.16)
        )
    for z in (0.12, 0.4):
        parts.append(
            shapes.box(
                (d0 + 0.01, front - 0.018, z),
                (d1 - 0.01, front, z + 0.265),
                looks.front,
            )
        )
        parts.append(
            _handle(drawer_x - 0.1, drawer_x + 0.1, front - 0.018, z + 0.2, looks)
        )
    parts.append(_tap(looks, sink_x, t1 + 0.06))
    return shapes.compose(parts)


def _basin(looks: Looks, rim: tuple[float, float, float, float]) -> Shape:
    inset = 0.001  # Metres: what lies in the slab's own sides would flicker with them.
    s0, s1, t0, t1 = rim[0] + inset, rim[1] - inset, rim[2] + inset, rim[3] - inset
    z, deep = TOP + 0.002, TOP - 0.17
    walls = [
        shapes.panel((s0, t0, deep), (s1 - s0, 0, 0), (0, t1 - t0, 0), looks.steel),
        shapes.panel((s0, t0, deep), (0, 0, z - deep), (s1 - s0, 0, 0), looks.steel),
        shapes.panel((s0, t1, deep), (s1 - s0, 0, 0), (0, 0, z - deep), looks.steel),
        shapes.panel((s0, t0, deep), (0, t1 - t0, 0), (0, 0, z - deep), looks.steel),
        shapes.panel((s1, t0, deep), (0, 0, z - deep), (0, t1 - t0, 0), looks.steel),
    ]
    drain = shapes.lathe([(0.03, 0.0), (0.028, 0.004), (0.015, 0.002)], looks.dark, 14)
    return shapes.compose([*walls, drain.moved(((s0 + s1) / 2, (t0 + t1) / 2, deep))])


def _tap(looks: Looks, x: float, y: float) -> Shape:
    t = np.linspace(0.0, np.pi, 7)
    neck = np.stack(
        [x + 0.0 * t, y - 0.07 + 0.07 * np.cos(t), TOP + 0.22 + 0.06 * np.sin(t)], -1
    )
    path = np.concatenate([[[x, y, TOP]], neck, [[x, y - 0.14, TOP + 0.19]]])
    lever = shapes.capsule(
        (x + 0.02, y, TOP + 0.05),
        (x + 0.09, y, TOP + 0.08),
        (0.008, 0.006),
        looks.steel,
        7,
    )
    return shapes.compose([shapes.tube(path, 0.012, looks.steel, 8), lever])


def drawer(looks: Looks, x: float, north: float) -> Shape:
    """An open tray behind a front with a handle, closed position."""
    front, low, top = north + 0.03, TOP - 0.21, TOP - 0.05
    x0, x1, y1 = x - 0.235, x + 0.235, front + 0.42
    tray = looks.white
    parts = [
        shapes.box((x - 0.24, front - 0.018, low), (x + 0.24, front, top), looks.front),
        _handle(x - 0.1, x + 0.1, front - 0.018, low + 0.1, looks),
        shapes.box((x0, front, low + 0.01), (x1, y1, low + 0.02), tray),
        shapes.box((x0, front, low + 0.02), (x0 + 0.01, y1, top - 0.03), tray),
        shapes.box((x1 - 0.01, front, low + 0.02), (x1, y1, top - 0.03), tray),
        shapes.box((x0, y1 - 0.01, low + 0.02), (x1, y1, top - 0.03), tray),
    ]
    return shapes.compose(parts)


def wall_shelf(looks: Looks, x: tuple[float, float], wall: float) -> Shape:
    """A board on two brackets."""
    parts = [shapes.box((x[0], wall - 0.23, 1.345), (x[1], wall, 1.37), looks.front)]
    for at in (x[0] + 0.15, x[1] - 0.15):
        parts.append(
            shapes.box((at, wall - 0.16, 1.25), (at + 0.02, wall, 1.345), looks.steel)
        )
    return shapes.compose(parts)


def table(looks: Looks, x: tuple[float, float], y: tuple[float, float]) -> Shape:
    """A slab with a round rim, on four legs."""
    outline = shapes.rounded(x[1] - x[0], y[1] - y[0], 0.04)
    middle = ((x[0] + x[1]) / 2, (y[0] + y[1]) / 2)
    # A slab of small triangles, and a round rim laid around it.
    parts = [
        shapes.box(
            (x[0] + 0.01, y[0] + 0.01, 0.725),
            (x[1] - 0.01, y[1] - 0.01, 0.76),
            looks.table,
        ),
        shapes.extrude(outline, 0.03, looks.table, 0.006).moved((*middle, 0.7275)),
    ]
    for cx in (x[0] + 0.06, x[1] - 0.06):
        for cy in (y[0] + 0.06, y[1] - 0.06):
            parts.append(
                shapes.tube(
                    np.array([[cx, cy, 0.0], [cx, cy, 0.4], [cx, cy, 0.73]]),
                    np.array([0.02, 0.025, 0.03]),
                    looks.table,
                    8,
                )
            )
    return shapes.compose(parts)


def sideboard(looks: Looks, x: tuple[float, float], south: float, wall: float) -> Shape:
    """A low cupboard with three doors."""
    parts = [
        shapes.box((x[0], wall, 0.82), (x[1], south, 0.85), looks.table),
        shapes.box(
            (x[0] + 0.02, wall, 0.06), (x[1] - 0.02, south - 0.03, 0.82), looks.white
        ),
    ]
    width = (x[1] - x[0] - 0.06) / 3
    for k in range(3):
        left = x[0] + 0.03 + k * width
        parts.append(
            shapes.box(
                (left + 0.01, south - 0.03, 0.1),
                (left + width - 0.01, south - 0.012, 0.8),
                looks.front,
            )
        )
        knob = shapes.lathe(
            [(0.008, 0.0), (0.014, 0.012), (0.01, 0.02)], looks.steel, 10
        )
        parts.append(
            knob.moved(
                (left + 0.06, south - 0.012, 0.62),
                shapes.rotation((1, 0, 0), -np.pi / 2),
            )
        )
    return shapes.compose(parts)


def fridge(looks: Looks, wall: float, y: tuple[float, float]) -> Shape:
    """Two doors, a bar, and notes on it."""
    x1 = wall + 0.62
    bar = np.array(
        [
            [x1 + 0.005, y[0] + 0.06, 0.9],
            [x1 + 0.035, y[0] + 0.06, 0.95],
            [x1 + 0.035, y[0] + 0.06, 1.35],
            [x1 + 0.005, y[0] + 0.06, 1.4],
        ]
    )
    note = Material("print", (0.8, 0.75, 0.3), (0.2, 0.3, 0.6), 0.05, 0.14)
    return shapes.compose(
        [
            shapes.box((wall, y[0], 0.03), (x1, y[1], 0.78), looks.white),
            shapes.box((wall, y[0], 0.79), (x1, y[1], 1.8), looks.white),
            shapes.tube(bar, 0.009, looks.steel, 7),
            shapes.panel(
                (x1 + 0.002, y[0] + 0.3, 1.2), (0, 0.14, 0), (0, 0, 0.14), note
            ),
            shapes.panel(
                (x1 + 0.002, y[0] + 0.2, 1.5),
                (0, 0.1, 0),
                (0, 0, 0.12),
                dataclasses.replace(note, a=(0.85, 0.85, 0.8)),
            ),
        ]
    )
