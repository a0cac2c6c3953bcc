"""Point tracks and groups on disk: there and back, and files that are no such thing."""

import numpy as np
import pytest

from egojax.data import arrays, point_files
from egojax.errors import UsageError
from egojax.types import PointTracks


def _tracks(count=5, size=(48, 64)):
    rng = np.random.default_rng(0)
    length = rng.integers(1, 6, count).astype(np.int32)
    first = rng.integers(0, 4, count).astype(np.int32)
    xy = rng.uniform(0, 60, (length.sum(), 2)).astype(np.float32)
    return PointTracks(first, length, xy, size)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_tracks_come_back_to_a_64th_of_a_pixel(tmp_path, count):
    tracks = _tracks(count)
    point_files.write_points(tmp_path / "points.npz", tracks)
    found = point_files.read_points(tmp_path / "points.npz", 20)
    np.testing.assert_array_equal(found.first, tracks.first)
    np.testing.assert_array_equal(found.count, tracks.count)
    np.testing.assert_allclose(found.xy, tracks.xy, atol=1 / 64 + 1e-6)
    assert found.size_hw == (48, 64) and found.xy.dtype == np.float32


@pytest.mark.parametrize(
    ("size_hw", "steps"),
    [((480, 854), 32), ((1000, 1000), 32), ((1080, 1920), 16), ((2160, 3840), 8)],
)
def test_images_of_any_size_fit_16_bits(size_hw, steps):
    assert point_files.steps_per_pixel(size_hw) == steps
    corner = np.float32([size_hw[::-1]])
    np.testing.assert_array_equal(point_files.to_steps(corner, steps) / steps, corner)


def test_large_images_keep_places_at_their_far_side(tmp_path):
    one = np.ones(1, np.int32)
    tracks = PointTracks(
        one, one, np.array([[3900.25, 2100.5]], np.float32), (2160, 4096)
    )
    point_files.write_points(tmp_path / "points.npz", tracks)
    found = point_files.read_points(tmp_path / "points.npz", 9)
    np.testing.assert_allclose(found.xy, tracks.xy, atol=0.07)


def test_places_that_are_not_finite_are_refused(tmp_path):
    one = np.ones(1, np.int32)
    tracks = PointTracks(one, one, np.array([[np.nan, 1]], np.float32), (8, 8))
    with pytest.raises(ValueError, match="not finite"):
        point_files.write_points(tmp_path / "points.npz", tracks)
    assert not (tmp_path / "points.npz").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"first": None}, "without first"),
        ({"xy": np.zeros((3, 2), np.int16)}, "do not agree"),
        ({"count": np.array([0, 1, 1, 1, 1])}, "do not agree"),
        ({"first": np.full(5, 30)}, "the clip has 20"),
        ({"first": np.full(5, -1)}, "the clip has 20"),
        ({"first": np.zeros(5)}, "whole numbers"),
        ({"size": np.array([3])}, "a size of two numbers"),
        ({"steps": np.asarray(0)}, "one step or more"),
    ],
)
def test_damaged_tracks_are_told_in_one_line(tmp_path, change, said):
    path = tmp_path / "points.npz"
    point_files.write_points(path, _tracks())
    found = {**arrays.read_npz(path), **change}
    arrays.write_npz(path, {k: v for k, v in found.items() if v is not None})
    with pytest.raises(UsageError, match=said) as info:
        point_files.read_points(path, 20)
    assert str(path) in str(info.value) and "\n" not in str(info.value)


def test_a_truncated_file_is_told(tmp_path):
    path = tmp_path / "points.npz"
    point_files.write_points(path, _tracks())
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UsageError, match=r"points\.npz"):
        point_files.read_points(path, 20)


def test_groups_come_back_and_those_of_other_tracks_are_refused(tmp_path):
    path = tmp_path / "groups.npz"
    point_files.write_groups(path, np.array([-1, 0, 2]))
    np.testing.assert_array_equal(point_files.read_groups(path, 3), [-1, 0, 2])
    with pytest.raises(UsageError, match=r"whole numbers \(4,\)"):
        point_files.read_groups(path, 4)
