"""Motion segmentation through the launcher: all of it, stopped, misused."""

import json
import os
import pathlib
import shutil

import cv2
import numpy as np
import pytest

from egojax.apps import cli
from egojax.data import arrays, flow_files, images, motion_results, point_files
from egojax.methods import dense_flow
from egojax.tasks import motion_config
from tests import moving_clips
from tests.moving_clips import launch

ROOT = pathlib.Path(__file__).resolve().parents[2]
STAGES = ["flow", "tracks", "group", "masks", "score", "show"]
AFFINITY = "--config.group.by=affinity"  # Compiles least.


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> pathlib.Path:
    return moving_clips.write_clip(tmp_path_factory.mktemp("data") / "disk")


@pytest.fixture(scope="module")
def finished(clip, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    os.chdir(ROOT)
    assert launch(clip, path, "--config.show.official=True") == 0
    return path


def folder_of(run: pathlib.Path, name: str = "disk") -> pathlib.Path:
    return run / "clips" / name


def test_one_command_finds_what_moves(finished):
    folder = folder_of(finished)
    assert [*arrays.read_json(folder / "done.json")] == STAGES
    names = arrays.read_json(folder / "scores.json")["names"]
    assert names["J"] > 0.85 and names["bodies_IoU"] > 0.85
    assert names["tracks_ARI"] > 0.9 and names["groups"] == 1
    for name in ("overlay.mp4", "report.html"):
        assert (folder / name).stat().st_size > 1000
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["all"]["motion_IoU"] == pytest.approx(names["J"], abs=1e-6)
    # No frame has more of the disk in what rests.
    assert metrics["all"]["motion_IoU_by_truth"] == metrics["all"]["motion_IoU"]


def test_the_masks_are_the_files(finished, clip):
    labels = images.read_labels(folder_of(finished) / "labels" / "00008.png")
    truth = moving_clips.frame(8)[1]
    assert ((labels > 0) & (truth > 0)).sum() / ((labels > 0) | (truth > 0)).sum() > 0.8
    hard = folder_of(finished) / "official" / "hard" / "disk" / "00008.png"
    np.testing.assert_array_equal(motion_results.read_hard(hard), labels)
    soft = folder_of(finished) / "official" / "soft" / "disk" / "00008.npz"
    foreground = motion_results.read_soft(soft).foreground
    is_clear = np.abs(foreground - 0.5) > 1e-3  # Files have half floats.
    assert is_clear.mean() > 0.99
    np.testing.assert_array_equal(foreground[is_clear] > 0.5, labels[is_clear] > 0)


def test_flow_and_tracks_are_those_of_the_frames(finished):
    """The background pans by one pixel a frame to the left."""
    folder = folder_of(finished)
    flow = flow_files.read_flow(folder / "flow" / "gap1" / "00003.npz")
    back = flow_files.read_flow(folder / "flow" / "gap-1" / "00004.npz")
    rest = moving_clips.frame(3)[1] == 0
    np.testing.assert_allclose(np.median(flow[rest], 0), [-1, 0], atol=0.1)
    np.testing.assert_allclose(np.median(back[rest], 0), [1, 0], atol=0.1)
    assert not (folder / "flow" / "gap1" / "00015.npz").exists()
    tracks = point_files.read_points(folder / "points.npz", 16)
    group = point_files.read_groups(folder / "groups.npz", len(tracks))
    assert {*np.unique(group)} <= {-1, 0, 1} and len(tracks) > 300


def test_the_report_says_what_was_found(finished):
    text = (folder_of(finished) / "report.html").read_text()
    assert "Motion: disk" in text and "things that move" in text
    assert "ids that last" in text and "the id that it had first" in text
    assert "://" not in text.replace("http://www.w3.org", "")


def test_the_same_command_again_does_nothing(finished, clip, capsys):
    assert launch(clip, finished, "--config.show.official=True") == 0
    told = "nothing to do, all stages are done, with 16 frames"
    assert told in capsys.readouterr().out


def test_a_run_stopped_in_its_flow_goes_on(clip, finished, tmp_path, monkeypatch):
    calls = []

    def stops(image, later):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return dense_flow.inverse_search(image, later)

    monkeypatch.setitem(dense_flow.FLOWS, "dis", stops)
    assert launch(clip, tmp_path / "run", "--config.show.overlay=False") == 130
    assert launch(clip, tmp_path / "run", "--config.show.overlay=False") == 0
    assert len(calls) == 9 + 30 - 8  # What was written is not computed again.
    for name in ("points.npz", "groups.npz"):
        old, new = (
            arrays.read_npz(folder_of(r) / name) for r in (finished, tmp_path / "run")
        )
        for key in old:
            np.testing.assert_array_equal(old[key], new[key])


def test_tracks_are_grouped_by_their_affinities_where_it_is_asked(
    clip, finished, tmp_path, capsys
):
    """And only what depends on groups runs again."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    flow = folder_of(run) / "flow" / "gap1" / "00000.npz"
    before = flow.stat().st_mtime_ns
    words = ["--config.show.overlay=False", "--config.show.report=False"]
    words += ["--config.show.official=True", "--config.group.by=affinity"]
    assert launch(clip, run, *words) == 0
    out = capsys.readouterr().out
    assert "group, masks, score, show run again" in out
    assert "group.by is 'affinity', was 'low_rank'" in out
    assert flow.stat().st_mtime_ns == before
    names = arrays.read_json(folder_of(run) / "scores.json")["names"]
    assert names["J"] > 0.85 and names["tracks_ARI"] > 0.9


def test_a_clip_that_has_grown_is_not_mixed_with_what_was_made_before(tmp_path, capsys):
    grown = moving_clips.write_clip(tmp_path / "grown", 10, truth=False)
    words = ["--config.show.overlay=False", "--config.show.report=False", AFFINITY]
    assert launch(grown, tmp_path / "run", *words) == 0
    for t in (10, 11):
        image, _ = moving_clips.frame(t)
        images.write_image(grown / "frames" / f"{t:05d}.png", image)
    labels = folder_of(tmp_path / "run", "grown") / "labels"
    before = sorted(labels.iterdir())
    assert launch(grown, tmp_path / "run", *words, "--only=masks") == 2
    said = capsys.readouterr().err
    assert "grown: 12 frames; flow was done with 10: --only=flow,tracks,group" in said
    assert sorted(labels.iterdir()) == before
    every = "--only=flow,tracks,group,masks,score,show"
    assert launch(grown, tmp_path / "run", *words, every) == 0
    assert len([*labels.iterdir()]) == 12


def test_without_motion_nothing_is_found_and_all_is_told(tmp_path):
    clip = moving_clips.write_clip(tmp_path / "still", still=True, truth=False)
    assert launch(clip, tmp_path / "run") == 0
    labels = images.read_labels(
        folder_of(tmp_path / "run", "still") / "labels" / "00005.png"
    )
    assert not labels.any()
    assert (
        "nothing is scored"
        in (folder_of(tmp_path / "run", "still") / "report.html").read_text()
    )


def test_a_plain_clip_has_no_tracks_and_empty_masks(tmp_path, capsys):
    (tmp_path / "plain" / "frames").mkdir(parents=True)
    for t in range(4):
        image = np.full((40, 56, 3), 90, np.uint8)
        images.write_image(tmp_path / "plain" / "frames" / f"{t:03d}.png", image)
    assert launch(tmp_path / "plain", tmp_path / "run") == 0
    assert (
        "4 frames: nothing can be found to move in less than 5"
        in capsys.readouterr().out
    )
    folder = folder_of(tmp_path / "run", "plain")
    assert len(point_files.read_points(folder / "points.npz", 4)) == 0
    assert not images.read_labels(folder / "labels" / "002.png").any()


def test_a_frame_that_cannot_be_read_is_left_out_and_told(clip, tmp_path, capsys):
    broken = moving_clips.write_clip(tmp_path / "broken", truth=False)
    (broken / "frames" / "00007.png").write_bytes(b"no image")
    assert launch(broken, tmp_path / "run") == 3
    assert "00007" in capsys.readouterr().out
    folder = folder_of(tmp_path / "run", "broken")
    assert not (folder / "labels" / "00007.png").exists()
    assert images.read_labels(folder / "labels" / "00012.png").any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.group.lengths=(5,9)"], "the longest first"),
        (["--config.group.lengths=(2,)"], "3 or more"),
        (
            ["--config.group.piece=8", "--config.group.overlap=4"],
            "lengths=(9, 5): longer than what is grouped at once, config.group.piece=8",
        ),
        (["--config.group.overlap=80"], "expected less than"),
        (["--config.masks.floor=1e300"], "config.masks.floor=1e+300: above 1e+06"),
        (["--config.group.by=colour"], "config.group.by=colour: there are low_rank"),
        (["--config.low_rank.start=warm"], "config.low_rank.start=warm: there are"),
        (["--config.low_rank.masks=1"], "config.low_rank.masks=1: below 2"),
        (["--config.low_rank.rank=2"], "config.low_rank.rank=2: below 3"),
        (["--config.low_rank.rank=9"], "rank=9: nothing is beyond it"),
        (
            ["--config.low_rank.rank=5", "--config.low_rank.keep=1"],
            "rank=5: nothing is beyond it; expected less than 3 and 2 of each",
        ),
        (["--config.network.weights=x.npz"], "weights go with config.solver=network"),
        (["--config.low_rank.coldest=2.0"], "config.low_rank.coldest=2.0: above 1"),
        (["--config.low_rank.smooth=-1.0"], "config.low_rank.smooth=-1.0: below 0"),
        (["--config.flow.method=raft"], "config.flow.method=raft: there are dis"),
        (["--config.tracks.stride=0"], "config.tracks.stride=0: below 1"),
        (["--config.eval.protocol=best"], "config.eval.protocol=best"),
        (["--config.data.year=2015"], "there are 2016, 2017"),
        (["--mode=synthesize"], "configs/tracking.py"),
        (["--mode=train"], "learns nothing"),
        (["--mode=view"], "motion_seg has no viewer"),
        (["--config.seed=-1"], "config.seed=-1: below 0"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(clip, tmp_path, capsys, words, said):
    assert launch(clip, tmp_path / "run", *words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "count", "said"),
    [((8, 40), 3, "16 pixels or more"), ((40, 40), 1, "one frame")],
)
def test_clips_in_which_no_motion_can_be_are_refused(
    tmp_path, capsys, size, count, said
):
    (tmp_path / "c" / "frames").mkdir(parents=True)
    for t in range(count):
        path = tmp_path / "c" / "frames" / f"{t}.png"
        cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
    assert launch(tmp_path / "c", tmp_path / "run") == 2
    assert said in capsys.readouterr().err


def test_flow_that_cannot_be_used_is_left_out_and_told(
    finished, clip, tmp_path, capsys
):
    """Cut off, and of other images: tracks end there, and baselines do without."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    flow = folder_of(run) / "flow" / "gap1"
    (flow / "00004.npz").write_bytes((flow / "00004.npz").read_bytes()[:50])
    flow_files.write_flow(flow / "00009.npz", np.zeros((10, 12, 2)))
    words = ["--config.show.overlay=False", "--config.show.report=False"]
    assert launch(clip, run, *words, "--only=tracks") == 3
    done = arrays.read_json(folder_of(run) / "done.json")
    told = {row["frame"]: row["reason"] for row in done["tracks"]["skipped"]}
    assert [*told] == ["00004", "00009"]
    assert "no readable npz" in told["00004"]
    assert "flow of 12 x 10 pixels; the images have 144 x 96" in told["00009"]
    tracks = point_files.read_points(folder_of(run) / "points.npz", 16)
    last = tracks.first + tracks.count - 1
    assert not np.any((tracks.first <= 4) & (last > 4))
    words += ["--config.solver=flow_magnitude", "--config.export.signals=True"]
    words += ["--config.export.size_hw=(24,36)"]
    assert launch(clip, run, *words) == 3
    labels = {path.stem for path in (folder_of(run) / "labels").iterdir()}
    assert labels == {f"{t:05d}" for t in range(16)} - {"00004", "00009"}
    done = arrays.read_json(folder_of(run) / "done.json")
    assert len(done["export"]["skipped"]) == 2


def test_tracks_in_images_of_another_size_are_refused(finished, clip, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    path = folder_of(run) / "points.npz"
    arrays.write_npz(path, arrays.read_npz(path) | {"size": np.array([48, 72])})
    assert launch(clip, run, "--config.show.official=True", "--only=score") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "tracks in images of 72 x 48 pixels; those of disk have 144 x 96" in line


@pytest.mark.parametrize(
    ("group", "said"),
    [(300, "disk: 300 groups; the published files hold 254"), (70_000, "up to 65535")],
)
def test_more_groups_than_files_can_hold_are_told(
    finished, clip, tmp_path, capsys, group, said
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    path = folder_of(run) / "groups.npz"
    found = arrays.read_npz(path)["group"]
    point_files.write_groups(path, np.where(found == 1, group, found))
    assert launch(clip, run, "--config.show.official=True", "--only=masks") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_mask_that_cannot_be_read_is_not_drawn(clip, tmp_path, capsys):
    run, words = tmp_path / "run", ["--config.solver=flow_magnitude"]
    words += ["--config.data.max_frames=3"]
    assert launch(clip, run, *words) == 0
    (folder_of(run) / "labels" / "00001.png").write_bytes(b"no image")
    assert launch(clip, run, *words, "--only=show") == 3
    assert "show skipped 1 frame(s), first 00001" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["points.npz", "groups.npz", "scores.json"])
def test_a_damaged_file_is_named_with_what_to_do(
    finished, tmp_path, capsys, name, clip
):
    run = tmp_path / "run"
    quiet = ["--config.show.overlay=False", "--config.show.report=False"]
    assert launch(clip, run, *quiet) == 0
    (folder_of(run) / name).write_bytes(b"PK nothing")
    code = launch(
        clip, run, *quiet, "--only=show" if name == "scores.json" else "--only=score"
    )
    captured = capsys.readouterr()
    assert code == 2 and name in captured.err


def test_ids_last_over_many_pieces(tmp_path):
    """24 frames in three pieces of 12."""
    clip = moving_clips.write_clip(tmp_path / "disk", 24)
    words = ["--config.group.piece=12", "--config.group.overlap=6", AFFINITY]
    quiet = ["--config.show.overlay=False", "--config.show.report=False"]
    assert launch(clip, tmp_path / "run", *words, *quiet) == 0
    names = arrays.read_json(folder_of(tmp_path / "run") / "scores.json")["names"]
    assert names["ids_first"] == names["ids_main"] == 1 and names["ids_named"] > 0.9
    assert names["ids_switches"] == 0 and names["IDF1"] > 0.9


def test_a_frame_may_be_named_like_that_of_another_pass():
    names = motion_config.names_apart(["a", "pass2_a", "a", "pass2_a"])
    assert len(set(names)) == 4 and names[:2] == ("a", "pass2_a")


def test_each_pass_of_a_clip_that_is_played_again_has_results_of_its_own(tmp_path):
    clip = moving_clips.write_clip(tmp_path / "disk", 9)
    quiet = ["--config.show.overlay=False", "--config.show.report=False"]
    run, words = tmp_path / "run", ["--config.data.repeat=2", *quiet]
    assert launch(clip, run, *words, "--config.solver=flow_magnitude") == 0
    folder = folder_of(run)
    once = [f"{t:05d}" for t in range(9)]
    names = [*once, *(f"pass2_{name}" for name in once)]
    assert sorted(path.stem for path in (folder / "labels").iterdir()) == names
    scores = arrays.read_json(folder / "scores.json")
    assert [*scores["frames"]] == names
    # Over the jump back, from the last frame to the first, flow is as long as it is.
    jump = flow_files.read_flow(folder / "flow" / "gap1" / "00008.npz")
    later = flow_files.read_flow(folder / "flow" / "gap-1" / "pass2_00000.npz")
    rest = (moving_clips.frame(8)[1] == 0) & (moving_clips.frame(0)[1] == 0)
    np.testing.assert_allclose(np.median(jump[rest], 0), [8, 0], atol=0.2)
    np.testing.assert_allclose(np.median(later[rest], 0), [-8, 0], atol=0.2)
    assert not (folder / "flow" / "gap-1" / "00000.npz").exists()
    assert not (folder / "flow" / "gap1" / "pass2_00008.npz").exists()


def test_tracking_takes_motion_groups_where_there_are_no_segments(
    clip, finished, tmp_path, capsys
):
    words = ["launch.py", "--config=configs/tracking.py:folder"]
    words += [f"--config.data.root={clip}", "--config.show.overlay=False"]
    assert cli.main([*words, f"--workdir={tmp_path / 'none'}"]) == 2
    assert "nothing to track" in capsys.readouterr().err
    words.append(f"--config.data.motion={finished}")
    assert cli.main([*words, f"--workdir={tmp_path / 'run'}"]) == 0
    row = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert row["clips"]["disk"]["after"]["IDF1"] > 0.9
    for name in ("00004", "00012"):
        path = f"clips/disk/labels/{name}.png"
        tracked, found = (
            images.read_labels(r / path) for r in (tmp_path / "run", finished)
        )
        np.testing.assert_array_equal(tracked > 0, found > 0)


def test_real_riders_are_found(real_data, tmp_path):
    """DAVIS bmx-trees, its first 12 frames: a person on a bicycle before a wall."""
    root = real_data / "davis_bmx-trees"
    words = ["--config.data.max_frames=12", "--config.show.overlay=False"]
    code = cli.main(
        [
            "launch.py",
            "--config=configs/motion_seg.py:folder",
            f"--config.data.root={root}",
            f"--workdir={tmp_path / 'run'}",
            *words,
        ]
    )
    assert code == 0
    names = arrays.read_json(
        folder_of(tmp_path / "run", "davis_bmx-trees") / "scores.json"
    )
    assert names["names"]["J"] > 0.3 and names["names"]["tracks_ARI"] > 0.6
