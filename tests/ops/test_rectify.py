import dataclasses

import cv2
import numpy as np
import pytest

from egojax.ops import camera as camera_ops
from egojax.ops import rectify
from egojax.types import Camera

EPIC = camera_ops.camera_from_colmap(
    "OPENCV",
    (248.789, 249.277, 228, 128, -0.0233076, 0.0064940, -0.0016254, 0.0016256),
    (256, 456),
)
PINHOLE = camera_ops.camera_from_colmap("PINHOLE", (100, 101, 31, 25), (48, 64))


def test_a_pinhole_comes_back_itself():
    found = rectify.common_pinhole([PINHOLE, PINHOLE])
    np.testing.assert_array_equal(found.intrinsics, PINHOLE.intrinsics)
    flat = camera_ops.camera_from_colmap(
        "OPENCV", (100, 101, 31, 25, 0, 0, 0, 0), (48, 64)
    )
    found = rectify.common_pinhole([flat])
    assert found.lens == "pinhole"
    np.testing.assert_array_equal(found.intrinsics, PINHOLE.intrinsics)


@pytest.mark.parametrize(
    "source",
    [
        EPIC,
        camera_ops.camera_from_colmap("SIMPLE_RADIAL", (50, 32, 24, 0.2), (48, 64)),
        camera_ops.camera_from_colmap("SIMPLE_RADIAL", (50, 32, 24, -0.2), (48, 64)),
        camera_ops.camera_from_colmap("FOV", (50, 51, 30, 24, 0.7), (48, 64)),
        camera_ops.camera_from_colmap(
            "OPENCV_FISHEYE", (40, 40, 32, 24, 0.01, 0, 0, 0), (48, 64)
        ),
    ],
)
def test_no_pixel_of_the_pinhole_is_outside_of_the_image_and_none_is_wasted(source):
    target = rectify.common_pinhole([source])
    assert target.size_hw == source.size_hw
    xy = rectify.positions(source, target)
    height, width = source.size_hw
    assert (xy > 0).all()
    assert (xy < (width, height)).all()
    # Each side of the rectangle touches that of the image.
    gaps = [xy[:, 0, 0], xy[0, :, 1], width - xy[:, -1, 0], height - xy[-1, :, 1]]
    assert max(side.min() for side in gaps) < 1.0


def test_positions_are_those_of_opencv():
    target = rectify.common_pinhole([EPIC])
    # OpenCV has the center of the first pixel at (0, 0).
    shift = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    first, second = cv2.initUndistortRectifyMap(
        EPIC.intrinsics - shift,
        EPIC.distortion,
        None,
        target.intrinsics - shift,
        (456, 256),
        cv2.CV_32FC1,
    )
    xy = rectify.positions(EPIC, target)
    np.testing.assert_allclose(xy[..., 0], first + 0.5, atol=2e-3)
    np.testing.assert_allclose(xy[..., 1], second + 0.5, atol=2e-3)


def test_several_cameras_share_what_all_of_them_see():
    narrow = camera_ops.camera_from_colmap("PINHOLE", (200, 150, 31, 25), (48, 64))
    found = rectify.common_pinhole([PINHOLE, narrow])
    np.testing.assert_allclose(found.intrinsics, narrow.intrinsics, rtol=1e-6)
    for source in (PINHOLE, narrow):
        xy = rectify.positions(source, found)
        assert xy.min() > 0
        assert (xy < (64, 48)).all()


def test_lenses_that_no_pinhole_shows_are_refused():
    wide = camera_ops.camera_from_colmap(
        "OPENCV_FISHEYE", (15, 15, 32, 24, 0, 0, 0, 0), (48, 64)
    )
    folded = camera_ops.camera_from_colmap(
        "SIMPLE_RADIAL", (20, 32, 24, -0.6), (48, 64)
    )
    for camera in (wide, folded):
        with pytest.raises(ValueError, match="no pinhole camera shows that"):
            rectify.common_pinhole([camera])
    aside = dataclasses.replace(
        PINHOLE, intrinsics=np.array([[100.0, 0, -200], [0, 100, 25], [0, 0, 1]])
    )
    with pytest.raises(ValueError, match="2 cameras that see nothing in common"):
        rectify.common_pinhole([PINHOLE, aside])


def test_a_lens_whose_coefficients_are_zero_bends_nothing():
    assert rectify.is_pinhole(PINHOLE)
    assert not rectify.is_pinhole(EPIC)
    zero = Camera(np.eye(3), np.eye(4), np.zeros(8), (2, 2), "thin_prism_fisheye")
    assert not rectify.is_pinhole(zero)  # Equidistant even so.
