"""Runs through the launcher: resuming, shards, folders of another config, comparing."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from egojax.apps import cli
from egojax.apps.run import shard_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = [
    "launch.py",
    "--config=configs/tracking.py:smoke",
    "--config.show.overlay=False",
    "--config.show.report=False",
]


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def launch(workdir: pathlib.Path, *words: str) -> int:
    return cli.main([*SMOKE, f"--workdir={workdir}", *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """A run that was never stopped."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    os.chdir(ROOT)
    assert launch(path) == 0
    return path


def results_of(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(workdir / "clips" / "world-0" / "tracks.npz") as table:
        return {key: table[key] for key in table.files}


def assert_same_results(a: pathlib.Path, b: pathlib.Path) -> None:
    left, right = results_of(a), results_of(b)
    for key, column in left.items():
        np.testing.assert_array_equal(column, right[key], err_msg=key)
    metrics = [json.loads((p / "metrics.json").read_text()) for p in (a, b)]
    assert metrics[0] == metrics[1]


def test_a_run_leaves_what_the_readme_says(finished):
    clip = finished / "clips" / "world-0"
    for name in ("tracks.npz", "pred.json", "scores.json", "done.json"):
        assert (clip / name).is_file(), name
    assert len(list((clip / "labels").glob("*.png"))) == 12
    config = json.loads((finished / "config.json").read_text())
    assert config["config"]["job"] == "tracking" and "jax" in config["versions"]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert set(metrics["clips"]["world-0"]) >= {"before", "after", "bound"}
    events = [json.loads(x) for x in (finished / "log.jsonl").read_text().splitlines()]
    ended = [e["stage"] for e in events if e["event"] == "stage_end"]
    assert ended[:4] == ["observe", "track", "labels", "score"]
    assert not list(finished.rglob(".*.tmp*"))


def test_the_same_command_again_does_nothing_but_say_so(finished, capsys):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*.npz")}
    assert launch(finished) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*.npz")}


def test_a_run_of_another_config_is_refused_by_its_first_difference(finished, capsys):
    assert launch(finished, "--config.segments.min_pixels=41") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "segments.min_pixels: there 40, here 41" in line


def test_what_is_shown_may_be_asked_for_later(finished):
    words = ["--config.show.report=True", "--config.show.overlay=False"]
    assert launch(finished, *words, "--only=show") == 0
    assert (finished / "clips" / "world-0" / "report.html").is_file()


def test_a_mistake_leaves_the_folder_to_the_next_command(tmp_path, capsys):
    workdir = tmp_path / "run"
    nowhere = f"--config.data.root={tmp_path}/nowhere"
    assert launch(workdir, "--config.data.name=folder", nowhere) == 2
    assert "no such file or folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    empty = f"--config.data.root={tmp_path}/empty"
    assert launch(workdir, "--config.data.name=folder", empty) == 2
    assert launch(workdir, "--config.world.num_frames=2") == 0


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("x")
    assert launch(tmp_path) == 2
    assert "is no run folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_only_runs_the_stages_it_names(finished, capsys):
    assert launch(finished, "--only=score") == 0
    out = capsys.readouterr().out
    assert "score done" in out and "observe done" not in out
    assert launch(finished, "--only=scroe") == 2
    assert "there are observe, track" in capsys.readouterr().err


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_killed_at_some_moment_equals_never_killed(moment, finished, tmp_path):
    """kill -9 once so many files are there, then the same command again."""
    workdir = tmp_path / "killed"
    words = [sys.executable, *SMOKE, f"--workdir={workdir}"]
    words.append("--config.read.chunk=4")
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    observed = workdir / "clips" / "world-0" / "observations"
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if len(list(observed.glob("[0-9]*.npz"))) >= moment:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert launch(workdir, "--config.read.chunk=4") == 0
    assert_same_results(workdir, finished)


def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    workdir = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, *SMOKE, f"--workdir={workdir}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not (workdir / "config.json").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command continues" in told


def test_shards_are_the_published_chunks():
    """Oracle T12: 7 items in 3 chunks."""
    shards = [shard_of("abcdefg", i, 3) for i in range(3)]
    assert shards == [["a", "b", "c"], ["d", "e"], ["f", "g"]]
    assert [shard_of("ab", i, 4) for i in range(4)] == [["a"], ["b"], [], []]
    for count in range(1, 12):
        parts = [shard_of("abcdefg", i, count) for i in range(count)]
        assert [x for part in parts for x in part] == list("abcdefg")


def test_shards_together_equal_one_run(tmp_path):
    clips = "--config.data.clips=0-2"
    few = "--config.world.num_frames=4"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert launch(whole, clips, few) == 0
    for i in (0, 1):
        assert launch(parts, clips, few, f"--shard={i}/2") == 0
    a, b = (json.loads((p / "metrics.json").read_text()) for p in (whole, parts))
    assert a == b and len(a["clips"]) == 3


def test_comparing_runs_names_clips_and_intervals(finished, tmp_path, capsys):
    official = tmp_path / "official"
    assert launch(official, "--config.assoc.mode=official") == 0
    capsys.readouterr()
    assert cli.main(["launch.py", "compare", str(finished), str(official)]) == 0
    out = capsys.readouterr().out
    assert "1 clip(s) in common" in out and "IDF1" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "two or more run folders"),
        (["nowhere", "neither"], "nowhere: no run folder"),
    ],
)
def test_comparing_nothing_is_told(words, told, capsys):
    assert cli.main(["launch.py", "compare", *words]) == 2
    assert told in capsys.readouterr().err
