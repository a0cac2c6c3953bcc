import dataclasses
import resource
import struct

import numpy as np
import pytest

from egojax.data import colmap, colmap_format
from egojax.errors import UsageError
from egojax.types import Camera, Clip, Source

CAMERA = colmap.ColmapCamera("OPENCV", (256, 456), (280, 281, 228, 128, 0.1, 0, 0, 0))
IMAGES = {
    f"frame_{n}.jpg": colmap.ColmapImage(1, (1.0, 0.0, 0.0, 0.0), (0.0, 0.5, n))
    for n in (1, 2)
}
POINTS = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
COLORS = np.array([[1, 2, 3], [4, 5, 255]], np.uint8)
ERRORS = np.array([0.5, 1.25])
MODEL = colmap.ColmapModel({1: CAMERA}, IMAGES, POINTS, COLORS, ERRORS)


@pytest.mark.parametrize("binary", [True, False])
def test_a_written_model_comes_back(tmp_path, binary):
    colmap.write_model(tmp_path, MODEL, binary)
    (tmp_path / "rigs.bin").write_bytes(b"ignored")
    found = colmap.read_model(tmp_path)
    assert found.cameras == MODEL.cameras
    assert found.images == MODEL.images
    np.testing.assert_array_equal(found.points, POINTS)
    np.testing.assert_array_equal(found.colors, COLORS)
    np.testing.assert_array_equal(found.errors, ERRORS)


@pytest.mark.parametrize("binary", [True, False])
def test_models_of_colmap_itself_are_read_as_it_reads_them(tmp_path, binary):
    pycolmap = pytest.importorskip("pycolmap")
    options = pycolmap.SyntheticDatasetOptions()
    options.num_points3D = 20
    made = pycolmap.synthesize_dataset(options)
    (made.write_binary if binary else made.write_text)(tmp_path)
    found = colmap.read_model(tmp_path)
    assert set(found.images) == {image.name for image in made.images.values()}
    cameras = colmap.cameras_by_name(found)
    for image in made.images.values():
        expected = np.asarray(image.cam_from_world().matrix())
        np.testing.assert_allclose(cameras[image.name].w2c[:3], expected, atol=1e-9)
    points = sorted(p.xyz.tolist() for p in made.points3D.values())
    np.testing.assert_allclose(sorted(found.points.tolist()), points, atol=1e-9)


@pytest.mark.parametrize("binary", [True, False])
def test_our_models_are_read_by_colmap(tmp_path, binary):
    pycolmap = pytest.importorskip("pycolmap")
    colmap.write_model(tmp_path, MODEL, binary)
    found = pycolmap.Reconstruction(tmp_path)
    assert sorted(image.name for image in found.images.values()) == list(IMAGES)
    assert found.num_points3D() == 2


def test_the_pose_is_that_of_the_quaternion():
    image = colmap.ColmapImage(
        1, (0.92338052, 0.10259784, -0.20519567, 0.30779351), (0.5, -0.25, 1)
    )
    expected = [-0.6736842105, 0.4394736842, -0.8157894737]
    np.testing.assert_allclose(
        np.linalg.inv(colmap.pose(image))[:3, 3], expected, atol=1e-7
    )


@pytest.mark.parametrize("binary", [True, False])
def test_cameras_of_every_model_are_read_as_colmap_writes_them(tmp_path, binary):
    pycolmap = pytest.importorskip("pycolmap")
    made = pycolmap.Reconstruction()
    for number, name in enumerate(colmap_format.MODELS):
        count = colmap_format.num_params(name)
        assert int(pycolmap.CameraModelId.__members__[name]) == number
        params = [300.0 + number, *(0.1 * n for n in range(1, count))]
        camera = pycolmap.Camera(model=name, width=456, height=256, params=params)
        camera.camera_id = number + 1
        made.add_camera_with_trivial_rig(camera)
    (made.write_binary if binary else made.write_text)(tmp_path)
    path = tmp_path / f"cameras.{'bin' if binary else 'txt'}"
    found = dict(colmap_format.parse("cameras", binary, path.read_bytes()))
    for key, camera in found.items():
        assert camera.model == colmap_format.MODELS[key - 1]
        assert camera.params == tuple(made.cameras[key].params)
    assert len(found) == len(colmap_format.MODELS)


LENS = {
    "pinhole": ("pinhole", None, "OPENCV"),
    "plain": ("opencv", [0.1, -0.2, 0.3, 0.4, 0, 0, 0, 0], "OPENCV"),
    "rational": ("opencv", [0.1, -0.2, 0.3, 0.4, 0.5, 0, 0, 0.8], "FULL_OPENCV"),
    "fisheye": ("thin_prism_fisheye", [1, 2, 0, 0, 3, 4, 0, 0], "OPENCV_FISHEYE"),
    "prism": ("thin_prism_fisheye", np.arange(1, 9), "THIN_PRISM_FISHEYE"),
    "fov": ("fov", [0.9], "FOV"),
}


@pytest.mark.parametrize("what", LENS)
def test_the_cameras_of_a_clip_come_back_from_its_model(tmp_path, what):
    lens, distortion, model = LENS[what]
    k = np.array([[300.0, 0, 220], [0, 310, 130], [0, 0, 1]])
    turn = np.array([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    values = None if distortion is None else np.array(distortion, float)
    camera = Camera(k, turn, values, (256, 456), lens)
    other = camera.replace(intrinsics=k + np.diag([1.0, 0, 0]))
    frames = ("a", "b", "c")
    clip = Clip("x", frames, (256, 456), camera=Source.of([camera, None, other]))
    made = colmap.from_clip(clip)
    assert {c.model for c in made.cameras.values()} == {model}
    colmap.write_model(tmp_path, made)
    found = colmap.cameras_by_name(colmap.read_model(tmp_path))
    assert list(found) == ["a.jpg", "c.jpg"]
    np.testing.assert_array_equal(found["c.jpg"].intrinsics, other.intrinsics)
    np.testing.assert_allclose(found["a.jpg"].w2c, turn, atol=1e-12)
    if values is not None:
        assert found["a.jpg"].lens == lens
        np.testing.assert_array_equal(found["a.jpg"].distortion, values)


def test_a_clip_without_poses_or_with_skewed_pixels_has_no_model():
    k = np.array([[300.0, 5, 220], [0, 310, 130], [0, 0, 1]])
    clip = Clip("x", ("a",), (256, 456))
    with pytest.raises(UsageError, match="x: no frame has a pose"):
        colmap.from_clip(clip)
    skewed = Source.of([Camera(k, np.eye(4), None, (256, 456))])
    with pytest.raises(UsageError, match="x: frame a: COLMAP has no camera"):
        colmap.from_clip(clip.replace(camera=skewed))


def test_two_dimensional_points_are_skipped_without_reading_them(tmp_path):
    colmap.write_model(tmp_path, MODEL)
    path = tmp_path / "images.bin"
    row = struct.pack("<i7di", 1, 1, 0, 0, 0, 0, 0, 0, 1) + b"a.jpg\0"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 1) + row + struct.pack("<Q", 1 << 26))
        file.truncate(8 + len(row) + 8 + (24 << 26))  # 1.6 GB, all holes.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert list(colmap.read_model(tmp_path).images) == ["a.jpg"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18


def cut(name, size):
    def spoil(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:size])

    return spoil


def put(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def rewrite(**changes):
    def spoil(folder):
        colmap.write_model(folder, dataclasses.replace(MODEL, **changes))

    return spoil


def loop(name):
    def spoil(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(folder / name)

    return spoil


ONE = IMAGES["frame_1.jpg"]
POINT_NAN = {"points": POINTS * np.nan}
BAD = {
    "empty cameras": cut("cameras.bin", 0),
    "cut cameras": cut("cameras.bin", 60),
    "cut images": cut("images.bin", 100),
    "cut points": cut("points3D.bin", 70),
    "no cameras": lambda folder: (folder / "cameras.bin").unlink(),
    "no model": lambda folder: (folder / "images.bin").unlink(),
    "huge count": put("images.bin", struct.pack("<Q", 1 << 60)),
    "huge points": put("points3D.bin", struct.pack("<Q", 1 << 60)),
    "unknown model": put("cameras.bin", struct.pack("<QiiQQ24x", 1, 1, 99, 4, 4)),
    "no images": rewrite(images={}),
    "points not finite": rewrite(**POINT_NAN),
    "other camera": rewrite(cameras={7: CAMERA}, images={"a": ONE}),
    "no rotation": rewrite(images={"a": colmap.ColmapImage(1, (0,) * 4, (0,) * 3)}),
    "nan place": rewrite(
        images={"a": colmap.ColmapImage(1, (1, 0, 0, 0), (np.nan, 0, 0))}
    ),
    "no pixels": rewrite(cameras={1: dataclasses.replace(CAMERA, size_hw=(0, 5))}),
    "nan focal": rewrite(
        cameras={1: dataclasses.replace(CAMERA, params=(np.nan,) * 8)}
    ),
    "huge size": rewrite(
        cameras={1: dataclasses.replace(CAMERA, size_hw=(9, 1 << 40))}
    ),
    "two images of one name": rewrite(images={"a/1.jpg": ONE, "b/1.jpg": ONE}),
    "a name outside": rewrite(images={"../1.jpg": ONE}),
    "an absolute name": rewrite(images={"/etc/1.jpg": ONE}),
    "cut name": put("images.bin", struct.pack("<Qi7di", 1, *[1] * 9) + b"a" * 20),
    "a loop": loop("cameras.bin"),
    "looping points": loop("points3D.bin"),
    "big-endian": put("images.bin", struct.pack(">Q", 2) + bytes(200)),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_model_is_told_file_by_file(tmp_path, what):
    colmap.write_model(tmp_path, MODEL)
    BAD[what](tmp_path)
    with pytest.raises(UsageError) as err:
        colmap.read_model(tmp_path)
    assert str(err.value).startswith(f"{tmp_path}")
    assert "\n" not in str(err.value)


BAD_TEXT = {
    "cameras.txt": [b"1 PINHOLE 4 4 1", b"1 LENS 4 4 1", b"one", b"\xff\xfe"],
    "images.txt": [b"1 1 0 0 0 0 0 0 1", b"1 1 0 0 0 0 0 0 1 a\n\n" * 2],
    "points3D.txt": [b"1 2 3", b"1 0 0 0 300 0 0 0"],
}


@pytest.mark.parametrize(
    ("name", "data"), [(name, d) for name in BAD_TEXT for d in BAD_TEXT[name]]
)
def test_a_bad_text_file_is_told(tmp_path, name, data):
    colmap.write_model(tmp_path, MODEL, binary=False)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError) as err:
        colmap.read_model(tmp_path)
    assert str(err.value).startswith(f"{tmp_path / name}:")
    assert "\n" not in str(err.value)


def test_every_bad_line_of_a_text_file_is_told(tmp_path):
    colmap.write_model(tmp_path, MODEL, binary=False)
    text = "# comment\n1 2 3\n1 0 0 0 1 2 3 0.5\n2 0 0 x 1 2 3 0.5\n"
    path = tmp_path / "points3D.txt"
    path.write_text(text)
    with pytest.raises(UsageError) as err:
        colmap.read_model(tmp_path)
    first, second = str(err.value).splitlines()
    assert first.startswith(f"{path}:2: ")
    assert second.startswith(f"{path}:4: could not convert")
