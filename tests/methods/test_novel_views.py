"""Novel views: a recorded camera sees its own frame, tiles are parts of a whole."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from egojax.methods import field_frames, field_learning, field_scene, fields
from egojax.methods.grid_rendering import GridSettings
from egojax.models.grid_fields import GridConfig
from egojax.ops.hash_grid import HashGrid
from tests.methods.test_field_scene import COUNT, SIZE, make_clip

SMALL = HashGrid(2, 4, 8, 8)
TILE = (3, 4)  # Half of SIZE.


@pytest.fixture(scope="module")
def scene():
    return field_scene.read_scene(make_clip()).scene


@pytest.fixture(scope="module")
def field(scene):
    """Fields that show much: fresh tables are nearly zero."""
    config = GridConfig(SMALL, SMALL, SMALL, width=16, num_slots=13)
    made = fields.grid_fields(
        config,
        GridSettings(num_proposal=8, num_final=6),
        field_learning.scene_box(scene),
        field_learning.GridLoss(),
    )
    graphdef, params = nnx.split(made.init(jax.random.key(0)), nnx.Param)
    params = jax.tree.map(
        lambda leaf: leaf * (1e4 if abs(leaf).max() < 1e-3 else 1), params
    )
    return made, nnx.merge(graphdef, params)


@pytest.fixture(scope="module")
def render(field):
    return field_frames.make_renderer(*field, SIZE)


@pytest.fixture(scope="module")
def render_tile(field):
    return field_frames.make_renderer(*field, TILE)


def camera_of(scene, row):
    return jax.tree.map(lambda leaf: leaf[row], scene.camera)


def shifted(camera, by):
    """The camera, moved along its own z."""
    w2c = np.array(camera.w2c)
    w2c[2, 3] -= by
    return dataclasses.replace(camera, w2c=w2c)


@pytest.mark.parametrize("row", range(COUNT))
def test_a_recorded_camera_sees_its_own_frame(scene, render, row):
    view = field_frames.view_from(scene, row, camera_of(scene, row))
    seen, own = render(view, 0), render(scene, row)
    assert own.rgb.std() > 0.001
    for name, found, expected in zip(own._fields, seen, own, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_another_time_from_a_recorded_place_is_the_fixed_view(scene, render):
    view = field_frames.view_from(scene, 4, camera_of(scene, 1))
    seen = render(view, 0)
    expected = render(field_frames.seen_from(scene, 1), 4)
    np.testing.assert_array_equal(seen.rgb, expected.rgb)
    assert abs(seen.rgb - render(scene, 1).rgb).max() > 1e-4  # Not that time.


@pytest.mark.parametrize(
    ("by", "near", "far"), [(-0.5, 0.8 + 0.5, 7.5), (0.3, 0.5, 7.3), (0.75, 0.16, 7.75)]
)
def test_bounds_go_with_what_the_nearest_camera_saw(scene, by, near, far):
    """Camera 3 saw from 0.8 to 7: from behind it is farther, from before it nearer."""
    camera = shifted(camera_of(scene, 3), by)
    view = field_frames.view_from(scene, 0, camera)
    np.testing.assert_allclose(view.near, [near], rtol=1e-5)
    np.testing.assert_allclose(view.far, [far], rtol=1e-5)
    assert view.slots == scene.slots[:1] and view.looks == scene.looks[:1]


def test_of_equal_cameras_the_row_itself_gives_the_bounds(scene):
    still = field_frames.seen_from(scene, 2).replace(near=scene.near, far=scene.far)
    for row in range(COUNT):
        view = field_frames.view_from(still, row, camera_of(still, row))
        assert view.near == still.near[row] and view.far == still.far[row]


@pytest.mark.parametrize("seed", range(3))
def test_tiles_are_parts_of_the_whole(scene, render, render_tile, seed):
    rng = np.random.default_rng(seed)
    camera = shifted(camera_of(scene, rng.integers(COUNT)), rng.uniform(-0.2, 0.2))
    view = field_frames.view_from(scene, rng.integers(COUNT), camera)
    tiles = [render_tile(v, 0) for v in field_frames.tiles_of(view, TILE, 2)]
    found, whole = field_frames.joined(tiles, 2), render(view, 0)
    for name, image, expected in zip(whole._fields, found, whole, strict=True):
        assert image.shape == expected.shape
        np.testing.assert_allclose(image, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_one_tile_is_the_whole_view_at_its_size(scene):
    """Pixel centers of 4 x 3 pixels, where the image has 8 x 6."""
    view = field_frames.view_from(scene, 0, camera_of(scene, 0))
    (tile,) = field_frames.tiles_of(view, TILE, 1)
    pixel = np.arange(12)
    coarse = field_scene.rays_of(
        tile.replace(images=np.zeros((1, *TILE, 3), np.uint8)), np.zeros(12, int), pixel
    )
    x, y = 2 * (pixel % 4) + 1.0, 2 * (pixel // 4) + 1.0
    k = np.asarray(scene.camera.intrinsics[0], float)
    local = np.stack(
        [(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones(12)], -1
    )
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    np.testing.assert_allclose(coarse.camera_dirs, local * [1, -1, -1], atol=1e-6)


def test_tiles_of_the_same_size_share_one_compiled_renderer(scene):
    """What jit keys on, structure and static fields, is the same for all."""
    view = field_frames.view_from(scene, 0, camera_of(scene, 0))
    kinds = {
        jax.tree.structure(tile)
        for count in (1, 2, 4)
        for tile in field_frames.tiles_of(view, TILE, count)
    }
    assert len(kinds) == 1
