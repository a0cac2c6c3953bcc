"""Walking a clip: read-ahead, frames left out, memory, threads."""

import threading
import tracemalloc

import numpy as np
import pytest

from egojax.data import stream
from egojax.errors import FrameError
from egojax.types import Camera, Clip, Segments, Source


def make_clip(num_frames=7, bad=(), no_pose=(), size_hw=(4, 6)) -> Clip:
    """Frame t is filled with t; `bad` frames raise, `no_pose` frames have no camera."""

    def frame(t):
        if t in bad:
            raise FrameError(f"frame {t} is broken")
        return np.full((*size_hw, 3), t % 256, np.uint8)

    def camera(t):
        if t in no_pose:
            return None
        w2c = np.eye(4)
        w2c[0, 3] = t
        return Camera(2 * np.eye(3), w2c, np.full(4, 0.1), size_hw, "opencv")

    return Clip(
        name="made",
        frame_ids=tuple(map(str, range(num_frames))),
        size_hw=size_hw,
        frames=Source(frame, num_frames),
        camera=Source(camera, num_frames),
        labels=Source(lambda t: np.full(size_hw, t, np.int64), num_frames),
        segments=Source(
            lambda t: Segments(np.arange(t), np.zeros(t), np.ones(t)), num_frames
        ),
        streams={"static": Source.of([np.zeros(2)] * num_frames)},
    )


@pytest.mark.parametrize("read_ahead", [0, 1, 3, 20])
def test_every_frame_comes_once_and_in_order(read_ahead):
    rows = list(stream.host_frames(make_clip(), ["frames", "labels"], read_ahead))
    assert [row.frame_idx for row in rows] == list(range(7))
    for row in rows:
        assert set(row.layers) == {"frames", "labels"} and row.skipped is None
        assert (row.layers["frames"] == row.frame_idx).all()
        assert (row.layers["labels"] == row.frame_idx).all()


def test_a_bad_frame_is_left_out_and_told_and_the_rest_goes_on():
    rows = list(stream.host_frames(make_clip(bad=(1, 6)), ["frames", "camera"]))
    assert [row.frame_idx for row in rows if not row.layers] == [1, 6]
    told = [tuple(row.skipped) for row in rows if row.skipped is not None]
    assert told == [(1, "frame 1 is broken"), (6, "frame 6 is broken")]


def test_a_frame_without_a_pose_has_none_and_nothing_is_wrong_with_it():
    rows = list(stream.host_frames(make_clip(3, no_pose=(1,)), ["camera"]))
    assert [row.layers["camera"] is None for row in rows] == [False, True, False]
    assert not any(row.skipped for row in rows)


def test_start_and_stop_cut_the_clip():
    rows = list(stream.host_frames(make_clip(), ["frames"], start=3, stop=6))
    assert [row.frame_idx for row in rows] == [3, 4, 5]
    rows = list(stream.host_frames(make_clip(), ["segments"], start=5))
    assert [len(row.layers["segments"].ids) for row in rows] == [5, 6]
    assert not list(stream.host_frames(make_clip(0), ["frames"]))


def test_host_frames_reach_into_streams_and_truth():
    clip = make_clip(2, bad=(0,))
    clip = clip.replace(truth=clip)
    names = ["frames", "streams.static", "truth.labels"]
    first, second = stream.host_frames(clip, names)
    assert first.skipped.reason == "frame 0 is broken" and not first.layers
    assert second.skipped is None and set(second.layers) == set(names)


@pytest.mark.parametrize("layers", [["depth"], ["truth.labels"], ["streams.none"]])
def test_a_layer_that_is_not_there_is_named_at_once(layers):
    with pytest.raises(ValueError, match="no layer"):
        next(stream.host_frames(make_clip(), layers))


@pytest.mark.parametrize("read_ahead", [0, 2])
def test_other_exceptions_reach_the_caller(read_ahead):
    clip = make_clip().replace(frames=Source(lambda t: 1 // 0, 7))
    with pytest.raises(ZeroDivisionError):
        list(stream.host_frames(clip, ["frames"], read_ahead))
    assert no_reader_thread()


def no_reader_thread() -> bool:
    return not any(t.name.startswith("read-ahead") for t in threading.enumerate())


def test_the_thread_ends_when_the_walk_is_left_early():
    walk = stream.host_frames(make_clip(100), ["frames"], read_ahead=3)
    next(walk)
    assert not no_reader_thread()
    walk.close()
    assert no_reader_thread()


def test_reading_ahead_is_bounded():
    seen = []
    walk = stream.prefetch(lambda t: seen.append(t) or t, range(100), 4)
    assert next(walk) == 0
    walk.close()
    assert len(seen) <= 5


def test_memory_does_not_grow_with_the_length_of_the_clip():
    """5,000 frames of 118 kB: 590 MB pass through a few frames of memory."""
    clip = make_clip(5000, size_hw=(128, 308))
    tracemalloc.start()
    count = sum(len(row.layers) for row in stream.host_frames(clip, ["frames"]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5000 and peak < 12e6


def test_a_frame_keeps_what_can_be_read_where_the_rest_is_not_needed():
    clip = make_clip(3, bad=(1,))
    clip = clip.replace(depth=clip.frames)
    layers = ["labels", "frames", "depth"]
    rows = list(stream.host_frames(clip, layers, needed=["labels"]))
    assert [sorted(row.layers) for row in rows] == [
        ["depth", "frames", "labels"],
        ["labels"],
        ["depth", "frames", "labels"],
    ]
    assert [row.skipped for row in rows] == [
        None,
        (1, "read in part, without frames and depth: frame 1 is broken"),
        None,
    ]
    rows = list(stream.host_frames(clip, layers, needed=["depth"]))
    assert rows[1].skipped == (1, "frame 1 is broken") and not rows[1].layers
