"""Steps of learning: on any number of devices, in blocks, from the frames of a clip."""

import functools
import signal
from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from egojax.data import views
from egojax.data.world import make_clip
from egojax.methods import field_batches, field_learning, field_scene
from egojax.methods.grid_rendering import GridSettings
from egojax.methods.nerf_rendering import RenderSettings
from egojax.models.grid_fields import GridConfig, GridFields
from egojax.models.nerf import Nerf, NerfConfig
from egojax.models.poses import PoseErrors
from egojax.ops.hash_grid import HashGrid
from egojax.task import Block
from egojax.train.loop import FitConfig, Interrupted, fit
from egojax.train.mesh import make_mesh

GRID = GridConfig(
    static=HashGrid(4, 4, 32, 12),
    moving=HashGrid(3, 4, 16, 10),
    proposal=HashGrid(3, 4, 16, 10),
    width=16,
    num_slots=64,
    time_basis=5,
)


class Learning(NamedTuple):
    """What `fit` takes."""

    init: object
    loss: object


@pytest.fixture(scope="module")
def frames():
    clip = make_clip(0, 16, size_hw=(24, 42))
    return field_scene.read_scene(views.with_views(clip, every=4, near=0.1))


def learner(kind: str, scene) -> Learning:
    if kind == "grid":
        settings = GridSettings(num_proposal=12, num_final=8)
        loss = field_learning.grid_loss(settings, field_learning.scene_box(scene))
        return Learning(lambda key: GridFields(GRID, rngs=nnx.Rngs(key)), loss)
    config = NerfConfig(width=16, num_slots=64)
    loss = field_learning.nerf_loss(RenderSettings(num_coarse=8, num_fine=8))
    return Learning(lambda key: Nerf(config, rngs=nnx.Rngs(key)), loss)


def train(
    frames,
    kind: str,
    folder,
    *,
    devices=4,
    steps=6,
    size=3,
    tx=None,
    on_host=False,
    **options,
):
    height, width = frames.scene.size_hw
    scene, layers = frames.scene, {}
    if on_host:
        layers = field_batches.pixel_layers(scene)
        scene = field_batches.without_pixels(scene)

    def blocks(first):
        batches = field_batches.ray_batches(
            frames.rows("train"), height * width, 64, 0, first, layers=layers
        )
        for _ in range(first, steps, size):
            yield Block(field_batches.next_steps(batches, size), scene)

    return fit(
        learner(kind, frames.scene),
        blocks,
        optax.sgd(1e-3) if tx is None else tx,
        make_mesh(devices),
        FitConfig(steps=steps, log_every=2, checkpoint_every=100),
        folder,
        **options,
    )


def weights(model) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(nnx.state(model, nnx.Param))]


@pytest.mark.parametrize("kind", ["grid", "nerf"])
def test_one_device_equals_four(with_images, kind):
    for a, b in zip(with_images(kind, 1), with_images(kind, 4), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.fixture(scope="module")
def with_images(frames, tmp_path_factory):
    """Weights after training with images on so many devices."""

    @functools.cache
    def trained(kind: str, devices: int) -> list[np.ndarray]:
        folder = tmp_path_factory.mktemp("with_images")
        return weights(train(frames, kind, folder, devices=devices))

    return trained


@pytest.mark.parametrize(("kind", "devices"), [("grid", 1), ("grid", 4), ("nerf", 4)])
def test_images_on_the_host_change_nothing(
    frames, with_images, kind, devices, tmp_path
):
    """But for rounding, in another program; stopped and continued, too."""

    def stop(done, total):
        if done == 3:
            signal.raise_signal(signal.SIGTERM)

    options = {"devices": devices, "on_host": True}
    with pytest.raises(Interrupted, match="step 3"):
        train(frames, kind, tmp_path, progress=stop, **options)
    found = train(frames, kind, tmp_path, **options)
    for a, b in zip(weights(found), with_images(kind, devices), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-8)


def test_fields_learn_the_frames_of_a_clip(frames, tmp_path):
    """The error of the colours on rays of training falls to less than half."""
    tx = optax.adam(5e-3)
    learned = train(frames, "grid", tmp_path, steps=90, size=30, tx=tx)
    fresh = GridFields(GRID, rngs=nnx.Rngs(0))
    loss = learner("grid", frames.scene).loss
    rays = next(field_batches.ray_batches(frames.rows("train"), 24 * 42, 512, 9))

    @functools.partial(jax.jit, static_argnums=0)
    def error(graphdef, params):
        model = nnx.merge(graphdef, params)
        return loss(model, (rays, frames.scene), jax.random.key(3))[1]["squared_error"]

    before, after = (float(error(*nnx.split(model))) for model in (fresh, learned))
    assert after < 0.5 * before


def test_a_frame_that_was_moved_is_placed_again(frames, tmp_path):
    """Fields that know a frame's place find it when its pose is wrong."""
    tx = optax.adam(5e-3)
    model = train(frames, "grid", tmp_path / "fit", steps=90, size=30, tx=tx)
    scene = frames.scene
    box = field_learning.scene_box(scene)
    wrong = PoseErrors(64)
    row = int(frames.rows("train")[2])
    wrong.turn[...] = wrong.turn[...].at[scene.slots[row]].set([0.0, 0.04, 0.0])
    moved = field_scene.moved(scene, wrong, box.unit)

    def blocks(first):
        rays = field_batches.ray_batches(np.array([row]), 24 * 42, 256, 0, first)
        while True:
            yield Block(field_batches.next_steps(rays, 20), moved)

    loss = field_learning.poses_loss(model, GridSettings(12, 8), box)
    found = fit(
        Learning(lambda key: PoseErrors(64), loss),
        blocks,
        optax.adam(2e-3),
        make_mesh(1),
        FitConfig(steps=60),
        tmp_path / "place",
    )
    slot = scene.slots[row]
    others = np.delete(np.asarray(found.turn[...]), slot, axis=0)
    assert not others.any()
    off = np.abs(np.array([0.0, 0.04, 0.0]) + np.asarray(found.turn[...][slot]))
    assert off.max() < 0.02


def test_the_box_holds_the_cameras_and_the_farthest_things(frames):
    box = field_learning.scene_box(frames.scene)
    w2c = np.float64(frames.scene.camera.w2c)
    centers = -np.einsum("tij,ti->tj", w2c[:, :3, :3], w2c[:, :3, 3])
    assert (np.linalg.norm(centers - np.asarray(box.center), axis=1) < box.radius).all()
    assert float(box.radius) >= 0.1 * np.median(frames.scene.far) * 0.999
