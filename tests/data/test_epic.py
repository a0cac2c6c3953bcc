import json

import numpy as np
import pytest

from egojax.data import colmap, epic
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops

CAMERA = {"id": 1, "model": "OPENCV", "width": 456, "height": 256}
CAMERA["params"] = [280, 281, 228, 128, 0.1, 0, 0, 0]
POSE = [0.92338052, 0.10259784, -0.20519567, 0.30779351, 0.5, -0.25, 1]
GOOD = {
    "camera": CAMERA,
    "images": {"frame_2.jpg": POSE, "frame_1.jpg": [1, 0, 0, 0, 0, 0, 0]},
    "points": [[1, 2, 3, 255, 0, 0]],
}


def write(folder, **changes):
    path = folder / "P01_01.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    return path


def test_frames_come_sorted_with_the_official_numbers(tmp_path):
    found = epic.read_poses(write(tmp_path))
    assert found.names == ("frame_1", "frame_2")
    centre = np.linalg.inv(found.w2c[1])[:3, 3]
    np.testing.assert_allclose(
        centre, [-0.6736842105, 0.4394736842, -0.8157894737], atol=1e-7
    )
    normal = camera_ops.normalize_intrinsics(found.intrinsics, found.size_hw)
    expected = [[0.61403507, 0, 0.5], [0, 1.0976562, 0.5], [0, 0, 1]]
    np.testing.assert_allclose(normal, expected, atol=1e-7)
    assert found.points.tolist() == [[1, 2, 3]]


def test_written_poses_come_back(tmp_path):
    image = colmap.ColmapImage(1, tuple(POSE[:4]), tuple(POSE[4:]))
    camera = colmap.ColmapCamera("OPENCV", (256, 456), tuple(CAMERA["params"]))
    points = np.ones((2, 3))
    model = colmap.ColmapModel(
        {1: camera}, {"a.jpg": image}, points, points.astype(np.uint8)
    )
    epic.write_poses(tmp_path / "a.json", model)
    found = epic.read_poses(tmp_path / "a.json")
    np.testing.assert_allclose(found.w2c[0], colmap.pose(image), atol=1e-12)
    assert found.cameras()["a"].lens == "opencv"


def test_the_real_trajectory_is_rigid_and_its_intrinsics_are_mended(real_data):
    found = epic.read_poses(real_data / "epic_P01_01" / "meta.json")
    assert len(found.w2c) == len(found.names) == 4645
    turn = found.w2c[:, :3, :3]
    eye = np.broadcast_to(np.eye(3), turn.shape)
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), eye, atol=1e-6)
    np.testing.assert_allclose(found.intrinsics[:2, 2], [228, 128])
    assert found.names[0] == "frame_0000000401"
    assert "intrinsics" in found.notes[0]


BAD = {
    "no images": {"images": None},
    "no pose": {"images": {}},
    "short pose": {"images": {"a": [1, 0, 0]}},
    "text pose": {"images": {"a": ["x"] * 7}},
    "nan pose": {"images": {"a": [float("nan")] * 7}},
    "no quaternion": {"images": {"a": [0] * 7}},
    "no camera": {"camera": None},
    "unknown lens": {"camera": {**CAMERA, "model": "LENS"}},
    "few parameters": {"camera": {**CAMERA, "params": [1]}},
    "no size": {"camera": {**CAMERA, "width": 0}},
    "bad points": {"points": [[1, 2]]},
    "ragged points": {"points": [[1, 2, 3], [1]]},
    "bad poses": {"poses": []},
    "short poses": {"poses": {"1": [[1]]}},
    "poses of unnamed images": {"poses": {"9": np.eye(4)[:3].tolist()}},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_pose_file_gets_a_line_for_each_problem(tmp_path, what):
    path = write(tmp_path, **BAD[what])
    with pytest.raises(UsageError) as err:
        epic.read_poses(path)
    assert all(line.startswith(f"{path}: ") for line in str(err.value).splitlines())
