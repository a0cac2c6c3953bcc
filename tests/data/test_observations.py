"""Chunks of observations: whole, in a row, or told."""

import dataclasses

import numpy as np
import pytest

from egojax.data import observations
from egojax.data.observations import FRAME_COLUMNS, SEGMENT_COLUMNS, ObservationChunk
from egojax.errors import UsageError
from egojax.types import SkippedFrame


def chunk(start: int, num_frames: int = 4) -> ObservationChunk:
    widths = dict(centroid_xy=2, box_xyxy=4, feature=3)
    segments = {
        name: np.full((num_frames, widths[name]) if name in widths else num_frames, 7)
        for name in SEGMENT_COLUMNS
    }
    segments["frame_idx"] = start + np.arange(num_frames)
    frames = {name: np.ones(num_frames) for name in FRAME_COLUMNS}
    return ObservationChunk(start, segments, frames, (SkippedFrame(start, "why"),))


def written(path, *starts):
    for start in starts:
        observations.write_chunk(path, chunk(start))
    return path


def test_chunks_come_back_in_order_and_joined(tmp_path):
    found = list(observations.read_chunks(written(tmp_path, 4, 0, 8)))
    assert [c.start for c in found] == [0, 4, 8] and found[0].skipped[0].reason == "why"
    whole = observations.join(found)
    np.testing.assert_array_equal(whole.segments["frame_idx"], np.arange(12))
    assert whole.num_frames == 12 and len(whole.skipped) == 3
    assert observations.next_frame(tmp_path) == 12
    (narrow, *_) = observations.read_chunks(tmp_path, features=False)
    assert "feature" not in narrow.segments


def test_frames_without_segments_join_those_that_have_some():
    """No segment tells how long its features would have been."""
    some, none = chunk(0), chunk(4)
    nothing = {name: value[:0] for name, value in none.segments.items()}
    nothing["feature"] = np.zeros((0, 0))
    none = dataclasses.replace(none, segments=nothing)
    whole = observations.join([some, none, dataclasses.replace(none, start=8)])
    assert whole.num_frames == 12 and len(whole.segments["area"]) == 4
    np.testing.assert_array_equal(whole.segments["feature"], some.segments["feature"])
    assert observations.join([none, none]).segments["feature"].shape == (0, 0)


def test_a_chunk_that_is_missing_between_others_is_told(tmp_path):
    written(tmp_path, 0, 8)
    with pytest.raises(UsageError, match=r"starts at frame 8, .* frame 4; --only=obse"):
        list(observations.read_chunks(tmp_path))


@pytest.mark.parametrize("cut", [0, 100, -30])
def test_a_truncated_chunk_is_told_with_what_to_do(tmp_path, cut):
    path = written(tmp_path, 0, 4) / "000004.npz"
    path.write_bytes(path.read_bytes()[:cut])
    for read in (lambda p: list(observations.read_chunks(p)), observations.next_frame):
        with pytest.raises(UsageError, match=r"000004\.npz: .*--only=observe makes"):
            read(tmp_path)


def test_an_npz_of_something_else_is_told(tmp_path):
    np.savez(tmp_path / "000000.npz", a=np.ones(3))
    with pytest.raises(UsageError, match=r"no chunk of observations \('segments/frame"):
        list(observations.read_chunks(tmp_path))


def test_joining_nothing_says_which_stage_comes_first():
    with pytest.raises(UsageError, match="the stage observe writes them"):
        observations.join([])
