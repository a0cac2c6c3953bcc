"""What a room is bounded by, and what hangs there (host, NumPy)."""

import dataclasses

import numpy as np

from egojax.data.world import shapes
from egojax.data.world.materials import Looks, pick
from egojax.data.world.shapes import Material, Shape


def shell(
    rng: np.random.Generator, looks: Looks, walls: tuple[float, ...], tiled: float
) -> Shape:
    """Floor, ceiling, four walls, skirting, window, door, pictures, lamp.

    Args:
      rng: Draws the pictures.
      looks: The materials.
      walls: x of west and east, y of south and north.
      tiled: Height from which the north wall has tiles.
    """
    x0, x1, y0, y1 = walls
    dx, dy, up, high = x1 - x0, y1 - y0, 2.5, 1.5
    parts = [
        shapes.panel((x0, y0, 0), (dx, 0, 0), (0, dy, 0), looks.floor, 0.5),
        shapes.panel((x0, y0, up), (0, dy, 0), (dx, 0, 0), looks.wall, 0.8),
        shapes.panel((x0, y1, 0), (dx, 0, 0), (0, 0, tiled), looks.wall, 0.5),
        shapes.panel(
            (x0, y1, tiled), (dx, 0, 0), (0, 0, high - tiled), looks.tiles, 0.5
        ),
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
    parts += _pictures(rng, looks, x1, y0)
    lamp = Material("plain", (0.9, 0.87, 0.8), (0.9, 0.87, 0.8), 0.0, 1.0, 1.6)
    parts.append(
        shapes.lathe([(0.03, 2.32), (0.16, 2.34), (0.17, 2.38), (0.02, 2.46)], lamp, 16)
    )
    return shapes.compose(parts)


def _pictures(
    rng: np.random.Generator, looks: Looks, x1: float, y0: float
) -> list[Shape]:
    """Paintings on the walls in the east and in the south."""
    parts = []
    for k, (along, z) in enumerate(((0.0, 1.55), (0.62, 1.6), (-0.6, 1.62))):
        size = rng.uniform(0.3, 0.45)
        sky = pick(rng, (0.3, 0.45, 0.6), (0.6, 0.4, 0.3))
        land = pick(rng, (0.15, 0.3, 0.12), (0.4, 0.3, 0.1))
        art = Material("painting", sky, land, 0.1, size)
        frame = looks.dark if k % 2 else looks.front
        corner, up = (x1 - 0.02, along - size / 2, z - size / 2), (0, 0, size)
        parts.append(_framed(corner, (0, size, 0), up, art, frame))
        if k < 2:
            corner, up = (along, y0 + 0.02, z - 0.1), (0, 0, 0.8 * size)
            parts.append(_framed(corner, (size, 0, 0), up, art, frame))
    return parts


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
