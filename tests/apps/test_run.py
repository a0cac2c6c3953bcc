"""Runs through the launcher: resuming, shards, folders of another config, comparing."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from egojax.apps import cli
from egojax.apps.run import shard_of
from egojax.data import results

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = [
    "launch.py",
    "--config=configs/tracking.py:smoke",
    "--config.world.size_hw=(48, 80)",
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


@pytest.fixture
def run(finished, tmp_path) -> pathlib.Path:
    """A finished run to spoil."""
    return shutil.copytree(finished, tmp_path / "run")


def clip_of(workdir: pathlib.Path) -> pathlib.Path:
    return workdir / "clips" / "world-0"


def stages_in(out: str) -> list[str]:
    return re.findall(r"world-0: (\w+) done in", out)


def test_an_unfinished_run_is_not_continued_with_another_config(run, capsys):
    """As after kill -9 in the first stage: chunks are there, done.json is not."""
    for path in [p for p in clip_of(run).iterdir() if p.name != "observations"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert launch(run, "--config.segments.min_pixels=41") == 2
    assert "segments.min_pixels: there 40, here 41" in capsys.readouterr().err


def test_stages_that_run_again_leave_nothing_old(run, finished):
    labels = sorted((clip_of(run) / "labels").iterdir())
    labels[0].write_bytes(labels[1].read_bytes())
    (clip_of(run) / "labels" / "stale.png").write_bytes(b"x")
    labels[2].unlink()
    assert launch(run, "--only=track,labels,score,show") == 0
    for path in sorted((clip_of(finished) / "labels").iterdir()):
        again = clip_of(run) / "labels" / path.name
        assert again.read_bytes() == path.read_bytes(), path.name
    assert len(list((clip_of(run) / "labels").iterdir())) == 12
    assert_same_results(run, finished)


def test_a_truncated_chunk_is_told_and_made_again(run, finished, capsys):
    chunk = clip_of(run) / "observations" / "000000.npz"
    chunk.write_bytes(chunk.read_bytes()[:100])
    assert launch(run, "--only=track,labels,score,show") == 2
    assert "--only=observe makes the observations again" in capsys.readouterr().err
    assert launch(run, "--only=observe") == 0
    assert stages_in(capsys.readouterr().out) == ["observe"]
    assert not (clip_of(run) / "tracks.npz").exists()  # It was made of the old ones.
    assert launch(run) == 0
    assert_same_results(run, finished)


def test_an_interrupted_stage_goes_on_behind_its_last_file(run, finished):
    done = json.loads((clip_of(run) / "done.json").read_text())
    del done["labels"]
    (clip_of(run) / "done.json").write_text(json.dumps(done))
    first, *others = sorted((clip_of(run) / "labels").iterdir())
    first.unlink()
    before = {path: path.stat().st_mtime_ns for path in others}
    assert launch(run) == 0
    assert {path: path.stat().st_mtime_ns for path in others} == before
    assert (
        first.read_bytes() == (clip_of(finished) / "labels" / first.name).read_bytes()
    )


def test_an_interrupted_call_for_stages_goes_on(run, finished, monkeypatch, capsys):
    def interrupted(*given):
        raise KeyboardInterrupt

    words = "--only=observe,track,labels,score,show"
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_table", interrupted)
        assert launch(run, words) == 130
    assert stages_in(capsys.readouterr().out) == ["observe"]
    assert launch(run, words) == 0
    assert stages_in(capsys.readouterr().out) == ["track", "labels", "score", "show"]
    assert_same_results(run, finished)
    assert launch(run, words) == 0
    assert len(stages_in(capsys.readouterr().out)) == 5


def test_what_later_stages_read_may_change_without_observing_again(run, capsys):
    assert launch(run, "--config.assoc.alpha=5.0") == 0
    out = capsys.readouterr().out
    assert "assoc.alpha is 5.0, was None: track, labels, score, show run again" in out
    assert stages_in(out) == ["track", "labels", "score", "show"]
    about = json.loads((run / "config.json").read_text())
    assert about["config"]["assoc"]["alpha"] == 5.0
    assert launch(run, "--config.assoc.alpha=5.0", "--config.eval.depth=False") == 0
    assert stages_in(capsys.readouterr().out) == ["score", "show"]
    assert launch(run, "--config.assoc.alpha=5.0", "--only=score") == 0
    assert launch(run, "--mode=eval") == 2
    assert "alpha is None, was 5.0; the stage track" in capsys.readouterr().err
    assert launch(run, "--config.assoc.alpha=5.0", "--config.depth.cull=True") == 2
    assert "differs first in depth.cull" in capsys.readouterr().err


def test_an_edited_file_of_constraints_is_another_one(run, tmp_path, capsys):
    table = results_of(run)
    longest = np.bincount(table["track_id"][table["track_id"] > 0]).argmax()
    at = np.flatnonzero(table["track_id"] == longest)[[0, -1]]
    ends = [[int(table["frame_idx"][n]), int(table["segment_id"][n])] for n in at]
    links = tmp_path / "links.json"
    links.write_text("[]")
    words = [f"--config.assoc.cannot_link={links}"]
    assert launch(run, *words) == 0
    links.write_text(json.dumps([[ends[0], [3, 9999]]]))
    assert launch(run, *words) == 2
    assert "2D id 9999: no such observation" in capsys.readouterr().err
    links.write_text("[[[0")
    assert launch(run, *words) == 2
    assert "no JSON" in capsys.readouterr().err
    links.write_text(json.dumps([ends]))
    assert launch(run, *words) == 0
    out = capsys.readouterr().out
    assert stages_in(out) == ["track", "labels", "score", "show"]
    first, last = results_of(run)["track_id"][at]
    assert first != last
    assert launch(run, *words) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["must_link", "cannot_link", "weights"])
def test_a_wrong_file_of_the_association_costs_nothing(field, tmp_path, capsys):
    (tmp_path / "bad").write_text("{}")
    for name in ("bad", "missing"):
        word = f"--config.assoc.{field}={tmp_path / name}"
        assert launch(tmp_path / "run", word) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"config.assoc.{field}: {tmp_path / name}: " in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--only=track", "no observations; the stage observe comes first; name it in"),
        (
            "--only=show",
            "no tracks.npz; the stage track comes first; name it in --only",
        ),
        ("--mode=eval", "the stage observe comes first; leave --mode=eval away"),
    ],
)
def test_a_later_stage_on_a_new_folder_says_what_comes_first(
    word, told, tmp_path, capsys
):
    assert launch(tmp_path / "run", word) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_observations_that_end_early_are_not_tracked(run, capsys):
    assert launch(run, "--config.read.chunk=4", "--only=observe") == 0
    (clip_of(run) / "observations" / "000008.npz").unlink()
    assert launch(run) == 2
    assert "frames 0 to 7, but the clip has 12" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["done.json", "config.json"])
@pytest.mark.parametrize("text", ["[]", '["a"]', "[1]", ""])
def test_a_damaged_run_folder_is_told(name, text, run, capsys):
    path = run / name if name == "config.json" else clip_of(run) / name
    path.write_text(text)
    assert launch(run) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line


def test_a_folder_that_cannot_be_written_is_told(run, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert launch(tmp_path / "file" / "run") == 2
    assert "cannot be made: Not a directory" in capsys.readouterr().err
    (run / "log.jsonl").unlink()
    (run / "log.jsonl").symlink_to("/dev/full")
    assert launch(run, "--only=score") == 2
    assert "log.jsonl: cannot be written: No space" in capsys.readouterr().err


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
    assert process.returncode == 130, told
    assert "the same command continues" in told


def test_shards_are_the_published_chunks():
    """Oracle T12: 7 items in 3 chunks."""
    shards = [shard_of("abcdefg", i, 3) for i in range(3)]
    assert shards == [["a", "b", "c"], ["d", "e"], ["f", "g"]]
    assert [shard_of("ab", i, 4) for i in range(4)] == [["a"], ["b"], [], []]
    for count in range(1, 12):
        parts = [shard_of("abcdefg", i, count) for i in range(count)]
        assert [x for part in parts for x in part] == list("abcdefg")


def test_a_shard_without_clips_says_so(tmp_path, capsys):
    assert launch(tmp_path / "run", "--shard=1/3") == 0
    assert "--shard=1/3: no clip in this shard, of 1" in capsys.readouterr().out


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


@pytest.mark.parametrize("damaged", ["[]", '{"clips": 3}', '{"clips": {"a": 1}}'])
def test_comparing_damaged_numbers_is_one_line(damaged, finished, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(finished / "config.json", run)
    (run / "metrics.json").write_text(damaged)
    assert cli.main(["launch.py", "compare", str(run), str(finished)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{run / 'metrics.json'}: expected clips" in line


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
