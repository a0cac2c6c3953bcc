"""Depth of the static scene at points and of surfaces made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.data.world import make_clip
from egojax.errors import UsageError
from egojax.methods import static_scene
from egojax.ops import camera as camera_ops
from egojax.ops import depth as depth_ops
from egojax.ops import surface
from egojax.types import Camera, Clip

SIZE = (12, 16)


def test_of_few_points_the_nearest_of_each_cell_counts_where_it_is_seen():
    """Pixel (8, 6) of the camera looks along z; a cell is less than two pixels."""
    eye = Camera(np.array([[10.0, 0, 8], [0, 10, 6], [0, 0, 1]]), np.eye(4), None, SIZE)
    points = [
        [0.05, 0.05, 1.0],  # In pixel (8, 6),
        [0.10, 0.10, 2.0],  # and hidden behind it.
        [0.35, 0.05, 1.0],  # In pixel (11, 6).
        [0.0, 0.0, -1.0],  # Behind the camera.
        [9.0, 0.0, 1.0],  # Out of view.
    ]
    found = static_scene.nearest_points(np.array(points))(eye)
    assert found.shape == SIZE and found.dtype == np.float32
    assert np.argwhere(np.isfinite(found)).tolist() == [[6, 8], [6, 11]]
    assert found[6, 8] == 1 and found[6, 11] == 1
    assert np.isinf(static_scene.nearest_points(np.zeros((0, 3)))(eye)).all()


@pytest.fixture(scope="module")
def sparse() -> Clip:
    """A world whose static scene is known at 600 points alone."""
    clip = make_clip(1, 60, size_hw=(64, 112))
    rng, found = np.random.default_rng(0), []
    for t in range(0, 60, 6):
        depth, camera = clip.truth.static_depth[t], clip.camera[t]
        row, column = (rng.integers(0, n, 60) for n in depth.shape)
        pixel = np.stack([column + 0.5, row + 0.5, np.ones(60)], 1)
        ray = pixel @ np.linalg.inv(np.float64(camera.intrinsics)).T
        seen = ray * depth[row, column][:, None]
        found.append((seen - camera.w2c[:3, 3]) @ np.float64(camera.w2c[:3, :3]))
    return clip.replace(mesh=None, points=np.concatenate(found))


def test_depth_aligned_to_points_is_nearer_to_the_truth_than_to_a_surface(sparse):
    """In frames between those that the points were seen in."""
    errors = {}
    for kind in ("nearest", "surface"):
        draw, off = static_scene.static_renderer(sparse, points=kind), []
        for t in range(3, 60, 12):
            true, labels = sparse.truth.depth[t], sparse.truth.labels[t]
            raw = np.float32((true - 0.3) / 1.7)
            fit = depth_ops.align(raw, draw(sparse.camera[t]), labels > 0)
            found = float(fit.scale) * raw + float(fit.shift)
            off.append(np.nanmedian(np.abs(found - true) / true))
        errors[kind] = np.median(off)
    assert errors["nearest"] < 0.01 < errors["surface"]


SQUARE = (96, 160)


def corridor(count: int, rng, too_near: float = 0.0, noise: float = 0.0) -> np.ndarray:
    """Points on the walls of a box around the camera, some of them wrong."""
    half = np.array([1.3, 0.8, 5.0])
    area = half.prod() / half
    axis = rng.choice(3, count, p=area / area.sum())
    points = rng.uniform(-1, 1, (count, 3)) * half
    each = np.arange(count)
    points[each, axis] = np.sign(rng.normal(size=count)) * half[axis]
    points *= 1 + noise * rng.normal(size=(count, 1))
    wrong = rng.random(count) < too_near
    points[wrong] *= rng.uniform(0.15, 0.9, (wrong.sum(), 1))
    return points


def corridor_camera(k1: float) -> Camera:
    lens = np.zeros(8)
    lens[0] = k1
    return Camera(
        np.array([[105.0, 0, 80], [0, 105, 48], [0, 0, 1]]),
        np.eye(4),
        lens if k1 else None,
        SQUARE,
        "opencv" if k1 else "pinhole",
    )


def corridor_depth(camera: Camera) -> np.ndarray:
    flat = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), camera)
    centers = camera_ops.pixel_centers(SQUARE).reshape(-1, 2)
    ray = np.abs(np.asarray(camera_ops.directions(flat, centers), np.float64))
    half = np.array([1.3, 0.8, 5.0])
    return (half / np.maximum(ray, 1e-9)).min(1).reshape(SQUARE)


@pytest.mark.parametrize(
    ("count", "too_near", "noise", "k1"),
    [
        (2000, 0.0, 0.0, 0.0),
        (20000, 0.0, 0.0, 0.0),
        (2000, 0.03, 0.0, 0.0),
        (20000, 0.05, 0.0, 0.0),
        (20000, 0.0, 0.01, 0.0),
        (20000, 0.0, 0.0, -0.1),  # This lens folds what lies far aside
        (20000, 0.0, 0.0, -0.3),  # back into the image.
    ],
)
def test_points_align_depth_whatever_their_number_faults_and_lens(
    count, too_near, noise, k1
):
    points = corridor(count, np.random.default_rng(0), too_near, noise)
    camera = corridor_camera(k1)
    true = corridor_depth(camera)
    raw = np.float32((true - 0.3) / 1.7)
    fit = depth_ops.align(raw, static_scene.nearest_points(points)(camera))
    off = np.abs(float(fit.scale) * raw + float(fit.shift) - true) / true
    assert off.mean() < 0.01  # A pixel is up to 3 % deep here.


def test_points_that_are_not_finite_do_not_count():
    camera = corridor_camera(0.0)
    points = corridor(500, np.random.default_rng(0))
    bad = np.array([[np.nan, 0, 1], [0, np.inf, 1], [1e300, 0, 1], [0, 0, -1e39]])
    np.testing.assert_array_equal(
        static_scene.nearest_points(np.concatenate([bad, points]))(camera),
        static_scene.nearest_points(points)(camera),
    )


def test_a_surface_that_cannot_be_made_names_the_clip(sparse):
    flat = sparse.replace(points=sparse.points[:3])
    with pytest.raises(
        UsageError, match=rf"{flat.name}: depth.points=surface: 3 points"
    ):
        static_scene.static_renderer(flat, points="surface")
    assert static_scene.static_renderer(flat.replace(points=np.zeros((0, 3)))) is None


def test_a_mesh_goes_before_points_and_depth_of_its_own_before_both(sparse):
    camera = sparse.camera[0]
    mesh = surface.mesh_from_points(sparse.points)
    for clip in (sparse.replace(mesh=mesh), sparse.replace(mesh=mesh, points=None)):
        drawn = static_scene.static_renderer(clip)(camera)
        assert np.isfinite(drawn).mean() > 0.5
    bare = sparse.replace(points=None)
    assert static_scene.static_renderer(bare) is None
    assert static_scene.static_renderer(sparse.replace(camera=None)) is None
    own = sparse.replace(static_depth=sparse.truth.static_depth)
    assert static_scene.static_renderer(own) is None


def test_a_surface_of_points_is_the_alpha_shape_drawn_from_both_sides(sparse):
    camera = sparse.camera[0]
    shape = sparse.replace(mesh=surface.mesh_from_points(sparse.points))
    np.testing.assert_array_equal(
        static_scene.static_renderer(sparse, points="surface", cull=True)(camera),
        static_scene.static_renderer(shape)(camera),
    )
