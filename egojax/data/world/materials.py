"""The materials of a room, drawn by chance (host, NumPy)."""

from typing import NamedTuple

import numpy as np

from egojax.data.world import shapes
from egojax.data.world.shapes import Material


class Looks(NamedTuple):
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


def draw_looks(rng: np.random.Generator) -> Looks:
    """The materials of one room."""
    beech = pick(
        rng,
        (0.55, 0.38, 0.22),
        (0.6, 0.45, 0.3),
        (0.42, 0.26, 0.14),
        (0.62, 0.62, 0.58),
    )
    beech_b = (0.75 * beech[0], 0.68 * beech[1], 0.62 * beech[2])
    stone = pick(
        rng,
        (0.02, 0.03, 0.036),
        (0.3, 0.29, 0.27),
        (0.1, 0.07, 0.05),
        (0.45, 0.4, 0.33),
    )
    floor = pick(rng, (0.5, 0.3, 0.17), (0.42, 0.28, 0.18), (0.3, 0.2, 0.13))
    wall = pick(rng, (0.62, 0.6, 0.54), (0.55, 0.6, 0.58), (0.65, 0.57, 0.45))
    tile = pick(rng, (0.6, 0.6, 0.57), (0.35, 0.45, 0.47), (0.2, 0.28, 0.3))
    return Looks(
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
            pick(rng, (0.5, 0.3, 0.15), (0.6, 0.5, 0.38)),
            (0.3, 0.17, 0.08),
            0.25,
            0.6,
        ),
        white=Material("plain", (0.72, 0.73, 0.72), (0.5, 0.5, 0.48), 0.35, 0.8),
        steel=Material("metal", (0.55, 0.55, 0.56), (0.22, 0.22, 0.24), 0.8, 0.4),
        dark=Material("plain", (0.03, 0.03, 0.03), (0.06, 0.05, 0.05), 0.1, 0.4),
    )


def pick(rng: np.random.Generator, *colours: shapes.Rgb) -> shapes.Rgb:
    """One of the colours, a little lighter or darker."""
    r, g, b = np.asarray(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.1)
    return (float(r), float(g), float(b))
