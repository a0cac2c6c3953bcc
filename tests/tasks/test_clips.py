"""Which clips a config names, and what they are called."""

import pathlib

import numpy as np
import pytest

from egojax.apps import cli
from egojax.data import images, video
from egojax.errors import UsageError
from egojax.tasks import clips, opening

CONFIG = cli.find_config("configs/tracking.py")[0]
SIZE = (12, 16)


def load(variant="folder", **fields):
    config = cli.load_config(CONFIG, variant)
    for name, value in fields.items():
        group, last = name.split("__")
        config[group][last] = value
    return config


def openers(config) -> clips.Openers:
    return clips.make(config, opening.prepared, opening.settled)


def write_clip(folder: pathlib.Path, suffix: str = ".jpg") -> pathlib.Path:
    (folder / "labels").mkdir(parents=True)
    images.write_labels(folder / "labels" / "000000.png", np.ones(SIZE, np.int32))
    picture = np.zeros((*SIZE, 3), np.uint8)
    if suffix == ".mp4":
        with video.VideoWriter(folder / "film.mp4", 12.5) as film:
            film.write(picture)
        return folder
    (folder / "frames").mkdir()
    images.write_image(folder / "frames" / f"000000{suffix}", picture)
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["P01_104"], ["P01_104"]),
        (["my clip é", "日本 1"], ["my_clip_é", "日本_1"]),
        (["a/b", "a:b", "a_b"], ["a_b-2", "a_b-3", "a_b"]),
        (["..", ".", "", ".git", "../x"], ["_", "_-2", "_-3", "_git", "__x"]),
        (["caf\u0065\u0301"], ["caf\u00e9"]),
        (["x=1,y+2-3.v2"], ["x=1,y+2-3.v2"]),
    ],
)
def test_a_name_becomes_a_safe_one_of_its_own(names, expected):
    assert clips.safe_names(names) == expected


@pytest.mark.parametrize("seed", range(5))
def test_any_names_give_different_folders_in_one_place(seed, tmp_path):
    rng = np.random.default_rng(seed)
    names = ["".join(rng.choice(list("a ./_-é2"), 3)) for _ in range(200)]
    names = list(dict.fromkeys(names))
    found = clips.safe_names(names)
    assert len(set(found)) == len(names)
    assert all((tmp_path / name).resolve().parent == tmp_path for name in found)
    assert clips.safe_names(found) == found


@pytest.mark.parametrize("name", ["my clip é", "clip.v2", "clip.mp4"])
def test_the_folder_of_a_clip_keeps_its_name_as_far_as_it_can(name, tmp_path):
    root = write_clip(tmp_path / name)
    (found,) = openers(load(data__root=str(root))).items()
    assert found[0] == name.replace(" ", "_")
    assert found[1]().name == found[0]


def test_a_video_is_called_without_its_suffix(tmp_path):
    write_clip(tmp_path / "a", ".mp4")
    path = (tmp_path / "a" / "film.mp4").rename(tmp_path / "film.v2.MP4")
    assert list(openers(load(data__root=str(path)))) == ["film.v2"]
    config = load(data__root=str(tmp_path), data__clips="a,film.v2.MP4")
    assert list(openers(config)) == ["a", "film.v2.MP4"]


@pytest.mark.parametrize(
    ("suffix", "given", "expected"),
    [(".jpg", None, 30.0), (".jpg", 60.0, 60.0), (".mp4", None, 12.5)],
)
def test_images_have_the_rate_that_is_given(tmp_path, suffix, given, expected):
    root = str(write_clip(tmp_path / "clip", suffix))
    config = load(data__root=root, data__fps=given, data__stride=1)
    (clip,) = (opener() for opener in openers(config).values())
    assert clip.fps == expected


def test_a_video_keeps_its_own_rate_and_says_so(tmp_path):
    root = str(write_clip(tmp_path / "clip", ".mp4"))
    (opener,) = openers(load(data__root=root, data__fps=60.0)).values()
    clip = opener()
    assert clip.fps == 12.5
    assert any("has 12.5 frames a second of its own; 60" in n for n in clip.notes)


def test_a_rate_for_what_has_its_own_is_refused():
    with pytest.raises(UsageError, match=r"data\.fps: world has a rate of its own"):
        openers(load("smoke", data__fps=60.0))


@pytest.mark.parametrize("size", [(96,), (3, 5), (96.5, 160), (-16, 64), (15, 64), ()])
def test_a_size_that_the_world_cannot_have_is_refused(size):
    config = load("smoke")
    with config.unlocked():
        config.world.size_hw = size
    with pytest.raises(UsageError, match=r"config.world.size_hw=\(.*from 16"):
        openers(config)


# ------------------------------------------------------------------- drawn scenes


def test_a_gliding_clip_is_as_long_as_one_likes():
    config = load(
        "gliding", world__num_frames=95, world__size_hw=(16, 28), data__clips="1"
    )
    clip = clips.make(config, lambda _, clip: clip, lambda _, clip: clip)["world-1"]()
    assert clip.num_frames == 95 and clip.size_hw == (16, 28)


@pytest.mark.parametrize(
    ("scene", "count", "path", "said"),
    [
        ("gliding", 0, None, "have their own camera: set config.world.num_frames to 1"),
        ("gliding", 80, "head.json", "leave camera_path alone"),
        ("handling", 80, None, "have 64 frames and their own camera"),
    ],
)
def test_scenes_say_how_long_they_can_be(scene, count, path, said):
    fields = {"scene": scene, "num_frames": count, "camera_path": path}
    config = load("", **{f"world__{key}": value for key, value in fields.items()})
    with pytest.raises(UsageError, match=said):
        openers(config)["world-0"]()


def test_a_split_without_clips_is_told(tmp_path):
    """A converted FBMS-59 of test sequences alone."""
    (tmp_path / "JPEGImages" / "cats01").mkdir(parents=True)
    config = cli.load_config(cli.find_config("configs/motion_seg.py")[0], "fbms")
    config.data.root, config.data.split = str(tmp_path), "train"
    with pytest.raises(UsageError, match=r"no clip of config\.data\.split=train"):
        openers(config)
