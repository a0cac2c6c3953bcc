"""Official files of point tracks: places, windows, round trips, files that lie."""

import dataclasses
import pickle

import numpy as np
import pytest

from egojax.data.cotracker_files import (
    cotracker_source,
    read_cotracker,
    write_cotracker,
)
from egojax.data.pickles import read_pt
from egojax.data.pt_writing import write_pt
from egojax.errors import FrameError, UsageError
from egojax.ops.track_grids import extraction, grid_offset, grid_points
from egojax.types import WindowTracks

SIZE = (10, 13)


def official(length=5, fid=2, **changes):
    """A file's dictionary as the official tool makes it: 3 x 4 points."""
    rng = np.random.default_rng(0)
    table = {
        "tracks": rng.uniform(0, 12, (length, 3, 4, 2)).astype(np.float16),
        "vis": rng.uniform(size=(length, 3, 4)) < 0.7,
        "seq": "bear",
        "fid": fid,
        "height": 10,
        "width": 13,
        "offset": (0, 0),
    }
    return {**table, **changes}


def grid_tracks(num_frames=9, frame=6, most=4):
    """Tracks of a frame's grid that stand still, through its window."""
    window = extraction(num_frames, frame, most)
    points = grid_points(SIZE, grid_offset(frame))
    length = window.stop - window.first
    seen = np.random.default_rng(1).uniform(size=(length, len(points))) < 0.5
    return WindowTracks(
        np.tile(points, (length, 1, 1)),
        seen,
        np.arange(window.first, window.stop, dtype=np.int32),
        window.query,
        SIZE,
    )


def test_places_are_half_a_pixel_further_and_frames_those_of_the_clip(tmp_path):
    table = official()
    write_pt(tmp_path / "a.pt", table)
    found = read_cotracker(tmp_path / "a.pt", 7, 20)
    want = table["tracks"].astype(np.float32).reshape(5, 12, 2) + 0.5
    np.testing.assert_array_equal(found.tracks_xy, want)
    np.testing.assert_array_equal(found.visibility, table["vis"].reshape(5, 12))
    np.testing.assert_array_equal(found.frames, [5, 6, 7, 8, 9])
    assert found.frames[found.query] == 7
    assert (found.query, found.size_hw) == (2, (10, 13))
    assert found.tracks_xy.dtype == np.float32 and found.visibility.dtype == bool


def test_tracks_of_a_grid_return_and_have_the_official_fields(tmp_path):
    given = grid_tracks()
    write_cotracker(tmp_path / "bear-00006.pt", given, "bear", grid_offset(6))
    table = read_pt(tmp_path / "bear-00006.pt")
    assert list(table) == [
        *("tracks", "vis", "seq", "fid"),
        *("height", "width", "offset"),
    ]
    assert table["tracks"].dtype == np.float16 and table["vis"].dtype == bool
    assert table["tracks"].shape == (5, 3, 3, 2)
    x, y = grid_offset(6)
    # In index coordinates the first point is the offset itself.
    np.testing.assert_array_equal(table["tracks"][0, 0, 0], [x, y])
    assert (table["seq"], table["offset"]) == ("bear", (x, y))
    found = read_cotracker(tmp_path / "bear-00006.pt", 6, 9)
    for field in dataclasses.fields(WindowTracks):
        np.testing.assert_array_equal(
            getattr(found, field.name), getattr(given, field.name)
        )


def test_a_place_that_is_not_finite_is_hidden_and_one_far_out_comes_nearer(tmp_path):
    table = official(vis=np.ones((5, 3, 4), bool))
    table["tracks"][1, 0, :3] = [[np.nan, 3], [2, np.inf], [-60_000, 60_000]]
    write_pt(tmp_path / "a.pt", table)
    found = read_cotracker(tmp_path / "a.pt", 2, 5)
    np.testing.assert_array_equal(
        found.tracks_xy[1, :3], [[0, 3.5], [2.5, 200], [-260, 200]]
    )
    np.testing.assert_array_equal(found.visibility[1, :4], [False, False, True, True])
    assert np.isfinite(found.tracks_xy).all()


@pytest.mark.parametrize(("frame", "num_frames"), [(1, 20), (17, 19), (0, 3), (2, 4)])
def test_a_window_that_leaves_the_clip_is_told(tmp_path, frame, num_frames):
    write_pt(tmp_path / "a.pt", official())
    with pytest.raises(FrameError, match=rf"a\.pt: frames .* 0 to {num_frames - 1}"):
        read_cotracker(tmp_path / "a.pt", frame, num_frames)


BAD = {
    "a list": ([1, 2], "without tracks, vis, fid"),
    "no vis": ({k: v for k, v in official().items() if k != "vis"}, "without vis"),
    "text for tracks": (official(tracks="x"), "no tensors"),
    "whole numbers": (official(tracks=np.zeros((5, 3, 4, 2), np.int64)), "int64"),
    "flat": (official(tracks=np.zeros((5, 12, 2))), r"expected floats"),
    "three numbers": (official(tracks=np.zeros((5, 3, 4, 3))), "expected floats"),
    "soft vis": (official(vis=np.ones((5, 3, 4))), "expected bool"),
    "few vis": (official(vis=np.ones((5, 3, 3), bool)), r"expected bool \(5, 3, 4\)"),
    "fid behind": (official(fid=5), "fid 5 of 5"),
    "fid before": (official(fid=-1), "fid -1 of 5"),
    "fid half": (official(fid=1.5), "fid is 1.5"),
    "fid true": (official(fid=True), "fid is True"),
    "no frames": (official(length=0, fid=0), "fid 0 of 0"),
    "no height": (official(height=0), "13 x 0"),
    "huge": (official(height=1 << 40, width=1 << 40), "x 1099511627776"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_with_a_wrong_field_is_refused(tmp_path, what):
    value, reason = BAD[what]
    write_pt(tmp_path / "a.pt", value)
    with pytest.raises(FrameError, match=reason) as err:
        read_cotracker(tmp_path / "a.pt", 2, 5)
    assert str(err.value).startswith(f"{tmp_path / 'a.pt'}: ")


class Attack:
    def __reduce__(self):
        return eval, ("1",)


@pytest.mark.parametrize("what", ["missing", "empty", "cut", "attack", "flipped"])
def test_a_file_that_cannot_be_read_costs_the_frame(tmp_path, what):
    path = tmp_path / "a.pt"
    write_pt(path, official())
    data = path.read_bytes()
    if what == "missing":
        path.unlink()
    elif what == "attack":
        path.write_bytes(pickle.dumps({"tracks": Attack()}))
    elif what == "flipped":  # In the tracks: the archive's checksum tells.
        at = data.index(official()["tracks"].tobytes()[:16])
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    else:
        path.write_bytes(b"" if what == "empty" else data[:-50])
    with pytest.raises(FrameError, match=r"a\.pt: "):
        read_cotracker(path, 2, 5)


def test_a_folder_gives_the_tracks_of_the_frames_that_have_a_file(tmp_path):
    for frame in (1, 6):
        tracks = grid_tracks(frame=frame)
        name = f"bear-{frame:05d}.pt"
        write_cotracker(tmp_path / name, tracks, "bear", grid_offset(frame))
    (tmp_path / "bear-00006_aux.pt").write_bytes(b"not read")
    frame_ids = [f"{t:05d}" for t in range(9)]
    source = cotracker_source(tmp_path, "bear", frame_ids)
    assert [t for t, found in enumerate(source) if found is not None] == [1, 6]
    assert source[6].frames[source[6].query] == 6
    np.testing.assert_array_equal(source[1].frames, range(5))
    with pytest.raises(UsageError, match="no tracks of cow; expected cow-00000"):
        cotracker_source(tmp_path, "cow", frame_ids)
    with pytest.raises(UsageError, match="no such folder"):
        cotracker_source(tmp_path / "b", "bear", frame_ids)


def test_points_that_are_no_grid_are_not_written(tmp_path):
    given = grid_tracks()
    with pytest.raises(ValueError, match="9 points; the grid has 3 x 4"):
        write_cotracker(tmp_path / "a.pt", given, "bear", (0, 0))
    skipping = dataclasses.replace(given, frames=given.frames * 2)
    with pytest.raises(ValueError, match="frames are left out"):
        write_cotracker(tmp_path / "a.pt", skipping, "bear", grid_offset(6))
    assert not list(tmp_path.iterdir())


def test_torch_takes_the_official_form(tmp_path):
    torch = pytest.importorskip("torch")
    write_cotracker(tmp_path / "a.pt", grid_tracks(), "bear", grid_offset(6))
    found = torch.load(tmp_path / "a.pt", weights_only=True)
    assert found["tracks"].dtype == torch.float16 and found["vis"].dtype == torch.bool
    assert tuple(found["tracks"].shape) == (5, 3, 3, 2)
