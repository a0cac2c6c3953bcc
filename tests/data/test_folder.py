"""A folder of the user's own, what else a path may hold, and broken folders."""

import json
import pathlib

import cv2
import numpy as np
import pytest
import trimesh

from egojax.data import colmap, folder, images, video
from egojax.errors import FrameError, UsageError

SIZE = (12, 16)
NAMES = ("frame_0001", "frame_0002", "frame_0003")
TRIANGLE = trimesh.Trimesh(
    [[0, 0, 1], [1, 0, 1], [0, 1, 1]], [[0, 1, 2]], process=False
)


def labels(t: int) -> np.ndarray:
    out = np.zeros(SIZE, np.int32)
    out[2:6, 2 + t : 6 + t] = 5
    out[8:10, 3:9] = 300
    return out


def pose(t: float) -> list[list[float]]:
    out = np.eye(4)
    out[0, 3] = t
    return out.tolist()


def cameras(**changes) -> dict:
    """A `cameras.json` for two of the three frames, some entries changed."""
    out = {
        "size_hw": list(SIZE),
        "intrinsics": [[10, 0, 8], [0, 10, 6], [0, 0, 1]],
        "metric_scale": 0.5,
        "frames": {NAMES[0]: {"w2c": pose(1.0)}, NAMES[2]: {"c2w": pose(3.0)}},
    }
    return {key: value for key, value in {**out, **changes}.items() if value != "gone"}


def write_folder(path: pathlib.Path) -> pathlib.Path:
    """A folder with everything in it, for three frames."""
    for sub in ("frames", "labels", "depth", "features", "truth/labels"):
        (path / sub).mkdir(parents=True)
    for t, name in enumerate(NAMES):
        images.write_image(
            path / "frames" / f"{name}.jpg", np.full((*SIZE, 3), 9 * t, np.uint8)
        )
        images.write_labels(path / "labels" / f"{name}.png", labels(t))
        np.save(path / "truth/labels" / f"{name}.npy", labels(t))
        millimetres = np.full(SIZE, 1500 + 1000 * t, np.uint16)
        cv2.imwrite(str(path / "depth" / f"{name}.png"), millimetres)
        rows = dict(ids=np.array([5, 300]), values=np.full((2, 4), t, np.float32))
        np.savez(path / "features" / f"{name}.npz", **rows)
    write_json(path / "cameras.json", cameras())
    listed = {"segments": {"5": {"category": "mug", "score": 0.5}}}
    listed["frames"] = {NAMES[1]: [{"id": 5, "category": "cup"}]}
    write_json(path / "segments.json", listed)
    TRIANGLE.export(path / "mesh.ply")
    trimesh.PointCloud([[0, 0, 1], [0, 0, 2]]).export(path / "points.ply")
    return path


def write_json(path: pathlib.Path, data) -> None:
    path.write_text(json.dumps(data))


def test_a_whole_folder_reads_as_it_was_written(tmp_path):
    clip = folder.read_folder(write_folder(tmp_path), name="mine")
    assert clip.name == "mine" and clip.frame_ids == NAMES and clip.size_hw == SIZE
    assert set(clip.sources) == {
        "frames",
        "camera",
        "labels",
        "segments",
        "features",
        "depth",
    }
    assert clip.category_names == ("cup", "mug") and clip.metric_scale == 0.5
    for t in range(3):
        np.testing.assert_array_equal(clip.labels[t], labels(t))
        np.testing.assert_array_equal(clip.truth.labels[t], labels(t))
        np.testing.assert_allclose(clip.depth[t], 1.5 + t)
        assert clip.features[t].values.shape == (2, 4)
        assert clip.segments[t].ids.tolist() == [5, 300]
    assert [s.category.tolist() for s in clip.segments] == [[1, -1], [0, -1], [1, -1]]
    assert [s.score.tolist() for s in clip.segments] == [[0.5, 1], [1, 1], [0.5, 1]]
    assert clip.camera[1] is None
    assert clip.camera[0].w2c[0, 3] == 1 and clip.camera[2].w2c[0, 3] == -3
    assert clip.camera[0].size_hw == SIZE and clip.camera[0].lens == "pinhole"
    assert clip.mesh.faces.tolist() == [[0, 1, 2]]
    assert clip.points.tolist() == [[0, 0, 1], [0, 0, 2]]
    assert any("nothing for 1 frames (frame_0002)" in note for note in clip.notes)
    assert clip.truth.camera is not None and not clip.truth.notes


def write_movie(path, num_frames):
    with video.VideoWriter(path) as movie:
        for _ in range(num_frames):
            movie.write(np.zeros((12, 16, 3), np.uint8))


def test_layers_match_frames_by_number_where_names_differ(tmp_path):
    """A video names its frames 000000, ..., whatever the labels are called."""
    write_movie(tmp_path / "my film.mp4", 4)
    (tmp_path / "labels").mkdir()
    for t in (0, 2, 3, 9):
        images.write_labels(tmp_path / "labels" / f"mask_{t}.png", labels(t % 4))
    clip = folder.read_folder(tmp_path)
    assert clip.frame_ids == ("000000", "000001", "000002", "000003")
    assert clip.labels[1] is None
    np.testing.assert_array_equal(clip.labels[3], labels(3))
    assert any("nothing for 1 frames (000001)" in note for note in clip.notes)
    assert any("1 entries are no frames (mask_9)" in note for note in clip.notes)
    assert folder.NO_POSES in clip.notes


def test_labels_alone_make_a_clip(tmp_path):
    (tmp_path / "labels").mkdir()
    np.save(tmp_path / "labels" / "a.npy", labels(0))
    clip = folder.read_any(tmp_path)
    assert clip.frames is None and clip.frame_ids == ("a",) and clip.size_hw == SIZE


def test_one_bad_frame_does_not_keep_the_folder_from_opening(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "frames" / f"{NAMES[0]}.jpg").write_bytes(b"")
    (tmp_path / "labels" / f"{NAMES[1]}.png").write_bytes(b"\x89PNG")
    clip = folder.read_folder(tmp_path)
    for source, t in ((clip.frames, 0), (clip.labels, 1), (clip.segments, 1)):
        with pytest.raises(FrameError, match=NAMES[t]):
            source[t]
    assert clip.frames[1].shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("name", "num_frames", "size_hw", "ids"),
    [
        ("davis_bmx-trees", 80, (240, 432), [255]),
        ("pumavos_chair", 60, (480, 720), [1]),
        ("segtrack_bmx", 36, (360, 640), [255]),
        ("epic_P28_101/images", 8, (256, 456), None),
        ("air_hockey_1", 15, (1080, 1440), None),
        ("cups.mp4", 300, (720, 1280), None),
        ("davis_scribbles/JPEGImages/480p/bear", None, None, None),
    ],
)
def test_real_paths_open_as_what_they_are(real_data, name, num_frames, size_hw, ids):
    clip = folder.read_any(real_data / name)
    assert clip.frames[0].shape == (*clip.size_hw, 3)
    if num_frames:
        assert clip.num_frames == num_frames and clip.size_hw == size_hw
    if ids:
        found = np.unique(clip.labels[clip.num_frames // 2])
        assert found.tolist() == [0, *ids]
        np.testing.assert_array_equal(clip.truth.labels[0], clip.labels[0])


def test_a_sequence_of_a_data_set_finds_its_annotations(tmp_path):
    for part in ("JPEGImages/480p/bear", "Annotations/480p/bear"):
        (tmp_path / part).mkdir(parents=True)
    images.write_image(
        tmp_path / "JPEGImages/480p/bear/00000.jpg", np.zeros((*SIZE, 3), np.uint8)
    )
    images.write_labels(tmp_path / "Annotations/480p/bear/00000.png", labels(0))
    clip = folder.read_any(tmp_path / "JPEGImages/480p/bear")
    assert clip.name == "bear"
    np.testing.assert_array_equal(clip.labels[0], labels(0))


# ---------------------------------------------------------------------- broken folders


def truncated_ply(path: pathlib.Path) -> None:
    TRIANGLE.export(path)
    path.write_bytes(path.read_bytes()[:-8])


def stray_ply(path: pathlib.Path) -> None:
    trimesh.Trimesh([[0, 0, 1]] * 3, [[0, 1, 7]], process=False).export(path)


def nan_ply(path: pathlib.Path) -> None:
    trimesh.Trimesh([[0, 0, np.nan]] * 3, [[0, 1, 2]], process=False).export(path)


def remove(path: pathlib.Path, sub: str) -> None:
    for entry in (path / sub).iterdir():
        entry.unlink()


def other_names(path: pathlib.Path) -> None:
    for entry in (path / "labels").iterdir():
        entry.rename(entry.with_name(f"{entry.stem}x.png".replace("_000", "_9")))


FRAME = NAMES[0]
BAD = {
    "no frames": (lambda p: remove(p, "frames"), "frames: no frames here"),
    "no labels": (lambda p: remove(p, "labels"), "labels: no frames here"),
    "strange names": (other_names, "labels: no name here is a frame"),
    "segments without labels": (
        lambda p: (remove(p, "labels"), (p / "labels").rmdir()),
        r"segments.json: describes label maps, but there is no labels/",
    ),
    "segments not json": (
        lambda p: (p / "segments.json").write_text("{'a': 1}"),
        "segments.json",
    ),
    "segments without members": (
        lambda p: write_json(p / "segments.json", {}),
        'expected an object with "segments" or "frames"',
    ),
    "segments with bad rows": (
        lambda p: write_json(
            p / "segments.json",
            {
                "segments": {
                    "0": {"category": "a"},
                    "3": {"category": 1},
                    "4": {"category": "a", "score": 2},
                    "99999999999": {"category": "a"},
                },
                "frames": {FRAME: [{"id": 4}], "b": 3},
            },
        ),
        r"segments\.0: .*\n.*segments\.3: .*\n.*segments\.4: .*\n.*segments\.9{11}: "
        r".*\n.*frames\.frame_0001\.4: .*\n.*frames\.b: ",
    ),
    "an id twice": (
        lambda p: write_json(
            p / "segments.json", {"frames": {FRAME: [{"id": 4, "category": "a"}] * 2}}
        ),
        "an id is listed twice",
    ),
    "unknown category": (
        lambda p: write_json(
            p / "segments.json",
            {"categories": ["b"], "segments": {"4": {"category": "a"}}},
        ),
        "not in categories: a",
    ),
    "cut mesh": (lambda p: truncated_ply(p / "mesh.ply"), "mesh.ply"),
    "mesh of text": (lambda p: (p / "mesh.ply").write_text("ply"), "mesh.ply"),
    "mesh without triangles": (
        lambda p: trimesh.PointCloud([[0, 0, 1.0]]).export(p / "mesh.ply"),
        "mesh.ply: a mesh without triangles",
    ),
    "mesh with a stray index": (
        lambda p: stray_ply(p / "mesh.ply"),
        "mesh.ply",
    ),
    "mesh not finite": (lambda p: nan_ply(p / "mesh.ply"), "mesh.ply: .*not finite"),
    "points that are not there": (
        lambda p: (p / "points.ply").write_bytes(
            b"ply\nformat ascii 1.0\nelement vertex 4000000000\nproperty float x\n"
            b"property float y\nproperty float z\nend_header\n0 0 1\n"
        ),
        "points.ply: announces 4000000000 vertices, has 1",
    ),
    "no points": (lambda p: (p / "points.ply").write_bytes(b""), "points.ply"),
    "two videos": (
        lambda p: (
            remove(p, "frames"),
            (p / "frames").rmdir(),
            (p / "a.mp4").touch(),
            (p / "b.avi").touch(),
        ),
        r"several videos \(a.mp4, b.avi\)",
    ),
    "truth of other frames": (
        lambda p: (
            remove(p, "truth/labels"),
            np.save(p / "truth/labels/zz.npy", labels(0)),
        ),
        "truth/labels: no name here is a frame",
    ),
}
BAD_CAMERAS = {
    "list": ([], 'cameras.json: expected an object with "frames"'),
    "no size": (cameras(size_hw="gone"), "size_hw: expected 2 finite numbers"),
    "half a pixel": (cameras(size_hw=[12.5, 16]), "expected whole numbers > 0"),
    "other size": (cameras(size_hw=[24, 24]), "cameras for images of 24 x 24; the"),
    "scale": (cameras(metric_scale=-1), "metric_scale: -1: expected a number > 0"),
    "scale is true": (cameras(metric_scale=True), "metric_scale: True"),
    "lens": (cameras(lens="magic"), "lens: 'magic': known are"),
    "coefficients": (
        cameras(lens="opencv", distortion=[1] * 9),
        "of opencv: expected 8",
    ),
    "skewed rows": (
        cameras(intrinsics=[[10, 0, 8], [0, 10, 6], [0, 1, 1]]),
        r"intrinsics: expected \[\[fx, s, cx\]",
    ),
    "no intrinsics": (
        cameras(intrinsics="gone"),
        "frame_0001: no intrinsics(.|\n)*frame_0003: no intrinsics",
    ),
    "no pose": (cameras(frames={FRAME: {}}), "frame_0001: expected w2c or c2w"),
    "both poses": (
        cameras(frames={FRAME: {"w2c": pose(0), "c2w": pose(0)}}),
        "expected w2c or c2w, one of them",
    ),
    "nan": (
        cameras(frames={FRAME: {"w2c": pose(float("nan"))}}),
        "w2c: expected 4 x 4 finite numbers|cameras.json",
    ),
    "ragged": (cameras(frames={FRAME: {"w2c": [[1], [1, 2]]}}), "4 x 4 finite"),
    "mirror": (
        cameras(frames={FRAME: {"w2c": np.diag([1.0, 1, -1, 1]).tolist()}}),
        "not a rotation and a translation",
    ),
    "scaled": (
        cameras(frames={FRAME: {"w2c": np.diag([2.0, 2, 2, 1]).tolist()}}),
        "not a rotation and a translation",
    ),
    "no frame": (cameras(frames={"zz": {"w2c": pose(0)}}), "no name here is a frame"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_folder_names_the_file_and_what_is_wrong(tmp_path, kind):
    change, expected = BAD[kind]
    change(write_folder(tmp_path))
    with pytest.raises(UsageError, match=expected) as told:
        folder.read_folder(tmp_path)
    assert all(str(tmp_path) in line for line in str(told.value).splitlines())


@pytest.mark.parametrize("kind", BAD_CAMERAS)
def test_broken_cameras_name_the_entry(tmp_path, kind):
    data, expected = BAD_CAMERAS[kind]
    write_folder(tmp_path)
    write_json(tmp_path / "cameras.json", data)
    with pytest.raises(UsageError, match=expected) as told:
        folder.read_folder(tmp_path)
    assert all("cameras.json" in line for line in str(told.value).splitlines())


BAD_FEATURES = {
    "no ids": dict(values=np.ones((2, 4))),
    "rows": dict(ids=np.array([5, 300]), values=np.ones((3, 4))),
    "nan": dict(ids=np.array([5]), values=np.full((1, 4), np.nan)),
    "flat": dict(ids=np.array([5]), values=np.ones(4)),
    "ids of floats": dict(ids=np.array([5.0]), values=np.ones((1, 4))),
}


@pytest.mark.parametrize("kind", BAD_FEATURES)
def test_bad_features_are_one_bad_frame(tmp_path, kind):
    np.savez(tmp_path / "f.npz", **BAD_FEATURES[kind])
    with pytest.raises(FrameError, match=r"f\.npz"):
        folder.read_features(tmp_path / "f.npz", SIZE)


@pytest.mark.parametrize("name", ["nothing", "notes.txt", "empty"])
def test_a_path_that_holds_nothing_says_so(tmp_path, name):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name):
        folder.read_any(tmp_path / name)


def test_a_colmap_model_gives_poses_and_points(tmp_path, monkeypatch):
    """Images of the model are matched to frames by name, whatever their suffix."""
    model = colmap.ColmapModel(
        cameras={1: colmap.ColmapCamera("PINHOLE", (12, 16), (20.0, 20.0, 8.0, 6.0))},
        images={
            "frame_0001.jpg": colmap.ColmapImage(1, (1.0, 0, 0, 0), (0.0, 0, 2.0)),
        },
        points=np.arange(12.0).reshape(4, 3),
        colors=np.zeros((4, 3), np.uint8),
    )
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("frame_0001", "frame_0002"):
        images.write_image(frames / f"{name}.png", np.zeros((12, 16, 3), np.uint8))
    colmap.write_model(tmp_path / "sparse" / "0", model)
    clip = folder.read_folder(tmp_path)
    assert clip.camera[0].w2c[2, 3] == 2.0 and clip.camera[1] is None
    np.testing.assert_array_equal(clip.points, model.points)
    assert folder.NO_POSES not in clip.notes
    assert (clip.metric_scale, clip.scale_known) == (1.0, False)


# ---------------------------------------------------------- scale, rate, odd features


def test_a_scale_that_nothing_tells_is_not_known(tmp_path):
    write_folder(tmp_path)
    clip = folder.read_folder(tmp_path)
    assert clip.scale_known and clip.truth.scale_known
    write_json(tmp_path / "cameras.json", cameras(metric_scale="gone"))
    clip = folder.read_folder(tmp_path)
    assert (clip.metric_scale, clip.scale_known) == (1.0, False)
    assert not clip.truth.scale_known


def test_features_of_another_length_name_their_file_and_the_first(tmp_path):
    """The first frame that has some sets the length, whichever is read first."""
    write_folder(tmp_path)
    first, second, third = (tmp_path / "features" / f"{name}.npz" for name in NAMES)
    first.unlink()
    np.savez(third, ids=np.array([5]), values=np.ones((1, 16)))
    clip = folder.read_folder(tmp_path)
    with pytest.raises(FrameError, match=r"features of 16 numbers; .*have 4") as told:
        clip.features[2]
    assert str(third) in str(told.value) and str(second) in str(told.value)
    assert clip.features[0] is None and clip.features[1].values.shape == (2, 4)
    assert any("features: nothing for 1 frames (frame_0001)" in n for n in clip.notes)


def test_a_truncated_first_file_of_features_does_not_set_their_length(tmp_path):
    write_folder(tmp_path)
    path = tmp_path / "features" / f"{NAMES[0]}.npz"
    path.write_bytes(path.read_bytes()[:60])
    clip = folder.read_folder(tmp_path)
    with pytest.raises(FrameError, match=NAMES[0]):
        clip.features[0]
    assert clip.features[2].values.shape == (2, 4)
