"""Metres per world unit, from depth in metres."""

import numpy as np
import pytest

from egojax.errors import FrameError
from egojax.methods import scale, static_scene
from egojax.methods.lifting import Selection
from egojax.methods.observing import ObserveSettings
from egojax.types import Camera, Clip, Source

SIZE = (12, 16)
SETTINGS = ObserveSettings(Selection(), exclude_segments=False)
CAMERA = Camera(np.diag([10.0, 10, 1]), np.eye(4), size_hw=SIZE)


def clip_of(slopes, shift: float = 0.5) -> Clip:
    """Frame t of the scene is slopes[t] * depth + shift; NaN = no depth."""
    depth = np.linspace(1, 3, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    count = len(slopes)

    def read(t: int) -> np.ndarray:
        if np.isnan(slopes[t]):
            raise FrameError("broken")
        return depth

    return Clip(
        "mine",
        tuple(f"f{t}" for t in range(count)),
        SIZE,
        camera=Source.of([CAMERA] * count),
        depth=Source(read, count),
        static_depth=Source(lambda t: np.float32(slopes[t]) * depth + shift, count),
    )


def test_the_scale_is_the_median_of_the_inverse_slopes_of_the_frames():
    clip = clip_of([20.0, 18.0, np.nan, 25.0])
    np.testing.assert_allclose(
        scale.frame_scales(clip, SETTINGS, None), [20, 18, np.nan, 25], rtol=1e-4
    )
    value, low, high = scale.metric_scale(clip, SETTINGS, None)
    assert value == pytest.approx(0.05, rel=1e-4)
    expected = np.percentile([1 / 18, 1 / 20, 1 / 25], [10, 90])
    np.testing.assert_allclose([low, high], expected, rtol=1e-4)


def test_frames_that_disagree_tell_no_scale():
    value, low, high = scale.metric_scale(clip_of([2.0, 4.0, 40.0]), SETTINGS, None)
    assert np.isnan(value) and high > 2 * low > 0


def test_a_long_clip_is_looked_at_in_some_frames_of_all_its_length():
    found = scale.frame_scales(clip_of(list(range(1, 101))), SETTINGS, None, 10)
    np.testing.assert_allclose(found, range(1, 101, 10), rtol=1e-3)


def test_a_clip_that_tells_nothing_has_no_scale():
    for slopes in ([np.nan, np.nan], [0.0], [-2.0]):
        assert np.isnan(scale.metric_scale(clip_of(slopes), SETTINGS, None)).all()


def test_points_of_a_slope_give_its_scale_although_some_are_hidden():
    rng = np.random.default_rng(0)
    eye = Camera(np.array([[10.0, 0, 8], [0, 10, 6], [0, 0, 1]]), np.eye(4), None, SIZE)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    metres = (1 + 0.1 * columns + 0.05 * rows).astype(np.float32)
    pick = rng.choice(metres.size, 100, replace=False)
    row, column = np.unravel_index(pick, SIZE)
    far = 20 * metres[row, column] * np.where(rng.random(100) < 0.3, 1.5, 1.0)
    ray = np.stack([(column + 0.5 - 8) / 10, (row + 0.5 - 6) / 10, np.ones(100)], 1)
    clip = clip_of([20.0]).replace(
        static_depth=None, depth=Source.of([metres]), camera=Source.of([eye])
    )
    static = static_scene.nearest_points(ray * far[:, None])
    assert scale.metric_scale(clip, SETTINGS, static).value == pytest.approx(0.05, 0.02)
