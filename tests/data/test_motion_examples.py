"""Sets of training examples: what goes in comes out, in any order; broken sets."""

import json
import pickle
import sys

import numpy as np
import pytest

from egojax.data import motion_examples
from egojax.data.motion_examples import ExampleSet, MotionExample, write_examples
from egojax.errors import FrameError, UsageError
from egojax.types import WindowTracks

FRAMES = 7


@pytest.fixture
def tool():
    return pytest.importorskip("tensorflow_datasets", reason="the extra data")


def example(t, clip="bear", size=(12, 16)):
    """Frame t; the first has no tracks, the last no flow, the second flow both ways."""
    rng = np.random.default_rng(t)
    gaps = {0: (1,), 1: (1, -2), FRAMES - 1: ()}.get(t, (2,))
    steps = rng.integers(-900, 900, (len(gaps), 5, 8, 2))
    count = 3 * t
    tracks = WindowTracks(
        rng.integers(-99, 999, (4, count, 2)).astype(np.float32) / 32,
        rng.uniform(size=(4, count)) < 0.5,
        np.arange(t, t + 4, dtype=np.int32),
        1,
        (480, 854),
    )
    return MotionExample(
        clip,
        f"{t:05d}",
        rng.integers(0, 256, (*size, 3)).astype(np.uint8),
        {gap: np.float32(steps[k] / 32) for k, gap in enumerate(gaps)},
        None if t == 0 else tracks,
    )


def check(found, want):
    assert (found.clip, found.frame) == (want.clip, want.frame)
    np.testing.assert_array_equal(found.image, want.image)
    assert found.image.dtype == np.uint8
    assert list(found.flows) == list(want.flows)
    for gap, flow in want.flows.items():
        np.testing.assert_array_equal(found.flows[gap], flow)
        assert found.flows[gap].dtype == np.float32
    assert (found.tracks is None) == (want.tracks is None)
    if want.tracks is not None:
        for name, value in vars(want.tracks).items():
            np.testing.assert_array_equal(getattr(found.tracks, name), value)
        assert found.tracks.visibility.dtype == bool


def write(folder):
    train = [example(t) for t in range(FRAMES)]
    val = [example(t, "cow", size=(3, 5)) for t in range(2)]
    write_examples(folder, {"train": iter(train), "val": iter(val)})
    return train, val


def test_examples_return_in_any_order(tmp_path, tool, capfd):
    train, val = write(tmp_path)
    assert capfd.readouterr().out == ""
    found = ExampleSet(tmp_path, "train")
    assert len(found) == FRAMES
    for t in (3, 0, 6, 1, 5, 2, 4):
        check(found[t], train[t])
    for t, row in enumerate(ExampleSet(tmp_path, "val")):
        check(row, val[t])
    assert found.positions()["bear", "00004"] == 4
    assert "tensorflow" not in sys.modules


def test_a_set_may_be_sent_to_another_process(tmp_path, tool):
    train, _ = write(tmp_path)
    found = pickle.loads(pickle.dumps(ExampleSet(tmp_path, "train")))
    check(found[5], train[5])


def test_positions_end_with_the_set(tmp_path, tool):
    write(tmp_path)
    found = ExampleSet(tmp_path, "val")
    for position in (2, -1):
        with pytest.raises(IndexError, match=f"frame {position} of 2"):
            found[position]


def test_a_set_is_not_written_over_another_nor_with_a_frame_twice(tmp_path, tool):
    write(tmp_path / "a")
    with pytest.raises(UsageError, match="a set is there already"):
        write(tmp_path / "a")
    with pytest.raises(UsageError, match="bear: the frame 00001 comes twice"):
        write_examples(tmp_path / "b", {"train": [example(1), example(1)]})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": np.zeros((3, 4, 3))}, "image float64"),
        ({"image": np.zeros((3, 4), np.uint8)}, "image uint8"),
        ({"flows": {1: np.zeros((2, 2, 2)), 2: np.zeros((2, 3, 2))}}, "several sizes"),
    ],
)
def test_what_is_no_example_is_not_written(tmp_path, tool, change, reason):
    with pytest.raises(ValueError, match=reason):
        write_examples(tmp_path, {"train": [example(1)._replace(**change)]})


def test_a_set_that_is_not_whole_is_told(tmp_path, tool):
    with pytest.raises(UsageError, match=r"index\.json: cannot be read"):
        ExampleSet(tmp_path, "train")
    write(tmp_path)
    with pytest.raises(UsageError, match="no split 'test'; there are"):
        ExampleSet(tmp_path, "test")
    path = tmp_path / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "train": index["train"][1:]}))
    with pytest.raises(UsageError, match=f"{FRAMES - 1} frames of {FRAMES} records"):
        ExampleSet(tmp_path, "train")
    for rows in ([["bear", 5]], [["bear"]], 7, None):
        path.write_text(json.dumps({**index, "train": rows}))
        with pytest.raises(UsageError, match="is no clip and frame"):
            ExampleSet(tmp_path, "train")
    path.write_text(json.dumps(index))
    (kept,) = tmp_path.glob("*/*/dataset_info.json")
    kept.unlink()
    with pytest.raises(UsageError, match="no readable set"):
        ExampleSet(tmp_path, "train")


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_record_costs_its_frame_alone(tmp_path, tool, cut):
    train, _ = write(tmp_path)
    (records,) = tmp_path.glob("*/*/*train*")
    data = records.read_bytes()
    # In the first record; a file that is cut off has no list of its records.
    damaged = data[: len(data) // 2] if cut else data[:200] + bytes(99) + data[299:]
    records.write_bytes(damaged)
    found = ExampleSet(tmp_path, "train")
    with pytest.raises(FrameError, match=r"bear/00000: "):
        found[0]
    if not cut:
        check(found[6], train[6])


def test_without_the_extra_it_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    motion_examples._builder.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'egojax\[data\]'"):
        write_examples(tmp_path, {"train": []})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "Train", "a/b", "..", "train:1"])
def test_a_split_is_a_word(tmp_path, name):
    with pytest.raises(ValueError, match="expected a word such as train"):
        write_examples(tmp_path, {name: []})
