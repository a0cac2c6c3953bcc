"""Masks of groups from points: made scenes, invariances, limits, bad frames, misuse."""

import dataclasses

import numpy as np
import pytest

from egojax.errors import FrameError
from egojax.methods.group_masks import (
    MaskSettings,
    group_scores,
    mask_step,
    scores_along_edges,
    soft_masks,
)
from egojax.ops.superpixels import superpixel_grid
from egojax.types import PointTracks, Source

SIZE = 64, 96


def disk(x=40.0, y=30.0, radius=15.0):
    """An orange disk before a grey wall, and which pixels it has."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    is_disk = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return np.where(is_disk[..., None], [230, 120, 40], [90, 95, 100]).astype(
        np.uint8
    ), is_disk


def sprinkle(is_disk, count, seed=0):
    """Points anywhere, with their true group."""
    rng = np.random.default_rng(seed)
    points = (rng.random((count, 2)) * SIZE[::-1]).astype(np.float32)
    x, y = points.astype(int).T
    return points, is_disk[y, x].astype(np.int32)


def overlap(found, true):
    return (found & true).sum() / (found | true).sum()


def test_a_few_points_on_both_sides_of_an_edge_give_the_exact_mask():
    image, is_disk = disk()
    points = np.float32([[36, 28], [44, 33], [5, 5], [90, 60], [10, 50]])
    scores = group_scores(image, points, np.int32([1, 1, 0, 0, 0]), 2)
    assert scores.shape == (2, *SIZE) and scores.dtype == np.float32
    np.testing.assert_array_equal(scores.argmax(0) == 1, is_disk)


def test_without_the_filter_masks_are_made_of_superpixels():
    image, is_disk = disk()
    points, groups = sprinkle(is_disk, 40)
    scores = group_scores(image, points, groups, 2, MaskSettings(radius=0))
    assert overlap(scores[1] > 0.5, is_disk) > 0.9
    assert len(np.unique(scores[1])) <= np.prod(superpixel_grid(SIZE, 6))


def test_wrong_points_around_the_disk_are_outvoted():
    image, is_disk = disk()
    points, groups = sprinkle(is_disk, 400)
    far = np.hypot(points[:, 0] - 40, points[:, 1] - 30)
    wrong = groups.copy()
    wrong[(far > 15) & (far < 20) & (np.arange(400) % 2 == 0)] = 1
    assert (wrong != groups).sum() > 10
    found = group_scores(image, points, wrong, 2).argmax(0) == 1
    assert overlap(found, is_disk) > 0.98


def test_scores_are_shares_and_follow_the_order_of_groups_not_of_points():
    image, is_disk = disk()
    points, groups = sprinkle(is_disk, 60)
    groups[points[:, 0] > 80] = 2
    scores = group_scores(image, points, groups, 3)
    assert scores.min() >= 0
    np.testing.assert_allclose(scores.sum(0), 1, atol=1e-5)
    order = np.random.default_rng(1).permutation(60)
    shuffled = group_scores(image, points[order], groups[order], 3)
    np.testing.assert_allclose(shuffled, scores, atol=1e-5)
    swapped = group_scores(image, points, np.int32([0, 2, 1])[groups], 3)
    np.testing.assert_allclose(swapped, scores[[0, 2, 1]], atol=1e-4)
    # What is behind is one of them only where plain places count as much as others.
    alike = MaskSettings(detail=0)
    scores = group_scores(image, points, groups, 3, alike)
    swapped = group_scores(image, points, np.int32([2, 1, 0])[groups], 3, alike)
    np.testing.assert_allclose(swapped, scores[::-1], atol=1e-4)


def test_points_of_a_thing_on_a_plain_wall_do_not_make_the_wall_part_of_it():
    """Flow drags the wall around the thing along, and few points say that it rests."""
    image, is_disk = disk()
    noise = np.random.default_rng(0).integers(-40, 41, (*SIZE, 1))
    image = np.where(is_disk[..., None], image + noise, image).clip(0, 255)
    image = image.astype(np.uint8)
    points, _ = sprinkle(is_disk, 400)
    far = np.hypot(points[:, 0] - 40, points[:, 1] - 30)
    is_used = (far < 20) | (np.arange(400) % 8 == 0)
    points, groups = points[is_used], np.int32(far < 20)[is_used]
    found = group_scores(image, points, groups, 2).argmax(0) == 1
    assert overlap(found, is_disk) > 0.9
    whole = group_scores(image, points, groups, 2, MaskSettings(detail=0)).argmax(0)
    assert overlap(whole == 1, is_disk) < 0.75


@pytest.mark.parametrize("group", [0, 1, 2])
def test_points_of_one_group_make_all_pixels_of_it(group):
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    points, _ = sprinkle(np.zeros(SIZE, bool), 30)
    scores = group_scores(image, points, np.full(30, group, np.int32), 3)
    np.testing.assert_allclose(scores[group], 1, atol=1e-4)


def test_an_image_twice_as_large_has_the_mask_twice_as_large():
    image, is_disk = disk()
    points, groups = sprinkle(is_disk, 40)
    large = image.repeat(2, 0).repeat(2, 1)
    twice = MaskSettings(size=12, radius=8)
    small = group_scores(image, points, groups, 2).argmax(0)
    found = group_scores(large, 2 * points, groups, 2, twice).argmax(0)
    assert overlap(found == 1, small.repeat(2, 0).repeat(2, 1) == 1) > 0.97


# ------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("groups", [[], [-1, -1]])
def test_without_known_points_all_is_background(groups):
    points = np.full((len(groups), 2), 9.0, np.float32)
    scores = group_scores(disk()[0], points, np.array(groups, np.int32), 3)
    np.testing.assert_array_equal(scores.argmax(0), 0)
    np.testing.assert_allclose(scores[0], 1, atol=1e-5)


def test_points_outside_and_unknown_ones_change_nothing():
    image, is_disk = disk()
    points, groups = sprinkle(is_disk, 30)
    outside = np.float32([[-0.5, 9], [96, 9], [9, 64], [1e9, -1e9], [np.inf, 3]])
    more = np.concatenate([points, outside, [[40, 30]]]).astype(np.float32)
    known = np.concatenate([groups, [1, 1, 1, 1, 1, -1]]).astype(np.int32)
    np.testing.assert_array_equal(
        group_scores(image, more, known, 2), group_scores(image, points, groups, 2)
    )


def test_one_group_and_images_smaller_than_a_superpixel():
    ones = group_scores(disk()[0], np.float32([[3, 3]]), np.int32([0]), 1)
    np.testing.assert_array_equal(ones, 1)
    tiny = np.zeros((1, 2, 3), np.uint8)
    scores = group_scores(tiny, np.float32([[0.5, 0.5]]), np.int32([1]), 2)
    np.testing.assert_allclose(scores[1], 1, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image": np.zeros((4, 5, 3), np.float32)}, "uint8"),
        ({"image": np.zeros((4, 5), np.uint8)}, r"\(H, W, 3\)"),
        ({"points_xy": np.float32([[1, np.nan]])}, "point 0 is NaN"),
        ({"points_xy": np.zeros((1, 3), np.float32)}, r"\(N, 2\)"),
        ({"groups": np.int32([1, 1])}, "of 1 points"),
        ({"groups": np.int32([2])}, "group 2 of num_groups=2"),
        ({"num_groups": 0, "groups": np.int32([-1])}, "num_groups=0"),
    ],
)
def test_misuse_is_told(change, told):
    given = {
        "image": np.zeros((4, 5, 3), np.uint8),
        "points_xy": np.ones((1, 2), np.float32),
        "groups": np.int32([1]),
        "num_groups": 2,
    }
    with pytest.raises(ValueError, match=told):
        group_scores(**(given | change))


# -------------------------------------------------------------------------------- clips


def moving_disk(num_frames=6, step=4.0):
    """Frames, true masks, points that move with what they are on, and their groups."""
    made = [disk(30 + step * t) for t in range(num_frames)]
    points, groups = sprinkle(made[0][1], 120)
    x, y = points.astype(int).T
    is_kept = (groups == 1) | ~np.any([m[y, x] for _, m in made], 0)
    points, groups = points[is_kept], groups[is_kept]  # None is covered on the way.
    paths = np.stack(
        [points + np.outer(groups, [step * t, 0]) for t in range(num_frames)], 1
    )
    tracks = PointTracks(
        np.zeros(len(points), np.int32),
        np.full(len(points), num_frames, np.int32),
        paths.reshape(-1, 2).astype(np.float32),
        SIZE,
    )
    return [f for f, _ in made], [m for _, m in made], tracks, groups


def test_masks_of_a_clip_follow_what_moves():
    frames, true, tracks, groups = moving_disk()
    found = list(soft_masks(Source.of(frames), tracks, groups, 2))
    assert [f.frame_idx for f in found] == list(range(6))
    for frame, mask in zip(found, true, strict=True):
        assert overlap(frame.scores.argmax(0) == 1, mask) > 0.97
    alone = MaskSettings(memory=0.0)
    for t, frame in enumerate(soft_masks(Source.of(frames), tracks, groups, 2, alone)):
        ids, points = tracks.at(t)
        single = group_scores(frames[t], points, groups[ids], 2, alone)
        np.testing.assert_array_equal(frame.scores, single)


def test_a_disk_whose_points_become_unknown_is_remembered_where_it_is_now():
    frames, true, tracks, groups = moving_disk()
    settings, state = MaskSettings(), None
    for t, image in enumerate(frames):
        ids, points = tracks.at(t)
        known = groups[ids] if t == 0 else np.where(groups[ids] == 1, -1, 0)
        state, scores = mask_step(state, image, ids, points, known, 2, settings)
        if t:
            assert overlap(scores.argmax(0) == 1, true[t]) > 0.97
    lost = dataclasses.replace(settings, memory=0.0)
    _, scores = mask_step(state, image, ids, points, known, 2, lost)
    assert not (scores.argmax(0) == 1).any()


def test_a_frame_that_cannot_be_read_is_told_and_the_rest_goes_on():
    frames, true, tracks, groups = moving_disk()

    def read(t):
        if t == 2:
            raise FrameError("clip/2.png: truncated")
        return frames[t]

    found = list(soft_masks(Source(read, 6), tracks, groups, 2))
    assert found[2].scores is None
    assert found[2].skipped == (2, "clip/2.png: truncated")
    assert [f.skipped for f in found[:2] + found[3:]] == [None] * 5
    assert overlap(found[3].scores.argmax(0) == 1, true[3]) > 0.97


def test_a_clip_is_read_frame_by_frame_and_in_order():
    frames, _, tracks, groups = moving_disk()
    asked = []
    source = Source(lambda t: asked.append(t) or frames[t], 6)
    masks = soft_masks(source, tracks, groups, 2)
    next(masks)
    assert asked == [0]
    assert len(list(masks)) == 5 and asked == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"3 groups of .* tracks"):
        next(soft_masks(source, tracks, groups[:3], 2))
    with pytest.raises(ValueError, match="group 1 of num_groups=1"):
        next(soft_masks(source, tracks, groups, 1))


def test_a_frame_has_masks_of_the_groups_that_are_seen_in_it():
    """The disk is group 1 of 2, or 70 of 90: the same masks under other numbers."""
    frames, _, tracks, groups = moving_disk()
    few = list(soft_masks(Source.of(frames), tracks, groups, 2))
    many = list(soft_masks(Source.of(frames), tracks, 70 * groups, 90))
    for one, other in zip(few, many, strict=True):
        assert other.groups.tolist() == [0, 70] and other.scores.shape[0] == 2
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(70 * one.labels, other.labels)
        planes = other.planes(90)
        np.testing.assert_array_equal(planes[[0, 70]], other.scores)
        assert planes.shape == (90, *SIZE) and not planes[1:70].any()


def test_a_group_is_remembered_without_points_and_forgotten_when_it_is_gone():
    frames, _, tracks, groups = moving_disk()
    short = np.where(groups == 1, 3, 6).astype(np.int32)
    rows = zip(tracks.offset, short, strict=True)
    rows = np.concatenate([np.arange(begin, begin + n) for begin, n in rows])
    tracks = dataclasses.replace(tracks, count=short, xy=tracks.xy[rows])
    frames[4:] = [disk(-90)[0]] * 2
    found = [
        frame.groups.tolist()
        for frame in soft_masks(Source.of(frames), tracks, groups, 2)
    ]
    assert found == [[0, 1]] * 4 + [[0, 1], [0]]


def test_scores_of_pixels_follow_the_edges_of_the_image():
    """A soft blob over half of a red square, and some of the gray ground beside it."""
    image = np.full((48, 64, 3), 90, np.uint8)
    image[12:36, 12:36] = (200, 30, 30)
    i, j = np.mgrid[:48, :64]
    front = np.exp(-(((i - 24) / 12) ** 2 + ((j - 28) / 10) ** 2) / 2)
    scores = scores_along_edges(image, np.stack([1 - front, front]))
    np.testing.assert_allclose(scores.sum(0), 1, rtol=1e-5)
    square = image[..., 0] == 200

    def iou(mask: np.ndarray) -> float:
        return (mask & square).sum() / (mask | square).sum()

    assert iou(scores[1] > 0.5) > 0.9 > 0.75 > iou(front > 0.5)
    with pytest.raises(ValueError, match="of an image"):
        scores_along_edges(image, np.zeros((2, 9, 9)))


def test_scores_that_are_even_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    even = np.tile(np.float32([0.2, 0.5, 0.3])[:, None, None], (1, 24, 32))
    found = scores_along_edges(image, even)
    np.testing.assert_allclose(found, even, atol=1e-5)
