import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from egojax.data import arrays, colmap, epic
from egojax.data.neuraldiff import read_neuraldiff
from egojax.data.neuraldiff_convert import convert_scene
from egojax.errors import UsageError
from egojax.ops import camera as camera_ops

CAMERA = colmap.ColmapCamera("SIMPLE_PINHOLE", (48, 64), (100.0, 31.0, 25.0))
IMAGES = {
    "frame_0000000100.jpg": colmap.ColmapImage(
        1, (math.cos(0.2), 0, math.sin(0.2), 0), (0.1, -0.2, 0.3)
    ),
    "frame_0000000200.jpg": colmap.ColmapImage(
        1, (math.cos(0.1), math.sin(0.1), 0, 0), (-0.5, 0, 1)
    ),
    "frame_0000000300.jpg": colmap.ColmapImage(1, (1, 0, 0, 0), (0, 0, 0)),
}
POINTS = np.array(
    [(0, 0, 1), (1, 0, 2), (0, 1, 3), (-1, 0, 4), (0, -1, 5), (0, 0, -6)], float
)
MODEL = colmap.ColmapModel({1: CAMERA}, IMAGES, POINTS, np.zeros((6, 3), np.uint8))


def picture(size, seed=0):
    """A smooth picture of width x height."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def write(root, model=MODEL, size=(64, 48), binary=True):
    """The model's folder and that of its images."""
    colmap.write_model(root / "sparse", model, binary)
    (root / "images").mkdir()
    for seed, name in enumerate(model.images):
        (root / "images" / name).parent.mkdir(exist_ok=True)
        picture(size, seed).save(root / "images" / name, quality=95)
    return root / "sparse", root / "images"


def converted(root, model=MODEL, size=(64, 48), binary=True, **settings):
    settings = {"scale": 2.0, "split_nth": 2, **settings}
    return convert_scene(*write(root, model, size, binary), root / "out", **settings)


def meta(root):
    return json.loads((root / "out" / "meta.json").read_text())


@pytest.mark.parametrize("binary", [True, False])
def test_a_model_becomes_the_numbers_of_the_published_converter(tmp_path, binary):
    """Oracle: the published converter on this model; sizes and order as they should."""
    found = converted(tmp_path, binary=binary)
    assert found[1:] == (3, (24, 32), (), ())
    data = meta(tmp_path)
    np.testing.assert_allclose(
        data["intrinsics"], [[50, 0, 15.5], [0, 50, 12.5], [0, 0, 1]]
    )
    assert (data["image_w"], data["image_h"]) == (32, 24)
    near = {"100": 1.2231875646, "200": 1.9839868442, "300": 1.004}
    far = {"100": 4.9031783994, "200": 5.6985379694, "300": 4.996}
    assert data["nears"] == pytest.approx(near, rel=1e-9)
    assert data["fars"] == pytest.approx(far, rel=1e-9)
    poses = {
        "100": [
            [0.9210609940, 0, 0.3894183423, 0.0247194033],
            [0, -1, 0, 0.2],
            [0.3894183423, 0, -0.9210609940, -0.3152601324],
        ],
        "200": [
            [1, 0, 0, 0.5],
            [0, -0.9800665778, -0.1986693308, -0.1986693308],
            [0, 0.1986693308, -0.9800665778, -0.9800665778],
        ],
        "300": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0]],
    }
    assert data["poses"].keys() == poses.keys()
    for key, pose in poses.items():
        np.testing.assert_allclose(data["poses"][key], pose, atol=1e-9)
    assert data["ids_all"] == [100, 200, 300]
    splits = [data[f"ids_{name}"] for name in ("test", "val", "train")]
    assert splits == [[100], [300], [200]]
    assert data["images"]["200"] == "frame_0000000200.jpg"
    assert data["camera"] == {
        "model": "PINHOLE",
        "width": 64,
        "height": 48,
        "params": [100, 100, 31, 25],
    }


def test_records_of_images_out_of_order_change_nothing(tmp_path):
    order = [f"frame_0000000{n}.jpg" for n in (200, 300, 100)]
    mixed = dataclasses.replace(MODEL, images={name: IMAGES[name] for name in order})
    converted(tmp_path / "a", mixed)
    converted(tmp_path / "b")
    assert meta(tmp_path / "a") == meta(tmp_path / "b")


def test_a_converted_scene_is_read_as_the_model_is(tmp_path):
    sparse, images = write(tmp_path)
    for seed, name in enumerate(IMAGES):  # What is read is exact, what is written not.
        picture((64, 48), seed).save((images / name).with_suffix(".png"))
        (images / name).unlink()
    convert_scene(sparse, images, tmp_path / "out", scale=2, split_nth=2)
    clip = read_neuraldiff(tmp_path / "out")
    assert clip.notes == ()
    assert clip.frame_ids == tuple(name[:-4] for name in IMAGES)
    cameras = colmap.cameras_by_name(MODEL)
    for frame, camera in zip(clip.frame_ids, clip.camera, strict=True):
        np.testing.assert_allclose(camera.w2c, cameras[f"{frame}.jpg"].w2c, atol=1e-9)
    np.testing.assert_array_equal(clip.points, POINTS)
    assert [v.split for v in clip.views] == ["test", "train", "val"]
    for seed, frame in enumerate(clip.frames):
        wanted = picture((64, 48), seed).resize((32, 24), Image.Resampling.LANCZOS)
        assert (
            np.abs(frame.astype(int) - np.asarray(wanted)).mean() < 3
        )  # A JPEG: 8 with halved colours.


def test_the_default_holds_out_every_sixteenth_frame(tmp_path):
    rows = {
        f"f_{n}.png": colmap.ColmapImage(1, (1.0, 0, 0, 0), (0.0, 0, 0.01 * n))
        for n in range(20)
    }
    convert_scene(
        *write(tmp_path, dataclasses.replace(MODEL, images=rows)), tmp_path / "out"
    )
    data = meta(tmp_path)
    assert data["ids_all"] == list(range(20))  # f_2 before f_10.
    assert (data["ids_test"], data["ids_val"]) == ([0, 16], [8])
    assert data["image_w"] == 64  # Full size unless told otherwise.


def test_sizes_are_whole_pixels_and_intrinsics_follow_each_side(tmp_path):
    converted(tmp_path, scale=5.0)
    data = meta(tmp_path)
    assert (data["image_w"], data["image_h"]) == (12, 9)
    expected = [[100 * 12 / 64, 0, 31 * 12 / 64], [0, 100 * 9 / 48, 25 * 9 / 48]]
    np.testing.assert_allclose(data["intrinsics"][:2], expected)
    assert read_neuraldiff(tmp_path / "out").notes == ()


def test_images_larger_than_the_camera_are_brought_to_the_same_size(tmp_path):
    """EPIC-FIELDS has poses for 456 x 256 pixels of videos of 1920 x 1080."""
    assert converted(tmp_path, size=(161, 120)).size_hw == (24, 32)
    assert read_neuraldiff(tmp_path / "out").frames[0].shape == (24, 32, 3)


# ------------------------------------------------------------------------------ lenses


def lens_model(model, params, size_hw=(192, 256)):
    """The model with a lens; cameras that differ are one for each image."""
    cameras = {
        n: colmap.ColmapCamera(model, size_hw, tuple(map(float, row)))
        for n, row in enumerate(params, 1)
    }
    rows = [
        dataclasses.replace(image, camera_id=min(n, len(cameras)))
        for n, image in enumerate(IMAGES.values(), 1)
    ]
    images = dict(zip((f"{name[:-4]}.png" for name in IMAGES), rows, strict=True))
    return dataclasses.replace(MODEL, cameras=cameras, images=images)


def draw(camera):
    """What the camera sees of a wall with waves, straight from its rays."""
    height, width = camera.size_hw
    xy = np.asarray(camera_ops.pixel_centers(camera.size_hw)).reshape(-1, 2)
    flat = dataclasses.replace(
        camera,
        w2c=np.eye(4, dtype=np.float32),
        intrinsics=camera.intrinsics.astype(np.float32),
        distortion=None if camera.distortion is None else np.float32(camera.distortion),
    )
    x, y, _ = np.asarray(camera_ops.directions(flat, xy)).T
    waves = [np.sin(9 * x), np.cos(8 * y), np.sin(6 * (x + y))]
    values = 128 + 100 * np.stack(waves, -1).reshape(height, width, 3)
    return values.round().astype(np.uint8)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("OPENCV", [(250, 251, 127, 97, -0.1, 0.02, 0.003, -0.002)]),
        ("SIMPLE_RADIAL", [(250, 128, 96, 0.15)]),
        ("OPENCV_FISHEYE", [(200, 200, 128, 96, 0.02, 0, 0, 0)]),
        ("PINHOLE", [(250, 240, 128, 96), (300, 300, 120, 100)]),
        (
            "SIMPLE_RADIAL",
            [(250, 128, 96, 0.1), (250, 128, 96, 0), (250, 128, 96, -0.1)],
        ),
    ],
)
def test_pixels_of_a_lens_are_where_the_written_pinhole_says(tmp_path, model, params):
    source = lens_model(model, params)
    sparse, images = write(tmp_path, source, (256, 192))
    for name, camera in colmap.cameras_by_name(source).items():
        Image.fromarray(draw(camera)).save(images / name)
    found = convert_scene(sparse, images, tmp_path / "out", split_nth=0)
    assert "bent to one pinhole camera" in found.notes[0]
    clip = read_neuraldiff(tmp_path / "out")
    assert clip.camera[0].lens == "pinhole"
    for frame, camera in zip(clip.frames, clip.camera, strict=True):
        gap = np.abs(frame.astype(int) - draw(camera))
        assert gap.mean() < 0.5
        assert gap.max() <= 4


def test_a_lens_without_bending_leaves_the_pixels(tmp_path):
    source = lens_model("OPENCV", [(250, 251, 127, 97, 0, 0, 0, 0)])
    sparse, images = write(tmp_path, source, (256, 192))
    found = convert_scene(sparse, images, tmp_path / "out", split_nth=0)
    assert found.notes == ()
    first = read_neuraldiff(tmp_path / "out").frames[0]
    np.testing.assert_array_equal(first, np.asarray(picture((256, 192))))


def test_a_lens_that_no_pinhole_shows_is_refused(tmp_path):
    wide = lens_model("OPENCV_FISHEYE", [(60, 60, 128, 96, 0, 0, 0, 0)])
    with pytest.raises(UsageError, match="no pinhole camera shows that"):
        converted(tmp_path, wide)
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------- other sources


def test_poses_of_epic_fields_become_a_scene(tmp_path):
    model = dataclasses.replace(
        lens_model("OPENCV", [(250, 251, 127, 97, -0.02, 0.01, 0, 0)]), points=POINTS
    )
    _, images = write(tmp_path, model, (128, 96))
    epic.write_poses(tmp_path / "P01_01.json", model)
    found = convert_scene(
        tmp_path / "P01_01.json", images, tmp_path / "out", scale=2, split_nth=2
    )
    assert found.size_hw == (96, 128)
    assert meta(tmp_path)["nears"]["300"] == pytest.approx(1.004)


# --------------------------------------------------------------- faults, interruptions


def test_frames_that_cannot_be_used_are_left_out_and_told(tmp_path):
    away = colmap.ColmapImage(1, (0, 0, 1, 0), (0, 0, -7))  # All points are behind.
    rows = {**IMAGES, "frame_0000000400.jpg": away, "frame_500.jpg": away}
    for n in (600, 700, 800):
        rows[f"frame_{n}.jpg"] = IMAGES["frame_0000000300.jpg"]
    sparse, images = write(tmp_path, dataclasses.replace(MODEL, images=rows))
    (images / "frame_600.jpg").write_bytes(b"\xff\xd8\xff")
    picture((40, 48)).save(images / "frame_700.jpg")
    (images / "frame_800.jpg").unlink()
    found = convert_scene(sparse, images, tmp_path / "out", split_nth=2)
    assert found.num_frames == 3
    told = [line.partition(": ")[::2] for line in found.skipped]
    assert [name for name, _ in told] == [
        "frame_0000000400.jpg",
        *(f"frame_{n}.jpg" for n in (500, 600, 700, 800)),
    ]
    reasons = [reason for _, reason in told]
    assert "no points at two depths" in reasons[0]
    assert "not a readable image" in reasons[2]
    assert "40 x 48 pixels; expected 64 x 48, at any scale" in reasons[3]
    assert "no such file" in reasons[4]
    assert meta(tmp_path)["ids_all"] == [100, 200, 300]
    # Mended, the same call takes them in.
    picture((64, 48)).save(images / "frame_600.jpg")
    again = convert_scene(sparse, images, tmp_path / "out", split_nth=2)
    assert (again.num_frames, len(again.skipped)) == (4, 4)


class Stop(Exception):
    """As Ctrl-C."""


def test_a_conversion_that_was_cut_off_goes_on(tmp_path):
    sparse, images = write(tmp_path)

    def stop(done, total):
        assert total == 3
        if done == 1:
            raise Stop

    out = tmp_path / "out"
    with pytest.raises(Stop):
        convert_scene(sparse, images, out, scale=2, workers=1, progress=stop)
    assert not (out / "meta.json").exists()
    first = out / "frames" / "frame_0000000100.jpg"
    before = first.stat().st_mtime_ns
    calls = []
    convert_scene(sparse, images, out, scale=2, progress=lambda *at: calls.append(at))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert first.stat().st_mtime_ns == before
    convert_scene(sparse, images, tmp_path / "new", scale=2)
    for path in sorted((tmp_path / "new").rglob("*.*")):
        other = out / path.relative_to(tmp_path / "new")
        assert path.read_bytes() == other.read_bytes()


def test_what_is_there_is_not_written_over(tmp_path):
    sparse, images = write(tmp_path)
    out = tmp_path / "out"
    convert_scene(sparse, images, out, split_nth=2)
    with pytest.raises(
        UsageError, match=r"another scale \(1.0, not 2.0\); give another"
    ):
        convert_scene(sparse, images, out, split_nth=2, scale=2.0)
    shutil.rmtree(tmp_path / "sparse")
    colmap.write_model(
        tmp_path / "sparse", dataclasses.replace(MODEL, points=POINTS + 1)
    )
    with pytest.raises(
        UsageError, match="holds a conversion with another source; give"
    ):
        convert_scene(sparse, images, out, split_nth=2)
    with pytest.raises(UsageError, match="something here that is no conversion"):
        convert_scene(sparse, images, images, split_nth=2)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="something here that is no conversion"):
        convert_scene(sparse, images, tmp_path / "file", split_nth=2)
    with pytest.raises(UsageError, match="cannot be made"):
        convert_scene(sparse, images, tmp_path / "file" / "out", split_nth=2)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(path, data, sync=True):
        raise UsageError(f"{path}: cannot be written: No space left on device")

    sparse, images = write(tmp_path)
    convert_scene(sparse, images, tmp_path / "out", split_nth=2)
    (tmp_path / "out" / "frames" / "frame_0000000100.jpg").unlink()
    monkeypatch.setattr(arrays, "write_bytes", full)
    with pytest.raises(UsageError, match="No space left"):
        convert_scene(sparse, images, tmp_path / "out", split_nth=2)
    assert meta(tmp_path)["ids_all"] == [100, 200, 300]


def escaping():
    return {"../f_1.jpg": IMAGES["frame_0000000100.jpg"]}


BAD_MODELS = {
    "no points": (dict(points=np.zeros((0, 3)), colors=MODEL.colors[:0]), "no points"),
    "points behind": (dict(points=POINTS * [1, 1, -1] - [0, 0, 9]), "of 0 frames"),
    "a name outside": (dict(images=escaping()), "not a file name inside its folder"),
    "a pose of NaN": (
        dict(images={"f_1.jpg": colmap.ColmapImage(1, (1, 0, 0, 0), (np.nan, 0, 0))}),
        "not a unit quaternion and a place",
    ),
    "a film": (dict(images={"f_1.mp4": IMAGES["frame_0000000100.jpg"]}), "f_1.mp4: a"),
}


@pytest.mark.parametrize("what", BAD_MODELS)
def test_a_bad_model_is_refused_before_anything_is_written(tmp_path, what):
    changes, expected = BAD_MODELS[what]
    colmap.write_model(tmp_path / "sparse", dataclasses.replace(MODEL, **changes))
    (tmp_path / "images").mkdir()
    with pytest.raises(UsageError, match=expected) as err:
        convert_scene(tmp_path / "sparse", tmp_path / "images", tmp_path / "out")
    assert "\n" not in str(err.value)
    assert not (tmp_path / "out").exists()


BAD_SETTINGS = {
    "scale of zero": (dict(scale=0), "scale=0: expected a number > 0"),
    "scale of NaN": (dict(scale=math.nan), "scale=nan: expected a number > 0"),
    "huge scale": (dict(scale=100), "scale=100: leaves no pixel of 64 x 48"),
    "negative split": (dict(split_nth=-1), "split_nth=-1"),
    "nothing to train on": (dict(split_nth=1), "split_nth=1 leaves none to train on"),
    "quality": (dict(quality=0), "quality=0: expected 1 to 100"),
    "no workers": (dict(workers=0), "workers=0: expected 1 or more"),
}


@pytest.mark.parametrize("what", BAD_SETTINGS)
def test_settings_out_of_range_are_refused(tmp_path, what):
    settings, expected = BAD_SETTINGS[what]
    with pytest.raises(UsageError) as err:
        converted(tmp_path, **settings)
    assert expected in str(err.value)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_not_there_are_named(tmp_path):
    sparse, images = write(tmp_path)
    with pytest.raises(UsageError, match="nowhere"):
        convert_scene(tmp_path / "nowhere", images, tmp_path / "out")
    with pytest.raises(UsageError, match="no such folder"):
        convert_scene(sparse, tmp_path / "none", tmp_path / "out", split_nth=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="none of the 3 images of"):
        convert_scene(sparse, tmp_path / "empty", tmp_path / "out", split_nth=2)


def test_one_frame_is_converted_if_it_may_be_trained_on(tmp_path):
    one = dict([next(iter(IMAGES.items()))])
    single = dataclasses.replace(MODEL, images=one)
    assert converted(tmp_path / "a", single, split_nth=0).num_frames == 1
    with pytest.raises(UsageError, match="of 1 frames with points in front"):
        converted(tmp_path / "b", single, split_nth=8)
