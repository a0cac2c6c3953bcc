"""What is painted for a free camera: its rays, its layers, what they hide."""

import numpy as np
import pytest

from egojax.apps import novel_views
from egojax.ops import camera as camera_ops
from tests.rendered_clips import make_images


@pytest.mark.parametrize("aspect", [0.5, 1.0, 16 / 9])
@pytest.mark.parametrize("size_hw", [(6, 8), (14, 8)])
def test_a_picture_fills_a_window_of_any_shape(aspect, size_hw):
    """Its corners look where the corners of the window do."""
    height, width = size_hw
    camera = novel_views.pinhole(np.eye(4), 1.2, aspect, size_hw)
    corners = np.array([[0, 0], [width, height]], float)
    found = camera_ops.directions(camera, corners)
    reach = np.tan(0.6)
    expected = np.array([[-reach * aspect, -reach, 1], [reach * aspect, reach, 1]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_camera_stands_where_its_pose_says():
    c2w = np.eye(4)
    c2w[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # Looks along x.
    c2w[:3, 3] = 1.0, 2.0, 3.0
    camera = novel_views.pinhole(c2w, 1.0, 1.0, (4, 4))
    seen = camera_ops.project(camera, np.array([[6.0, 2.0, 3.0]]))
    np.testing.assert_allclose(seen.xy, [[2.0, 2.0]], atol=1e-5)
    np.testing.assert_allclose(seen.z, [5.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("num_streams", "expected"),
    [
        (1, ["composite", "static", "depth"]),
        (2, ["composite", "static", "moving", "dynamic mask", "depth"]),
        (3, ["composite", "static", "moving", "actor", "dynamic mask", "depth"]),
    ],
)
def test_fields_offer_the_layers_that_they_have(num_streams, expected):
    names = novel_views.layer_names(num_streams)
    assert names == expected
    images = make_images(0, num_streams)
    for name in names:
        found = novel_views.layer(images, name)
        assert found.picture.shape == (*images.depth.shape, 3)
        assert found.picture.dtype == np.uint8
        assert found.depth.shape == images.depth.shape
        assert not np.isnan(found.depth).any()


def test_a_layer_hides_only_what_is_behind_its_solid_pixels():
    images = make_images(0)
    masks = np.zeros_like(images.masks)
    masks[1, 0], masks[2, 1], masks[0, 2] = 0.9, 0.9, 0.9
    images = images._replace(masks=masks)

    def solid_rows(name):
        depth = novel_views.layer(images, name).depth
        rows = np.flatnonzero(np.isfinite(depth).all(1))
        np.testing.assert_array_equal(depth[rows], images.depth[rows])
        assert np.isinf(np.delete(depth, rows, 0)).all()
        return rows.tolist()

    assert solid_rows("composite") == solid_rows("depth") == [0, 1, 2]
    assert solid_rows("moving") == [0] and solid_rows("actor") == [1]
    assert solid_rows("dynamic mask") == [0, 1]
    static = novel_views.layer(images, "static")
    np.testing.assert_array_equal(static.depth, images.static_depth)
