import json

import numpy as np
import pytest
from PIL import Image

from egojax.data import neuraldiff
from egojax.errors import FrameError, UsageError
from egojax.types import View

CAMERA = {"model": "PINHOLE", "width": 64, "height": 48, "params": [100, 101, 31, 25]}
EYE = np.eye(4)[:3].tolist()


def meta(num=4, **changes):
    """A scene of half the camera's size; frames 0 .. num - 1."""
    ids = list(range(num))
    by_id = {str(i): [[1, 0, 0, float(i)], [0, 1, 0, 0], [0, 0, 1, 0]] for i in ids}
    return {
        "ids_all": ids,
        "ids_train": ids[1:],
        "ids_val": [],
        "ids_test": ids[:1],
        "images": {str(i): f"IMG_{i:010d}.bmp" for i in ids},
        "poses": by_id,
        "nears": {str(i): 0.1 * (i + 1) for i in ids},
        "fars": {str(i): 5.0 + i for i in ids},
        "intrinsics": [[50, 0, 15.5], [0, 50.5, 12.5], [0, 0, 1]],
        "image_w": 32,
        "image_h": 24,
        "camera": CAMERA,
        **changes,
    }


def write(root, data, size=(32, 24), masks=()):
    """Writes a scene with frames whose red is the frame's id."""
    folder = root / "P01_01"
    (folder / "frames").mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(data))
    for i, name in data["images"].items():
        if size and isinstance(name, str) and "/" not in name and len(name) < 99:
            Image.new("RGB", size, (int(i), 7, 9)).save(folder / "frames" / name)
    for i, mask in masks:
        (folder / "annotations").mkdir(exist_ok=True)
        Image.fromarray(mask).save(folder / "annotations" / data["images"][str(i)])
    return folder


def test_a_scene_has_frames_cameras_and_views(tmp_path):
    write(tmp_path, meta())
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    assert (clip.name, clip.size_hw, clip.num_frames) == ("P01_01", (24, 32), 4)
    assert clip.fps == 60  # That of the video; frames are one apart.
    assert not clip.scale_known
    assert clip.notes == ()
    assert clip.frame_ids[3] == "IMG_0000000003"
    assert clip.frames[3][0, 0].tolist() == [3, 7, 9]
    camera = clip.camera[2]
    np.testing.assert_allclose(
        camera.intrinsics, [[50, 0, 15.5], [0, 50.5, 12.5], [0, 0, 1]]
    )
    # OpenGL axes at (2, 0, 0): what is 1 before the camera is at z = -1.
    np.testing.assert_allclose(camera.w2c @ [2, 3, -1, 1], [0, -3, 1, 1])
    assert clip.views[0] == View(0.1, 5, 0, "test")
    assert clip.views[2] == View(0.1 * 3, 7, 2, "train")
    assert clip.select([2, 0]).views[0].slot == 2


def test_ids_of_real_videos_are_scaled_to_slots_and_sorted(tmp_path):
    data = meta(3)
    new = {"0": "5000", "1": "401", "2": "1301"}
    for key in ("images", "poses", "nears", "fars"):
        data[key] = {new[i]: value for i, value in data[key].items()}
    data |= {"ids_all": [5000, 401, 1301], "ids_train": [401, 5000], "ids_test": []}
    data["ids_val"] = [1301]
    write(tmp_path, data)
    clip = neuraldiff.read_neuraldiff(tmp_path / "P01_01", num_slots=100)
    assert clip.frame_ids == ("IMG_0000000001", "IMG_0000000002", "IMG_0000000000")
    assert [v.slot for v in clip.views] == [0, 19, 99]  # 900 / 4599 of 99 is 19.4.
    assert [v.split for v in clip.views] == ["train", "val", "train"]
    assert "ids_all is not in order" in clip.notes[0]
    ranks = neuraldiff.read_neuraldiff(tmp_path / "P01_01", slots="rank").views
    assert [v.slot for v in ranks] == [0, 1, 2]


def test_ids_are_slots_in_published_scenes_alone(tmp_path):
    data = meta(4)
    for key in ("images", "poses", "nears", "fars"):
        data[key] = {str(int(i) + 80): value for i, value in data[key].items()}
    data |= {"ids_all": [80, 81, 82, 83], "ids_train": [81, 82, 83], "ids_test": [80]}
    folder = write(tmp_path, data)
    for name, slots in (("P01_01", [80, 81, 82, 83]), ("mine", [0, 1, 2, 3])):
        folder = folder.rename(tmp_path / name)
        clip = neuraldiff.read_neuraldiff(folder)
        assert [v.slot for v in clip.views] == slots
    clip = neuraldiff.read_neuraldiff(folder, slots="id")
    assert clip.views[3].slot == 83


def test_near_gets_a_floor_if_asked(tmp_path):
    write(tmp_path, meta(3, nears={"0": 1e-7, "1": 0.2, "2": 0.4}))
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01", near_floor=0.5)
    assert [v.near for v in clip.views] == [0.2, 0.2, 0.4]
    plain = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    assert plain.views[0].near == 1e-7


def test_masks_of_any_coding_are_truth_and_empty_ones_are_none(tmp_path):
    truth = np.zeros((24, 32), bool)
    truth[3:9, 4:20] = True
    codings = [
        truth,
        truth.astype(np.uint8),
        truth.astype(np.uint8) * 255,
        truth & False,
    ]
    write(tmp_path, meta(5), masks=enumerate(codings))
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    found = list(clip.truth.streams["dynamic"])
    for mask in found[:3]:
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, truth)
    assert found[3:] == [None, None]  # Without a positive, and without a file.


def test_masks_of_other_values_or_sizes_cost_their_frame(tmp_path):
    odd = np.full((24, 32), 3, np.uint8)
    write(tmp_path, meta(3), masks=[(0, odd), (1, np.ones((5, 6), np.uint8))])
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    with pytest.raises(FrameError, match="a mask has 0 and 1"):
        clip.truth.streams["dynamic"][0]
    with pytest.raises(FrameError, match="6 x 5 pixels; the clip has 32 x 24"):
        clip.truth.streams["dynamic"][1]


def test_blurred_masks_are_cut_at_half(tmp_path):
    truth = np.zeros((24, 32), np.uint8)
    truth[8:16, 8:24] = 255
    Image.fromarray(truth).save(tmp_path / "a.jpg", quality=75)
    np.testing.assert_array_equal(
        neuraldiff.read_dynamic(tmp_path / "a.jpg"), truth == 255
    )


def test_masks_of_no_frame_are_told(tmp_path):
    folder = write(tmp_path, meta(), masks=[(0, np.ones((24, 32), np.uint8))])
    (folder / "annotations" / "IMG_9.bmp").write_bytes(b"")
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    assert "1 masks are of no frame (IMG_9)" in clip.notes[0]


def test_images_that_are_not_there_are_told(tmp_path):
    folder = write(tmp_path, meta())
    (folder / "frames" / "IMG_0000000002.bmp").unlink()
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    assert "1 images are not there (IMG_0000000002.bmp)" in clip.notes[0]
    with pytest.raises(FrameError, match="no such file"):
        clip.frames[2]
    for path in (folder / "frames").iterdir():
        path.unlink()
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    assert clip.frames is None
    assert clip.size_hw == (48, 64)  # That of the camera.
    assert "none of the 4 images is there" in clip.notes[0]


def test_an_image_of_another_size_costs_its_frame(tmp_path):
    folder = write(tmp_path, meta())
    Image.new("RGB", (8, 8)).save(folder / "frames" / "IMG_0000000001.bmp")
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    with pytest.raises(FrameError, match="8 x 8 pixels; the clip has 32 x 24"):
        clip.frames[1]


def test_a_scene_without_a_camera_uses_its_intrinsics(tmp_path):
    data = meta()
    del data["camera"]
    folder = write(tmp_path, data)
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    np.testing.assert_allclose(clip.camera[0].intrinsics, data["intrinsics"])
    assert clip.camera[0].size_hw == (24, 32)
    for path in (folder / "frames").iterdir():
        path.unlink()
    assert neuraldiff.read_neuraldiff(tmp_path, "P01_01").size_hw == (24, 32)
    (folder / "meta.json").write_text(json.dumps({**data, "image_w": 31.5}))
    with pytest.raises(UsageError, match="nothing says the size of images"):
        neuraldiff.read_neuraldiff(tmp_path, "P01_01")


def test_one_frame_is_a_scene(tmp_path):
    write(tmp_path, meta(1))
    clip = neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    assert list(clip.views) == [View(0.1, 5.0, 0, "test")]


def nested(key, i, value):
    return {key: {**meta()[key], i: value}}


def without(key, i):
    return {key: {k: v for k, v in meta()[key].items() if k != i}}


BAD = {
    "near of zero": (nested("nears", "1", 0.0), "0 and 6; expected 0 < near < far"),
    "near above far": (nested("nears", "1", 9.0), "9 and 6; expected 0 < near < far"),
    "near that is NaN": (nested("nears", "1", float("nan")), "nan and 6; expected"),
    "far without end": (nested("fars", "1", float("inf")), "0.2 and inf; expected"),
    "near as text": (nested("nears", "1", "0.1"), "nears and fars of 1: expected two"),
    "no near": (without("nears", "1"), "nears and fars of 1: expected two numbers"),
    "no nears": ({"nears": None}, "nears: expected an object by frame id"),
    "no fars": ({"fars": {}}, "fars: expected an object by frame id"),
    "no pose": (without("poses", "2"), "poses: no 2, which is in ids_all"),
    "a pose of NaN": (
        nested("poses", "2", [[float("nan")] * 4] * 3),
        "2: expected 3 x 4 finite numbers",
    ),
    "a pose of zeros": (nested("poses", "2", [[0] * 4] * 3), "not a rotation"),
    "no image": (without("images", "2"), "images: no 2, which has a pose"),
    "an image outside": (nested("images", "2", "../a.bmp"), "'../a.bmp' is not a file"),
    "a long image": (nested("images", "2", "a" * 300 + ".bmp"), "too long for a file"),
    "an absolute image": (nested("images", "2", "/a.bmp"), "'/a.bmp' is not a file"),
    "two images of a name": (nested("images", "2", "IMG_0000000001.png"), "twice"),
    "an id of two splits": ({"ids_val": [2]}, "ids_val: 2 is in ids_train as"),
    "an id of no split": ({"ids_train": [1, 2]}, "ids_all: 3 is in no split"),
    "an unknown id": ({"ids_val": [9]}, "ids_val: 9 is not in ids_all"),
    "ids as text": ({"ids_all": ["0"]}, "ids_all: expected a list of frame ids"),
    "no ids": ({"ids_all": []}, "ids_all: no frames"),
    "an id twice": ({"ids_test": [0, 0]}, "ids_test: an id is listed twice"),
    "no camera at all": (
        {"camera": None, "intrinsics": "?"},
        "no camera, and intrinsics are not",
    ),
    "a centre outside": (
        {"camera": None, "intrinsics": [[50, 0, 99], [0, 50, 12], [0, 0, 1]]},
        "centre (99, 12) for images of 32 x 24",
    ),
    "a camera of another shape": (
        {"camera": {**CAMERA, "width": 99}},
        "99 x 48 pixels; the images, 32 x 24, are no scale of it",
    ),
    "a lens that is not known": ({"camera": {**CAMERA, "model": "X"}}, "model X"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_scene_gets_a_line_for_each_problem(tmp_path, what):
    changes, expected = BAD[what]
    path = write(tmp_path, meta(**changes)) / "meta.json"
    with pytest.raises(UsageError) as err:
        neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    lines = str(err.value).splitlines()
    assert any(line.startswith(f"{path}: ") and expected in line for line in lines)


def test_all_problems_of_a_scene_are_told_at_once(tmp_path):
    data = meta(ids_train=[1, 2], **nested("nears", "1", -1.0), **without("poses", "2"))
    path = write(tmp_path, data) / "meta.json"
    with pytest.raises(UsageError) as err:
        neuraldiff.read_neuraldiff(tmp_path, "P01_01")
    assert str(err.value).splitlines() == [
        f"{path}: ids_all: 3 is in no split",
        f"{path}: nears and fars of 1: -1 and 6; expected 0 < near < far < 1e+09",
        f"{path}: poses: no 2, which is in ids_all",
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"poses": 1}', '{"poses": {}, "poses": {}}']
)
def test_what_is_no_scene_is_refused(tmp_path, text):
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(UsageError, match=r"meta\.json"):
        neuraldiff.read_neuraldiff(tmp_path)


def test_a_truncated_scene_is_refused(tmp_path):
    path = write(tmp_path, meta()) / "meta.json"
    path.write_text(path.read_text()[:-200])
    with pytest.raises(UsageError, match="no JSON"):
        neuraldiff.read_neuraldiff(tmp_path, "P01_01")


def test_slots_that_do_not_fit_are_refused(tmp_path):
    write(tmp_path, meta())
    with pytest.raises(UsageError, match="ids_all: slots 0 to 3 by id; there are 2"):
        neuraldiff.read_neuraldiff(tmp_path, "P01_01", slots="id", num_slots=2)


def test_no_readable_image_is_one_problem(tmp_path):
    folder = write(tmp_path, meta(), size=None)
    for i in range(4):
        (folder / "frames" / f"IMG_{i:010d}.bmp").write_bytes(b"BM")
    with pytest.raises(UsageError, match="none of 4 frames can be read"):
        neuraldiff.read_neuraldiff(tmp_path, "P01_01")


def test_the_sizes_of_one_image_at_different_scales_are_known():
    assert neuraldiff.is_resized((256, 456), (128, 228))
    assert neuraldiff.is_resized((256, 456), (1080, 1920))
    assert neuraldiff.is_resized((1080, 1920), (256, 456))
    assert neuraldiff.is_resized((101, 303), (33, 101))
    assert not neuraldiff.is_resized((256, 456), (256, 342))
    assert not neuraldiff.is_resized((48, 64), (24, 30))


def test_the_real_trajectory_is_a_clip_of_poses(real_data):
    clip = neuraldiff.read_neuraldiff(real_data, "epic_P01_01")
    assert clip.num_frames == len(clip.views) == 4645
    assert clip.frame_ids[0] == "frame_0000000401"
    assert clip.frame_ids[-1] == "frame_0000099134"
    assert clip.frames is None
    assert clip.size_hw == (256, 456)
    assert clip.fps == 7.5  # 60, every 8th frame.
    assert clip.camera[7].lens == "opencv"
    views = list(clip.views)
    near, far = (np.array([getattr(v, key) for v in views]) for key in ("near", "far"))
    low, middle, high = np.quantile(near, (0.05, 0.5, 0.95))
    np.testing.assert_allclose([low, middle, high], [0.0017, 0.033, 0.10], rtol=0.03)
    np.testing.assert_allclose(near.max(), 1.5, rtol=0.01)
    np.testing.assert_allclose(np.median(far), 17.7, rtol=0.001)
    np.testing.assert_allclose(np.quantile(far, (0.05, 0.95)), [16.1, 21.0], rtol=0.003)
    centres = np.array([np.linalg.inv(c.w2c)[:3, 3] for c in clip.camera])
    np.testing.assert_allclose(np.ptp(centres, axis=0), [16.5, 12.6, 4.4], atol=0.05)
    slots = np.array([v.slot for v in views])
    assert (np.diff(slots) >= 0).all()
    numbers = np.array([int(name[-10:]) for name in clip.frame_ids])
    even = (numbers - 401) / (99134 - 401) * slots[-1]
    assert np.abs(slots - even).max() <= 0.5
    assert {v.split for v in views} == {"train"}
    defect, no_frames = clip.notes
    assert "a defect of the converter" in defect
    assert "none of the 4645 images is there" in no_frames
    floored = neuraldiff.read_neuraldiff(real_data, "epic_P01_01", near_floor=0.05)
    assert min(v.near for v in floored.views) == pytest.approx(0.0017, rel=0.03)
