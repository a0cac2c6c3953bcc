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
    normal = camera_ops.scale_intrinsics(found.intrinsics, found.size_hw, (1, 1))
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
    assert found.fps == 60
    (note,) = found.notes
    assert "centre (124.639, 114) and image size 249.277" in note
    assert "centre (228, 128) and 456 x 256 pixels" in note


def scene(**changes):
    """A scene as NeuralDiff has it, stored at half the size of its camera."""
    c2w = {"7": np.eye(4)[:3].tolist(), "30": np.eye(4)[:3].tolist()}
    k = [[140, 0, 114], [0, 140.5, 64], [0, 0, 1]]
    names = {"30": "IMG_0000000030.bmp", "7": "IMG_0000000007.bmp"}
    return {"images": names, "poses": c2w, "intrinsics": k, **changes}


def test_poses_of_opengl_axes_become_opencv(tmp_path):
    turned = [[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7]]
    poses = {**scene()["poses"], "30": turned}
    found = epic.read_poses(write(tmp_path, **scene(poses=poses)))
    assert found.names == ("IMG_0000000007", "IMG_0000000030")
    assert found.notes == ()  # Its intrinsics are those of its camera, at half size.
    np.testing.assert_array_equal(found.w2c[0], np.diag([1, -1, -1, 1]))
    # What lies 1 unit before an OpenGL camera is at z = -1 there.
    np.testing.assert_allclose(found.w2c[1] @ [5, 6, 6, 1], [0, 0, 1, 1])


def test_intrinsics_with_values_of_wrong_fields_are_told(tmp_path):
    wrong = [[140, 0, 140.5], [0, 140, 114], [0, 0, 1]]
    (note,) = epic.read_poses(write(tmp_path, **scene(intrinsics=wrong))).notes
    assert "centre (140.5, 114)" in note
    (note,) = epic.read_poses(write(tmp_path, **scene(intrinsics="?"))).notes
    assert "no readable intrinsics" in note


@pytest.mark.parametrize(
    ("path", "fps"),
    [
        ("dense/P01_104.json", 50),
        ("P12_07.json", 60),
        ("P01_01/meta.json", 60),
        ("mine/meta.json", None),
    ],
)
def test_the_rate_follows_from_the_name_of_the_video(path, fps):
    assert epic.video_fps(path) == fps


def test_images_keep_the_names_and_keys_of_their_file(tmp_path):
    found = epic.read_poses(write(tmp_path))
    assert found.files == found.keys == ("frame_1.jpg", "frame_2.jpg")
    found = epic.read_poses(write(tmp_path, **scene()))
    assert found.keys == ("7", "30")
    assert found.files == ("IMG_0000000007.bmp", "IMG_0000000030.bmp")


def test_a_width_and_a_height_that_are_cut_to_pixels_are_no_defect(tmp_path):
    """456 x 256 at a third is 152 x 85.3: stored as 152 x 85."""
    k = np.array([[280, 0, 228], [0, 281, 128], [0, 0, 1]])
    cut = (k * [[152 / 456], [85 / 256], [1]]).tolist()
    assert epic.read_poses(write(tmp_path, **scene(intrinsics=cut))).notes == ()
    squeezed = (k * [[0.5], [0.4], [1]]).tolist()
    assert epic.read_poses(write(tmp_path, **scene(intrinsics=squeezed))).notes
    for value in (0.0, float("inf"), float("nan")):
        bad = np.full((3, 3), value).tolist()
        assert epic.read_poses(write(tmp_path, **scene(intrinsics=bad))).notes


def test_frames_come_at_the_rate_of_their_steps():
    names = ["frame_401", "frame_409", "frame_417", "frame_1000"]
    assert epic.frame_rate("P01_01", names) == 7.5
    assert epic.frame_rate("P01_01", names[:1]) == 60
    assert epic.frame_rate("P01_101", ["a", "b"]) == 50
    assert epic.frame_rate("mine", names) is None


def test_a_model_of_two_cameras_is_no_pose_file(tmp_path):
    camera = colmap.ColmapCamera("PINHOLE", (2, 2), (1.0, 1.0, 1.0, 1.0))
    none = np.zeros((0, 3))
    model = colmap.ColmapModel({1: camera, 2: camera}, {}, none, none)
    with pytest.raises(UsageError, match="2 cameras; EPIC-FIELDS holds one"):
        epic.write_poses(tmp_path / "a.json", model)


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
    "no rotation": scene(poses={"7": np.zeros((3, 4)).tolist()}),
    "a mirror": scene(poses={"7": np.diag([1, 1, -1, 1])[:3].tolist()}),
    "an unnamed image": scene(images={"7": 5, "30": "a.bmp"}),
    "no pose of a scene": scene(poses={}),
    "huge size": {"camera": {**CAMERA, "width": 1 << 40}},
    "endless size": {"camera": {**CAMERA, "width": float("inf")}},
    "a name outside": {"images": {"../a.jpg": POSE}},
    "two images of a name": {"images": {"a.jpg": POSE, "b/a.png": POSE}},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_pose_file_gets_a_line_for_each_problem(tmp_path, what):
    path = write(tmp_path, **BAD[what])
    with pytest.raises(UsageError) as err:
        epic.read_poses(path)
    assert str(err.value).startswith(f"{path}: ")
    assert "\n" not in str(err.value)


def test_all_problems_of_a_pose_file_are_told_at_once(tmp_path):
    path = write(tmp_path, images={"a.jpg": [0] * 7, "b.jpg": [1]})
    with pytest.raises(UsageError) as err:
        epic.read_poses(path)
    assert sorted(str(err.value).splitlines()) == [
        f"{path}: b.jpg: expected 7 finite numbers",
        f"{path}: images.a.jpg: not a unit quaternion",
    ]
