"""`cameras.json`; broken ones are in test_folder.py."""

import json

import numpy as np
import pytest

from egojax.data import poses
from egojax.errors import UsageError

K = [[10, 0, 8], [0, 12, 6], [0, 0, 1]]


def write(tmp_path, **fields):
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps({"size_hw": [12, 16], **fields}))
    return path


def test_both_directions_of_a_pose_give_the_same_camera(tmp_path):
    turn = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])
    frames = {"a": {"w2c": turn.tolist()}, "b": {"c2w": np.linalg.inv(turn).tolist()}}
    found = poses.read_cameras(write(tmp_path, intrinsics=K, frames=frames))
    for name in "ab":
        np.testing.assert_allclose(found.cameras[name].w2c, turn, atol=1e-12)
        assert found.cameras[name].intrinsics.tolist() == K
        assert found.cameras[name].distortion is None
    assert found.metric_scale == 1


def test_a_frame_may_bring_its_own_intrinsics_and_the_lens_is_shared(tmp_path):
    own = [[20, 0, 8], [0, 20, 6], [0, 0, 1]]
    eye = np.eye(4).tolist()
    frames = {"a": {"w2c": eye}, "b": {"w2c": eye, "intrinsics": own}}
    lens = dict(lens="opencv", distortion=[0.1, 0.2, 0, 0], metric_scale=2)
    found = poses.read_cameras(write(tmp_path, intrinsics=K, frames=frames, **lens))
    assert found.cameras["b"].intrinsics.tolist() == own
    assert found.cameras["a"].intrinsics.tolist() == K
    assert {camera.lens for camera in found.cameras.values()} == {"opencv"}
    assert found.cameras["a"].distortion.tolist() == [0.1, 0.2] + [0] * 6
    assert found.metric_scale == 2


def test_many_problems_come_together_and_are_cut_short(tmp_path):
    frames = {f"f{n}": {"w2c": [[0]]} for n in range(30)}
    with pytest.raises(UsageError) as told:
        poses.read_cameras(write(tmp_path, intrinsics=K, frames=frames))
    lines = str(told.value).splitlines()
    assert len(lines) == 21 and lines[-1].endswith("and 10 more problems")
