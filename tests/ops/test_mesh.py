"""The rasteriser against closed forms, a float64 z-buffer, and embree."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import mesh
from egojax.types import Camera

QUAD = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 4], [-1, 1, 4]], np.float32)
QUAD_FACES = np.array([[0, 2, 1], [0, 3, 2]], np.int32)


def make_camera(focal=10.0, center=(6.0, 4.0), size_hw=(8, 12), w2c=None) -> Camera:
    intrinsics = [[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]]
    pose = np.eye(4) if w2c is None else w2c
    return Camera(np.float32(intrinsics), np.float32(pose), size_hw=size_hw)


def random_scene(seed: int, num: int = 60, spread: float = 3.0):
    """Triangles around the camera; about a third pass through its plane."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(num, 1, 3)) * [spread, spread, spread] + [0, 0, 2]
    vertices = centers + rng.normal(size=(num, 3, 3)) * rng.uniform(0.1, 2, (num, 1, 1))
    faces = np.arange(3 * num, dtype=np.int32).reshape(num, 3)
    return vertices.reshape(-1, 3).astype(np.float32), faces


def z_buffer(vertices, faces, camera: Camera, near=0.05, far=800.0, cull=False):
    """The definition: every ray against every triangle, in float64.

    Returns face and depth of the nearest hit, and how sure the face is: the least
    barycentric weight by which any triangle is hit or missed.
    """
    height, width = camera.size_hw
    intrinsics, w2c = np.float64(camera.intrinsics), np.float64(camera.w2c)
    points = np.float64(vertices) @ w2c[:3, :3].T + w2c[:3, 3]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics).T
    depth, face = np.full((height, width), np.inf), np.full((height, width), -1)
    margin = np.full((height, width), np.inf)
    for i, corners in enumerate(points[faces]):
        det = np.linalg.det(corners)
        if det == 0 or (cull and det > 0):
            continue
        weights = rays @ np.linalg.inv(corners)  # b_i / z
        inv_z = weights.sum(-1)
        ahead = inv_z > 1.0 / far
        z = 1.0 / np.where(ahead, inv_z, 1.0)
        least = (weights * z[..., None]).min(-1)
        hit = ahead & (z >= near) & (least >= 0)
        margin = np.where(ahead, np.minimum(margin, np.abs(least)), margin)
        nearer = hit & (z < depth)
        depth, face = np.where(nearer, z, depth), np.where(nearer, i, face)
    return face, depth, margin


def test_a_sloping_quad_has_the_closed_form_of_its_plane():
    """Oracle T7: z = 3 / (1 - (v + 0.5 - 4) / 10) down to row 5, nothing in row 7."""
    depth = np.asarray(mesh.render_depth(QUAD, QUAD_FACES, make_camera(), cull=True))
    rows = np.arange(6)
    expected = 3 / (1 - (rows + 0.5 - 4) / 10)
    np.testing.assert_allclose(
        expected, [2.2222, 2.4000, 2.6087, 2.8571, 3.1579, 3.5294], atol=5e-5
    )
    u = np.arange(12) + 0.5
    across = np.abs(u[None] - 6) / 10 * expected[:, None]
    on_quad = across < 1 - 1e-6
    for row in rows:
        sure = np.abs(across[row] - 1) > 1e-6
        np.testing.assert_array_equal(np.isfinite(depth[row])[sure], on_quad[row][sure])
        np.testing.assert_allclose(depth[row, on_quad[row]], expected[row], rtol=1e-6)
    assert np.isinf(depth[7]).all()


def test_reversed_faces_are_culled_only_on_request():
    flipped = QUAD_FACES[:, ::-1].copy()
    camera = make_camera()
    assert np.isinf(mesh.render_depth(QUAD, flipped, camera, cull=True)).all()
    np.testing.assert_array_equal(
        mesh.render_depth(QUAD, flipped, camera),
        mesh.render_depth(QUAD, QUAD_FACES, camera),
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cull", [False, True])
def test_agrees_with_a_float64_z_buffer_also_through_the_near_plane(seed, cull):
    vertices, faces = random_scene(seed)
    camera = make_camera(40.0, (30.0, 21.0), (48, 64))
    face, depth, margin = z_buffer(vertices, faces, camera, near=0.1, cull=cull)
    hits = mesh.rasterize(vertices, faces, camera, near=0.1, cull=cull)
    sure = margin > 1e-4
    assert sure.mean() > 0.98
    assert (np.float64(vertices[faces][..., 2]).min(1) < 0).any()
    np.testing.assert_array_equal(np.asarray(hits.face_idx)[sure], face[sure])
    np.testing.assert_allclose(np.asarray(hits.depth)[sure], depth[sure], rtol=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_barycentric_weights_give_the_point_on_the_ray(seed):
    vertices, faces = random_scene(seed)
    camera = make_camera(40.0, (30.0, 21.0), (48, 64))
    hits = mesh.rasterize(vertices, faces, camera)
    row, col = np.nonzero(np.asarray(hits.face_idx) >= 0)
    weights = np.float64(hits.barycentric)[row, col]
    corners = np.float64(vertices)[faces[np.asarray(hits.face_idx)[row, col]]]
    point = (corners * weights[..., None]).sum(1) @ np.float64(camera.intrinsics).T
    np.testing.assert_allclose(point[:, 0] / point[:, 2], col + 0.5, atol=2e-3)
    np.testing.assert_allclose(point[:, 1] / point[:, 2], row + 0.5, atol=2e-3)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_a_wall_that_reaches_behind_the_camera_is_not_dropped():
    """A floor 1 below the camera, from 50 behind it to 50 before it."""
    floor = np.float32([[-50, 1, -50], [50, 1, -50], [50, 1, 50], [-50, 1, 50]])
    faces = np.int32([[0, 1, 2], [0, 2, 3]])
    camera = make_camera(10.0, (6.0, 0.0), (20, 12))
    depth = np.asarray(mesh.render_depth(floor, faces, camera))
    expected = 10.0 / (np.arange(20) + 0.5)
    np.testing.assert_allclose(depth, np.repeat(expected[:, None], 12, 1), rtol=1e-6)


def test_near_and_far_cut_within_a_face():
    floor = np.float32([[-50, 1, -50], [50, 1, -50], [50, 1, 50], [-50, 1, 50]])
    faces = np.int32([[0, 1, 2], [0, 2, 3]])
    camera = make_camera(10.0, (6.0, 0.0), (20, 12))
    depth = mesh.render_depth(floor, faces, camera, near=0.6, far=4.0)
    expected = 10.0 / (np.arange(20) + 0.5)
    inside = (expected >= 0.6) & (expected <= 4.0)
    np.testing.assert_array_equal(np.isfinite(depth[:, 3]), inside)


def test_of_faces_in_the_same_place_the_first_is_seen():
    faces = np.concatenate([QUAD_FACES, QUAD_FACES, QUAD_FACES[::-1]])
    hits = mesh.rasterize(QUAD, faces, make_camera())
    assert set(np.unique(hits.face_idx)) <= {-1, 0, 1}


@pytest.mark.parametrize("seed", range(3))
def test_a_closed_surface_has_no_cracks(seed):
    """A finely folded sheet that fills the view: every pixel center is hit."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-4, 4, 80), np.linspace(-4, 4, 80))
    z = 4 + 0.3 * rng.normal(size=x.shape)
    vertices = np.stack([x, y, z], -1).reshape(-1, 3).astype(np.float32)
    at = np.arange(6400).reshape(80, 80)
    a, b, c, d = at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]
    faces = np.concatenate(
        [np.stack(f, -1).reshape(-1, 3) for f in ([a, b, c], [a, c, d])]
    )
    camera = make_camera(90.0, (50.0, 40.0), (80, 100))
    depth = mesh.render_depth(vertices, faces.astype(np.int32), camera)
    assert np.isfinite(depth).all()


def test_rendering_does_not_depend_on_where_the_world_begins():
    vertices, faces = random_scene(3)
    camera = make_camera(40.0, (30.0, 21.0), (48, 64))
    moved = np.eye(4)
    moved[:3, 3] = -np.array([100.0, -200.0, 50.0])
    far_away = make_camera(40.0, (30.0, 21.0), (48, 64), moved)
    a = mesh.rasterize(vertices, faces, camera)
    b = mesh.rasterize(vertices + np.float32([100, -200, 50]), faces, far_away)
    same = np.asarray(a.face_idx) == np.asarray(b.face_idx)
    assert same.mean() > 0.995


@pytest.mark.parametrize("seed", range(3))
def test_coverage_is_what_each_object_would_show_alone(seed):
    vertices, faces = random_scene(seed, num=80)
    owner = np.random.default_rng(seed).integers(-1, 4, 80).astype(np.int32)
    camera = make_camera(40.0, (30.0, 21.0), (48, 64))
    masks = np.asarray(mesh.coverage(vertices, faces, owner, camera, 4))
    for obj in range(4):
        alone = np.where((owner == obj)[:, None], faces, 0)  # The rest: no area.
        depth = mesh.render_depth(vertices, alone.astype(np.int32), camera)
        np.testing.assert_array_equal(masks[obj], np.isfinite(depth))


def test_depth_gradients_equal_finite_differences():
    rng = np.random.default_rng(0)
    camera = make_camera()
    weight = rng.normal(size=(8, 12)).astype(np.float32)
    hits = mesh.rasterize(QUAD, QUAD_FACES, camera)
    seen = np.asarray(hits.barycentric).min(-1) > 0.02  # Off the edges, which move.

    def loss(vertices, w2c, intrinsics):
        at = Camera(intrinsics, w2c, size_hw=camera.size_hw)
        depth = mesh.render_depth(vertices, QUAD_FACES, at)
        return jnp.where(seen, weight * depth, 0.0).sum()

    args = (jnp.asarray(QUAD), jnp.asarray(camera.w2c), jnp.asarray(camera.intrinsics))
    grads = jax.grad(loss, argnums=(0, 1, 2))(*args)
    chex.assert_tree_all_finite(grads)
    for i, (arg, grad) in enumerate(zip(args, grads, strict=True)):
        for at in ((0, 2), (1, 1), (2, 2)):
            step = 1e-3 if i < 2 else 1e-2
            ends = [
                loss(*args[:i], arg.at[at].add(s), *args[i + 1 :])
                for s in (step, -step)
            ]
            slope = (ends[0] - ends[1]) / (2 * step)
            if i < 2 or at[0] < 2:
                np.testing.assert_allclose(grad[at], slope, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("cull", [False, True])
def test_depth_alone_is_the_depth_of_the_faces_named(cull):
    vertices, faces = random_scene(4)
    camera = make_camera(40.0, (30.0, 21.0), (48, 64))

    def alone(v, c):
        return mesh.render_depth(v, faces, c, cull=cull)

    def named(v, c):
        return mesh.rasterize(v, faces, c, cull=cull).depth

    np.testing.assert_allclose(
        alone(vertices, camera), named(vertices, camera), rtol=2e-6
    )
    slopes = [
        jax.grad(lambda *a, f=f: jnp.exp(-f(*a)).sum(), argnums=(0, 1))(
            vertices, camera.replace(intrinsics=jnp.asarray(camera.intrinsics))
        )
        for f in (alone, named)
    ]
    assert float(np.abs(slopes[0][0]).max()) > 0.0
    chex.assert_trees_all_close(*slopes, rtol=1e-5, atol=1e-6)


def test_nothing_to_draw_is_a_frame_of_nothing():
    camera = make_camera()
    none = mesh.rasterize(QUAD, np.zeros((0, 3), np.int32), camera)
    assert (np.asarray(none.face_idx) == -1).all() and np.isinf(none.depth).all()
    assert np.isinf(mesh.render_depth(QUAD, np.zeros((0, 3), np.int32), camera)).all()
    flat = mesh.rasterize(QUAD, np.zeros((3, 3), np.int32), camera)
    assert (np.asarray(flat.face_idx) == -1).all()
    behind = mesh.rasterize(QUAD - np.float32([0, 0, 9]), QUAD_FACES, camera)
    assert (np.asarray(behind.face_idx) == -1).all()
    broken = mesh.rasterize(QUAD * np.float32("nan"), QUAD_FACES, camera)
    assert (np.asarray(broken.face_idx) == -1).all()
    assert mesh.coverage(QUAD, QUAD_FACES, np.int32([0, 0]), camera, 0).shape[0] == 0


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 50)])
def test_images_smaller_than_the_windows_are_drawn(size_hw):
    vertices, faces = random_scene(1)
    camera = make_camera(30.0, (size_hw[1] / 2, size_hw[0] / 2), size_hw)
    face, _, margin = z_buffer(vertices, faces, camera)
    found = np.asarray(mesh.rasterize(vertices, faces, camera).face_idx)
    np.testing.assert_array_equal(found[margin > 1e-4], face[margin > 1e-4])


def test_another_frame_compiles_nothing():
    vertices, faces = random_scene(0)
    traced = chex.assert_max_traces(mesh.rasterize.__wrapped__, n=1)
    draw = jax.jit(traced)
    for shift in (0.0, 3.0, -30.0):
        pose = np.eye(4)
        pose[2, 3] = shift
        draw(vertices, faces, make_camera(w2c=pose))


def test_drawing_is_the_same_where_64_bits_are_the_default():
    vertices, faces = random_scene(5)
    camera = make_camera(40.0, (30.0, 21.0), (48, 64))
    here = mesh.rasterize(vertices, faces, camera)
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, camera)
        there = mesh.rasterize(np.float64(vertices), np.int64(faces), wide)
        alone = mesh.render_depth(np.float64(vertices), np.int64(faces), wide)
        slope = jax.grad(lambda v: jnp.exp(-mesh.render_depth(v, faces, wide)).sum())(
            np.float64(vertices)
        )
    np.testing.assert_array_equal(there.face_idx, here.face_idx)
    np.testing.assert_allclose(alone, here.depth, rtol=1e-4)
    chex.assert_tree_all_finite(slope)


def test_a_lens_is_refused():
    camera = make_camera().replace(lens="opencv", distortion=np.zeros(8, np.float32))
    with pytest.raises(ValueError, match="pinhole"):
        mesh.rasterize(QUAD, QUAD_FACES, camera)


def test_drawing_lowers_for_every_device():
    camera = make_camera()
    owner = np.zeros(2, np.int32)

    def masks(vertices, camera):
        return mesh.coverage(vertices, QUAD_FACES, owner, camera, 1)

    def slope(vertices, camera):
        return jax.grad(lambda v: mesh.render_depth(v, QUAD_FACES, camera)[0, 6])(
            vertices
        )

    def depth(vertices, camera):
        return mesh.render_depth(vertices, QUAD_FACES, camera)

    for fn in (lambda v, c: mesh.rasterize(v, QUAD_FACES, c), depth, masks, slope):
        export.export(jax.jit(fn), platforms=["cpu", "cuda", "tpu"])(QUAD, camera)
