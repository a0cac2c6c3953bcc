"""Triangles by layer against plain loops; `test_mesh` has cameras and gradients."""

import jax.numpy as jnp
import numpy as np
import pytest

from egojax.ops import raster

SIZE = (40, 60)
INTRINSICS = np.array([[50.0, 0, 30], [0, 50.0, 20], [0, 0, 1]], np.float32)


def random_soup(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all sizes in front of the camera, turned towards it."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform([-1.0, -0.7, 1.0], [1.0, 0.7, 3.0], (count, 1, 3))
    corners = middle + rng.normal(0, 1, (count, 3, 3)) * rng.choice(
        [0.02, 0.2, 0.8], (count, 1, 1)
    )
    corners[..., 2] = np.maximum(corners[..., 2], 0.3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    away = np.einsum("fi,fi->f", normal, corners[:, 0]) > 0
    corners[away] = corners[away][:, ::-1]
    vertices = corners.reshape(-1, 3).astype(np.float32)
    return vertices, np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def plan(vertices, faces, keep=True):
    points = tuple(jnp.asarray(axis, jnp.float32) for axis in vertices.T)
    faces, keep = jnp.asarray(faces), jnp.asarray(keep)
    return raster.make_plan(
        points, faces, jnp.asarray(INTRINSICS), (0.05, 800.0), True, SIZE, keep
    )


def by(values):
    """The layer of a face, from an array of them."""
    values = jnp.asarray(values, jnp.int32)
    return lambda face: values[face]


def rays():
    """Directions (x, y, 1) of all pixels, (H, W, 3)."""
    x, y = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    return np.stack([(x - 30) / 50, (y - 20) / 50, np.ones_like(x)], -1)


def loop(vertices, faces, keep):
    """Depth of the nearest kept face by testing every ray with every face, float64."""
    ray = rays().reshape(-1, 3)
    best, margin = np.full(len(ray), np.inf), np.full(len(ray), np.inf)
    for a, b, c in vertices[faces[keep]].astype(float):
        w = np.stack(
            [ray @ np.cross(b, c), ray @ np.cross(c, a), ray @ np.cross(a, b)], -1
        )
        total = w.sum(-1)
        z = (a @ np.cross(b, c)) / total
        share = w / total[:, None]
        inside = (share >= 0).all(-1) & (z > 0)
        margin = np.minimum(margin, np.abs(share.min(-1)))
        best = np.where(inside & (z < best), z, best)
    return best.reshape(SIZE), margin.reshape(SIZE) > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_nearest_faces_and_coverage_by_layer_are_those_of_a_plain_loop(seed):
    count, num_objects = 60, 3
    vertices, faces = random_soup(seed, count)
    rng = np.random.default_rng(seed + 50)
    layer, obj = rng.integers(0, 2, count), rng.integers(0, num_objects + 1, count)
    found = raster.nearest_faces(plan(vertices, faces), by(layer), 2, SIZE)
    for k in range(2):
        hit = np.asarray(found[k]) >= 0
        expected, clear = loop(vertices, faces, layer == k)
        np.testing.assert_array_equal(hit[clear], np.isfinite(expected)[clear])
        assert (layer[np.asarray(found[k])[hit]] == k).all()
        depth = plane_depth(vertices[faces[np.asarray(found[k])]])
        both = clear & hit
        np.testing.assert_allclose(depth[both], expected[both], rtol=1e-4)
    kept = plan(vertices, faces, obj < num_objects)
    covered = raster.covered(kept, by(obj), num_objects, SIZE)
    for k in range(num_objects):
        expected, clear = loop(vertices, faces, obj == k)
        np.testing.assert_array_equal(
            np.asarray(covered[k])[clear], np.isfinite(expected)[clear]
        )


def plane_depth(corners):
    """Where the rays of all pixels meet the planes (H, W, 3, 3) of triangles."""
    a, b, c = np.moveaxis(corners.astype(float), -2, 0)
    normal = np.cross(b - a, c - a)
    return (normal * a).sum(-1) / (normal * rays()).sum(-1)


def test_what_is_behind_or_turned_away_is_not_drawn():
    vertices, faces = random_soup(1, 12)
    away = plan(vertices, faces[:, ::-1].copy())
    behind = plan(vertices * [1, 1, -1], faces)
    for hidden in (away, behind):
        found = raster.nearest_faces(hidden, jnp.zeros_like, 1, SIZE)
        assert (np.asarray(found) == -1).all()
        assert not np.asarray(raster.covered(hidden, jnp.zeros_like, 1, SIZE)).any()


def test_no_layers_cover_nothing():
    vertices, faces = random_soup(2, 5)
    none = plan(vertices, faces, np.zeros(5, bool))
    assert raster.covered(none, jnp.zeros_like, 0, SIZE).shape == (0, *SIZE)
