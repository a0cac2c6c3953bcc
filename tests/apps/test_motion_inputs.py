"""Motion segmentation through the launcher: baselines, imported flow and tracks."""

import pathlib

import numpy as np
import pytest

from egojax.apps import cli
from egojax.data import arrays, images, motion_results
from tests import moving_clips

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = [
    "--config.tracks.stride=4",
    "--config.group.lengths=(9,5)",
    "--config.group.least_motion=1.0",
    "--config.show.overlay=False",
]


def launch(root: pathlib.Path, workdir: pathlib.Path, *words: str) -> int:
    return cli.main(
        [
            "launch.py",
            "--config=configs/motion_seg.py:folder",
            f"--config.data.root={root}",
            f"--workdir={workdir}",
            *SMALL,
            *words,
        ]
    )


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> pathlib.Path:
    return moving_clips.write_clip(tmp_path_factory.mktemp("data") / "disk", 10)


def folder_of(run: pathlib.Path, name: str = "disk") -> pathlib.Path:
    return run / "clips" / name


def names_of(run: pathlib.Path) -> dict[str, float]:
    return arrays.read_json(folder_of(run) / "scores.json")["names"]


# ------------------------------------------------------------------------- baselines


def test_a_baseline_is_one_command_and_another_one_takes_its_flow(
    clip, tmp_path, capsys
):
    run, words = tmp_path / "run", ["--config.show.overlay=True"]
    assert launch(clip, run, "--config.solver=flow_magnitude", *words) == 0
    stages = ["flow", "masks", "score", "show"]
    assert [*arrays.read_json(folder_of(run) / "done.json")] == stages
    assert names_of(run)["J"] > 0.85 and "tracks_ARI" not in names_of(run)
    text = (folder_of(run) / "report.html").read_text()
    assert "flow alone" in text and "point tracks" not in text
    assert (folder_of(run) / "overlay.mp4").stat().st_size > 1000
    capsys.readouterr()
    words = ["--config.solver=flow_clusters", "--config.show.official=True"]
    assert launch(clip, run, *words) == 0
    assert "masks, score, show run again" in capsys.readouterr().out
    assert names_of(run)["J"] > 0.85
    labels = images.read_labels(folder_of(run) / "labels" / "00004.png")
    hard = folder_of(run) / "official" / "hard" / "disk" / "00004.png"
    np.testing.assert_array_equal(motion_results.read_hard(hard), labels)
    # The last frame has no flow forward: its masks are of the flow back.
    assert images.read_labels(folder_of(run) / "labels" / "00009.png").any()


def test_points_after_a_baseline_follow_the_flow_that_there_is(clip, tmp_path):
    run = tmp_path / "run"
    assert launch(clip, run, "--config.solver=flow_magnitude") == 0
    before = (folder_of(run) / "flow" / "gap1" / "00000.npz").stat().st_mtime_ns
    assert launch(clip, run) == 0
    flow = folder_of(run) / "flow" / "gap1" / "00000.npz"
    assert flow.stat().st_mtime_ns == before
    assert names_of(run)["tracks_ARI"] > 0.9


def test_a_baseline_leaves_out_a_frame_that_cannot_be_read(tmp_path, capsys):
    broken = moving_clips.write_clip(tmp_path / "disk", 6)
    (broken / "frames" / "00003.png").write_bytes(b"no image")
    assert launch(broken, tmp_path / "run", "--config.solver=flow_magnitude") == 3
    assert "00003" in capsys.readouterr().out
    labels = folder_of(tmp_path / "run") / "labels"
    assert sorted(path.stem for path in labels.iterdir()) == [
        f"{t:05d}" for t in (0, 1, 2, 4, 5)
    ]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--config.solver=best", "config.solver=best: there are points"),
        ("--config.clusters.count=1", "config.clusters.count=1: below 2"),
        ("--config.clusters.position=-1.0", "config.clusters.position=-1.0: below 0"),
    ],
)
def test_a_baseline_that_cannot_be_is_told(clip, tmp_path, capsys, word, said):
    assert launch(clip, tmp_path / "run", word) == 2
    assert said in capsys.readouterr().err
