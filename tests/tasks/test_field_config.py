"""The config of fields as where the images of a clip lie."""

from typing import Any

import numpy as np
import pytest

from egojax.apps import cli
from egojax.errors import UsageError
from egojax.methods.field_scene import FieldScene
from egojax.tasks import field_config
from egojax.types import Camera, Clip

IMAGE, COUNT = (20, 50), 40  # 3,000 bytes a frame, 0.12 MB in all.


@pytest.fixture
def config() -> Any:
    return cli.load_config(cli.find_config("configs/decomposition.py")[0], "smoke")


@pytest.mark.parametrize(
    ("megabytes", "frames"),
    [(0.0, 1), (0.001, 1), (0.0089, 2), (0.009, 3), (0.119, 39), (0.12, None)],
)
def test_a_page_is_as_many_frames_as_fit(config, megabytes, frames):
    config.train.host_images = megabytes
    clip = Clip("long", tuple(map(str, range(COUNT))), IMAGE)
    assert field_config.page_frames(config, clip) == frames


@pytest.mark.parametrize(("megabytes", "stays"), [(0.119, True), (0.12, False)])
def test_images_stay_on_the_host_where_devices_are_too_small(config, megabytes, stays):
    config.read.device_images = megabytes
    images = np.zeros((COUNT, *IMAGE, 3), np.uint8)
    each = np.zeros(COUNT)
    scene = FieldScene(images, Camera(each, each), each, each, each, each)
    layers = field_config.host_layers(config, scene)
    assert list(layers) == ["images"] * stays
    assert not stays or layers["images"] is images


# ---------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("epochs", "ratio", "steps"),
    [(0, 0.5, 7), (2, 1.0, 22), (2, 0.5, 10), (3, 1e-6, 3), (1, 0.99, 10)],
)
def test_a_share_of_each_epoch_is_a_share_of_its_steps(config, epochs, ratio, steps):
    """By hand: 1,030 rays are eleven batches of 100."""
    config.train.update(steps=7, epochs=epochs, ratio=ratio, batch_size=100)
    assert field_config.num_steps(config, 1030) == steps


def test_weights_decay_as_the_config_says(config):
    config.train.weight_decay = 0.25
    assert field_config.optimizer(config, 10).weight_decay == 0.25


# ------------------------------------------------------------------------- the lens


def scene_of(lens: str) -> FieldScene:
    each = np.zeros(COUNT)
    camera = Camera(each, each, lens=lens)
    return FieldScene(None, camera, each, each, each, each)


@pytest.mark.parametrize("lens", ["fisheye", "fov", "fisheye624"])
def test_published_rays_are_refused_of_a_lens_that_they_do_not_know(config, lens):
    config.fields.kind, config.nerf.official_rays = "nerfw", True
    with pytest.raises(UsageError, match=f"the lens is {lens}, .*official_rays=False"):
        field_config.check_lens(config, scene_of(lens))
    for known in field_config.FIRST_ORDER:
        field_config.check_lens(config, scene_of(known))
    config.nerf.official_rays = False
    field_config.check_lens(config, scene_of(lens))
    config.fields.kind, config.nerf.official_rays = "grid", True
    field_config.check_lens(config, scene_of(lens))
