"""Frames of fields: the same whatever the chunks, and the depth of what is there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from egojax.methods import field_frames, field_scene
from egojax.methods.field_rays import Rendered
from egojax.methods.field_scene import FieldScene
from egojax.methods.fields import Fields, nerf_fields
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.nerf import NerfConfig
from egojax.ops.render import Alone, Composite
from egojax.types import Camera

SIZE = (5, 7)
SETTINGS = RenderSettings(num_coarse=6, num_fine=6)


def _scene(count: int = 3) -> FieldScene:
    k = np.array([[6.0, 0, 3.5], [0, 6, 2.5], [0, 0, 1]], np.float32)
    w2c = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    w2c[:, 0, 3] = np.linspace(-0.5, 0.5, count)
    return FieldScene(
        images=np.zeros((count, *SIZE, 3), np.uint8),
        camera=Camera(np.tile(k, (count, 1, 1)), w2c, size_hw=SIZE),
        near=np.linspace(0.5, 0.7, count).astype(np.float32),
        far=np.linspace(3.0, 4.0, count).astype(np.float32),
        slots=np.arange(count, dtype=np.int32),
        looks=np.arange(count, dtype=np.int32),
    )


def _nerf(kind: str = "neuraldiff"):
    config = NerfConfig(kind=kind, width=16, num_slots=8)
    fields = nerf_fields(config, SETTINGS)
    return fields, fields.init(jax.random.key(0))


@pytest.mark.parametrize("chunk", [1, 4, 35, 1000])
def test_chunks_of_any_size_give_the_frame_of_all_rays_at_once(chunk):
    fields, model = _nerf()
    scene = _scene()
    shown = field_frames.make_renderer(fields, model, SIZE, chunk=chunk)(scene, 1)
    pixel = jnp.arange(35)
    rays = field_scene.rays_of(scene, jnp.ones_like(pixel), pixel, official=True)
    whole = fields.render(model, rays, False).composite
    np.testing.assert_allclose(shown.rgb.reshape(35, 3), whole.rgb, atol=2e-6)
    masks = shown.masks.reshape(3, 35)
    np.testing.assert_allclose(masks, whole.masks, atol=2e-6)
    parts = np.moveaxis(shown.parts, 0, -2).sum(-2)
    np.testing.assert_allclose(parts, shown.rgb, atol=2e-6)


@pytest.mark.parametrize(("kind", "streams"), [("nerf", 1), ("tnerf", 2), ("nerfw", 2)])
def test_baselines_have_the_streams_that_they_say(kind, streams):
    fields, model = _nerf(kind)
    shown = field_frames.make_renderer(fields, model, SIZE)(_scene(), 0)
    assert len(shown.masks) == len(shown.parts) == fields.num_streams == streams


def _wall(z: float, mass: float) -> Fields:
    """Fields of a wall at camera z, of which the static stream sees a share."""

    def render(model, rays, suppress_actor):
        along = -rays.camera_dirs[:, 2]
        distance, ones = z / along, jnp.ones_like(along)
        color = jnp.ones_like(rays.ray_dirs) * 0.5
        composite = Composite(
            rgb=color,
            parts=color[None],
            masks=ones[None],
            depth=0.8 * distance,  # Times the opacity.
            opacity=0.8 * ones,
        )
        static = Alone(color, mass * distance, mass * ones)
        return Rendered(composite, ones, (static,))

    return Fields(None, None, render, 1, False)


def test_depth_is_camera_z_over_the_opacity_and_infinite_where_little_is():
    model = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    shown = field_frames.make_renderer(_wall(2.5, 0.7), model, SIZE)(_scene(), 0)
    np.testing.assert_allclose(shown.depth, 2.5, rtol=1e-5)
    np.testing.assert_allclose(shown.static_depth, 2.5, rtol=1e-5)
    thin = field_frames.make_renderer(_wall(2.5, 0.4), model, SIZE)(_scene(), 0)
    assert np.isinf(thin.static_depth).all()


def test_from_a_fixed_place_only_the_time_changes():
    fields, model = _nerf()
    scene = _scene()
    fixed = field_frames.seen_from(scene, 2)
    np.testing.assert_array_equal(fixed.camera.w2c, scene.camera.w2c[[2, 2, 2]])
    np.testing.assert_array_equal(fixed.slots, scene.slots)
    render = field_frames.make_renderer(fields, model, SIZE)
    by_hand = dataclasses.replace(
        jax.tree.map(lambda leaf: leaf[2:], scene),
        slots=scene.slots[:1],
        looks=scene.looks[:1],
    )
    np.testing.assert_allclose(render(fixed, 0).rgb, render(by_hand, 0).rgb, atol=1e-6)
    assert np.abs(render(fixed, 0).rgb - render(fixed, 1).rgb).max() > 1e-5


def test_without_the_actor_its_mask_is_empty_and_others_grow():
    fields, model = _nerf()
    scene = _scene()
    make = field_frames.make_renderer
    full = make(fields, model, SIZE)(scene, 0)
    less = make(fields, model, SIZE, suppress_actor=True)(scene, 0)
    assert (less.masks[2] == 0).all() and (full.masks[2] > 0).all()
    assert (less.masks[:2].sum(0) > full.masks[:2].sum(0)).all()
