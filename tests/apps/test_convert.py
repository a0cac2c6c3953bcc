"""`--mode=convert` through the launcher: scenes, faults, interruptions, mistakes."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from egojax.apps import cli, convert
from egojax.data import colmap, epic
from egojax.data.neuraldiff import read_neuraldiff

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ["launch.py", "--config=configs/decomposition.py", "--mode=convert"]
POINTS = np.array([(0, 0, 1), (1, 0, 2), (0, 1, 3), (-1, 0, 4)], float)
IMAGES = {
    f"frame_{n:010d}.jpg": colmap.ColmapImage(1, (1.0, 0, 0, 0), (0.01 * n, 0, 0))
    for n in range(1, 21)
}
MODEL = colmap.ColmapModel(
    cameras={1: colmap.ColmapCamera("PINHOLE", (48, 64), (50.0, 51.0, 31.0, 25.0))},
    images=IMAGES,
    points=POINTS,
    colors=np.zeros((4, 3), np.uint8),
)


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def scene(tmp_path) -> pathlib.Path:
    """DIR/sparse/0 and DIR/images, as COLMAP leaves them."""
    return write(tmp_path / "scene")


def write(folder: pathlib.Path, model=MODEL, size=(64, 48)) -> pathlib.Path:
    colmap.write_model(folder / "sparse" / "0", model)
    (folder / "images").mkdir()
    for n, name in enumerate(model.images):
        Image.new("RGB", size, (10 * n, 90, 40)).save(folder / "images" / name)
    return folder


def launch(**fields) -> int:
    words = [f"--config.convert.{key}={value}" for key, value in fields.items()]
    return cli.main([*CONFIG, *words])


def meta(out: pathlib.Path) -> dict:
    return json.loads((out / "meta.json").read_text())


def test_the_official_words_convert_a_scene_of_colmap(scene, tmp_path, capsys):
    """Oracle: neuraldiff.md 3.3: ids 0, 16 test; 8 val; a scale of 8 is applied."""
    out = tmp_path / "custom" / "VID"
    assert launch(colmap_dir=scene, out=out, scale=8, split_nth=8) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1
    assert "20 frames of 8 x 6 pixels (17 train, 1 val, 2 test)" in told[0]
    found = meta(out)
    assert (found["ids_test"], found["ids_val"]) == ([1, 17], [9])
    expected = [[50 / 8, 0, 31 / 8], [0, 51 / 8, 25 / 8], [0, 0, 1]]
    np.testing.assert_allclose(found["intrinsics"], expected)
    clip = read_neuraldiff(tmp_path / "custom", "VID")
    assert clip.frames[19].shape == (6, 8, 3)
    assert [view.split for view in clip.views].count("train") == 17


def test_the_defaults_keep_the_size_and_hold_frames_out(scene, tmp_path):
    assert launch(colmap_dir=scene, out=tmp_path / "out") == 0
    assert meta(tmp_path / "out")["image_w"] == 64
    assert meta(tmp_path / "out")["ids_val"] == [9]


def test_model_and_images_may_lie_apart(scene, tmp_path):
    shutil.move(scene / "images", tmp_path / "pictures")
    epic.write_poses(tmp_path / "P01_01.json", MODEL)
    for n, model in enumerate((scene / "sparse" / "0", tmp_path / "P01_01.json")):
        fields = dict(model=model, images=tmp_path / "pictures", scale=2)
        assert launch(**fields, out=tmp_path / f"out{n}") == 0
    first, second = meta(tmp_path / "out0"), meta(tmp_path / "out1")
    for key, pose in first["poses"].items():
        np.testing.assert_allclose(second["poses"][key], pose, atol=1e-12)
    assert first["nears"] == pytest.approx(second["nears"])


def test_no_run_folder_is_made(scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch(colmap_dir=scene, out="data/custom/VID") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "scene"]


def test_what_is_told_of_bent_images_is_printed(tmp_path, capsys):
    lens = colmap.ColmapCamera("SIMPLE_RADIAL", (48, 64), (50.0, 32.0, 24.0, 0.1))
    bent = dataclasses.replace(MODEL, cameras={1: lens})
    scene = write(tmp_path / "scene", bent)
    assert launch(colmap_dir=scene, out=tmp_path / "VID", scale=2) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("VID: images of one camera and the lens opencv are bent")


def test_frames_that_are_left_out_are_listed_and_make_exit_code_3(
    scene, tmp_path, capsys
):
    names = list(IMAGES)
    (scene / "images" / names[1]).write_bytes(b"\xff\xd8\xff")
    Image.new("RGB", (40, 48)).save(scene / "images" / names[2])
    (scene / "images" / names[3]).unlink()
    assert launch(colmap_dir=scene, out=tmp_path / "out", scale=2) == 3
    told = capsys.readouterr().out.splitlines()
    assert "17 frames" in told[0]
    assert [line.split(": ")[2] for line in told[1:]] == names[1:4]
    assert all(line.startswith("egojax: skipped: ") for line in told[1:])
    assert meta(tmp_path / "out")["ids_all"] == [1, *range(5, 21)]


def test_a_hundred_lost_frames_are_counted_not_listed(tmp_path, capsys):
    row = IMAGES["frame_0000000001.jpg"]
    rows = {f"frame_{n}.jpg": row for n in range(100)}
    scene = write(tmp_path / "scene", dataclasses.replace(MODEL, images=rows), (8, 6))
    for n in range(1, 100):
        (scene / "images" / f"frame_{n}.jpg").unlink()
    assert launch(colmap_dir=scene, out=tmp_path / "out", split_nth=0) == 3
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 22 and told[-1].endswith("and 79 more frames")


def test_an_interrupted_conversion_goes_on(scene, tmp_path, monkeypatch, capsys):
    class Interrupting(convert.ProgressLine):
        def __call__(self, done, total):
            if done == 3:
                raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(convert, "ProgressLine", Interrupting)
        assert launch(colmap_dir=scene, out=out, scale=2) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert not (out / "meta.json").exists()
    before = {p: p.stat().st_mtime_ns for p in (out / "frames").iterdir()}
    assert len(before) >= 3
    assert launch(colmap_dir=scene, out=out, scale=2) == 0
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    assert launch(colmap_dir=scene, out=tmp_path / "whole", scale=2) == 0
    for path in filter(pathlib.Path.is_file, (tmp_path / "whole").rglob("*")):
        other = out / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == other.read_bytes()


# ---------------------------------------------------------------------------- mistakes


def no_model(scene: pathlib.Path) -> None:
    shutil.rmtree(scene / "sparse")


def no_images(scene: pathlib.Path) -> None:
    shutil.rmtree(scene / "images")


def no_cameras(scene: pathlib.Path) -> None:
    (scene / "sparse" / "0" / "cameras.bin").unlink()


def cut_short(scene: pathlib.Path) -> None:
    path = scene / "sparse" / "0" / "images.bin"
    path.write_bytes(path.read_bytes()[:-9])


def other_sizes(scene: pathlib.Path) -> None:
    for path in (scene / "images").iterdir():
        Image.new("RGB", (30, 48)).save(path)


def no_poses(scene: pathlib.Path) -> None:
    nowhere = colmap.ColmapImage(1, (1.0, 0, 0, 0), (np.nan, 0, 0))
    rows = {**IMAGES, "frame_0000000007.jpg": nowhere}
    model = dataclasses.replace(MODEL, images=rows)
    colmap.write_model(scene / "sparse" / "0", model)


def no_points(scene: pathlib.Path) -> None:
    (scene / "sparse" / "0" / "points3D.bin").unlink()


def points_of_nan(scene: pathlib.Path) -> None:
    model = dataclasses.replace(MODEL, points=POINTS * np.nan)
    colmap.write_model(scene / "sparse" / "0", model)


BAD_SCENES = {
    "no scene at all": (shutil.rmtree, "scene: no COLMAP model here"),
    "no model": (no_model, "scene: no COLMAP model here (images.bin or images.txt)"),
    "no images": (no_images, "images: no such folder"),
    "no cameras": (no_cameras, "cameras.bin: cannot be read: No such file"),
    "a model cut short": (cut_short, "images.bin: truncated or malformed"),
    "images of wrong sizes": (other_sizes, "30 x 48 pixels; expected 64 x 48"),
    "a pose of NaN": (no_poses, "frame_0000000007.jpg: not a unit quaternion and a"),
    "no points": (no_points, "no points, and near and far follow from these"),
    "points of NaN": (points_of_nan, "points3D.bin: points that are not finite"),
}


def told_in_one_line(capsys) -> str:
    caught = capsys.readouterr()
    lines = caught.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("egojax: ") and not caught.out
    return lines[0]


@pytest.mark.parametrize("what", BAD_SCENES)
def test_a_bad_scene_is_told_in_one_line(what, scene, tmp_path, capsys):
    change, expected = BAD_SCENES[what]
    change(scene)
    assert launch(colmap_dir=scene, out=tmp_path / "out") == 2
    assert expected in told_in_one_line(capsys)
    assert not (tmp_path / "out" / "meta.json").exists()


BAD_FIELDS = {
    "no scene": (dict(out="x"), "config.convert.colmap_dir: give the folder that has"),
    "no images": (dict(model="x", out="y"), "config.convert.images: give the folder"),
    "no model": (dict(images="x", out="y"), "config.convert.model: give the folder"),
    "no out": (dict(model="x", images="y"), "config.convert.out: give the folder"),
    "both": (dict(colmap_dir="a", model="b", out="c"), "give it, or them"),
    "a scale of 0": (
        dict(model="x", images="y", out="z", scale=0),
        "scale=0.0: expected a number > 0",
    ),
    "a scale in words": (
        dict(model="x", images="y", out="z", scale="small"),
        "small",
    ),
    "half a frame": (
        dict(model="x", images="y", out="z", split_nth=2.5),
        "2.5",
    ),
}


@pytest.mark.parametrize("what", BAD_FIELDS)
def test_wrong_fields_are_told_in_one_line(what, capsys):
    fields, expected = BAD_FIELDS[what]
    assert launch(**fields) == 2
    assert expected in told_in_one_line(capsys)


def test_all_fields_that_lack_are_told_at_once(capsys):
    assert launch() == 2
    lines = capsys.readouterr().err.splitlines()
    assert ["colmap_dir" in lines[0], "convert.out" in lines[1]] == [True, True]


def test_another_conversion_is_not_written_over(scene, tmp_path, capsys):
    out = tmp_path / "out"
    assert launch(colmap_dir=scene, out=out, scale=2) == 0
    before = (out / "meta.json").read_bytes()
    capsys.readouterr()
    assert launch(colmap_dir=scene, out=out, scale=4) == 2
    assert "another scale (2.0, not 4.0); give another" in told_in_one_line(capsys)
    assert (out / "meta.json").read_bytes() == before
    assert launch(colmap_dir=scene, out=scene) == 2
    assert "something here that is no conversion" in told_in_one_line(capsys)


def test_a_job_without_scenes_to_convert_says_so(capsys):
    words = ["launch.py", "--config=configs/tracking.py", "--mode=convert"]
    assert cli.main(words) == 2
    assert "config of tracking has no group convert" in told_in_one_line(capsys)


@pytest.mark.parametrize("word", ["--workdir=x", "--only=fit", "--shard=0/2"])
def test_options_of_a_run_have_no_place(word, capsys):
    assert cli.main([*CONFIG, word]) == 2
    assert f"takes no {word.split('=')[0]}: it" in told_in_one_line(capsys)
