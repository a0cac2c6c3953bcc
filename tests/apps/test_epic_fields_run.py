"""A decomposition by the benchmark of EPIC Fields, through the launcher."""

import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from egojax.apps import cli
from egojax.data import arrays, stream_images
from egojax.metrics import mask_average_precision

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = [f"frame_{n:010d}" for n in range(1, 11)]
WITHIN, OUTSIDE = NAMES[7], NAMES[8]
MASKS = {"dynamic": 3, "semistatic": 1, "dynamic_semistatic": 1}
WORDS = [
    "launch.py",
    "--config=configs/decomposition.py:smoke",
    "--config.world.num_frames=10",
    "--config.world.size_hw=(32,48)",
    "--config.train.steps=4",
    "--config.train.block=2",
    "--config.train.log_every=2",
    "--config.train.batch_size=32",
    "--config.render.fixed=0",
    "--config.eval.ssim=False",
    "--config.show.summary=False",
    "--config.show.report=False",
]


def write_benchmark(root: pathlib.Path, vid: str = "world-0") -> pathlib.Path:
    """Frame 10 is in no list; the mask of `WITHIN` is its left half."""
    lists = {
        "train": {vid: [f"{name}.jpg" for name in NAMES[:6]]},
        "val": {vid: {"within_action": [f"{NAMES[6]}.jpg"]}},
        "test": {
            vid: {
                "within_action": [f"{WITHIN}.jpg"],
                "outside_action": [f"{OUTSIDE}.jpg"],
            }
        },
    }
    (root / "split").mkdir(parents=True)
    for name, data in lists.items():
        (root / "split" / f"{name}.json").write_text(json.dumps(data))
    for motion, value in MASKS.items():
        folder = root / "annotations" / f"test_{motion}" / vid
        folder.mkdir(parents=True)
        mask = np.zeros((16, 24), np.uint8)
        mask[:, :12] = value
        Image.fromarray(mask).save(folder / f"{WITHIN}.png")
    return root


def launch(run: pathlib.Path, benchmark: pathlib.Path, *words: str) -> int:
    places = [f"--workdir={run}", f"--config.eval.benchmark={benchmark}"]
    return cli.main([*WORDS, *places, *words])


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("epic")
    os.chdir(ROOT)
    assert launch(root / "run", write_benchmark(root / "benchmark")) == 0
    return root


def test_the_splits_are_the_benchmarks(finished):
    folder = finished / "run" / "clips" / "world-0"
    scores = arrays.read_json(folder / "scores.json")
    parts = {name: row["split"] for name, row in scores["frames"].items()}
    assert parts == {
        **dict.fromkeys(NAMES[:6], "train"),
        NAMES[6]: "val",
        WITHIN: "test",
        OUTSIDE: "test",
    }
    assert not (folder / "streams" / f"{NAMES[9]}.npz").exists()


def test_the_numbers_are_those_of_the_files(finished):
    """From the rendered frame and the masks, each by its rule."""
    folder = finished / "run" / "clips" / "world-0"
    groups = arrays.read_json(folder / "scores.json")["names"]
    shown = stream_images.read_images(folder / "streams" / f"{WITHIN}.npz")
    left = np.zeros((16, 24), bool)
    left[:, :12] = True
    masks = {"dynamic": shown.masks[2], "semistatic": shown.masks[1:].sum(0)}
    for motion, soft in masks.items():
        expected = mask_average_precision(soft, left)
        assert groups["udos"][f"mAP_{motion}"] == pytest.approx(expected)
    row = groups["nvs_within_action"]
    mse = [10 ** (-row[f"psnr_{n}"] / 10) for n in ("foreground", "background")]
    assert row["psnr"] == pytest.approx(-10 * np.log10(np.mean(mse)))
    assert groups["nvs_outside_action"]["num_images"] == 1
    assert groups["nvs_outside_action"]["psnr_foreground"] is None
    assert "nvs_outside_action_easy" not in groups
    assert 3 < row["psnr"] < 60


def test_the_run_and_the_average_of_runs_say_the_numbers(finished, capsys):
    assert launch(finished / "run", finished / "benchmark") == 0
    out = capsys.readouterr().out
    assert "nothing to do" in out
    assert "| EPIC Fields" in out and "| UDOS" in out and "| within action" in out
    assert cli.main(["launch.py", "average", str(finished / "run")]) == 0
    out = capsys.readouterr().out
    assert "nvs_within_action: 1 scene(s)" in out and "mAP_dynamic_semistatic" in out


def test_another_benchmark_is_another_run(finished, tmp_path, capsys):
    other = write_benchmark(tmp_path / "other")
    assert launch(finished / "run", other) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a run of another config; it differs first in eval.benchmark" in line


def test_a_benchmark_that_is_not_of_the_clip_is_one_line(tmp_path, capsys):
    other = write_benchmark(tmp_path / "other", "P01_01")
    assert launch(tmp_path / "run", other) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "world-0: not in the benchmark; there are P01_01" in line


def test_masks_of_another_size_leave_their_frames_out(finished, tmp_path, capsys):
    root = write_benchmark(tmp_path / "benchmark")
    path = root / "annotations" / "test_dynamic" / "world-0" / f"{WITHIN}.png"
    Image.fromarray(np.ones((32, 48), np.uint8)).save(path)
    weights = finished / "run" / "clips" / "world-0" / "fields.npz"
    words = [f"--config.train.weights={weights}", "--config.render.frames=test"]
    assert launch(tmp_path / "run", root, *words) == 3
    out = capsys.readouterr().out
    assert f"score skipped 1 frame(s), first {WITHIN}" in out
    assert "48 x 32 pixels; the clip has 24 x 16" in out
