"""The benchmark of EPIC Fields for a clip: names matched, splits, masks, misuse."""

import json

import numpy as np
import pytest
from PIL import Image

from egojax.errors import FrameError, UsageError
from egojax.tasks import epic_benchmark
from egojax.types import Clip, Source, View

SIZE = (4, 6)
NAMES = [f"frame_{n:010d}" for n in range(1, 9)]
LISTS = {
    "train": {"P01_01": [f"{n}.jpg" for n in NAMES[:4]]},
    "val": {"P01_01": {"within_action": [f"{NAMES[4]}.jpg"]}},
    "test": {
        "P01_01": {
            "within_action": [f"{NAMES[5]}.jpg"],
            "outside_action": [f"{NAMES[6]}.jpg"],
            "outside_action_easy": [f"{NAMES[6]}.jpg", "frame_0000000099.jpg"],
        }
    },
}
MOTIONS = ("dynamic", "semistatic", "dynamic_semistatic")


def write(root, masks=MOTIONS, **changes):
    (root / "split").mkdir(parents=True)
    for name, data in {**LISTS, **changes}.items():
        (root / "split" / f"{name}.json").write_text(json.dumps(data))
    for value, motion in enumerate(masks, 1):
        folder = root / "annotations" / f"test_{motion}" / "P01_01"
        folder.mkdir(parents=True)
        picture = Image.fromarray(np.full(SIZE, value, np.uint8))
        picture.save(folder / f"{NAMES[5]}.png")
    return root


def make_clip(names=tuple(NAMES), name="P01_01", size=SIZE) -> Clip:
    views = [View(0.1, 5.0, t, "train") for t in range(len(names))]
    return Clip(name, tuple(names), size, views=Source.of(views))


def test_frames_of_a_clip_get_their_split_their_lists_and_their_masks(tmp_path):
    found = epic_benchmark.read(write(tmp_path), make_clip())
    assert found.split["train"] == tuple(NAMES[:4])
    assert found.split["test"] == (NAMES[5], NAMES[6])
    frame = found.frame(5, NAMES[5])
    assert frame.lists == ("within_action",)
    assert {k: int(m[0, 0]) for k, m in frame.masks.items()} == {
        "dynamic": 1,
        "semistatic": 2,
        "dynamic_semistatic": 3,
    }
    outside = found.frame(6, NAMES[6])
    assert outside.lists == ("outside_action", "outside_action_easy")
    assert outside.masks == {}
    assert found.frame(0, NAMES[0]) is None and found.frame(4, NAMES[4]) is None
    assert found.notes == (
        "the benchmark lists 3 frames for test, and 1 of them are not in the clip",
    )


def test_frames_of_other_names_are_matched_by_number(tmp_path):
    clip = make_clip([f"IMG_{n}" for n in range(1, 9)])
    found = epic_benchmark.read(write(tmp_path), clip)
    assert found.split["val"] == ("IMG_5",)
    assert int(found.frame(5, "IMG_6").masks["semistatic"][0, 0]) == 2


def test_views_that_exist_keep_their_bounds_and_are_split_anew(tmp_path):
    clip = make_clip()
    found = epic_benchmark.read(write(tmp_path), clip)
    views = list(epic_benchmark.with_split(clip, found.split).views)
    parts = [None if view is None else view.split for view in views]
    assert parts == [*["train"] * 4, "val", "test", "test", None]
    assert views[6].slot == 6 and views[6].far == 5.0
    with pytest.raises(UsageError, match="P01_01: the benchmark names no frame to tra"):
        epic_benchmark.with_split(clip, {"train": (), "test": (NAMES[0],)})


def test_masks_of_another_size_cost_their_frame(tmp_path):
    found = epic_benchmark.read(write(tmp_path), make_clip(size=(8, 12)))
    with pytest.raises(FrameError, match="6 x 4 pixels; the clip has 12 x 8"):
        found.frame(5, NAMES[5])


BAD = {
    "another video": (dict(), dict(name="P9_9"), "P9_9: not in the benchmark; there"),
    "other frames": (dict(), dict(names=["a_70", "a_71"]), "no name here is a frame"),
    "no masks": (dict(masks=MOTIONS[:2]), dict(), "test_dynamic_semistatic/P01_01: no"),
    "two splits": (
        dict(val={"P01_01": {"within_action": [f"{NAMES[0]}.jpg"]}}),
        dict(),
        f"P01_01: {NAMES[0]} is in train and val, expected in one",
    ),
    "no frames": (
        dict(train={"P01_01": []}, val={}, test={}),
        dict(),
        "P01_01: no frames are listed",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_benchmark_that_does_not_fit_is_one_line(tmp_path, what):
    files, clip, told = BAD[what]
    with pytest.raises(UsageError) as err:
        epic_benchmark.read(write(tmp_path, **files), make_clip(**clip))
    assert told in str(err.value) and "\n" not in str(err.value)


def test_a_folder_that_is_not_there_is_a_line_for_each_list(tmp_path):
    with pytest.raises(UsageError) as err:
        epic_benchmark.read(tmp_path / "nowhere", make_clip())
    assert len(str(err.value).splitlines()) == 3
