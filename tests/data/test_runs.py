"""The run folder: what opens it, what it forgets, and what it says when it cannot."""

import json
import os
import shutil

import pytest

from egojax.data.runs import ClipFolder, RunFolder, append_event, open_run
from egojax.errors import UsageError

CONFIG = {"data": {"root": None, "stride": 1}, "assoc": {"alpha": 1.0}, "mode": "eval"}


def config(**changes):
    return {**CONFIG, **changes}


def with_results(path, given=CONFIG, **options) -> RunFolder:
    folder = RunFolder(path, given, **options)
    clip = folder.clip("c")
    (clip.path / "observations").mkdir(parents=True)
    (clip.path / "observations" / "000000.npz").write_bytes(b"x")
    return folder


def test_a_run_that_was_killed_before_its_first_stage_ended_is_a_run(tmp_path):
    with_results(tmp_path / "run")
    with pytest.raises(UsageError, match=r"differs first in data\.stride: there 1"):
        RunFolder(tmp_path / "run", config(data={"root": None, "stride": 2}))


def test_an_empty_clip_folder_is_no_result(tmp_path):
    RunFolder(tmp_path, CONFIG)
    (tmp_path / "clips" / "c").mkdir(parents=True)
    RunFolder(tmp_path, config(seed=3))
    assert open_run(tmp_path)["config"]["seed"] == 3


def test_fields_that_may_change_later_are_recorded_when_something_runs(tmp_path):
    with_results(tmp_path)
    changed = config(assoc={"alpha": 2.0})
    with pytest.raises(UsageError, match=r"assoc\.alpha: there 1\.0, here 2\.0"):
        RunFolder(tmp_path, changed)
    folder = RunFolder(tmp_path, changed, later={"assoc.alpha"})
    assert open_run(tmp_path)["config"]["assoc"]["alpha"] == 1.0
    folder.record()
    assert open_run(tmp_path)["config"]["assoc"]["alpha"] == 2.0


def at(root):
    return config(data={"root": str(root), "stride": 1})


def test_a_path_is_the_same_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "clip")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    run, paths = tmp_path / "run", ("data.root",)
    with_results(run, at(tmp_path / "clip"), paths=paths)
    for same in ("clip", "./clip/", tmp_path / "link", "other/../clip"):
        RunFolder(run, at(same), paths=paths)
    with pytest.raises(UsageError, match=r"differs first in data\.root"):
        RunFolder(run, at("other"), paths=paths)


def test_a_run_moved_with_its_data_is_the_same_run(tmp_path, monkeypatch):
    (tmp_path / "a" / "clip").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a")
    with_results(tmp_path / "a" / "run", at("clip"), paths=("data.root",))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(
        UsageError, match=r"data\.root"
    ):  # Another clip: both are there.
        RunFolder(tmp_path / "b" / "run", at("clip"), paths=("data.root",))
    shutil.rmtree(tmp_path / "a")
    RunFolder(tmp_path / "b" / "run", at("clip"), paths=("data.root",))


def test_a_shard_that_starts_at_the_same_moment_is_no_stranger(tmp_path):
    (tmp_path / ".config.json.x1y2").write_text("{")
    RunFolder(tmp_path, CONFIG)
    assert open_run(tmp_path)["config"] == CONFIG


@pytest.mark.parametrize("place", ["/proc/none", "file/run", "file/run/deeper"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path, place):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be made: "):
        RunFolder(tmp_path / place, CONFIG)


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(UsageError, match="File name too long"):
        RunFolder(tmp_path / ("x" * 300), CONFIG)


@pytest.mark.parametrize("text", ["[1]", '{"config": []}', "{}", "", "{"])
def test_a_damaged_config_is_told(tmp_path, text):
    with_results(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json: (damaged|no JSON)"):
        RunFolder(tmp_path, CONFIG)


@pytest.mark.parametrize(
    "text",
    ["[]", '["a"]', "", "3", '{"a": []}', '{"a": {"seconds": 1, "skipped": [3]}}'],
)
def test_a_damaged_list_of_stages_is_told_with_what_to_do(tmp_path, text):
    (tmp_path / "done.json").write_text(text)
    with pytest.raises(UsageError, match=r"done\.json: .*; remove this file"):
        ClipFolder(tmp_path).done("a")


@pytest.mark.parametrize("kind", ["folder", "full disk"])
def test_a_log_that_cannot_be_written_is_told(tmp_path, kind):
    path = tmp_path / "log.jsonl"
    path.mkdir() if kind == "folder" else path.symlink_to("/dev/full")
    told = {"folder": "Is a directory", "full disk": "No space left on device"}[kind]
    with pytest.raises(UsageError, match=told):
        append_event(path, "event")


def test_forgetting_removes_files_and_what_was_noted(tmp_path):
    clip = ClipFolder(tmp_path / "c")
    kept = tmp_path / "own.txt"
    kept.write_text("mine")
    clip.mark("a", seconds=1.0)
    clip.mark("b", seconds=2.0, skipped=[])
    (clip.path / "labels").mkdir()
    (clip.path / "labels" / "0.png").write_bytes(b"x")
    (clip.path / "link").symlink_to(kept)
    clip.forget({"b": ("labels", "link", "not there"), "c": ()}, {"c": "r"})
    assert clip.entries() == {"a": {"seconds": 1.0}, "c": {"request": "r"}}
    assert clip.done("a") and clip.done("b") is None and clip.done("c") is None
    assert os.listdir(clip.path) == ["done.json"] and kept.read_text() == "mine"
    clip.mark("c", seconds=3.0)
    assert clip.entries()["c"] == {"seconds": 3.0, "request": "r"}


def test_forgetting_that_is_cut_short_is_not_lost(tmp_path, monkeypatch):
    clip = ClipFolder(tmp_path / "c")
    clip.mark("a", seconds=1.0)
    (clip.path / "labels").mkdir()

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        clip.forget({"a": ("labels",)}, {})
    assert "forgotten" in clip.entries()["a"] and clip.done("a") is None


def test_a_request_goes_on_until_it_is_answered(tmp_path):
    folder = RunFolder(tmp_path, CONFIG)
    first = folder.request(("a", "b"), (0, 1))
    assert folder.request(("a", "b"), (0, 1)) == first
    assert folder.request(("a", "b"), (0, 2)) != first
    folder.end_request((0, 1))
    second = folder.request(("a", "b"), (0, 1))
    assert second != first
    assert folder.request(("a",), (0, 1)) != second
    assert json.loads((tmp_path / "config.json").read_text())["config"] == CONFIG
