"""Sets of training examples: what goes in comes out, in any order; broken sets."""

import json
import pickle
import sys

import numpy as np
import pytest

from egojax.data import motion_examples
from egojax.data.motion_examples import (
    ExampleSet,
    MotionExample,
    beginnings,
    find_sets,
    write_examples,
)
from egojax.errors import FrameError, UsageError
from egojax.types import PointTracks

FRAMES = 7
SIZE = (12, 16)
NAMES = [f"{t:05d}" for t in range(FRAMES)]


def example(t):
    """Frame t; the third has no image, the last no flow, the second flow both ways."""
    rng = np.random.default_rng(t)
    gaps = {0: (1,), 1: (1, -2), FRAMES - 1: ()}.get(t, (2,))
    steps = rng.integers(-900, 900, (len(gaps), 5, 8, 2))
    count = rng.integers(1, FRAMES - t + 1, 3 * t).astype(np.int32)
    xy = rng.integers(-99, 999, (count.sum(), 2)).astype(np.float32) / 32
    image = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    flows = {gap: np.float32(steps[k] / 32) for k, gap in enumerate(gaps)}
    return MotionExample(None if t == 2 else image, flows, count, xy)


def check(found, want):
    assert (found.image is None) == (want.image is None)
    if want.image is not None:
        np.testing.assert_array_equal(found.image, want.image)
        assert found.image.dtype == np.uint8
    assert list(found.flows) == list(want.flows)
    for gap, flow in want.flows.items():
        np.testing.assert_array_equal(found.flows[gap], flow)
        assert found.flows[gap].dtype == np.float32
    np.testing.assert_array_equal(found.count, want.count)
    np.testing.assert_array_equal(found.xy, want.xy)
    assert found.xy.dtype == np.float32


def write(folder, examples=None):
    examples = examples or [example(t) for t in range(FRAMES)]
    write_examples(folder, NAMES[: len(examples)], SIZE, 24.0, iter(examples))
    return examples


def test_examples_return_in_any_order(tmp_path, capfd):
    given = write(tmp_path)
    assert capfd.readouterr().out == ""
    found = ExampleSet(tmp_path)
    assert len(found) == FRAMES and found.frame_ids == (*NAMES,)
    assert (found.size_hw, found.fps) == (SIZE, 24.0)
    for t in (3, 0, 6, 1, 5, 2, 4):
        check(found[t], given[t])
    assert "tensorflow" not in sys.modules


def test_a_set_may_be_sent_to_another_process(tmp_path):
    given = write(tmp_path)
    check(pickle.loads(pickle.dumps(ExampleSet(tmp_path)))[5], given[5])


def test_positions_end_with_the_set(tmp_path):
    write(tmp_path)
    found = ExampleSet(tmp_path)
    for position in (FRAMES, -1):
        with pytest.raises(IndexError, match=f"frame {position} of {FRAMES}"):
            found[position]


def test_its_clip_has_the_images_that_there_are(tmp_path):
    given = write(tmp_path)
    clip = ExampleSet(tmp_path).clip("bear")
    assert (clip.name, clip.size_hw, clip.fps) == ("bear", SIZE, 24.0)
    assert clip.frame_ids == (*NAMES,)
    np.testing.assert_array_equal(clip.frames[3], given[3].image)
    with pytest.raises(FrameError, match="no image of 00002"):
        clip.frames[2]


def some_tracks() -> PointTracks:
    rng = np.random.default_rng(0)
    first = np.sort(rng.integers(0, FRAMES, 20)).astype(np.int32)
    count = rng.integers(1, FRAMES - first + 1).astype(np.int32)
    xy = rng.integers(0, 999, (count.sum(), 2)).astype(np.float32) / 32
    return PointTracks(first, count, xy, SIZE)


@pytest.mark.parametrize("cut", [FRAMES, 3, 1])
def test_tracks_are_put_together_from_the_frames_that_they_begin_in(tmp_path, cut):
    """Of fewer frames, what these see of them."""
    tracks = some_tracks()
    rows = [
        example(t)._replace(
            **dict(zip(("count", "xy"), beginnings(tracks, t), strict=True))
        )
        for t in range(FRAMES)
    ]
    write(tmp_path, rows)
    found, skipped = ExampleSet(tmp_path).tracks(cut)
    assert skipped == [] and found.size_hw == SIZE
    here = tracks.first < cut
    np.testing.assert_array_equal(found.first, tracks.first[here])
    kept = np.minimum(tracks.count, cut - tracks.first)[here]
    np.testing.assert_array_equal(found.count, kept)
    for t in range(cut):
        np.testing.assert_array_equal(found.at(t)[1], tracks.at(t)[1])


def test_a_set_is_not_written_over_another(tmp_path):
    write(tmp_path)
    with pytest.raises(UsageError, match="a set is there already"):
        write(tmp_path)


def test_what_was_not_finished_is_written_anew(tmp_path):
    def stops():
        yield example(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_examples(tmp_path, NAMES, SIZE, 24.0, stops())
    assert find_sets(tmp_path) == {}
    given = write(tmp_path)
    (tmp_path / "index.json").unlink()  # Stopped just before the end.
    write(tmp_path)
    check(ExampleSet(tmp_path)[6], given[6])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": np.zeros((3, 4, 3))}, "image float64"),
        ({"image": np.zeros((3, 4), np.uint8)}, "image uint8"),
        ({"flows": {1: np.zeros((2, 2, 2)), 2: np.zeros((2, 3, 2))}}, "several sizes"),
        ({"xy": np.zeros((1, 2), np.float32)}, "1 places of tracks"),
        ({"count": np.ones(1, int), "xy": np.full((1, 2), np.nan)}, "not finite"),
    ],
)
def test_what_is_no_example_is_not_written(tmp_path, change, reason):
    with pytest.raises(ValueError, match=reason):
        write(tmp_path, [example(1)._replace(**change)])


@pytest.mark.parametrize("given", [FRAMES - 1, FRAMES + 1])
def test_examples_are_as_many_as_frames(tmp_path, given):
    rows = [example(0)] * given
    with pytest.raises(ValueError, match="zip"):
        write_examples(tmp_path, NAMES, SIZE, 24.0, iter(rows))
    assert find_sets(tmp_path) == {}


def test_sets_are_found_in_a_run_and_by_themselves(tmp_path):
    for name in ("bear", "cow"):
        write(tmp_path / "clips" / name / "examples")
    (tmp_path / "clips" / "dog").mkdir()
    found = find_sets(tmp_path)
    assert [*found] == ["bear", "cow"]
    assert find_sets(found["cow"]) == {"cow": found["cow"]}
    write(tmp_path / "mine")
    assert find_sets(tmp_path / "mine") == {"mine": tmp_path / "mine"}


def test_a_set_that_is_not_whole_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"index\.json: cannot be read"):
        ExampleSet(tmp_path)
    write(tmp_path)
    path = tmp_path / "index.json"
    index = json.loads(path.read_text())
    for change, reason in (
        ({"frames": NAMES[1:]}, f"{FRAMES - 1} frames of {FRAMES} records"),
        ({"frames": 7}, "no list of names"),
        ({"frames": [3, 4]}, "no list of names"),
        ({"size": [12]}, "expected height and width"),
        ({"size": [0, 4]}, "expected pixels"),
        ({"fps": 0}, "fps 0"),
        ({"fps": "fast"}, "fps 'fast'"),
        ({"steps": 0}, "steps 0"),
        ({"version": 2}, "version 2; expected 1"),
    ):
        path.write_text(json.dumps({**index, **change}))
        with pytest.raises(UsageError, match=reason):
            ExampleSet(tmp_path)
    path.write_text("[]")
    with pytest.raises(UsageError, match="no index of a set"):
        ExampleSet(tmp_path)
    path.write_text(json.dumps(index))
    (kept,) = tmp_path.glob("*/*/dataset_info.json")
    kept.unlink()
    with pytest.raises(UsageError, match="no readable set"):
        ExampleSet(tmp_path)


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_record_costs_its_frame_alone(tmp_path, cut):
    given = write(tmp_path)
    (records,) = tmp_path.glob("*/*/*train*")
    data = records.read_bytes()
    # In the first record; a file that is cut off has no list of its records.
    damaged = data[: len(data) // 2] if cut else data[:200] + bytes(99) + data[299:]
    records.write_bytes(damaged)
    found = ExampleSet(tmp_path)
    with pytest.raises(FrameError, match="frame 00000: "):
        found[0]
    _, skipped = found.tracks(FRAMES)
    assert skipped[0].frame_idx == 0
    if not cut:
        check(found[6], given[6])
        assert len(skipped) == 1


def test_without_the_extra_it_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    motion_examples._builder.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'egojax\[data\]'"):
        write(tmp_path)
    assert not list(tmp_path.iterdir())
