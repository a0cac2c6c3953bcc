import json

import numpy as np
import pytest
from PIL import Image

from egojax.data import epic_benchmark
from egojax.data.views import with_views
from egojax.errors import FrameError, UsageError
from egojax.types import Camera, Clip, Source


def names(*numbers):
    return [f"frame_{n:010d}.jpg" for n in numbers]


TRAIN = {"P01_01": names(1, 3, 5), "P02_02": []}
VAL = {"P01_01": {"within_action": names(7), "outside_action": names(9)}}
TEST = {
    "P01_01": {
        "within_action": names(11, 2),
        "outside_action": names(13),
        "outside_action_easy": names(13, 15),
    }
}


def write(root, **changes):
    (root / "split").mkdir(exist_ok=True)
    for name, data in {"train": TRAIN, "val": VAL, "test": TEST, **changes}.items():
        text = data if isinstance(data, str) else json.dumps(data)
        (root / "split" / f"{name}.json").write_text(text)
    return root


def put(root, mask, name="frame_0000000011", motion="dynamic", split="test"):
    folder = root / "annotations" / f"{split}_{motion}" / "P01_01"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, np.uint8)).save(folder / f"{name}.png")
    return folder / f"{name}.png"


def test_lists_are_read_in_their_order(tmp_path):
    found = epic_benchmark.read_benchmark(write(tmp_path))
    assert found.train["P01_01"] == tuple(f"frame_000000000{n}" for n in (1, 3, 5))
    assert found.train["P02_02"] == ()
    assert found.test["P01_01"]["within_action"] == (
        "frame_0000000011",
        "frame_0000000002",
    )
    assert found.val["P01_01"]["outside_action_easy"] == ()
    assert list(found.val["P01_01"]) == list(epic_benchmark.DIFFICULTIES)


def test_the_split_of_a_video_makes_the_views_of_its_clip(tmp_path):
    found = epic_benchmark.read_benchmark(write(tmp_path))
    split = epic_benchmark.split_of(found, "P01_01")
    assert {name: len(frames) for name, frames in split.items()} == {
        "train": 3,
        "val": 2,
        "test": 4,
    }
    ids = tuple(f"frame_{n:010d}" for n in range(1, 17))
    cameras = Source(lambda t: Camera(np.eye(3), np.eye(4), size_hw=(2, 2)), 16)
    clip = Clip("P01_01", ids, (2, 2), camera=cameras)
    views = with_views(clip, near=1, far=2, split=split).views
    assert {t + 1: v.split for t, v in enumerate(views) if v} == {
        **dict.fromkeys((1, 3, 5), "train"),
        **dict.fromkeys((7, 9), "val"),
        **dict.fromkeys((2, 11, 13, 15), "test"),
    }
    only = epic_benchmark.split_of(found, "P02_02")
    assert only == {"train": (), "val": (), "test": ()}
    with pytest.raises(UsageError, match="P9: not in the benchmark; there are P01_01"):
        epic_benchmark.split_of(found, "P9")


def test_masks_are_read_by_frame_and_motion(tmp_path):
    mask = [[0, 1, 2], [3, 0, 1]]
    put(tmp_path, mask)
    put(tmp_path, [[0, 255, 0], [0, 0, 255]], "frame_0000000002")
    put(tmp_path, np.full((2, 3), 255), "frame_0000000003")
    put(tmp_path, np.zeros((2, 3)), "frame_0000000004")
    ids = [f"frame_{n:010d}" for n in (11, 2, 3, 4, 5)]
    found = epic_benchmark.mask_source(
        tmp_path, "test", "dynamic", "P01_01", ids, (2, 3)
    )
    masks = list(found)
    assert masks[0].dtype == np.uint8
    assert masks[0].tolist() == mask
    assert masks[1].tolist() == [[0, 1, 0], [0, 0, 1]]
    assert masks[2].tolist() == [[1] * 3] * 2
    assert masks[3].tolist() == [[0] * 3] * 2
    assert masks[4] is None


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        ([[0, 4, 1]], r"values \[0, 1, 4\]; a mask has 0 to 3"),
        ([[0, 255, 1]], r"values \[0, 1, 255\]; a mask has 0 to 3"),
        ([[0, 1], [0, 1]], "2 x 2 pixels; the clip has 3 x 1"),
        (np.zeros((1, 3, 3)), "a RGB image"),
    ],
)
def test_a_bad_mask_costs_its_frame(tmp_path, mask, what):
    put(tmp_path, mask)
    found = epic_benchmark.mask_source(
        tmp_path, "test", "dynamic", "P01_01", ["frame_0000000011"], (1, 3)
    )
    with pytest.raises(FrameError, match=what):
        found[0]


def test_a_truncated_mask_costs_its_frame(tmp_path):
    path = put(tmp_path, np.zeros((1, 3)))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FrameError, match="not a readable image"):
        epic_benchmark.read_mask(path)


def test_masks_that_are_not_there_are_named(tmp_path):
    arguments = (["frame_1"], (1, 3))
    with pytest.raises(UsageError, match="masks train_dynamic: there are val and test"):
        epic_benchmark.mask_source(tmp_path, "train", "dynamic", "P01_01", *arguments)
    with pytest.raises(
        UsageError, match="test_moving: there are val and test with dyn"
    ):
        epic_benchmark.mask_source(tmp_path, "test", "moving", "P01_01", *arguments)
    with pytest.raises(UsageError, match="no such folder; expected masks"):
        epic_benchmark.mask_source(tmp_path, "test", "dynamic", "P01_01", *arguments)
    for vid in ("../P01_01", "", "/etc", "a/b", "..", "."):
        with pytest.raises(UsageError, match="is no name of a video"):
            epic_benchmark.mask_source(tmp_path, "test", "dynamic", vid, *arguments)


BAD = {
    "truncated": (dict(train='{"P01_01": ['), "train.json: no JSON"),
    "empty": (dict(test=""), "test.json: no JSON"),
    "a list": (dict(val=[]), "val.json: expected an object by video"),
    "no list": (dict(train={"P01_01": 3}), "train.json: P01_01: expected a list"),
    "a plain list": (dict(test={"P": []}), "P: expected an object by difficulty"),
    "a difficulty": (
        dict(val={"P": {"hard": []}}),
        "P: 'hard': expected one of within",
    ),
    "a number": (dict(train={"P": [7]}), "P: 7 is no file name"),
    "a name outside": (
        dict(train={"P": ["../a.jpg"]}),
        "'../a.jpg' is not a file name",
    ),
    "a video outside": (dict(train={"../P": []}), "'../P' is no name of a video"),
    "no difficulty": (dict(test={"P": {"within_action": None}}), "expected a list"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_lists_are_refused_in_a_line(tmp_path, what):
    changes, expected = BAD[what]
    with pytest.raises(UsageError) as err:
        epic_benchmark.read_benchmark(write(tmp_path, **changes))
    assert expected in str(err.value)
    assert "\n" not in str(err.value)


def test_problems_of_all_lists_are_told_at_once(tmp_path):
    write(tmp_path, train="{", val={"P": 1})
    (tmp_path / "split" / "test.json").unlink()
    with pytest.raises(UsageError) as err:
        epic_benchmark.read_benchmark(tmp_path)
    lines = str(err.value).splitlines()
    found = [line.split("/")[-1].split(":")[0] for line in lines]
    assert found == ["train.json", "val.json", "test.json"]
