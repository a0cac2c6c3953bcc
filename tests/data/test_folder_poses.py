"""Poses of COLMAP and EPIC-FIELDS in a folder of the user's own."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from egojax.data import colmap, epic, folder, images
from egojax.data.folder_poses import find_model, find_poses
from egojax.data.neuraldiff_convert import convert_scene
from egojax.data.views import with_views
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops
from egojax.types import Camera

SIZE = (12, 16)
LENS = colmap.ColmapCamera("OPENCV", SIZE, (10, 11, 8.5, 5.5, 0.1, 0, 0, 0.01))
NAMES = tuple(f"frame_{n:010d}" for n in (401, 409, 417, 425))
ROWS = {
    f"{name}.jpg": colmap.ColmapImage(1, (0.6, 0.0, 0.8, 0.0), (1.0 * t, 2.0, 3.0))
    for t, name in enumerate(NAMES[:3])
}
# Along the optical axes, which look along (0.96, 0, -0.28) in the world.
POINTS = np.array([(0.96 * z, 0, -0.28 * z) for z in range(1, 9)])
MODEL = colmap.ColmapModel({1: LENS}, ROWS, POINTS, np.zeros((8, 3), np.uint8))


def write_frames(path: pathlib.Path, size=SIZE, suffix=".jpg") -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        images.write_image(path / f"{name}{suffix}", np.zeros((*size, 3), np.uint8))


def check(clip, size=SIZE) -> None:
    """Frames, their cameras and the points are those of the model."""
    assert clip.frame_ids == NAMES and clip.size_hw == size
    assert clip.frames is not None and clip.frames[0].shape == (*size, 3)
    assert folder.NO_POSES not in clip.notes
    assert (clip.metric_scale, clip.scale_known) == (1.0, False)
    np.testing.assert_allclose(clip.points, POINTS)
    for t, camera in enumerate(clip.camera):
        if t == 3:
            assert camera is None
            continue
        wanted = camera_ops.camera_from_colmap(
            LENS.model, LENS.params, SIZE, colmap.pose(ROWS[f"{NAMES[t]}.jpg"])
        )
        np.testing.assert_allclose(camera.w2c, wanted.w2c, atol=1e-12)
        np.testing.assert_allclose(camera.distortion, wanted.distortion)
        expected = np.asarray(wanted.intrinsics).copy()
        expected[0] *= size[1] / SIZE[1]
        expected[1] *= size[0] / SIZE[0]
        np.testing.assert_allclose(camera.intrinsics, expected)
        assert (camera.size_hw, camera.lens) == (size, "opencv")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("frames", ["frames", "images", ""])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0", "colmap"])
def test_a_colmap_model_is_read_beside_frames_of_any_place(
    tmp_path, binary, frames, place
):
    write_frames(tmp_path / frames)
    colmap.write_model(tmp_path / place, MODEL, binary)
    check(folder.read_any(tmp_path))


@pytest.mark.parametrize("name", ["cameras.json", "P01_01.json", "poses of mine.json"])
@pytest.mark.parametrize("frames", ["frames", "images", ""])
def test_poses_of_epic_fields_are_read_under_any_name(tmp_path, name, frames):
    write_frames(tmp_path / frames)
    epic.write_poses(tmp_path / name, MODEL)
    (tmp_path / "about.json").write_text('{"images": [], "camera": 3}')
    clip = folder.read_any(tmp_path)
    check(clip)
    assert any(f"{name}: nothing for 1 frames ({NAMES[3]})" in n for n in clip.notes)


def test_the_points_of_epic_fields_tell_near_and_far(tmp_path):
    """By hand: the points' depths along the axis are 1..8 and 3 behind the camera's."""
    write_frames(tmp_path / "frames")
    epic.write_poses(tmp_path / "P01_01.json", MODEL)
    clip = with_views(folder.read_any(tmp_path), every=0, near_floor=0.0)
    w2c = colmap.pose(ROWS[f"{NAMES[0]}.jpg"])
    depths = (POINTS @ w2c[2, :3]) + w2c[2, 3]
    depths = depths[depths > 0]
    expected = np.quantile(depths, [0.001, 0.999])
    np.testing.assert_allclose(clip.views[0][:2], expected, rtol=1e-6)
    assert clip.views[3] is None


def test_frames_of_another_scale_than_the_cameras_get_scaled_intrinsics(tmp_path):
    """EPIC-FIELDS has cameras of 456 x 256 pixels for videos of 1920 x 1080."""
    write_frames(tmp_path, (36, 48))
    epic.write_poses(tmp_path / "P01_01.json", MODEL)
    clip = folder.read_any(tmp_path)
    check(clip, (36, 48))
    told = "cameras for images of 16 x 12; the frames are 48 x 36, and intrinsics are"
    assert any(told in note for note in clip.notes)


def test_frames_of_another_shape_than_the_cameras_are_refused(tmp_path):
    write_frames(tmp_path, (36, 36))
    epic.write_poses(tmp_path / "P01_01.json", MODEL)
    with pytest.raises(UsageError, match="of 16 x 12; the frames are 36 x 36") as err:
        folder.read_any(tmp_path)
    assert "\n" not in str(err.value)


def test_a_converted_scene_reads_as_a_folder(tmp_path):
    write_frames(tmp_path / "images")
    pinhole = colmap.ColmapCamera("PINHOLE", SIZE, (10.0, 11.0, 8.5, 5.5))
    model = dataclasses.replace(MODEL, cameras={1: pinhole})
    colmap.write_model(tmp_path / "sparse", model)
    scene = (tmp_path / "sparse", tmp_path / "images", tmp_path / "out")
    convert_scene(*scene, scale=2, split_nth=0)
    clip = folder.read_any(tmp_path / "out")
    assert clip.size_hw == (6, 8)
    np.testing.assert_allclose(clip.points, POINTS)
    for camera, image in zip(clip.camera, ROWS.values(), strict=True):
        np.testing.assert_allclose(camera.w2c, colmap.pose(image), atol=1e-9)
        np.testing.assert_allclose(camera.intrinsics[0], [5, 0, 4.25])


def test_a_picture_beside_frames_is_not_the_clip(tmp_path):
    write_frames(tmp_path / "frames")
    images.write_image(tmp_path / "cover.jpg", np.zeros((8, 8, 3), np.uint8))
    assert folder.read_any(tmp_path).frame_ids == NAMES


def test_the_first_of_several_kinds_of_poses_counts(tmp_path):
    other = {
        n: dataclasses.replace(i, translation=(9.0, 9, 9)) for n, i in ROWS.items()
    }
    epic.write_poses(tmp_path / "P01_01.json", dataclasses.replace(MODEL, images=other))
    found, _ = find_poses(tmp_path)
    assert found is not None and found.path.name == "P01_01.json"
    colmap.write_model(tmp_path / "sparse" / "0", MODEL)
    found, _ = find_poses(tmp_path)
    assert found is not None and found.path == find_model(tmp_path)
    epic.write_poses(tmp_path / "cameras.json", MODEL)
    found, _ = find_poses(tmp_path)
    assert found is not None and found.path.name == "cameras.json"
    assert isinstance(found.cameras[NAMES[0]], Camera)


def test_a_folder_without_poses_has_none(tmp_path):
    (tmp_path / "coco.json").write_text('{"images": [{"id": 1}], "camera": {}}')
    assert find_poses(tmp_path) == (None, ())
    assert find_model(tmp_path) is None


def test_a_json_that_cannot_be_read_is_told_and_left_aside(tmp_path):
    write_frames(tmp_path)
    (tmp_path / "a.json").write_text('{"images": {')
    clip = folder.read_any(tmp_path)
    assert clip.camera is None and folder.NO_POSES in clip.notes
    assert any("a.json: no JSON" in n and "left aside" in n for n in clip.notes)
    epic.write_poses(tmp_path / "P01_01.json", MODEL)
    clip = folder.read_any(tmp_path)
    check(clip)
    assert any("a.json: no JSON" in note for note in clip.notes)


def test_two_files_with_poses_are_one_too_many(tmp_path):
    epic.write_poses(tmp_path / "P01_01.json", MODEL)
    epic.write_poses(tmp_path / "P01_02.json", MODEL)
    with pytest.raises(UsageError, match=r"poses \(P01_01.json, P01_02.json\); keep"):
        find_poses(tmp_path)


BAD = {
    "camera": (dict(camera={"model": "MAGIC"}), "camera: expected model, width"),
    "pose": (dict(images={"frame_1.jpg": [1, 0, 0]}), "frame_1.jpg: expected 7 finite"),
    "nan": (dict(images={"f_1.jpg": [1, 0, 0, 0, 0, 0, float("nan")]}), "f_1.jpg: exp"),
    "points": (dict(points=[[0, 0]]), "points: expected rows of x, y, z, r, g, b"),
    "other frames": (dict(images={"zz.jpg": [1] + [0] * 6}), "no name here is a frame"),
}


@pytest.mark.parametrize("name", ["cameras.json", "P01_01.json"])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_of_epic_fields_is_one_line_with_its_name(tmp_path, what, name):
    changes, expected = BAD[what]
    write_frames(tmp_path)
    epic.write_poses(tmp_path / name, MODEL)
    data = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps({**data, **changes}))
    with pytest.raises(UsageError, match=expected) as err:
        folder.read_any(tmp_path)
    assert name in str(err.value) and "\n" not in str(err.value)


def test_real_poses_serve_a_folder_of_frames_of_that_video(real_data, tmp_path):
    """The published P01_01 poses beside two frames: intrinsics as its camera says."""
    file = epic.read_poses(real_data / "epic_P01_01" / "meta.json")
    (tmp_path / "frames").mkdir()
    for name in file.names[:2]:
        black = np.zeros((*file.size_hw, 3), np.uint8)
        images.write_image(tmp_path / "frames" / f"{name}.jpg", black)
    source = (real_data / "epic_P01_01" / "meta.json").read_bytes()
    (tmp_path / "meta.json").write_bytes(source)
    clip = folder.read_any(tmp_path)
    np.testing.assert_allclose(clip.camera[1].w2c, file.w2c[1])
    assert np.asarray(clip.camera[0].intrinsics)[0, 2] == 228
    assert any("a defect of the converter" in note for note in clip.notes)
