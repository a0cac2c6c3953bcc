import dataclasses
import struct

import numpy as np
import pytest

from egojax.data import colmap
from egojax.errors import UsageError

CAMERA = colmap.ColmapCamera("OPENCV", (256, 456), (280, 281, 228, 128, 0.1, 0, 0, 0))
IMAGES = {
    f"frame_{n}.jpg": colmap.ColmapImage(1, (1.0, 0.0, 0.0, 0.0), (0.0, 0.5, n))
    for n in (1, 2)
}
POINTS = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
COLORS = np.array([[1, 2, 3], [4, 5, 255]], np.uint8)
MODEL = colmap.ColmapModel({1: CAMERA}, IMAGES, POINTS, COLORS)


@pytest.mark.parametrize("binary", [True, False])
def test_a_written_model_comes_back(tmp_path, binary):
    colmap.write_model(tmp_path, MODEL, binary)
    (tmp_path / "rigs.bin").write_bytes(b"ignored")
    found = colmap.read_model(tmp_path)
    assert found.cameras == MODEL.cameras
    assert found.images == MODEL.images
    np.testing.assert_array_equal(found.points, POINTS)
    np.testing.assert_array_equal(found.colors, COLORS)


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
    "other camera": rewrite(cameras={7: CAMERA}),
    "no rotation": rewrite(images={"a": colmap.ColmapImage(1, (0,) * 4, (0,) * 3)}),
    "nan place": rewrite(
        images={"a": colmap.ColmapImage(1, (1, 0, 0, 0), (np.nan, 0, 0))}
    ),
    "no pixels": rewrite(cameras={1: dataclasses.replace(CAMERA, size_hw=(0, 5))}),
    "nan focal": rewrite(
        cameras={1: dataclasses.replace(CAMERA, params=(np.nan,) * 8)}
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_model_is_told_file_by_file(tmp_path, what):
    colmap.write_model(tmp_path, MODEL)
    BAD[what](tmp_path)
    with pytest.raises(UsageError) as err:
        colmap.read_model(tmp_path)
    assert all(line.startswith(str(tmp_path)) for line in str(err.value).splitlines())


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
    with pytest.raises(UsageError, match=name):
        colmap.read_model(tmp_path)
