"""Procedural textures: every material is baked once into a small tile (host, NumPy).

A tile repeats every `Material.scale` metres. Colours are linear light in [0, 1].
"""

from collections.abc import Callable, Sequence

import numpy as np

from egojax.data.world.shapes import Material

TILE = 128  # Texels a side.


def bake(materials: Sequence[Material], seed: int) -> np.ndarray:
    """The tiles of all materials, float32 (M, TILE, TILE, 3)."""
    tiles = []
    for k, material in enumerate(materials):
        rng = np.random.default_rng([seed, 7, k])
        a, b = np.asarray(material.a), np.asarray(material.b)
        tiles.append(PATTERNS[material.kind](a, b, rng))
    return np.clip(np.stack(tiles), 0.0, 1.0).astype(np.float32)


def noise(
    rng: np.random.Generator, cells: tuple[int, int], octaves: int = 4
) -> np.ndarray:
    """Smooth periodic noise, (TILE, TILE), about zero mean, in about [-1, 1]."""
    total, weight = np.zeros((TILE, TILE)), 0.0
    for k in range(octaves):
        ny, nx = (min(TILE, c * 2**k) for c in cells)
        total += _value_noise(rng, ny, nx) * 0.55**k
        weight += 0.55**k
    return total / weight


def _value_noise(rng: np.random.Generator, ny: int, nx: int) -> np.ndarray:
    grid = rng.uniform(-1.0, 1.0, (ny, nx))
    y, x = (np.arange(TILE) * n / TILE for n in (ny, nx))
    iy, ix = y.astype(int), x.astype(int)
    fy, fx = (f * f * (3.0 - 2.0 * f) for f in (y - iy, x - ix))
    row0, row1 = grid[iy], grid[(iy + 1) % ny]
    rows = row0 + (row1 - row0) * fy[:, None]
    return rows[:, ix] + (rows[:, (ix + 1) % nx] - rows[:, ix]) * fx[None, :]


def _blend(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0.0, 1.0)[..., None]
    return a * (1.0 - share) + b * share


def _grid() -> tuple[np.ndarray, np.ndarray]:
    line = (np.arange(TILE) + 0.5) / TILE
    return np.meshgrid(line, line)


def _plain(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint or glaze: a faint mottle and some dirt."""
    dirt = np.clip(noise(rng, (3, 3)) - 0.25, 0.0, 1.0) * 0.25
    return _blend(a * (1.0 + 0.05 * noise(rng, (4, 4))[..., None]), b, dirt)


def _wood(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grain along v."""
    _, x = _grid()[::-1]
    wave = noise(rng, (2, 4), 3)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (6 * x + 1.2 * wave))
    fibre = noise(rng, (2, 48), 2)
    return _blend(a, b, 0.35 * rings + 0.45 * fibre + 0.15)


def _planks(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A floor of narrow boards, each of its own tone, with dark joints."""
    x, y = _grid()
    board = np.floor(x * 6).astype(int)
    along = y + np.array([0.0, 0.4, 0.15, 0.7, 0.3, 0.55])[board]
    piece = board * 3 + np.floor(along * 2.0).astype(int) % 2
    tone = rng.uniform(-0.22, 0.22, 18)[piece]
    grain = noise(rng, (3, 40), 3)
    joint = ((x * 6) % 1.0 < 0.05) | ((along * 2.0) % 1.0 < 0.012)
    wood = _blend(a, b, 0.3 + 0.35 * grain + tone)
    return np.where(joint[..., None], wood * 0.62, wood)


def _stone(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Worktop: dense speckle of several sizes."""
    fine, coarse = noise(rng, (64, 64), 2), noise(rng, (20, 20), 3)
    base = _blend(a, b, np.clip(1.6 * coarse + 0.3, 0.0, 1.0))
    return (
        base * (1.0 + 0.5 * fine[..., None])
        + np.where(fine > 0.62, 0.16, 0.0)[..., None]
    )


def _tiles(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Wall tiles in running bond with grout in the second colour."""
    x, y = _grid()
    row = np.floor(y * 4).astype(int)
    shifted = x * 2 + 0.5 * (row % 2)
    tone = rng.uniform(0.9, 1.05, (4, 2))[row, np.floor(shifted).astype(int) % 2]
    grout = ((y * 4) % 1.0 < 0.07) | (shifted % 1.0 < 0.035)
    glaze = tone[..., None] * a * (1.0 + 0.04 * noise(rng, (8, 8))[..., None])
    return np.where(grout[..., None], b, glaze)


def _metal(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brushed metal: streaks along u, soft dark patches like reflections."""
    streaks = noise(rng, (90, 2), 2)
    return _blend(a, b, 0.3 + 0.2 * streaks + 0.55 * noise(rng, (2, 3), 2))


def _plaid(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Woven checks."""
    x, y = _grid()
    stripes = np.sort(rng.uniform(0.0, 1.0, 4))
    lines = [
        sum((np.abs(((c - s + 0.5) % 1.0) - 0.5) < 0.07) for s in stripes)
        for c in (x, y)
    ]
    share = 0.45 * np.asarray(lines[0] + lines[1], float)
    weave = 0.06 * np.sin(2 * np.pi * 48 * x) * np.sin(2 * np.pi * 48 * y)
    return _blend(a, b, share) * (1.0 + weave[..., None])


def _stripes(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bands around a cup or plate."""
    _, y = _grid()
    at, wide = rng.uniform(0.2, 0.8, 3), rng.uniform(0.02, 0.08, 3)
    band = np.any(np.abs(y[..., None] - at) < wide, -1)
    return _blend(a, b, band.astype(float)) * (
        1.0 + 0.04 * noise(rng, (6, 6))[..., None]
    )


def _dots(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Printed dots in offset rows."""
    x, y = _grid()
    n = int(rng.integers(3, 7))
    cx = (x * n + 0.5 * (np.floor(y * n) % 2)) % 1.0 - 0.5
    cy = (y * n) % 1.0 - 0.5
    return _blend(a, b, np.clip((0.3 - np.hypot(cx, cy)) * 20.0, 0.0, 1.0))


def _print(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A package: blocks of colour, a picture-like blob, lines of small print."""
    x, y = _grid()
    out = np.broadcast_to(a, (TILE, TILE, 3)).copy()
    for _ in range(5):
        x0, y0 = rng.uniform(0.0, 0.8, 2)
        w, h = rng.uniform(0.1, 0.6, 2)
        inside = (x > x0) & (x < x0 + w) & (y > y0) & (y < y0 + h)
        out[inside] = b if rng.random() < 0.5 else rng.uniform(0.02, 0.85, 3)
    blob = noise(rng, (3, 3)) > 0.15
    out[blob & (np.hypot(x - 0.5, y - 0.6) < 0.28)] = rng.uniform(0.05, 0.9, 3)
    for row in np.arange(0.06, 0.4, 0.055):
        text = (
            (np.abs(y - row) < 0.014)
            & (_value_noise(rng, 2, 48) > -0.2)
            & (x > 0.12)
            & (x < 0.88)
        )
        out[text] = 0.03 if a.mean() > 0.3 else 0.85
    return out


def _painting(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A picture: sky, hills in layers, broad strokes."""
    x, y = _grid()
    out = _blend(a, np.array([0.75, 0.8, 0.85]), y)
    for k in range(5):
        ridge = 0.75 - 0.15 * k + 0.1 * _value_noise(rng, 1, 5)[0][None, :] + 0.0 * x
        out[y < ridge] = b * rng.uniform(0.3, 1.3) + rng.uniform(0.0, 0.2, 3)
    return out * (1.0 + 0.2 * noise(rng, (16, 8), 3)[..., None])


def _skin(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Skin with redder patches and fine creases."""
    return _blend(a, b, 0.3 + 0.5 * noise(rng, (3, 3))) * (
        1.0 + 0.07 * noise(rng, (40, 16), 2)[..., None]
    )


def _knit(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sleeve: rows of stitches and folds."""
    x, y = _grid()
    stitch = np.sin(2 * np.pi * (40 * x)) * np.sin(
        2 * np.pi * (40 * y + 8 * np.abs(x % 0.05))
    )
    fold = noise(rng, (6, 2), 3)
    return _blend(a, b, 0.25 + 0.15 * stitch + 0.5 * fold)


def _window(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bright daylight outside, with blurred greenery below."""
    _, y = _grid()
    trees = np.clip((0.55 + 0.25 * noise(rng, (4, 4)) - y) * 6.0, 0.0, 1.0)
    return _blend(a, b, trees) * (1.0 + 0.2 * noise(rng, (12, 12), 3)[..., None])


PATTERNS: dict[
    str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
] = {
    "plain": _plain,
    "wood": _wood,
    "planks": _planks,
    "stone": _stone,
    "tiles": _tiles,
    "metal": _metal,
    "plaid": _plaid,
    "stripes": _stripes,
    "dots": _dots,
    "print": _print,
    "painting": _painting,
    "skin": _skin,
    "knit": _knit,
    "window": _window,
}
