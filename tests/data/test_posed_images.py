import pathlib

import numpy as np
import pytest

from egojax.data import colmap
from egojax.data.posed_images import find_images, read_posed_images
from egojax.errors import UsageError

CAMERA = colmap.ColmapCamera("SIMPLE_PINHOLE", (48, 64), (100.0, 31.0, 25.0))
MODEL = pathlib.Path("model")


def write(folder, names, points=((0, 0, 1),)):
    """A model whose images lie along x in the given order."""
    images = {
        name: colmap.ColmapImage(1, (1.0, 0, 0, 0), (float(n), 0, 0))
        for n, name in enumerate(names)
    }
    points = np.array(points, float).reshape(-1, 3)
    model = colmap.ColmapModel({1: CAMERA}, images, points, points.astype(np.uint8))
    colmap.write_model(folder, model)
    return folder


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["IMG_0000000200.bmp", "IMG_0000000030.bmp"], {1: 30, 0: 200}),
        (["frame_0000000401.jpg", "frame_0000000402.jpg"], {0: 401, 1: 402}),
        (["P01_01_frame_7.png", "P01_01_frame_12.png"], {0: 7, 1: 12}),
        (["0010.png", "9.png"], {1: 9, 0: 10}),
        (["a_9.png", "a_10.png", "b_10.png"], {0: 0, 1: 1, 2: 2}),
        (["b/x.png", "a/y.png", "c.png"], {1: 0, 0: 1, 2: 2}),
    ],
)
def test_ids_are_the_numbers_of_names_or_their_order(tmp_path, names, ids):
    found = read_posed_images(write(tmp_path, names))
    assert found.ids == list(ids.values())
    assert found.names == [names[n] for n in ids]
    assert [camera.w2c[0, 3] for camera in found.cameras] == list(ids)
    assert bool(found.notes) == (found.ids == list(range(len(names))))


def test_all_problems_are_told_at_once(tmp_path):
    write(tmp_path, ["a_1.mp4", "a_2.jpg", "a_3", "b" * 300 + ".jpg"], points=())
    with pytest.raises(UsageError) as err:
        read_posed_images(tmp_path)
    lines = str(err.value).splitlines()
    assert [line.split(": ")[1] for line in lines[:2]] == ["a_1.mp4", "a_3"]
    assert "bbb...: too long for a file's name" in lines[2]
    assert "no points, and near and far follow from these" in lines[3]


def test_images_are_found_by_name_or_under_another_suffix(tmp_path):
    (tmp_path / "cam").mkdir()
    for name in ("cam/a_1.jpg", "a_2.png"):
        (tmp_path / name).touch()
    found = find_images(MODEL, tmp_path, ["cam/a_1.jpg", "a_2.jpg", "a_3.jpg"])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert names == ["cam/a_1.jpg", "a_2.png", "a_3.jpg"]


def test_no_image_at_all_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none of the 2 images of model is here \(a"):
        find_images(MODEL, tmp_path, ["a.jpg", "b.jpg"])
    with pytest.raises(UsageError, match="no such folder"):
        find_images(MODEL, tmp_path / "x", ["a.jpg"])
