"""The published renderer, with weights by formula, against the published outputs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

from egojax.methods import nerf_rendering
from egojax.methods.field_rays import FieldRays, field_rays
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.nerf import Nerf, NerfConfig
from egojax.ops import camera as camera_ops
from egojax.ops import field_losses
from egojax.ops.camera import c2w_from_opengl
from egojax.types import Camera
from tests.nerf_by_formula import by_formula


def published_rays() -> tuple[FieldRays, jnp.ndarray]:
    """Pixels 0, 5 and 11 of a 3 x 4 image, by the published convention."""
    c2w = np.array([[0.8, 0, 0.6, 0.2], [0, 1, 0, -0.1], [-0.6, 0, 0.8, 0.3]])
    v, u = np.divmod(np.array([0, 5, 11]), 4)
    slots = jnp.array([1, 4, 9])
    rays = field_rays(
        cameras(4, 4, 2, 1.5, (3, 4), c2w, 3),
        jnp.asarray(np.stack([u, v], 1), jnp.float32),
        near=jnp.full(3, 0.5),
        far=jnp.full(3, 4.0),
        slots=slots,
        looks=slots,
    )
    return rays, jnp.array([[0.2, 0.5, 0.7], [0.9, 0.1, 0.4], [0.3, 0.3, 0.3]])


def cameras(fx, fy, cx, cy, size_hw, c2w, count, distortion=None) -> Camera:
    """`count` times the same; the pose has the published axes (right, up, backward)."""
    whole = np.concatenate([c2w, [[0, 0, 0, 1]]])
    w2c = np.linalg.inv(c2w_from_opengl(whole))
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    lens = None if distortion is None else np.tile(np.float32(distortion), (count, 1))
    return Camera(
        intrinsics=np.tile(np.float32(intrinsics), (count, 1, 1)),
        w2c=np.tile(np.float32(w2c), (count, 1, 1)),
        distortion=lens,
        size_hw=size_hw,
        lens="pinhole" if distortion is None else "opencv",
    )


def rays_of(camera: Camera, **options) -> FieldRays:
    """Of all pixels, row by row, by the published convention."""
    height, width = camera.size_hw
    v, u = np.divmod(np.arange(height * width), width)
    ones = jnp.ones(height * width)
    slots = jnp.zeros(height * width, jnp.int32)
    xy = jnp.asarray(np.stack([u, v], 1), jnp.float32)
    return field_rays(camera, xy, ones, ones, slots, slots, **options)


def test_rays_of_pixels_are_the_published_ones():
    c, s = np.cos(0.3), np.sin(0.3)
    c2w = np.array([[c, 0, s, 0.5], [0, 1, 0, -1], [-s, 0, c, 2]])
    rays = rays_of(cameras(3, 2.5, 1.2, 0.9, (2, 3), c2w, 6))
    plane = rays.camera_dirs / -rays.camera_dirs[:, 2:]
    expected = [
        [x, y, -1] for y in (0.36, -0.04) for x in (-0.4, -0.0666667, 0.2666667)
    ]
    np.testing.assert_allclose(plane, expected, atol=1e-6)
    expected = [
        [-0.59673434, 0.31701148, -0.73716474],
        [-0.33731258, 0.33805504, -0.87860054],
        [-0.03720109, 0.32853618, -0.9437585],
        [-0.6287532, -0.03711349, -0.7767186],
        [-0.3581286, -0.03987967, -0.9328202],
        [-0.03935805, -0.03862057, -0.99847853],
    ]
    np.testing.assert_allclose(rays.ray_dirs, expected, atol=1e-6)
    np.testing.assert_allclose(rays.ray_origins, [[0.5, -1, 2]] * 6, atol=1e-6)


def test_one_step_against_the_lens_is_the_published_one():
    lens = np.zeros(8)
    lens[:2] = 0.1, -0.05
    camera = cameras(2, 2, 1, 1, (2, 2), np.eye(4)[:3], 4, lens)
    rays = rays_of(camera, first_order=True)
    plane = rays.camera_dirs / -rays.camera_dirs[:, 2:]
    expected = [[-0.48125, 0.48125, -1], [0, 0.4890625, -1]]
    expected += [[-0.4890625, 0, -1], [0, 0, -1]]
    np.testing.assert_allclose(plane, expected, atol=1e-6)


def test_rays_through_a_lens_are_those_of_the_camera():
    lens = np.zeros(8)
    lens[:2] = 0.1, -0.05
    pose = np.array([[0.8, 0, 0.6, 0.2], [0, 1, 0, -0.1], [-0.6, 0, 0.8, 0.3]])
    camera = cameras(2, 2, 1, 1, (2, 2), pose, 4, lens)
    rays = rays_of(camera)
    points = rays.ray_origins + 3.0 * rays.ray_dirs
    seen = camera_ops.project(camera, points[:, None]).xy[:, 0]
    np.testing.assert_allclose(seen, [[0, 0], [1, 0], [0, 1], [1, 1]], atol=1e-5)


FEW = RenderSettings(num_coarse=8, num_fine=8)


def test_a_whole_step_gives_the_published_colors_and_loss(model):
    rays, target = published_rays()
    expected = [
        [-0.8479983, 0.3179994, -0.4239992],
        [-0.7704695, 0.1203859, -0.6260064],
        [-0.3852347, -0.1203858, -0.9149325],
    ]
    np.testing.assert_allclose(rays.ray_dirs, expected, atol=1e-6)
    out = nerf_rendering.render_training(model, rays, FEW, None)
    expected = [
        [0.48094186, 0.4502113, 0.66229016],
        [0.42921162, 0.49300033, 0.6380698],
        [0.4563383, 0.53925943, 0.52918285],
    ]
    np.testing.assert_allclose(out.coarse, expected, atol=1e-5)
    expected = [
        [0.48271644, 0.5010909, 0.5261895],
        [0.47346753, 0.5156591, 0.5078853],
        [0.4811688, 0.5149008, 0.5029913],
    ]
    np.testing.assert_allclose(out.fine, expected, atol=1e-5)
    expected = [0.47526953, 0.48663852, 0.47416857]
    np.testing.assert_allclose(out.uncertainty, expected, atol=1e-5)
    expected = [0.85050344, 0.837511, 0.84912866]
    np.testing.assert_allclose(out.composite.depth, expected, atol=1e-5)
    expected = [
        [0.32870868, 0.34043932, 0.32749674],
        [0.3073309, 0.30251136, 0.3054579],
    ]
    np.testing.assert_allclose(out.composite.masks[1:], expected, atol=1e-5)
    loss = field_losses.stream_loss(
        out.fine, out.uncertainty, out.changing_density, target, out.coarse
    )
    expected = [0.0361004956, 0.1427331716, -0.736766398, 0.0143159945]
    np.testing.assert_allclose(loss, expected, atol=1e-5)
    np.testing.assert_allclose(loss.total, -0.5436167121, atol=1e-5)


@pytest.fixture(scope="module")
def model() -> Nerf:
    return by_formula()


def test_a_whole_step_gives_the_published_gradients(model):
    rays, target = published_rays()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        out = nerf_rendering.render_training(
            nnx.merge(graphdef, params, rest), rays, FEW, None
        )
        return field_losses.stream_loss(
            out.fine, out.uncertainty, out.changing_density, target, out.coarse
        ).total

    slopes = nnx.merge(graphdef, jax.jit(jax.grad(loss))(params), rest)

    def norm(*modules) -> float:
        leaves = jax.tree.leaves([nnx.state(m, nnx.Param) for m in modules])
        return float(np.sqrt(sum((np.float64(leaf) ** 2).sum() for leaf in leaves)))

    found = [
        norm(slopes.coarse),
        norm(slopes.fine, slopes.moving, slopes.actor),
        np.linalg.norm(slopes.time[...]),
        np.linalg.norm(slopes.appearance[...]),
    ]
    expected = [0.065686674, 0.83670558, 0.021278359, 0.0034285185]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    found = [
        slopes.fine.density.bias[0],
        slopes.moving.density.bias[0],
        slopes.actor.density.bias[0],
        slopes.moving.beta.bias[0],
        *slopes.actor.rgb.bias[...],
    ]
    expected = [-0.1687078, 0.10019848, 0.08153512, 0.25458875]
    expected += [0.00238251, 0.02287961, 0.00491583]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_rendering_that_is_scored_is_the_published_one(model):
    rays, _ = published_rays()
    out = nerf_rendering.render_rays(model, rays, FEW)
    expected = [
        [0.4827001, 0.5010867, 0.526231],
        [0.47345284, 0.51566094, 0.5079105],
        [0.48115128, 0.5149119, 0.5030063],
    ]
    np.testing.assert_allclose(out.composite.rgb, expected, atol=1e-5)
    expected = [1.7263161, 1.7265723, 1.7181197]
    np.testing.assert_allclose(out.alone[0].depth, expected, atol=1e-5)


def test_without_the_actor_only_its_light_is_missing(model):
    rays, _ = published_rays()
    out = nerf_rendering.render_rays(model, rays, FEW, suppress_actor=True)
    assert (out.composite.masks[2] == 0).all()
    assert (out.composite.parts[2] == 0).all()
    whole = nerf_rendering.render_rays(model, rays, FEW)
    assert (out.composite.masks[1] > whole.composite.masks[1]).all()


@pytest.mark.parametrize("kind", ["nerf", "nerfw", "tnerf", "neuraldiff"])
def test_all_kinds_learn_by_the_same_step(kind):
    model = Nerf(NerfConfig(kind=kind, width=16, num_slots=10), rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    rays, target = published_rays()
    draws = nerf_rendering.draw(jax.random.key(0), 3, FEW)

    def loss(params):
        model = nnx.merge(graphdef, params, rest)
        out = nerf_rendering.render_training(model, rays, FEW, draws)
        terms = field_losses.stream_loss(
            out.fine, out.uncertainty, out.changing_density, target, out.coarse
        )
        return terms.total

    value, slopes = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(slope).all() and (slope != 0).any(), path


def test_only_the_actor_can_be_suppressed():
    model = Nerf(NerfConfig(kind="nerfw", width=16, num_slots=10), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="2 streams"):
        nerf_rendering.render_rays(model, published_rays()[0], FEW, suppress_actor=True)


def test_rays_of_training_are_opaque_and_each_has_its_own_wall(model):
    rays, _ = published_rays()
    for seed in range(3):
        draws = nerf_rendering.draw(jax.random.key(seed), 3, FEW)
        out = nerf_rendering.render_training(model, rays, FEW, draws)
        np.testing.assert_allclose(out.composite.opacity, 1.0, atol=1e-5)
    thin = dataclasses.replace(FEW, far_wall=False)
    assert np.unique(np.asarray(draws.wall), axis=0).shape == (3, 3)
    without = nerf_rendering.render_training(model, rays, thin, draws)
    assert (np.asarray(without.fine) != np.asarray(out.fine)).any()


def test_a_ray_does_not_depend_on_the_others(model):
    rays, _ = published_rays()
    whole = nerf_rendering.render_rays(model, rays, FEW)
    order = np.array([2, 0, 1])
    moved = jax.tree.map(lambda leaf: leaf[order], rays)
    other = nerf_rendering.render_rays(model, moved, FEW)
    np.testing.assert_allclose(
        other.composite.rgb, whole.composite.rgb[order], atol=1e-6
    )


def test_the_step_lowers_for_every_device(model):
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, rays, key):
        draws = nerf_rendering.draw(key, 3, FEW)
        model = nnx.merge(graphdef, params, rest)
        return nerf_rendering.render_training(model, rays, FEW, draws).fine.sum()

    def show(params, rays):
        return nerf_rendering.render_rays(
            nnx.merge(graphdef, params, rest), rays, FEW
        ).composite

    rays, _ = published_rays()
    for fn, args in (
        (jax.grad(loss), (params, rays, jax.random.key(0))),
        (show, (params, rays)),
    ):
        out = export.export(jax.jit(fn), platforms=("cpu", "cuda", "tpu"))(*args)
        assert out.platforms == ("cpu", "cuda", "tpu")
