"""Alignment of depth and depth of a mesh, against plain references.

Alignment: the published solver is a generic convex one; here linear programming on the
dual, and the bisection on the slope that one would write in NumPy. Mesh depth: a
z-buffer in NumPy, a triangle at a time, and Embree.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from scipy import optimize

from egojax.ops import depth, mesh, surface
from egojax.types import Camera, Mesh

SIZE = (256, 456)
NUM_FACES = 300_000


def interleaved(calls: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Best time of each call in milliseconds, taken in turns."""
    best = [np.inf] * len(calls)
    for _ in range(repeats):
        for k, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[k] = min(best[k], 1e3 * (time.perf_counter() - start))
    return best


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives and how long it took, in milliseconds."""
    start = time.perf_counter()
    return call(), 1e3 * (time.perf_counter() - start)


def rows() -> Iterator[dict[str, Any]]:
    """A row a path."""
    for moving in (0.0, 0.2):
        yield alignment_row(moving)
    yield from mesh_rows()


# -------------------------------------------------------------------- alignment


def make_maps(moving: float) -> tuple[np.ndarray, np.ndarray]:
    """A smooth depth and its affine image with noise, holes and what moved."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    d = 2 + 0.5 * np.sin(x / 40) * np.cos(y / 30) + 0.3 * y / SIZE[0]
    m = 1.7 * d + 0.4 + 0.02 * rng.normal(size=SIZE)
    m -= rng.uniform(0.2, 1.2, SIZE) * (rng.random(SIZE) < moving)
    m[:20] = np.inf
    return d.astype(np.float32), m.astype(np.float32)


def points_of(d: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = np.isfinite(m) & (np.abs(d - d.mean()) < 3 * d.std())
    return d[keep].astype(np.float64), m[keep].astype(np.float64)


def dual_program(d: np.ndarray, m: np.ndarray) -> float:
    """The least sum of residuals: max y . m with |y| <= 1 across (d, 1)."""
    x, y = points_of(d, m)
    rows = np.stack([x, np.ones_like(x)])
    found = optimize.linprog(-y, A_eq=rows, b_eq=[0, 0], bounds=(-1, 1), method="highs")
    return -found.fun


def bisection(d: np.ndarray, m: np.ndarray) -> tuple[float, float]:
    """The slope where the subgradient changes sign; the shift is a median."""
    x, y = points_of(d, m)
    low, high = -100.0, 100.0
    for _ in range(40):
        slope = 0.5 * (low + high)
        residual = y - slope * x
        if np.dot(np.sign(residual - np.median(residual)), x) > 0:
            low = slope
        else:
            high = slope
    return slope, float(np.median(y - slope * x))


def alignment_row(moving: float) -> dict[str, Any]:
    d, m = make_maps(moving)
    x, y = jax.device_put((d, m))

    def ours() -> depth.Alignment:
        return jax.block_until_ready(depth.align(x, y))

    _, compile_ms = timed(ours)
    found = ours()
    mine, simple = interleaved([ours, lambda: bisection(d, m)], 5)
    least, reference = timed(lambda: dual_program(d, m))
    u, v = points_of(d, m)
    total = np.abs(float(found.scale) * u + float(found.shift) - v).sum()
    return {
        "name": f"L1 alignment 256x456, {moving:.0%} moving (bars: 20 ms, 100x)",
        "ours_ms": mine,
        "reference_ms": reference,
        "simple_ms": simple,
        "ratio_reference": reference / mine,
        "ratio_simple": simple / mine,
        "error": abs(total / least - 1),
        "compile_s": 1e-3 * compile_ms,
    }


# ------------------------------------------------------------------------- mesh


def make_mesh(num_faces: int = NUM_FACES, seed: int = 0) -> Mesh:
    """A bumpy room seen from within, with twelve bumpy things in it."""
    rng = np.random.default_rng(seed)
    side = int(np.sqrt(num_faces * 0.6 / 2)) + 1
    parts = [bumpy_ball(side, np.zeros(3), 2.5, 0.06, (9, 7))]
    side = int(np.sqrt(num_faces * 0.4 / 24)) + 1
    for _ in range(12):
        center = rng.normal(size=3)
        center *= rng.uniform(0.7, 1.8) / np.linalg.norm(center)
        parts.append(bumpy_ball(side, center, rng.uniform(0.1, 0.35), 0.2, (5, 1)))
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    return Mesh(
        np.concatenate([vertices for vertices, _ in parts]).astype(np.float32),
        np.concatenate(
            [faces + start for (_, faces), start in zip(parts, starts, strict=False)]
        ).astype(np.int32),
    )


def bumpy_ball(side, center, size, bump, waves) -> tuple[np.ndarray, np.ndarray]:
    turn, tilt = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
    turn, tilt = 2 * np.pi * turn, np.pi * tilt
    radius = size * (1 + bump * np.sin(waves[0] * turn) * np.sin(waves[1] * tilt))
    flat = np.sin(tilt)
    at = np.stack([flat * np.cos(turn), flat * np.sin(turn), np.cos(tilt)], -1)
    i = np.arange(side * side).reshape(side, side)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    faces = [np.stack(f, -1).reshape(-1, 3) for f in ((a, b, c), (a, c, d))]
    return (center + radius[..., None] * at).reshape(-1, 3), np.concatenate(faces)


def z_buffer(scene: Mesh, camera: Camera) -> np.ndarray:
    """One triangle after the other; those that reach behind the camera are left out."""
    height, width = camera.size_hw
    points = scene.vertices @ camera.w2c[:3, :3].T + camera.w2c[:3, 3]
    z = np.where(points[:, 2] > mesh.NEAR, points[:, 2], np.nan)
    uv = (points @ camera.intrinsics.T)[:, :2] / z[:, None]
    corners, inv_z = uv[scene.faces], 1 / z[scene.faces]
    low = np.ceil(corners.min(1) - 0.5)
    high = np.floor(corners.max(1) - 0.5)
    seen = (low <= high).all(1) & (high >= 0).all(1)
    seen &= (low < [width, height]).all(1) & np.isfinite(inv_z).all(1)
    nearest = np.zeros((height, width))
    for i in np.flatnonzero(seen):
        (x0, y0), (x1, y1) = np.maximum(low[i], 0), high[i]
        cols = slice(int(x0), int(min(x1, width - 1)) + 1)
        rows = slice(int(y0), int(min(y1, height - 1)) + 1)
        x = np.arange(cols.start, cols.stop)[None] + 0.5
        y = np.arange(rows.start, rows.stop)[:, None] + 0.5
        (ax, ay), (bx, by), (cx, cy) = corners[i]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0:
            continue
        b = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
        c = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
        near = (1 - b - c) * inv_z[i, 0] + b * inv_z[i, 1] + c * inv_z[i, 2]
        near = np.where((b >= 0) & (c >= 0) & (b + c <= 1), near, 0)
        nearest[rows, cols] = np.maximum(nearest[rows, cols], near)
    return np.divide(1, nearest, out=np.full_like(nearest, np.inf), where=nearest > 0)


def mesh_rows() -> Iterator[dict[str, Any]]:
    scene = make_mesh()
    pose = np.eye(4, dtype=np.float32)
    pose[:3, 3] = [0.1, 0.05, 0.2]
    intrinsics = np.array([[280, 0, 228], [0, 281, 128], [0, 0, 1]], np.float32)
    camera = Camera(intrinsics, pose, size_hw=SIZE)
    vertices, faces, on_device = jax.device_put((scene.vertices, scene.faces, camera))

    def drawn() -> jax.Array:
        return jax.block_until_ready(mesh.render_depth(vertices, faces, on_device))

    _, compile_ms = timed(drawn)
    tree, build_ms = timed(lambda: surface.EmbreeScene(scene))
    cast = tree.depth(camera)
    mine, embree = interleaved([drawn, lambda: tree.depth(camera)], 9)
    plain, reference = timed(lambda: z_buffer(scene, camera))
    ours = np.asarray(drawn())
    for name, found, ms, other, start in (
        ("JAX", ours, mine, embree, compile_ms),
        ("embree", cast, embree, mine, build_ms),
    ):
        yield {
            "name": f"mesh depth 300k faces 256x456, {name} (bar: 60 ms)",
            "ours_ms": ms,
            "reference_ms": reference,
            "simple_ms": other,
            "ratio_reference": reference / ms,
            "ratio_simple": other / ms,
            "error": relative_error(found, plain),
            "compile_s": 1e-3 * start,
            "note": agreement(ours, cast),
        }


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """99.9th percentile over what both see."""
    both = np.isfinite(found) & np.isfinite(expected)
    return float(np.quantile(np.abs(found[both] / expected[both] - 1), 0.999))


def agreement(drawn: np.ndarray, cast: np.ndarray) -> str:
    differs = (np.isfinite(drawn) != np.isfinite(cast)).mean()
    error = relative_error(drawn, cast)
    return f"JAX and embree: hit masks differ in {differs:.3%}, depth {error:.1e}"
