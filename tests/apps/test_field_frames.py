"""What is drawn of one frame: the published tiles exactly, the rest as by hand."""

import cv2
import numpy as np
import pytest

from egojax.apps import field_frames
from egojax.apps.field_frames import Moment, Titles
from egojax.ops import scene_bounds
from tests.rendered_clips import SIZE_HW, make_images

PHOTO = np.random.default_rng(1).integers(0, 256, (*SIZE_HW, 3), np.uint8)


def official_bytes(image):
    """NeuralDiff, evaluation/video.py: above 1 to 1, times 255, cut to 8 bit."""
    image = image.copy()
    image[image > 1] = 1
    return (image * 255).astype(np.uint8)


def test_ten_tiles_are_where_the_published_video_has_them():
    own, fixed = make_images(0), make_images(1)
    frame = field_frames.official_frame(Moment(PHOTO, own, fixed))
    height, width = SIZE_HW
    assert frame.shape == (2 * height, 5 * width, 3) and frame.dtype == np.uint8
    top = [PHOTO, *map(official_bytes, (own.rgb, own.static_rgb, *own.parts[1:]))]
    below = [
        np.zeros_like(PHOTO),
        *map(official_bytes, (fixed.rgb, fixed.static_rgb, *fixed.parts[1:])),
    ]
    np.testing.assert_array_equal(frame[:height], np.concatenate(top, axis=1))
    np.testing.assert_array_equal(frame[height:], np.concatenate(below, axis=1))


def test_colours_are_cut_not_rounded_and_one_is_the_most():
    image = np.array([-0.2, 0.0, 0.5, 0.9999, 1.0, 1.7, np.nan, np.inf], np.float32)
    expected = [0, 0, 127, 254, 255, 255, 0, 255]
    np.testing.assert_array_equal(field_frames.to_bytes(image), expected)


def test_a_photograph_survives_division_and_cutting():
    """The published target goes through float32; ours is the photograph itself."""
    levels = np.arange(256, dtype=np.uint8)
    through = official_bytes(levels.astype(np.float32) / 255)
    np.testing.assert_array_equal(through, levels)
    np.testing.assert_array_equal(
        field_frames.to_bytes(levels / np.float32(255)), levels
    )


@pytest.mark.parametrize("num_streams", [1, 2, 3])
def test_streams_that_a_baseline_lacks_are_black(num_streams):
    images = make_images(2, num_streams)
    tiles = field_frames.stream_tiles(images)
    assert len(tiles) == 4
    for n, tile in enumerate(tiles[2:], 1):
        assert tile.any() == (n < num_streams)
    summary = field_frames.summary_frame(Moment(PHOTO, images), Titles("f"), 40)
    assert (
        summary.shape
        == field_frames.summary_frame(
            Moment(None, make_images(3)), Titles("g"), 40
        ).shape
    )


def test_without_a_fixed_view_the_lower_row_is_black():
    frame = field_frames.official_frame(Moment(PHOTO, make_images(0)))
    assert not frame[SIZE_HW[0] :].any()
    assert frame[: SIZE_HW[0]].any()


def test_a_photograph_that_cannot_be_read_is_a_black_tile():
    frame = field_frames.official_frame(Moment(None, make_images(0)))
    assert not frame[: SIZE_HW[0], : SIZE_HW[1]].any()


def test_depth_is_shown_as_published():
    """NaN to 0, from least to largest in 255 steps, JET with red and blue exchanged."""
    depth = np.array([[0.5, 1.0, np.nan], [2.0, 4.0, 3.0]], np.float32)
    plain = np.nan_to_num(depth)
    share = (plain - plain.min()) / (plain.max() - plain.min() + 1e-8)
    jet = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_JET)
    np.testing.assert_array_equal(field_frames.depth_picture(depth), jet)
    red, _, blue = jet[1, 1].astype(int)
    assert blue > red  # The farthest.


def test_infinite_depth_looks_like_the_farthest():
    depth = np.array([[1.0, 2.0, 3.0, np.inf]])
    picture = field_frames.depth_picture(depth)
    np.testing.assert_array_equal(picture[0, 3], picture[0, 2])
    np.testing.assert_array_equal(picture, field_frames.depth_picture(depth.clip(0, 3)))


@pytest.mark.parametrize("value", [np.inf, np.nan, 0.0, 2.5])
def test_depth_that_is_the_same_everywhere_is_one_colour(value):
    picture = field_frames.depth_picture(np.full(SIZE_HW, value))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


def test_a_mask_is_judged_pixel_by_pixel():
    soft = np.array([[0.9, 0.9, 0.1, 0.1, 0.5]])
    truth = np.array([[True, False, True, False, True]])
    out = field_frames.verdict(np.zeros((1, 5, 3), np.uint8), soft, truth)
    for n, color in enumerate(
        (field_frames.HIT, field_frames.FALSE_ALARM, field_frames.MISSED)
    ):
        np.testing.assert_allclose(out[0, n], 0.75 * np.array(color), atol=0.5)
    assert not out[0, 3].any()
    np.testing.assert_array_equal(out[0, 4], out[0, 2])  # One half is not found.


def test_the_error_is_black_where_there_is_none_and_brightest_from_a_quarter_on():
    photo = np.full((1, 3, 3), 100, np.uint8)
    image = photo / np.float32(255) + np.array([0, 0.25, 0.5])[None, :, None]
    out = field_frames.error_picture(image, photo).astype(int)
    assert out[0, 0].sum() < 10
    np.testing.assert_array_equal(out[0, 1], out[0, 2])
    assert out[0, 1].sum() > 500


def test_what_moves_is_orange_and_the_actor_blue():
    images = make_images(0)
    masks = np.zeros((3, *SIZE_HW), np.float32)
    masks[1, 0, 0] = masks[2, 0, 1] = 1.0
    masks[0] = 1 - masks[1:].sum(0)
    out = field_frames.tinted(PHOTO * 0 + 100, images._replace(masks=masks)).astype(int)
    np.testing.assert_array_equal(out[1:], 85)
    assert out[0, 0, 0] > out[0, 0, 2] + 50 and out[0, 1, 2] > out[0, 1, 0] + 50


def test_the_summary_has_a_row_for_own_view_masks_and_fixed_view():
    own, fixed = make_images(0), make_images(1)
    two = field_frames.summary_frame(Moment(PHOTO, own), Titles("f1"), 100)
    three = field_frames.summary_frame(Moment(PHOTO, own, fixed), Titles("f1"), 100)
    assert two.shape[1] == three.shape[1] == 5 * 100 + 4 * field_frames.GAP
    assert 2 * three.shape[0] == 3 * two.shape[0]
    bar = two.shape[0] // 2 - 60  # 100 x 60 tiles.
    tile = two[bar : bar + 60, :100]
    np.testing.assert_array_equal(tile, field_frames.enlarged(PHOTO, 100))
    mask = two[2 * bar + 60 :, 2 * 104 : 2 * 104 + 100]
    weight = field_frames.enlarged(field_frames.gray(own.masks[0]), 100)
    np.testing.assert_array_equal(mask, weight)
    assert (two[:bar] > 200).any()  # Words.


def test_subsets_are_those_of_the_published_code():
    """Specification of NeuralDiff, section 10.8."""
    assert scene_bounds.spread(10, 4) == [0, 3, 6, 9]
    assert scene_bounds.spread(7, 3) == [0, 3, 6]
    assert scene_bounds.strided(900, 20) == list(range(0, 900, 45))
    assert scene_bounds.strided(900, 500) == list(range(0, 900, 2))


@pytest.mark.parametrize("choose", [scene_bounds.spread, scene_bounds.strided])
def test_a_subset_of_none_or_more_than_all_is_all(choose):
    assert choose(5, 0) == choose(5, 9) == [0, 1, 2, 3, 4]
    assert choose(0, 3) == [] and choose(5, 1) == [0]
