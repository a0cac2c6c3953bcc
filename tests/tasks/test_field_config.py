"""The config of fields as where the images of a clip lie."""

from typing import Any

import numpy as np
import pytest

from egojax.apps import cli
from egojax.errors import UsageError
from egojax.methods.field_scene import FieldScene
from egojax.tasks import field_config
from egojax.types import Camera, Clip, Source
from tests import motion_run_folders

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


# ----------------------------------------------------------------------- what moves


SIZE = (32, 48)


@pytest.fixture
def mine(config) -> Clip:
    """Two frames; the smoke config makes them half as large."""
    config.views.update(near=0.1, far=5.0)
    camera = Camera(np.diag([40.0, 40.0, 1.0]), np.eye(4), size_hw=SIZE)
    frames = [np.zeros((*SIZE, 3), np.uint8)] * 2
    sources = {"frames": Source.of(frames), "camera": Source.of([camera] * 2)}
    return Clip("mine", ("a", "b"), SIZE, **sources)


@pytest.mark.parametrize("named", ["{run}", "{run}/clips/{{clip}}/labels"])
def test_what_moves_is_where_a_run_found_groups(config, mine, tmp_path, named):
    groups = np.zeros(SIZE, np.int32)
    groups[16:32, 20:40] = 3
    run = motion_run_folders.write_run(tmp_path / "run", "mine", {"b": groups})
    config.data.name = "folder"
    config.data.motion = named.format(run=run)
    moves = field_config.settled(config, mine).streams["motion"]
    assert moves[0] is None
    half = np.zeros((16, 24))  # By hand.
    half[8:16, 10:20] = 1
    np.testing.assert_array_equal(moves[1], half)


def test_a_run_on_another_world_is_refused(config, mine, tmp_path):
    labels = {"b": np.zeros(SIZE, np.int32)}
    run = motion_run_folders.write_run(tmp_path / "run", "mine", labels)
    config.data.motion = str(run)
    with pytest.raises(UsageError, match=r"config\.world\.scene is 'gliding' there"):
        field_config.settled(config, mine)
