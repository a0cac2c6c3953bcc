"""The sweep against plain loops, and its limits."""

import jax.numpy as jnp
import numpy as np
import pytest

from egojax.data.world import raster, render

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


def sweep(vertices, faces, layer, obj, num_objects):
    tri = raster.set_up(
        jnp.asarray(vertices), jnp.asarray(faces), jnp.asarray(INTRINSICS), SIZE
    )
    layer, obj = (jnp.asarray(x, jnp.int32) for x in (layer, obj))
    return tri, raster.sweep(tri, layer, obj, num_objects, SIZE)


def loop(vertices, faces, keep):
    """Depth of the nearest kept face by testing every ray with every face, float64."""
    x, y = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    ray = np.stack([(x - 30) / 50, (y - 20) / 50, np.ones_like(x)], -1).reshape(-1, 3)
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
def test_nearest_faces_and_coverage_are_those_of_a_plain_loop(seed):
    count, num_objects = 60, 3
    vertices, faces = random_soup(seed, count)
    rng = np.random.default_rng(seed + 50)
    layer, obj = rng.integers(0, 2, count), rng.integers(-1, num_objects + 1, count)
    tri, found = sweep(vertices, faces, layer, obj, num_objects)
    for k in range(2):
        depth = render.face_depth(tri, found.face[k], render.pixel_centers(SIZE))
        expected, clear = loop(vertices, faces, layer == k)
        np.testing.assert_array_equal(
            np.isfinite(depth)[clear], np.isfinite(expected)[clear]
        )
        both = clear & np.isfinite(expected)
        error = np.abs(np.asarray(depth)[both] / expected[both] - 1.0)
        assert np.quantile(error, 0.99) < 1e-3
    for k in range(num_objects):
        expected, clear = loop(vertices, faces, obj == k)
        covered = np.asarray(found.covered[k])
        np.testing.assert_array_equal(covered[clear], np.isfinite(expected)[clear])


def test_what_is_behind_or_turned_away_is_not_drawn():
    vertices, faces = random_soup(1, 12)
    nothing = np.zeros(12, np.int32)
    _, away = sweep(vertices, faces[:, ::-1].copy(), nothing, nothing, 1)
    _, behind = sweep(vertices * [1, 1, -1], faces, nothing, nothing, 1)
    for found in (away, behind):
        assert (np.asarray(found.face) == -1).all() and not np.asarray(
            found.covered
        ).any()


def test_a_world_without_objects_has_no_masks():
    vertices, faces = random_soup(2, 5)
    _, found = sweep(vertices, faces, np.zeros(5), np.full(5, -1), 0)
    assert found.covered.shape == (0, *SIZE)
    assert (np.asarray(found.face[0]) >= 0).any()


def test_more_faces_than_a_fragment_can_name_are_refused():
    count = raster.MAX_FACES + 1
    vertices, faces = np.zeros((3, 3), np.float32), np.zeros((count, 3), np.int32)
    with pytest.raises(ValueError, match=str(count)):
        sweep(vertices, faces, np.zeros(count), np.zeros(count), 1)
