"""Cameras against pycolmap, Aria's own library, and the published numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops import camera as cam
from egojax.types import Camera

# Parameters of a plausible lens for every model of COLMAP.
PARAMS = {
    "SIMPLE_PINHOLE": [280, 228, 128],
    "PINHOLE": [280, 281, 228, 128],
    "SIMPLE_RADIAL": [280, 228, 128, -0.08],
    "RADIAL": [280, 228, 128, -0.1, 0.02],
    "OPENCV": [280, 281, 228, 128, -0.12, 0.03, 1e-3, -2e-3],
    "OPENCV_FISHEYE": [200, 201, 228, 128, 0.05, -0.01, 4e-3, -1e-3],
    "FULL_OPENCV": [
        *[280, 281, 228, 128, -0.1, 0.02, 1e-3],
        *[-2e-3, 1e-3, 0.03, -5e-3, 1e-3],
    ],
    "FOV": [280, 281, 228, 128, 0.9],
    "SIMPLE_RADIAL_FISHEYE": [200, 228, 128, 0.04],
    "RADIAL_FISHEYE": [200, 228, 128, 0.04, -8e-3],
    "THIN_PRISM_FISHEYE": [
        *[200, 201, 228, 128, 0.05, -0.01],
        *[1e-3, -5e-4, 4e-3, -1e-3, 2e-3, -1e-3],
    ],
    "RAD_TAN_THIN_PRISM_FISHEYE": [
        *[200, 201, 228, 128, 0.03, -0.02, 0.01, -4e-3, 1e-3, -1e-4],
        *[1e-3, -7e-4, 2e-4, -1e-4, 3e-4, -2e-4],
    ],
    "SIMPLE_DIVISION": [280, 228, 128, -0.1],
    "DIVISION": [280, 281, 228, 128, -0.1],
    "SIMPLE_FISHEYE": [200, 228, 128],
    "FISHEYE": [200, 201, 228, 128],
    "EUCM": [280, 281, 228, 128, 0.6, 1.1],
}
SIZE = (256, 456)
# Oracle T3.
QUATERNION = (0.92338052, 0.10259784, -0.20519567, 0.30779351)
TRANSLATION = (0.5, -0.25, 1.0)
ROTATION = [
    [0.7263157895, -0.6105263158, -0.3157894737],
    [0.5263157895, 0.7894736842, -0.3157894737],
    [0.4421052632, 0.0631578947, 0.8947368421],
]


def float32(camera: Camera) -> Camera:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), camera)


def posed(camera: Camera) -> Camera:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = ROTATION, TRANSLATION
    return float32(camera.replace(w2c=pose))


def pixels(seed=0, num=200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(0.02, 0.98, (num, 2)) * [SIZE[1], SIZE[0]]).astype(np.float32)


def test_every_model_that_pycolmap_knows_is_known_but_the_panorama():
    pycolmap = pytest.importorskip("pycolmap")
    names = set(pycolmap.CameraModelId.__members__) - {"INVALID", "EQUIRECTANGULAR"}
    assert names <= set(cam.COLMAP_MODELS)
    assert set(PARAMS) == set(cam.COLMAP_MODELS)


@pytest.mark.parametrize("model", PARAMS)
def test_models_agree_with_pycolmap_both_ways(model):
    pycolmap = pytest.importorskip("pycolmap")
    theirs = pycolmap.Camera(
        model=model, width=SIZE[1], height=SIZE[0], params=PARAMS[model]
    )
    ours = float32(cam.camera_from_colmap(model, PARAMS[model], SIZE))
    xy = pixels()
    plane = np.asarray(theirs.cam_from_img(xy.astype(np.float64)), np.float64)
    inside = np.isfinite(plane).all(-1)
    assert inside.mean() > 0.9
    found = np.asarray(cam.directions(ours, xy))
    np.testing.assert_allclose(found[inside, :2], plane[inside], rtol=2e-5, atol=2e-5)
    points = np.concatenate([plane, np.ones((len(plane), 1))], 1)[inside]
    image = np.asarray(theirs.img_from_cam(points))
    found = cam.project(ours, np.float32(points * 3.0))
    np.testing.assert_allclose(found.xy, image, atol=2e-3)
    np.testing.assert_allclose(found.z, 3.0, rtol=1e-6)


@pytest.mark.parametrize("model", PARAMS)
def test_unproject_undoes_project(model):
    camera = posed(cam.camera_from_colmap(model, PARAMS[model], SIZE))
    xy = pixels(1)
    depth = np.random.default_rng(2).uniform(0.3, 9, len(xy)).astype(np.float32)
    points = cam.unproject(camera, xy, depth)
    again = cam.project(camera, points)
    seen = np.isfinite(np.asarray(points)).all(-1)
    assert seen.mean() > 0.9
    np.testing.assert_allclose(np.asarray(again.xy)[seen], xy[seen], atol=5e-3)
    np.testing.assert_allclose(np.asarray(again.z)[seen], depth[seen], rtol=1e-5)


@pytest.mark.parametrize("model", PARAMS)
def test_gradients_of_both_ways_are_finite_and_inverse_to_each_other(model):
    camera = posed(cam.camera_from_colmap(model, PARAMS[model], SIZE))
    xy = jnp.array([[228.0, 128.0], [300.0, 40.0]])  # The very center is one of them.
    depth = jnp.array([2.0, 1.0])

    def there_and_back(xy):
        return cam.project(camera, cam.unproject(camera, xy, depth)).xy

    jacobian = jax.jacobian(lambda p: there_and_back(p[None].repeat(2, 0))[1])(xy[1])
    np.testing.assert_allclose(jacobian, np.eye(2), atol=1e-3)

    def loss(camera, xy):
        return cam.unproject(camera, xy, depth).sum()

    chex.assert_tree_all_finite(jax.grad(loss, argnums=(0, 1))(camera, xy))
    points = cam.unproject(camera, xy, depth)
    chex.assert_tree_all_finite(
        jax.grad(lambda c: cam.project(c, points).xy.sum())(camera)
    )


def test_the_gradient_through_the_inverse_of_a_lens_equals_finite_differences():
    model = "OPENCV"
    camera = float32(cam.camera_from_colmap(model, PARAMS[model], SIZE))
    xy = jnp.array([[400.0, 30.0]])

    def x(k1):
        bent = camera.replace(distortion=camera.distortion.at[0].set(k1))
        return cam.directions(bent, xy)[0, 0]

    k1 = camera.distortion[0]
    slope = (x(k1 + 1e-2) - x(k1 - 1e-2)) / 2e-2
    np.testing.assert_allclose(jax.grad(x)(k1), slope, rtol=1e-2)


def test_fisheye624_is_the_lens_of_aria():
    calibration = pytest.importorskip("projectaria_tools.core.calibration")
    params = [220.0, 227.5, 127.5, *PARAMS["RAD_TAN_THIN_PRISM_FISHEYE"][4:]]
    theirs = calibration.CameraProjection(
        calibration.CameraModelType.FISHEYE624, np.array(params)
    )
    intrinsics = [[220.0, 0, 227.5], [0, 220.0, 127.5], [0, 0, 1]]
    camera = Camera(
        jnp.float32(cam.centers_from_integers(np.array(intrinsics))),
        jnp.eye(4),
        jnp.float32(params[3:]),
        SIZE,
        "fisheye624",
    )
    points = np.random.default_rng(0).normal(size=(50, 3)) * [1, 0.6, 0.1] + [0, 0, 1]
    expected = np.array([theirs.project(p) for p in points]) + 0.5
    np.testing.assert_allclose(
        cam.project(camera, np.float32(points)).xy, expected, atol=2e-3
    )


def test_lifting_gives_the_published_point():
    """Oracle T3."""
    w2c = cam.make_pose(
        cam.rotation_from_quaternion(jnp.array(QUATERNION)), jnp.array(TRANSLATION)
    )
    np.testing.assert_allclose(w2c[:3, :3], ROTATION, atol=1e-6)
    intrinsics = jnp.array([[250.0, 0, 228], [0, 251, 128], [0, 0, 1]])
    camera = Camera(intrinsics, w2c, size_hw=SIZE)
    point = cam.unproject(camera, jnp.array([[300.0, 100.0]]), jnp.array([1.75]))
    np.testing.assert_allclose(
        point[0], [0.36331625, 0.08817438, 0.65249025], atol=1e-6
    )
    back = cam.project(camera, point)
    np.testing.assert_allclose(back.xy[0], [300, 100], atol=1e-4)
    np.testing.assert_allclose(back.z, 1.75, rtol=1e-6)
    center = [-0.6736842105, 0.4394736842, -0.8157894737]
    np.testing.assert_allclose(cam.invert_pose(w2c)[:3, 3], center, atol=1e-6)


def test_normalised_intrinsics_are_the_published_ones():
    """Oracle T12."""
    ours = cam.camera_from_colmap("PINHOLE", [280, 281, 228, 128], SIZE)
    expected = [[0.61403507, 0, 0.5], [0, 1.0976562, 0.5], [0, 0, 1]]
    found = cam.scale_intrinsics(ours.intrinsics, SIZE, (1, 1))
    np.testing.assert_allclose(found, expected, atol=1e-7)
    back = cam.scale_intrinsics(found, (1, 1), SIZE)
    np.testing.assert_allclose(back, ours.intrinsics)


@pytest.mark.parametrize("seed", range(3))
def test_quaternions_and_rotations_are_inverse(seed):
    q = np.random.default_rng(seed).normal(size=(50, 4))
    q = q / np.linalg.norm(q, axis=1, keepdims=True) * np.where(q[:, :1] < 0, -1, 1)
    q[:3] = [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]  # Half turns: w is 0.
    rotation = cam.rotation_from_quaternion(jnp.float32(q))
    found = np.asarray(cam.quaternion_from_rotation(rotation))
    sign = np.sign((found * q).sum(1, keepdims=True))
    np.testing.assert_allclose(found * sign, q, atol=1e-6)
    eye = np.asarray(rotation) @ np.swapaxes(rotation, 1, 2)
    np.testing.assert_allclose(eye, np.broadcast_to(np.eye(3), eye.shape), atol=1e-6)


def test_many_cameras_are_each_camera():
    one = posed(cam.camera_from_colmap("RADIAL", PARAMS["RADIAL"], SIZE))
    two = one.replace(w2c=cam.invert_pose(one.w2c))
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), one, two)
    xy = jnp.asarray(pixels(4)).reshape(2, 100, 2)
    depth = jnp.full((2, 100), 1.5)
    points = cam.unproject(both, xy, depth)
    rays = cam.camera_rays(both, xy)
    for i, camera in enumerate((one, two)):
        alone = cam.unproject(camera, xy[i], depth[i])
        np.testing.assert_allclose(points[i], alone, atol=1e-6)
        away = alone - rays.ray_origins[i]
        away = away / jnp.linalg.norm(away, axis=-1, keepdims=True)
        np.testing.assert_allclose(rays.ray_dirs[i], away, atol=1e-5)


def test_rays_of_a_whole_image_go_through_pixel_centers_row_by_row():
    camera = float32(cam.camera_from_colmap("PINHOLE", [10, 10, 3, 2], (4, 6)))
    rays = cam.camera_rays(camera)
    assert rays.ray_dirs.shape == (24, 3)
    found = cam.project(camera, rays.ray_dirs).xy
    expected = [[x + 0.5, y + 0.5] for y in range(4) for x in range(6)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_opengl_axes_turn_around_x():
    c2w = np.arange(16.0).reshape(4, 4)
    turned = cam.c2w_from_opengl(c2w)
    np.testing.assert_array_equal(turned[:, 1:3], -c2w[:, 1:3])
    np.testing.assert_array_equal(cam.c2w_from_opengl(turned), c2w)


@pytest.mark.parametrize(
    ("model", "params", "found"),
    [
        ("EQUIRECTANGULAR", [456, 256], "known are"),
        ("PINHOLE", [1, 2, 3], "4 parameters, not 3"),
    ],
)
def test_wrong_models_are_told(model, params, found):
    with pytest.raises(ValueError, match=found):
        cam.camera_from_colmap(model, params, SIZE)


def test_wrong_lenses_are_told():
    camera = Camera(jnp.eye(3), jnp.eye(4), jnp.zeros(3), SIZE, "opencv")
    with pytest.raises(ValueError, match="8 coefficients, not 3"):
        cam.project(camera, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="there are pinhole"):
        cam.project(camera.replace(lens="bottle"), jnp.ones((1, 3)))


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV", "RAD_TAN_THIN_PRISM_FISHEYE"])
def test_cameras_lower_for_every_device(model):
    camera = posed(cam.camera_from_colmap(model, PARAMS[model], SIZE))
    xy, depth = jnp.ones((5, 2)), jnp.ones(5)

    def there_and_back(camera, xy, depth):
        return cam.project(camera, cam.unproject(camera, xy, depth))

    for fn in (there_and_back, lambda c, xy, d: cam.camera_rays(c, xy)):
        export.export(jax.jit(fn), platforms=["cpu", "cuda", "tpu"])(camera, xy, depth)
