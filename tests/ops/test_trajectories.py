"""Smoothing, windows and agreement along trajectories: official numbers, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.ops.trajectories import mask_difference, places, smooth_tracks, window


def along(values) -> np.ndarray:
    return np.stack([values, values], -1)[:, None].astype(np.float32)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (3, [0.5, 5 / 3, 14 / 3, 29 / 3, 50 / 3, 77 / 3, 110 / 3, 42.5]),
        (11, [55 / 6, 13, 17.5, 17.5, 17.5, 17.5, 20, 139 / 6]),
        (1, [0, 1, 4, 9, 16, 25, 36, 49]),
        (0, [0, 1, 4, 9, 16, 25, 36, 49]),
    ],
)
def test_moving_averages_are_the_official_ones(length, expected):
    found = smooth_tracks(along(np.arange(8) ** 2), length)
    np.testing.assert_allclose(found, along(expected), rtol=1e-6)


def test_an_even_length_is_refused():
    with pytest.raises(ValueError, match="length=4; expected an odd number"):
        smooth_tracks(along(np.arange(8)), 4)


@pytest.mark.parametrize("seed", range(3))
def test_smoothing_is_linear_and_leaves_what_stands_still(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 30, 7, 2)).astype(np.float32)
    both = smooth_tracks(a + 2 * b)
    np.testing.assert_allclose(both, smooth_tracks(a) + 2 * smooth_tracks(b), atol=1e-5)
    still = np.broadcast_to(a[:1], a.shape)
    np.testing.assert_allclose(smooth_tracks(still), still, atol=1e-6)


@pytest.mark.parametrize(
    ("num", "frame", "first", "last", "own"),
    [
        (60, 5, 0, 40, 5),
        (60, 30, 10, 50, 20),
        (60, 58, 19, 59, 39),
        (50, 40, 9, 49, 31),
    ],
)
def test_windows_are_shifted_into_the_clip(num, frame, first, last, own):
    found = window(num, frame)
    np.testing.assert_array_equal(found.frames, np.arange(first, last + 1))
    assert found.own == own and found.frames[own] == frame


def test_a_clip_that_is_too_short_is_reflected():
    found = window(30, 4)
    expected = [5, 4, 3, 2, 1, *range(30), 28, 27, 26, 25, 24, 23]
    np.testing.assert_array_equal(found.frames, expected)
    assert found.own == 9 and found.frames[1] == 4
    assert len(window(15, 0).frames) == 41
    with pytest.raises(ValueError, match="14 frames; a window of 41 needs 15 or more"):
        window(14, 0)


def test_zeros_keep_the_frame_in_the_middle():
    found = window(60, 58, ends="zeros")
    np.testing.assert_array_equal(found.frames, [*range(38, 60), *[-1] * 19])
    assert found.own == 20


def test_a_frame_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="frame 9 of 9"):
        window(9, 9)


def test_a_filter_and_then_a_window_are_the_official_ones():
    smooth = np.asarray(smooth_tracks(along(np.arange(60))))[window(60, 5).frames]
    np.testing.assert_allclose(smooth[:8, 0, 0], [2.5, 3, 3.5, 4, 4.5, 5, 6, 7])


def quadruple():
    """Four images, three points over 41 frames, two masks (spec 10.5)."""
    b, t, n = np.ogrid[:4, :41, :3]
    x = 200 + 150 * n + 4 * (t - 20) * (1 + 0.5 * b) + 3 * b
    y = 120 + 90 * n - 2 * (t - 20) + 5 * b
    tracks = np.stack(np.broadcast_arrays(x, y), -1).astype(np.float32)
    visible = np.ones((4, 41, 3), np.float32)
    visible[0, 25, 1] = visible[3, 15, 2] = 0
    k, b, i, j = np.ogrid[:2, :4, :6, :10]
    logits = np.sin(0.5 * i + 0.4 * j + 1.1 * k + 0.3 * b).astype(np.float32)
    return tracks, visible, np.moveaxis(logits, 0, 1)


def test_the_official_temporal_term():
    tracks, visible, logits = quadruple()
    loc = 2 * tracks / np.float32([853, 479]) - 1

    def loss(logits):
        masks, total = jax.nn.softmax(logits, 1), 0.0
        for a, b in ((0, 2), (1, 3)):
            for start, end, step in ((a, b, 5), (b, a, -5)):
                seen = visible[start, 20 + step] * visible[start, 20]
                places = loc[start, 20], loc[start, 20 + step]
                total += mask_difference(masks[start], masks[end], *places, seen) / 4
        return total

    assert loss(logits) == pytest.approx(0.0301546380, rel=1e-5)
    slope = np.asarray(jax.grad(loss)(jnp.asarray(logits)))
    assert np.linalg.norm(slope) == pytest.approx(0.0633411556, rel=1e-5)
    parts = [0.0371031538, 0.0221190155, 0.0379269980, 0.0266035628]
    norms = np.linalg.norm(slope.reshape(4, -1), axis=1)
    np.testing.assert_allclose(norms, parts, rtol=1e-5)


def test_masks_that_move_with_their_points_do_not_differ():
    i, j = np.mgrid[:8, :12]
    masks = np.stack([np.sin(i + 2 * j), np.cos(3 * i - j)]).astype(np.float32)
    later = np.roll(masks, 3, axis=2)
    x = np.arange(1, 8, dtype=np.float32)
    loc = np.stack([(2 * x + 1) / 12 - 1, np.zeros(7)], -1).astype(np.float32)
    moved = loc + np.float32([6 / 12, 0])
    visible = np.ones(7, bool)
    assert mask_difference(masks, later, loc, moved, visible) < 1e-10
    assert mask_difference(masks, later, loc, loc, visible) > 0.05
    hidden = np.zeros(7, bool)
    assert mask_difference(masks, later, loc, loc, hidden) == 0


def test_places_are_measured_from_edges_and_the_published_ones_from_centres():
    corners = jnp.array([[0.0, 0.0], [854.0, 480.0], [427.0, 240.0]])
    expected = [[-1, -1], [1, 1], [0, 0]]
    np.testing.assert_allclose(places(corners, (480, 854)), expected, atol=1e-7)
    found = places(corners - 0.5, (480, 854), published=True)
    np.testing.assert_allclose(found[2], [0, 0], atol=1e-7)
    outer = jnp.array([[0.0, 0.0], [853.0, 479.0]])
    found = places(outer, (480, 854), published=True)
    np.testing.assert_allclose(found, expected[:2], atol=1e-7)
