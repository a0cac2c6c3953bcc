"""A furnished kitchen around the floor on which the wearer walks (host, NumPy).

World axes: x east, y north, z up, metres, floor at z = 0. The free floor is the
rectangle |x| <= half_x, |y| <= half_y; furniture begins outside of it, so that a head
above the free floor is never inside anything. North: a worktop with sink and drawer,
a wall shelf. East: a table. South: a sideboard. West: window, fridge, door.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from egojax.data.world import fixtures, furniture, shapes, walls
from egojax.data.world.furniture import TOP
from egojax.data.world.materials import draw_looks
from egojax.data.world.shapes import Shape

GAP = 0.12  # From the free floor to the furniture.
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


class _Lines(NamedTuple):
    """Where furniture begins and walls are, and what is set into the worktop."""

    north: float
    east: float
    south: float
    west: float
    wall_n: float
    wall_e: float
    wall_s: float
    wall_w: float
    sink: float  # x of the middle.
    drawer: float


def make_room(
    rng: np.random.Generator, half_x: float = 0.75, half_y: float = 0.55
) -> Room:
    """The room of a seed around a free floor of this half size."""
    looks, at = draw_looks(rng), _lines(half_x, half_y)
    table_y = -0.62, min(0.62, at.north - 0.15)
    parts = [
        walls.shell(rng, looks, (at.wall_w, at.wall_e, at.wall_s, at.wall_n), TOP),
        furniture.worktop(looks, (at.wall_w, at.wall_e), at.north, at.sink, at.drawer),
        furniture.wall_shelf(looks, (at.sink + 0.45, at.wall_e - 0.35), at.wall_n),
        furniture.table(looks, (at.east + 0.02, at.east + 0.8), table_y),
        furniture.sideboard(looks, (at.west + 0.1, at.east - 0.1), at.south, at.wall_s),
        furniture.fridge(looks, at.wall_w, (-half_y - 0.3, -half_y + 0.35)),
    ]
    parts += _clutter(rng, at)
    low, high = (at.drawer - 0.2, at.north + 0.05), (at.drawer + 0.2, at.north + 0.4)
    return Room(
        shape=shapes.compose(parts),
        drawer=furniture.drawer(looks, at.drawer, at.north),
        drawer_floor=Surface("drawer", 0, low, high, TOP - 0.185, 0.1),
        surfaces=_surfaces(at),
        stations=(
            Station((0.35 * half_x, half_y), (0.25, at.north + 0.28, TOP + 0.1)),
            Station((half_x, 0.0), (at.east + 0.36, 0.0, 0.82)),
            Station((-0.1 * half_x, -half_y), (0.0, at.south - 0.22, 0.92)),
        ),
        half=(half_x, half_y),
        lamp=(0.2, 0.1, 2.35),
        window=(at.wall_w + 0.2, 0.5 * half_y, 1.7),
    )


def _lines(half_x: float, half_y: float) -> _Lines:
    north, east = half_y + GAP, half_x + GAP
    south, west = -half_y - GAP, -half_x - GAP
    return _Lines(
        *(north, east, south, west),
        *(north + 0.62, east + 1.15, south - 0.5, west - 0.85),
        sink=west + 0.2,
        drawer=min(0.45, east - 0.2),
    )


def _surfaces(at: _Lines) -> tuple[Surface, ...]:
    """Where things can stand: name, station, two corners, height, clear height."""
    low, high = (at.sink + 0.34, at.north + 0.05), (at.east + 0.25, at.north + 0.56)
    worktop = Surface("worktop", 0, low, high, TOP, 0.44)
    low, high = (at.east + 0.06, -0.58), (at.east + 0.76, min(0.58, at.north - 0.2))
    table = Surface("table", 1, low, high, 0.76, 1.0)
    low, high = (at.west + 0.3, at.wall_s + 0.05), (at.east - 0.3, at.south - 0.05)
    sideboard = Surface("sideboard", 2, low, high, 0.85, 0.9)
    low, high = (at.sink + 0.5, at.wall_n - 0.2), (at.east + 0.2, at.wall_n - 0.03)
    return worktop, table, sideboard, Surface("shelf", 0, low, high, 1.37, 0.26)


def _clutter(rng: np.random.Generator, at: _Lines) -> list[Shape]:
    """Things that stay: at the far ends of the furniture, on walls and floor."""
    sink_x, east, west, wall_n, wall_s = at.sink, at.east, at.west, at.wall_n, at.wall_s
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
