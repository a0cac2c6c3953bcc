"""A furnished kitchen around the floor on which the wearer walks (host, NumPy).

World axes: x east, y north, z up, metres, floor at z = 0. The free floor is the
rectangle |x| <= half_x, |y| <= half_y; furniture begins outside of it, so that a head
above the free floor is never inside anything. North: a worktop with sink and drawer,
a wall shelf. East: a table. South: a sideboard. West: window, fridge, door.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from egojax.data.world import fixtures, shapes
from egojax.data.world.shapes import Material, Shape

GAP = 0.12  # From the free floor to the furniture.
TOP = 0.90  # Height of the worktop.
DRAWER_TRAVEL = 0.34


class Surface(NamedTuple):
    """A level place for objects: a rectangle at height z, seen from a station."""

    name: str
    station: int
    low: tuple[float, float]
    high: tuple[float, float]
    z: float
    clear: float  # Free height above it.


class Station(NamedTuple):
    """Where the wearer stands, and what he looks at there."""

    stand: tuple[float, float]
    target: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Room:
    """The static room, its one working drawer, and where things can stand."""

    shape: Shape
    drawer: Shape  # In the pose of the closed drawer; opens along -y.
    drawer_floor: Surface  # Where its content stands while it is closed.
    surfaces: tuple[Surface, ...]
    stations: tuple[Station, ...]
    half: tuple[float, float]  # Of the free floor.
    lamp: tuple[float, float, float]
    window: tuple[float, float, float]


class _Looks(NamedTuple):
    """The materials of one room."""

    front: Material
    worktop: Material
    wall: Material
    tiles: Material
    floor: Material
    table: Material
    white: Material
    steel: Material
    dark: Material


def make_room(
    rng: np.random.Generator, half_x: float = 0.75, half_y: float = 0.55
) -> Room:
    """The room of a seed around a free floor of this half size."""
    looks = _looks(rng)
    north, east = half_y + GAP, half_x + GAP
    south, west = -half_y - GAP, -half_x - GAP
    wall_n, wall_e, wall_s, wall_w = north + 0.62, east + 1.15, south - 0.5, west - 0.85
    sink_x, drawer_x = west + 0.2, min(0.45, east - 0.2)
    parts = [_shell(rng, looks, (wall_w, wall_e, wall_s, wall_n))]
    parts.append(_worktop(looks, (wall_w, wall_e), north, sink_x, drawer_x))
    parts.append(_wall_shelf(looks, (sink_x + 0.45, wall_e - 0.35), wall_n))
    parts.append(
        _table(looks, (east + 0.02, east + 0.8), (-0.62, min(0.62, north - 0.15)))
    )
    parts.append(_sideboard(looks, (west + 0.1, east - 0.1), south, wall_s))
    parts.append(_fridge(looks, wall_w, (-half_y - 0.3, -half_y + 0.35)))
    parts += _clutter(rng, (sink_x, east, wall_n, wall_s, west))
    surfaces = (
        Surface(
            "worktop",
            0,
            (sink_x + 0.34, north + 0.05),
            (east + 0.25, north + 0.56),
            TOP,
            0.44,
        ),
        Surface(
            "table",
            1,
            (east + 0.06, -0.58),
            (east + 0.76, min(0.58, north - 0.2)),
            0.76,
            1.0,
        ),
        Surface(
            "sideboard",
            2,
            (west + 0.3, wall_s + 0.05),
            (east - 0.3, south - 0.05),
            0.85,
            0.9,
        ),
        Surface(
            "shelf",
            0,
            (sink_x + 0.5, wall_n - 0.2),
            (east + 0.2, wall_n - 0.03),
            1.37,
            0.26,
        ),
    )
    stations = (
        Station((0.35 * half_x, half_y), (0.25, north + 0.28, TOP + 0.1)),
        Station((half_x, 0.0), (east + 0.36, 0.0, 0.82)),
        Station((-0.1 * half_x, -half_y), (0.0, south - 0.22, 0.92)),
    )
    return Room(
        shape=shapes.compose(parts),
        drawer=_drawer(looks, drawer_x, north),
        drawer_floor=Surface(
            "drawer",
            0,
            (drawer_x - 0.2, north + 0.05),
            (drawer_x + 0.2, north + 0.4),
            TOP - 0.185,
            0.1,
        ),
        surfaces=surfaces,
        stations=stations,
        half=(half_x, half_y),
        lamp=(0.2, 0.1, 2.35),
        window=(wall_w + 0.2, 0.5 * half_y, 1.7),
    )


def _clutter(rng: np.random.Generator, at: tuple[float, ...]) -> list[Shape]:
    """Things that stay: at the far ends of the furniture, on walls and floor."""
    sink_x, east, wall_n, wall_s, west = at
    facing_north = shapes.rotation((0, 0, 1), np.pi)
    places = [
        (fixtures.rack(rng), (sink_x - 0.5, wall_n - 0.3, TOP)),
        (fixtures.soap(rng), (sink_x - 0.2, wall_n - 0.1, TOP)),
        (fixtures.toaster(rng), (east + 0.48, wall_n - 0.16, TOP)),
        (fixtures.utensils(rng), (east + 0.78, wall_n - 0.14, TOP)),
        (fixtures.knife_block(), (east + 0.5, wall_n - 0.42, TOP)),
        (fixtures.paper_roll(rng), (east + 0.8, wall_n - 0.36, TOP)),
        (fixtures.rail(rng, 0.75), (sink_x + 0.4, wall_n, 1.24)),
        (fixtures.socket(), (sink_x + 0.25, wall_n, 1.12)),
        (fixtures.socket(), (east + 0.35, wall_n, 1.14)),
        (fixtures.towel(rng), (sink_x + 0.1, wall_n - 0.63, TOP - 0.06)),
        (fixtures.mat(rng), (east + 0.34, float(rng.uniform(-0.25, 0.2)), 0.7605)),
    ]
    low = [
        (fixtures.plant(rng), (west + 0.12, wall_s + 0.13, 0.85)),
        (fixtures.books(rng), (east - 0.02, wall_s + 0.12, 0.85)),
    ]
    placed = [shape.moved(spot) for shape, spot in places]
    return placed + [shape.moved(spot, facing_north) for shape, spot in low]


def _pick(rng: np.random.Generator, *colours: shapes.Rgb) -> shapes.Rgb:
    r, g, b = np.asarray(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.1)
    return (float(r), float(g), float(b))


def _looks(rng: np.random.Generator) -> _Looks:
    beech = _pick(
        rng,
        (0.55, 0.38, 0.22),
        (0.6, 0.45, 0.3),
        (0.42, 0.26, 0.14),
        (0.62, 0.62, 0.58),
    )
    beech_b = (0.75 * beech[0], 0.68 * beech[1], 0.62 * beech[2])
    stone = _pick(
        rng,
        (0.02, 0.03, 0.036),
        (0.3, 0.29, 0.27),
        (0.1, 0.07, 0.05),
        (0.45, 0.4, 0.33),
    )
    floor = _pick(rng, (0.5, 0.3, 0.17), (0.42, 0.28, 0.18), (0.3, 0.2, 0.13))
    wall = _pick(rng, (0.62, 0.6, 0.54), (0.55, 0.6, 0.58), (0.65, 0.57, 0.45))
    tile = _pick(rng, (0.6, 0.6, 0.57), (0.35, 0.45, 0.47), (0.2, 0.28, 0.3))
    return _Looks(
        front=Material("wood", beech, beech_b, 0.25, 0.5),
        worktop=Material(
            "stone", stone, (stone[0] * 2.6, stone[1] * 2.6, stone[2] * 2.6), 0.45, 0.3
        ),
        wall=Material(
            "plain", wall, (wall[0] * 0.8, wall[1] * 0.8, wall[2] * 0.78), 0.03, 1.1
        ),
        tiles=Material("tiles", tile, (0.45, 0.43, 0.4), 0.5, 0.4),
        floor=Material(
            "planks",
            floor,
            (floor[0] * 0.55, floor[1] * 0.48, floor[2] * 0.42),
            0.2,
            0.75,
        ),
        table=Material(
            "wood",
            _pick(rng, (0.5, 0.3, 0.15), (0.6, 0.5, 0.38)),
            (0.3, 0.17, 0.08),
            0.25,
            0.6,
        ),
        white=Material("plain", (0.72, 0.73, 0.72), (0.5, 0.5, 0.48), 0.35, 0.8),
        steel=Material("metal", (0.55, 0.55, 0.56), (0.22, 0.22, 0.24), 0.8, 0.4),
        dark=Material("plain", (0.03, 0.03, 0.03), (0.06, 0.05, 0.05), 0.1, 0.4),
    )


def _shell(rng: np.random.Generator, looks: _Looks, walls: tuple[float, ...]) -> Shape:
    """Floor, ceiling, four walls, skirting, window, door, pictures, lamp."""
    x0, x1, y0, y1 = walls
    dx, dy, up, high = x1 - x0, y1 - y0, 2.5, 1.5
    parts = [
        shapes.panel((x0, y0, 0), (dx, 0, 0), (0, dy, 0), looks.floor, 0.5),
        shapes.panel((x0, y0, up), (0, dy, 0), (dx, 0, 0), looks.wall, 0.8),
        shapes.panel((x0, y1, 0), (dx, 0, 0), (0, 0, TOP), looks.wall, 0.5),
        shapes.panel((x0, y1, TOP), (dx, 0, 0), (0, 0, high - TOP), looks.tiles, 0.5),
        shapes.panel((x0, y1, high), (dx, 0, 0), (0, 0, up - high), looks.wall, 0.5),
        shapes.panel((x1, y0, 0), (-dx, 0, 0), (0, 0, up), looks.wall, 0.5),
        shapes.panel((x1, y1, 0), (0, -dy, 0), (0, 0, up), looks.wall, 0.5),
        shapes.panel((x0, y0, 0), (0, dy, 0), (0, 0, up), looks.wall, 0.5),
    ]
    parts.append(
        shapes.box((x0, y0, 0), (x1, y0 + 0.015, 0.08), looks.white, skip="-y -x +x -z")
    )
    parts.append(
        shapes.box((x1 - 0.015, y0, 0), (x1, y1, 0.08), looks.white, skip="+x -z")
    )
    glass = Material("window", (0.75, 0.85, 1.0), (0.25, 0.4, 0.18), 0.0, 1.0, 2.2)
    parts.append(
        _framed((x0 + 0.03, 0.75, 1.0), (0, -1.0, 0), (0, 0, 1.0), glass, looks.white)
    )
    door = Material("wood", looks.white.a, (0.6, 0.6, 0.57), 0.3, 0.9)
    parts.append(
        _framed(
            (x0 + 0.02, y0 + 1.05, 0.0), (0, -0.75, 0), (0, 0, 2.0), door, looks.white
        )
    )
    for k, (cx, cz) in enumerate(((0.0, 1.55), (0.62, 1.6), (-0.6, 1.62))):
        size = rng.uniform(0.3, 0.45)
        art = Material(
            "painting",
            _pick(rng, (0.3, 0.45, 0.6), (0.6, 0.4, 0.3)),
            _pick(rng, (0.15, 0.3, 0.12), (0.4, 0.3, 0.1)),
            0.1,
            size,
        )
        frame = looks.dark if k % 2 else looks.front
        parts.append(
            _framed(
                (x1 - 0.02, cx - size / 2, cz - size / 2),
                (0, size, 0),
                (0, 0, size),
                art,
                frame,
            )
        )
        if k < 2:
            parts.append(
                _framed(
                    (cx, y0 + 0.02, cz - 0.1),
                    (size, 0, 0),
                    (0, 0, 0.8 * size),
                    art,
                    frame,
                )
            )
    lamp = Material("plain", (0.9, 0.87, 0.8), (0.9, 0.87, 0.8), 0.0, 1.0, 1.6)
    parts.append(
        shapes.lathe([(0.03, 2.32), (0.16, 2.34), (0.17, 2.38), (0.02, 2.46)], lamp, 16)
    )
    return shapes.compose(parts)


def _turned(shape: Shape) -> Shape:
    """The same surface, facing the other way."""
    return dataclasses.replace(
        shape,
        faces=shape.faces[:, ::-1],
        uv=shape.uv[:, ::-1],
        normals=-shape.normals[:, ::-1],
    )


def _framed(
    origin: object, u: object, v: object, inside: Material, frame: Material
) -> Shape:
    """A picture, window or door leaf, facing v x u, with four bars around it."""
    o, u, v = (np.asarray(e, float) for e in (origin, u, v))
    out = np.cross(v, u)
    out *= 0.025 / np.linalg.norm(out)
    parts = [_turned(shapes.panel(o, u, v, inside, 0.5))]
    wide_u, wide_v = 0.03 * u / np.linalg.norm(u), 0.03 * v / np.linalg.norm(v)
    bars = ((o, u, wide_v), (o + v, u, wide_v), (o, wide_u, v), (o + u, wide_u, v))
    for start, a, b in bars:
        corners = np.stack(
            [start - 0.5 * (a if a is wide_u else b), start + a + b + out]
        )
        parts.append(shapes.box(corners.min(0), corners.max(0), frame))
    return shapes.compose(parts)


def _handle(
    x0: float, x1: float, y: float, z: float, looks: _Looks, upright: float = 0.0
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


def _worktop(
    looks: _Looks, x: tuple[float, float], north: float, sink_x: float, drawer_x: float
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


def _basin(looks: _Looks, rim: tuple[float, float, float, float]) -> Shape:
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


def _tap(looks: _Looks, x: float, y: float) -> Shape:
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


def _drawer(looks: _Looks, x: float, north: float) -> Shape:
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


def _wall_shelf(looks: _Looks, x: tuple[float, float], wall: float) -> Shape:
    parts = [shapes.box((x[0], wall - 0.23, 1.345), (x[1], wall, 1.37), looks.front)]
    for at in (x[0] + 0.15, x[1] - 0.15):
        parts.append(
            shapes.box((at, wall - 0.16, 1.25), (at + 0.02, wall, 1.345), looks.steel)
        )
    return shapes.compose(parts)


def _table(looks: _Looks, x: tuple[float, float], y: tuple[float, float]) -> Shape:
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


def _sideboard(
    looks: _Looks, x: tuple[float, float], south: float, wall: float
) -> Shape:
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


def _fridge(looks: _Looks, wall: float, y: tuple[float, float]) -> Shape:
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
