"""HOT3D: a real excerpt, a small recording that the test writes, and broken ones."""

import json
import pathlib

import numpy as np
import pytest

from egojax.data import hot3d
from egojax.errors import UsageError

BOX_HEADER = (
    "stream_id,object_uid,timestamp[ns],x_min[pixel],x_max[pixel],y_min[pixel],"
    "y_max[pixel],visibility_ratio[%]\n"
)
POSE_HEADER = (
    "object_uid,timestamp[ns],t_wo_x[m],t_wo_y[m],t_wo_z[m],"
    "q_wo_w,q_wo_x,q_wo_y,q_wo_z\n"
)
FILES = {
    "metadata.json": json.dumps({"headset": "Aria", "recording_name": "R1"}),
    "instance.json": json.dumps(
        {"12": {"instance_name": "mug"}, "7": {"instance_name": "bowl"}}
    ),
    "box2d_objects.csv": BOX_HEADER
    + "214-1,12,1000,10.0,19.0,5.0,6.0,0.5\n"
    + "214-1,7,2000,,,,,0.0\n"
    + "1201-1,7,1500,1.0,2.0,1.0,2.0,1.0\n",
    "dynamic_objects.csv": POSE_HEADER
    + "12,1000,1.0,2.0,3.0,1,0,0,0\n"
    + "7,1000,0,0,1,0,0,0,1\n",
    "headset_trajectory.csv": POSE_HEADER + "5,1000,0,0,2,1,0,0,0\n",
    "masks/mask_good_exposure.csv": "timestamp[ns],stream_id,mask\n"
    "1000,214-1,True\n3000,214-1,False\n1500,1201-1,True\n",
}


def write(folder: pathlib.Path, **changes: str | None) -> pathlib.Path:
    """A recording of two objects, with some files changed or (None) left out."""
    for name, text in {**FILES, **changes}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text)
    return folder


def test_a_written_recording_reads_as_it_was_meant(tmp_path):
    clip = hot3d.read_clip(write(tmp_path))
    assert clip.name == "R1_214-1" and clip.frame_ids == ("1000", "2000", "3000")
    assert clip.category_names == ("bowl", "mug") and clip.size_hw == (1408, 1408)
    boxes = clip.boxes[0]
    assert boxes.ids.tolist() == [12]
    assert boxes.xyxy.tolist() == [[10, 5, 20, 7]], "the last pixel is inside the box"
    assert np.isnan(clip.boxes[1].xyxy).all() and clip.boxes[1].visibility == [0]
    assert len(clip.boxes[2].ids) == 0
    objects = clip.truth.objects[0]
    assert objects.ids.tolist() == [12, 7] and objects.category.tolist() == [1, 0]
    assert objects.centers.tolist() == [[1, 2, 3], [0, 0, 1]]
    turned = np.diag([-1, -1, 1])
    np.testing.assert_allclose(objects.o2w[1][:3, :3], turned, atol=1e-12)
    assert clip.truth.objects[1] is None
    assert clip.streams["device_pose"][0][2, 3] == 2
    assert clip.streams["device_pose"][1] is None
    assert list(clip.streams["mask_good_exposure"]) == [True, None, False]
    assert clip.camera is None and clip.frames is None and clip.notes


def test_the_real_excerpt(real_data):
    """34 stamps a stream, 6 objects with poses and boxes at every stamp."""
    folder = real_data / "hot3d_P0003"
    assert hot3d.is_recording(folder)
    for stream, size in (("214-1", (1408, 1408)), ("1201-1", (480, 640))):
        clip = hot3d.read_clip(folder, stream)
        assert clip.num_frames == 34 and clip.size_hw == size
        assert clip.fps == pytest.approx(30, abs=0.1)
        assert set(clip.category_names) == {
            "coffee_pot",
            "mouse",
            "mug_white",
            "puzzle_toy",
            "keyboard",
            "cellphone",
        }
        for boxes, objects in zip(clip.boxes, clip.truth.objects, strict=True):
            assert sorted(boxes.ids) == sorted(objects.ids) and len(boxes.ids) == 6
            seen = boxes.visibility > 0
            assert (boxes.xyxy[seen, 2:] > boxes.xyxy[seen, :2]).all()
            assert np.isfinite(boxes.xyxy[seen]).all()
            # A table top: everything within arm's length of everything.
            spread = np.ptp(objects.centers, axis=0)
            assert (spread < 1).all() and np.isfinite(objects.centers).all()
        assert all(pose is not None for pose in clip.streams["device_pose"])
        assert len([name for name in clip.streams if name.startswith("mask_")]) == 6
    assert hot3d.read_clip(folder).name == "P0003_c701bd11_214-1"


BAD = {
    "no boxes file": ({"box2d_objects.csv": None}, "box2d_objects.csv: no such file"),
    "empty boxes": ({"box2d_objects.csv": ""}, "no column stream_id"),
    "no rows": ({"box2d_objects.csv": BOX_HEADER}, "has no boxes"),
    "column gone": (
        {"box2d_objects.csv": "stream_id,object_uid\n214-1,12\n"},
        r"no column timestamp\[ns\]",
    ),
    "short row": (
        {"box2d_objects.csv": BOX_HEADER + "214-1,12,1000\n"},
        "box2d_objects.csv:2: 3 cells; the header has 8",
    ),
    "two bad cells": (
        {
            "dynamic_objects.csv": POSE_HEADER
            + "12,1000,nan,2.0,3.0,1,0,0,0\n"
            + "x,1000,0,0,0,1,0,0,0\n"
        },
        r"csv:3: object_uid 'x'(.|\n)*csv:2: t_wo_x\[m\] 'nan'",
    ),
    "uid too long": (
        {"dynamic_objects.csv": POSE_HEADER + "9" * 30 + ",1000,0,0,0,1,0,0,0\n"},
        "csv:2: object_uid",
    ),
    "no rotation": (
        {"dynamic_objects.csv": POSE_HEADER + "12,1000,0,0,0,0,0,0,0\n"},
        "quaternion of length 0",
    ),
    "unknown object": (
        {"dynamic_objects.csv": POSE_HEADER + "99,1000,0,0,0,1,0,0,0\n"},
        "instance.json does not name: 99",
    ),
    "binary": ({"dynamic_objects.csv": "\x00\udcff"}, "dynamic_objects.csv"),
    "not json": ({"instance.json": "{"}, "instance.json"),
    "list": ({"instance.json": "[]"}, "instance.json: expected an object"),
    "name gone": (
        {"instance.json": '{"12": {}, "a": {"instance_name": "x"}}'},
        "instance.json: 12(.|\n)*instance.json: a:",
    ),
    "headset": (
        {"metadata.json": '{"headset": "Quest9", "recording_name": "R"}'},
        "stream 214-1 of a Quest9 headset",
    ),
    "meta": ({"metadata.json": "{}"}, "no text for headset, recording_name"),
    "mask": (
        {"masks/mask_x.csv": "timestamp[ns],stream_id,mask\n1,214-1,yes\n"},
        "mask is 'yes'; expected True or False",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_recording_names_its_file(tmp_path, kind):
    changes, expected = BAD[kind]
    for name, text in changes.items():
        if text is not None and "\udcff" in text:
            write(tmp_path)
            (tmp_path / name).write_bytes(b"\xff\xfe\x00object_uid\n\x00\xff")
            changes = {}
    if changes:
        write(tmp_path, **changes)
    with pytest.raises(UsageError, match=expected) as told:
        hot3d.read_clip(tmp_path)
    assert all(
        str(tmp_path) in line or "stream" in line
        for line in str(told.value).splitlines()
    )


def test_a_stream_that_is_not_there_lists_those_that_are(tmp_path):
    with pytest.raises(UsageError, match="no stream 3-1; there are 1201-1, 214-1"):
        hot3d.read_clip(write(tmp_path), "3-1")
