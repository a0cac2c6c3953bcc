"""A folder of the user's own through the launcher: broken files, odd names."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from egojax.apps import cli
from egojax.data import images

SIZE = (48, 64)
NAMES = [f"frame_{t:04d}" for t in range(6)]
WORDS = (
    "launch.py",
    "--config=configs/tracking.py:folder",
    "--config.segments.min_pixels=40",
    "--config.show.overlay=False",
    "--config.show.report=False",
)


def labels(t: int) -> np.ndarray:
    out = np.zeros(SIZE, np.int32)
    out[10:30, 5 + t : 25 + t] = 7
    out[35:45, 40:60] = 300
    out[0:4, 0:4] = 9  # Too small.
    return out


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> pathlib.Path:
    """Six good frames with images, labels, depth, poses and truth."""
    root = tmp_path_factory.mktemp("own") / "my clip"
    for sub in ("frames", "labels", "depth", "truth/labels"):
        (root / sub).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for t, name in enumerate(NAMES):
        picture = rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
        images.write_image(root / "frames" / f"{name}.jpg", picture)
        images.write_labels(root / "labels" / f"{name}.png", labels(t))
        images.write_labels(root / "truth/labels" / f"{name}.png", labels(t))
        np.save(root / "depth" / f"{name}.npy", np.full(SIZE, 2.0, np.float32))
    cameras = {
        "size_hw": SIZE,
        "intrinsics": [[50, 0, 32], [0, 50, 24], [0, 0, 1]],
        "frames": {name: {"w2c": np.eye(4).tolist()} for name in NAMES},
    }
    (root / "cameras.json").write_text(json.dumps(cameras))
    return root


def launch(root: pathlib.Path, tmp_path: pathlib.Path, *words: str) -> int:
    places = (f"--config.data.root={root}", f"--workdir={tmp_path / 'run'}")
    return cli.main([*WORDS, *places, *words])


def test_broken_files_cost_no_more_than_themselves(own, tmp_path, capsys):
    root = shutil.copytree(own, tmp_path / "my clip")
    (root / "frames" / f"{NAMES[1]}.jpg").write_bytes(b"")
    np.save(root / "depth" / f"{NAMES[2]}.npy", np.ones((24, 32), np.float32))
    (root / "labels" / f"{NAMES[4]}.png").write_bytes(b"\x89PNG")
    assert launch(root, tmp_path) == 3
    out = capsys.readouterr().out
    assert "observe skipped 3 frame(s), first frame_0001: read in part, without" in out
    assert "5 of 15 segments are left out: 5 of at most 40 px" in out
    assert "depth counts as it is, in world units" in out
    assert "nothing says the scale: one world unit counts as a metre" in out
    clip = tmp_path / "run" / "clips" / "my_clip"
    found = sorted(path.stem for path in (clip / "labels").glob("*.png"))
    assert found == [name for name in NAMES if name != NAMES[4]]
    for path in (clip / "labels").glob("*.png"):
        assert np.unique(images.read_labels(path)).tolist() == [0, 1, 2]
    with np.load(clip / "tracks.npz") as table:
        assert np.bincount(table["frame_idx"]).tolist() == [2, 2, 2, 2, 0, 2]
        lifted = np.isfinite(table["location"]).all(1)
        assert (lifted == (table["frame_idx"] != 2)).all()
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for row in ("before", "after"):
        assert numbers["clips"]["my_clip"][row]["CLR_FN"] == 0


@pytest.mark.parametrize("kind", ["no labels", "colours", "another size"])
def test_nothing_to_track_is_one_line_and_no_table(own, tmp_path, kind, capsys):
    root = shutil.copytree(own, tmp_path / "clip")
    shutil.rmtree(root / "labels")
    if kind != "no labels":
        (root / "labels").mkdir()
    for name in NAMES if kind != "no labels" else []:
        shape = (*SIZE, 3) if kind == "colours" else (SIZE[0] // 2, SIZE[1])
        pixels = np.ones(shape, np.uint8)
        images.write_image(root / "labels" / f"{name}.png", pixels)
    assert launch(root, tmp_path) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("egojax: clip: nothing to track: ")
    assert "HOTA" not in told.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config.features.name=file"], "but the clip has no features"),
        (["--config.data.metric_scale=-1"], "config.data.metric_scale=-1.0: below"),
        (["--config.data.fps=0"], "config.data.fps=0.0: below"),
    ],
)
def test_wrong_words_are_one_line(own, tmp_path, words, expected, capsys):
    assert launch(own, tmp_path, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_the_scale_and_the_rate_that_are_given_are_taken(own, tmp_path):
    words = ["--config.data.metric_scale=0.25", "--config.data.fps=10"]
    assert launch(own, tmp_path, *words, "--only=observe,track") == 0
    with np.load(tmp_path / "run" / "clips" / "my_clip" / "tracks.npz") as table:
        np.testing.assert_allclose(table["location"][:, 2], 0.5, rtol=1e-5)


def test_the_line_of_a_clip_begins_with_its_name(own, tmp_path, capsys):
    root = shutil.copytree(own, tmp_path / "my clip")
    (root / "truth" / "depth").mkdir()
    for name in NAMES:
        np.save(root / "truth" / "depth" / f"{name}.npy", np.full(SIZE, 2.5, "f4"))
    assert launch(root, tmp_path) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "AbsRel" in x]
    assert line.startswith("my_clip: depth AbsRel 0.200 before, 0.200 aligned")


@pytest.mark.parametrize("value", [0.0, np.inf])
def test_true_depth_that_says_nothing_leaves_the_table_whole(
    own, tmp_path, value, capsys
):
    root = shutil.copytree(own, tmp_path / "my clip")
    (root / "truth" / "depth").mkdir()
    for name in NAMES:
        np.save(root / "truth" / "depth" / f"{name}.npy", np.full(SIZE, value, "f4"))
    assert launch(root, tmp_path) == 0
    out = capsys.readouterr().out
    assert "| tracks " in out and "AbsRel" not in out


@pytest.mark.parametrize("size", ["96", "(3,5)", "(96.5,160)"])
def test_a_size_that_the_world_cannot_have_is_one_line(size, tmp_path, capsys):
    words = [f"--config.world.size_hw={size}", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(["launch.py", "--config=configs/tracking.py:smoke", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "config.world.size_hw" in line
