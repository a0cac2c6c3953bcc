"""Aria Digital Twin: the real sample, small tables that lie, and the missing extra."""

import pathlib
import shutil
import sys

import numpy as np
import pytest

from egojax.data import aria
from egojax.errors import UsageError
from egojax.ops import segments as seg

TEXTS = (
    "aria_trajectory.csv",
    "scene_objects.csv",
    "3d_bounding_box.csv",
    "instances.json",
)


@pytest.fixture(scope="module")
def sample(real_data) -> pathlib.Path:
    pytest.importorskip("projectaria_tools", reason="the extra aria is not installed")
    return real_data / "adt_sample"


@pytest.fixture(scope="module")
def clip(sample):
    return aria.read_clip(sample)


def fisheye624(points: np.ndarray, camera) -> np.ndarray:
    """Pixels of camera points: six radial terms of the angle, two tangential, four of a
    thin prism, in that order. Written down again here as an oracle in float64.

    Source: Project Aria documentation, "camera intrinsic models", Fisheye624.
    """
    radial, tangential, prism = np.split(np.asarray(camera.distortion), [6, 8])
    ab = points[:, :2] / points[:, 2:]
    r = np.linalg.norm(ab, axis=1, keepdims=True)
    angle = np.arctan(r)
    grown = angle * (1 + sum(k * angle ** (2 * i + 2) for i, k in enumerate(radial)))
    uv = ab / np.maximum(r, 1e-12) * grown
    square = (uv**2).sum(1, keepdims=True)
    bent = uv + 2 * (uv @ tangential)[:, None] * uv + square * tangential
    bent = bent + square * prism[[0, 2]] + square**2 * prism[[1, 3]]
    return bent @ camera.intrinsics[:2, :2].T + camera.intrinsics[:2, 2]


def to_camera(points: np.ndarray, camera) -> np.ndarray:
    return points @ camera.w2c[:3, :3].T + camera.w2c[:3, 3]


def test_the_sample_has_three_frames_and_truth_for_two(clip):
    assert clip.num_frames == 3 and clip.size_hw == (1408, 1408)
    assert clip.fps == pytest.approx(30, abs=0.1) and len(clip.category_names) == 106
    assert [labels is None for labels in clip.labels] == [False, False, True]
    assert [depth is None for depth in clip.depth] == [False, False, True]
    assert all(camera is not None for camera in clip.camera)
    assert clip.frames[0].shape == (1408, 1408, 3) and clip.frames[0].std() > 20
    assert len(np.unique(clip.labels[0])) == 92
    segments = clip.segments[0]
    assert len(segments.ids) == 91 or len(segments.ids) == 92
    assert (segments.category >= 0).all() and clip.segments[2] is None


def test_the_camera_projects_as_the_official_tools_do(clip, sample):
    """Half a pixel apart: they count from the centre of the first pixel."""
    from projectaria_tools.core import data_provider

    with aria._quiet():
        provider = data_provider.create_vrs_data_provider(str(sample / "video.vrs"))
        model = provider.get_device_calibration().get_camera_calib("camera-rgb")
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-0.9, 0.9, (50, 2)), np.ones(50)]
    official = np.asarray([model.project_no_checks(point) for point in points])
    camera = clip.camera[0]
    assert camera.lens == "fisheye624" and camera.distortion.shape == (12,)
    np.testing.assert_allclose(fisheye624(points, camera), official + 0.5, atol=1e-6)


@pytest.mark.parametrize("t", [0, 1])
def test_true_box_centres_project_into_their_segments(clip, t):
    """Poses, lens, half pixels, object poses and ranks must all be right for this."""
    camera, objects = clip.camera[t], clip.truth.objects[t]
    ids, ranked = seg.rank_labels(clip.labels[t])
    table = seg.measure_ranked(ranked, len(ids))
    rows = {int(number): row for row, number in enumerate(ids)}
    inside, relative = [], []
    points = fisheye624(to_camera(objects.centers, camera), camera)
    for number, point in zip(objects.ids.tolist(), points, strict=True):
        row = rows.get(number)
        seen = ((point > 0) & (point < 1408)).all()
        if row is None or table.area[row] < 500 or not seen:
            continue
        x0, y0, x1, y1 = table.box_xyxy[row]
        inside.append(x0 <= point[0] <= x1 and y0 <= point[1] <= y1)
        gap = np.linalg.norm(point - table.centroid_xy[row])
        relative.append(gap / np.sqrt(table.area[row]))
    assert len(inside) > 60
    assert np.mean(inside) > 0.97 and np.median(relative) < 0.13


def test_depth_is_camera_z_and_not_a_distance_along_the_ray(clip):
    """Lifted pixels lie in the true 3D boxes; read as distances, 0.4 m outside.

    Rays come from a table of the oracle's projection, inverted by Newton's method.
    """
    camera, objects = clip.camera[0], clip.truth.objects[0]
    ids, ranked = seg.rank_labels(clip.labels[0])
    inner, depth = seg.erode(ranked, 2), clip.depth[0]
    c2w = np.linalg.inv(camera.w2c)
    outside = {"z": [], "ray": []}
    errors = []
    for row, number in enumerate(ids.tolist()):
        y, x = np.nonzero((inner == row + 1) & np.isfinite(depth))
        at = np.flatnonzero(objects.ids == number)
        if len(x) < 200 or not len(at):
            continue
        some = slice(None, None, max(len(x) // 100, 1))
        rays = unproject(np.stack([x[some], y[some]], -1) + 0.5, camera)
        z = depth[y[some], x[some]][:, None]
        unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        w2o = np.linalg.inv(objects.o2w[at[0]])
        for kind, points in (("z", rays * z), ("ray", unit * z)):
            world = points @ c2w[:3, :3].T + c2w[:3, 3]
            local = world @ w2o[:3, :3].T + w2o[:3, 3]
            low, high = objects.extent[at[0]]
            gap = np.maximum(np.maximum(low - local, local - high), 0)
            outside[kind].append(np.median(np.linalg.norm(gap, axis=1)))
            if kind == "z":
                middle = np.median(world, axis=0) - objects.centers[at[0]]
                errors.append(np.linalg.norm(middle))
    assert np.median(outside["z"]) < 0.005 and np.percentile(outside["z"], 90) < 0.02
    assert np.median(outside["ray"]) > 0.2
    # The visible side of an object is not its centre: half its thickness off.
    assert np.median(errors) < 0.08 and np.percentile(errors, 90) < 0.35


def unproject(pixels: np.ndarray, camera) -> np.ndarray:
    """Rays (x, y, 1) whose projection is the pixel."""
    focal, center = camera.intrinsics[0, 0], camera.intrinsics[:2, 2]
    xy = (pixels - center) / focal
    step = 1e-6
    for _ in range(20):
        rays = np.c_[xy, np.ones(len(xy))]
        miss = fisheye624(rays, camera) - pixels
        columns = []
        for axis in np.eye(3)[:2]:
            columns.append(
                (fisheye624(rays + step * axis, camera) - pixels - miss) / step
            )
        jacobian = np.stack(columns, -1)
        xy = xy - np.linalg.solve(jacobian, miss[..., None])[..., 0]
    assert np.abs(miss).max() < 1e-6
    return np.c_[xy, np.ones(len(xy))]


def test_a_gray_camera_reads_too(sample):
    clip = aria.read_clip(sample, "1201-1")
    assert clip.size_hw == (480, 640) and clip.frames[0].shape == (480, 640, 3)
    assert len(np.unique(clip.labels[0])) == 70
    assert np.isfinite(clip.depth[0]).any() and clip.camera[0].size_hw == (480, 640)


def test_poses_between_stamps_are_interpolated_and_gaps_are_not_bridged():
    poses = np.stack([np.eye(4)] * 3)
    poses[1, :3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    poses[1, :3, 3] = [2, 0, 0]
    times = np.array([0, 30, 1000]) * 1_000_000
    half = aria._pose_at(times, poses, 15_000_000)
    root = np.sqrt(0.5)
    np.testing.assert_allclose(half[:2, :2], [[root, -root], [root, root]], atol=1e-12)
    np.testing.assert_allclose(half[:3, 3], [1, 0, 0])
    assert aria._pose_at(times, poses, 500_000_000) is None
    assert aria._pose_at(times, poses, 33_000_000) is poses[1] or np.array_equal(
        aria._pose_at(times, poses, 33_000_000), poses[1]
    )
    assert aria._pose_at(times, poses, 2_000_000_000) is None


def test_without_the_extra_one_line_names_it(real_data, monkeypatch):
    monkeypatch.setitem(sys.modules, "projectaria_tools.core", None)
    with pytest.raises(UsageError) as told:
        aria.read_clip(real_data / "adt_sample")
    assert "pip install 'egojax[aria]'" in str(told.value)
    assert "\n" not in str(told.value)


TRAJECTORY_HEADER = "tracking_timestamp_us,tx_world_device,ty_world_device,"
BAD = {
    "trajectory column": (
        "aria_trajectory.csv",
        lambda text: text.replace("qw_world_device", "qw"),
        "no column qw_world_device",
    ),
    "trajectory order": (
        "aria_trajectory.csv",
        lambda text: "\n".join([*text.splitlines(), text.splitlines()[1]]),
        "rising time stamps",
    ),
    "trajectory empty": (
        "aria_trajectory.csv",
        lambda text: text.splitlines()[0],
        "rising time stamps",
    ),
    "upside-down box": (
        "3d_bounding_box.csv",
        lambda text: text.replace("-0.02126", "9.02126", 1),
        "minimum is above its maximum",
    ),
    "objects cut": (
        "scene_objects.csv",
        lambda text: text[: len(text) // 2].rpartition(",")[0],
        "cells; the header has 9",
    ),
    "instances cut": ("instances.json", lambda text: text[:500], "instances.json"),
    "instances empty": ("instances.json", lambda text: "{}", "a member per instance"),
    "instances not": (
        "instances.json",
        lambda text: '{"1": {"category": 3}, "b": {"category": "x"}}',
        r"instances.json: 1: .*\n.*instances.json: b: ",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_table_names_its_file(sample, tmp_path, kind):
    name, change, expected = BAD[kind]
    for entry in sample.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / name).unlink()
    (tmp_path / name).write_text(change((sample / name).read_text()))
    with pytest.raises(UsageError, match=expected) as told:
        clip = aria.read_clip(tmp_path)
        clip.truth.objects[0]
    assert all(name in line for line in str(told.value).splitlines())


BAD_RECORDINGS = {
    "text": b"hello",
    "empty": b"",
    "half": None,
}


@pytest.mark.parametrize("kind", BAD_RECORDINGS)
@pytest.mark.parametrize("name", ["video.vrs", "segmentations.vrs"])
def test_a_recording_that_cannot_be_read_is_one_line(
    sample, tmp_path, kind, name, capfd
):
    for entry in sample.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / name).unlink()
    data = BAD_RECORDINGS[kind]
    if data is None:
        data = (sample / name).read_bytes()[:20_000]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=name) as told:
        aria.read_clip(tmp_path)
    assert "\n" not in str(told.value)
    assert not capfd.readouterr().err


def test_a_missing_file_and_an_unknown_camera_are_told(sample, tmp_path):
    with pytest.raises(UsageError, match="no stream 9-9; it has 214-1"):
        aria.read_clip(sample, "9-9")
    shutil.copy(sample / "video.vrs", tmp_path)
    with pytest.raises(UsageError, match=r"instances\.json|no such file"):
        aria.read_clip(tmp_path)
