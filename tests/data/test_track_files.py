"""Files of point tracks: round trips to half a step, and files that lie."""

import dataclasses

import numpy as np
import pytest

from egojax.data import track_files
from egojax.data.track_files import read_tracks, write_tracks
from egojax.errors import FrameError
from egojax.types import WindowTracks


def window_tracks(seed=0, length=5, count=13, size_hw=(480, 854), query=2):
    rng = np.random.default_rng(seed)
    places = rng.uniform(-50, 1, (length, count, 2)) + rng.uniform(size=2) * size_hw[1]
    return WindowTracks(
        places.astype(np.float32),
        rng.uniform(size=(length, count)) < 0.6,
        np.arange(7, 7 + length, dtype=np.int32),
        query,
        size_hw,
    )


@pytest.mark.parametrize("count", [0, 1, 8, 13])
def test_tracks_return_to_half_a_step(tmp_path, count):
    given = window_tracks(count=count)
    write_tracks(tmp_path / "a.npz", given)
    found = read_tracks(tmp_path / "a.npz")
    np.testing.assert_allclose(found.tracks_xy, given.tracks_xy, atol=1 / 64 + 1e-4)
    np.testing.assert_array_equal(found.visibility, given.visibility)
    np.testing.assert_array_equal(found.frames, given.frames)
    assert found.tracks_xy.dtype == np.float32 and found.visibility.dtype == bool
    assert found.frames.dtype == np.int32
    assert (found.query, found.size_hw) == (2, (480, 854))


def test_what_was_read_is_written_again_without_loss(tmp_path):
    write_tracks(tmp_path / "a.npz", window_tracks())
    found = read_tracks(tmp_path / "a.npz")
    write_tracks(tmp_path / "b.npz", found)
    again = read_tracks(tmp_path / "b.npz")
    np.testing.assert_array_equal(again.tracks_xy, found.tracks_xy)


def test_fields_are_as_documented(tmp_path):
    given = window_tracks(length=1, count=3, query=0)
    places = np.float32([[[1.0, -2.0], [0.03125, 5000.0], [-5000.0, 853.5]]])
    seen = np.array([[True, False, True]])
    given = dataclasses.replace(given, tracks_xy=places, visibility=seen)
    write_tracks(tmp_path / "a.npz", given)
    with np.load(tmp_path / "a.npz") as file:
        assert set(file) == set(track_files.FORM)
        np.testing.assert_array_equal(
            file["tracks"], [[[32, -64], [1, 32000], [-32000, 27312]]]
        )
        assert file["tracks"].dtype == np.int16
        np.testing.assert_array_equal(file["visibility"], [0b10100000])
        assert file["steps"] == 32 and file["version"] == 1 and file["query"] == 0
        np.testing.assert_array_equal(file["size"], [480, 854])
    found = read_tracks(tmp_path / "a.npz")
    np.testing.assert_array_equal(
        found.tracks_xy, [[[1, -2], [0.03125, 1000], [-1000, 853.5]]]
    )


@pytest.mark.parametrize(
    ("size_hw", "steps"),
    [((480, 854), 32), ((1000, 1000), 32), ((1080, 1920), 16), ((2160, 3840), 8)],
)
def test_large_images_keep_all_their_pixels(tmp_path, size_hw, steps):
    assert track_files.steps_per_pixel(size_hw) == steps
    given = window_tracks(size_hw=size_hw)
    corner = np.broadcast_to(np.float32(size_hw[::-1]), given.tracks_xy.shape)
    write_tracks(tmp_path / "a.npz", dataclasses.replace(given, tracks_xy=corner))
    np.testing.assert_array_equal(read_tracks(tmp_path / "a.npz").tracks_xy, corner)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tracks_xy": np.zeros((5, 13, 3))}, "shape"),
        ({"tracks_xy": np.full((5, 13, 2), np.nan)}, "NaN"),
        ({"tracks_xy": np.full((5, 13, 2), np.inf)}, "NaN"),
        ({"visibility": np.ones((5, 12), bool)}, "visibility"),
        ({"frames": np.array([3, 4, 5, 5, 6])}, "rise"),
        ({"frames": np.arange(-1, 4)}, "rise"),
        ({"query": 5}, "query 5 of 5"),
        ({"size_hw": (0, 5)}, "5 x 0"),
    ],
)
def test_a_record_that_contradicts_itself_is_not_written(tmp_path, change, reason):
    with pytest.raises(ValueError, match=reason):
        write_tracks(tmp_path / "a.npz", dataclasses.replace(window_tracks(), **change))
    assert not list(tmp_path.iterdir())


BAD_FIELDS = {
    "no tracks": ({"tracks": None}, "without tracks"),
    "no fields": (dict.fromkeys(track_files.FORM), "without tracks, steps"),
    "float tracks": ({"tracks": np.zeros((5, 13, 2))}, "tracks is float64"),
    "flat tracks": ({"tracks": np.zeros(130, np.int16)}, "tracks is int16 with 1 axes"),
    "3D tracks": ({"tracks": np.zeros((5, 13, 3), np.int16)}, "do not agree"),
    "few bits": ({"visibility": np.zeros(8, np.uint8)}, "do not agree"),
    "wide bits": ({"visibility": np.zeros(9, np.uint16)}, "no bytes"),
    "other version": ({"version": np.int64(2)}, "version 2; expected 1"),
    "no steps": ({"steps": np.int64(0)}, "0 steps"),
    "negative steps": ({"steps": np.int64(-32)}, "-32 steps"),
    "far query": ({"query": np.int64(5)}, "query 5 of 5"),
    "negative query": ({"query": np.int64(-1)}, "query -1 of 5"),
    "frames back": ({"frames": np.arange(5)[::-1]}, "rise"),
    "few frames": ({"frames": np.arange(4)}, "over 4 frames"),
    "no size": ({"size": np.array([480])}, "size of 1"),
    "empty size": ({"size": np.array([480, 0])}, "0 x 480"),
}


@pytest.mark.parametrize("what", BAD_FIELDS)
def test_a_file_with_a_wrong_field_is_refused(tmp_path, what):
    changes, reason = BAD_FIELDS[what]
    write_tracks(tmp_path / "a.npz", window_tracks())
    with np.load(tmp_path / "a.npz") as file:
        columns = {**file, **changes}
    kept = {key: value for key, value in columns.items() if value is not None}
    np.savez(tmp_path / "b.npz", **kept)
    with pytest.raises(FrameError, match=reason) as err:
        read_tracks(tmp_path / "b.npz")
    assert str(err.value).startswith(f"{tmp_path / 'b.npz'}: ")


@pytest.mark.parametrize("what", ["missing", "empty", "text", "cut", "pickled"])
def test_a_file_that_cannot_be_read_costs_the_frame(tmp_path, what):
    path = tmp_path / "a.npz"
    if what == "pickled":
        np.savez(path, tracks=np.array({1: 2}, object))
    elif what == "cut":
        write_tracks(path, window_tracks())
        path.write_bytes(path.read_bytes()[:-40])
    elif what != "missing":
        path.write_bytes(b"" if what == "empty" else b"hello")
    with pytest.raises(FrameError, match=r"a\.npz: "):
        read_tracks(path)
