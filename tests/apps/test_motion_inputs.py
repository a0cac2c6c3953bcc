"""Motion segmentation through the launcher: baselines, imported flow and tracks."""

import os
import pathlib
import shutil

import numpy as np
import pytest

from egojax.apps import cli
from egojax.data import (
    arrays,
    cotracker_files,
    flow_files,
    images,
    motion_results,
    pickles,
    point_files,
    pt_writing,
)
from egojax.data.world.gliding import gliding_clip
from egojax.ops import track_grids
from tests import moving_clips

TRACKS = "cotrackerv2_rel_stride4_aux2"
ROOT = pathlib.Path(__file__).resolve().parents[2]


def launch(root: pathlib.Path, workdir: pathlib.Path, *words: str) -> int:
    return moving_clips.launch(root, workdir, "--config.show.overlay=False", *words)


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
    assert names_of(run)["tracks_ARI"] > 0.7


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


# ----------------------------------------------------------- exports, and them imported

EXPORT = [
    "--config.export.signals=True",
    "--config.export.size_hw=(96,144)",
    "--config.export.max_frames=6",
]
QUIET = ["--config.show.report=False"]
LEARNING = [
    "--config.solver=network",
    "--config.mesh.data=1",
    "--config.network.steps=4",
    "--config.network.num_masks=2",
    "--config.network.size_hw=(24,36)",
    "--config.network.width=8",
    "--config.network.half=2",
    "--config.network.smooth=3",
    "--config.network.num_points=64",
]
FLOW_ONLY = [*QUIET, "--config.solver=flow_magnitude"]


@pytest.fixture(scope="module")
def exported(clip, tmp_path_factory) -> pathlib.Path:
    """The folder `official` of a run."""
    run = tmp_path_factory.mktemp("runs") / "exported"
    os.chdir(ROOT)
    assert launch(clip, run, *EXPORT, *FLOW_ONLY) == 0
    return folder_of(run) / "official"


def imports(official: pathlib.Path) -> list[str]:
    return [
        "--config.flow.method=files",
        f"--config.flow.root={official}",
        "--config.tracks.method=cotracker",
        f"--config.tracks.root={official / 'Tracks' / TRACKS}",
    ]


def copied(official: pathlib.Path, where: pathlib.Path) -> pathlib.Path:
    return shutil.copytree(official, where / "official")


def test_exports_are_the_official_files(exported, clip):
    """What the background does is known: it pans by a pixel a frame."""
    flow = flow_files.read_flow(exported / "Flows_gap1" / "disk" / "00003.flo")
    rest = moving_clips.frame(3)[1] == 0
    np.testing.assert_allclose(np.median(flow[rest], 0), [-1, 0], atol=0.1)
    gaps = flow_files.find_flows(exported, "disk")
    assert [*gaps] == [1, -1]
    assert len([*gaps[1].iterdir()]) == len([*gaps[-1].iterdir()]) == 9
    path = exported / "Tracks" / TRACKS / "disk-00005.pt"
    found = cotracker_files.read_cotracker(path, 5, 10)
    np.testing.assert_array_equal(found.frames, range(2, 9))
    want = track_grids.grid_points((96, 144), track_grids.grid_offset(5))
    np.testing.assert_allclose(found.tracks_xy[3], want, atol=0.05)
    right = want[:, 0] > 100  # The disk is left of there in all of these frames.
    seen = found.visibility[:, right]
    assert seen[3].all() and seen[[2, 4]].mean() > 0.85
    steps = np.diff(found.tracks_xy[:, right], axis=0)[seen[1:] & seen[:-1]]
    np.testing.assert_allclose(np.median(steps, 0), [-1, 0], atol=0.1)


def test_parts_of_the_grid_are_the_whole_grid(exported, clip, tmp_path):
    words = [*EXPORT, *FLOW_ONLY, "--config.export.grid_step=2"]
    assert launch(clip, tmp_path / "run", *words, "--config.data.max_frames=7") == 0
    path = f"Tracks/{TRACKS}/disk-00002.pt"
    found, whole = (
        cotracker_files.read_cotracker(place / path, 2, count)
        for place, count in (
            (folder_of(tmp_path / "run") / "official", 7),
            (exported, 10),
        )
    )
    np.testing.assert_array_equal(found.tracks_xy, whole.tracks_xy[:7])
    np.testing.assert_array_equal(found.visibility, whole.visibility[:7])


def test_flow_over_all_gaps_is_exported(clip, tmp_path):
    """Of a network, whose training takes more than one."""
    words = ["--config.solver=network", *EXPORT, "--config.data.max_frames=4"]
    assert launch(clip, tmp_path / "run", *words, "--only=flow,export") == 0
    official = folder_of(tmp_path / "run") / "official"
    found = flow_files.find_flows(official, "disk")
    assert {gap: len([*found[gap].iterdir()]) for gap in found} == {
        gap: 4 - abs(gap) for gap in (1, -1, 2, -2)
    }
    flow = flow_files.read_flow(found[2] / "00001.flo")
    rest = moving_clips.frame(1)[1] == 0
    np.testing.assert_allclose(np.median(flow[rest], 0), [-2, 0], atol=0.1)


def test_an_export_that_was_stopped_goes_on(clip, tmp_path, monkeypatch):
    calls, real = [], cotracker_files.write_cotracker

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(cotracker_files, "write_cotracker", stops)
    run, words = tmp_path / "run", [*EXPORT, *FLOW_ONLY, "--config.data.max_frames=6"]
    assert launch(clip, run, *words) == 130
    assert launch(clip, run, *words) == 0
    assert len(calls) == 4 + 3  # Three were there.


def test_imported_flow_and_tracks_find_what_moves(exported, clip, tmp_path):
    run = tmp_path / "run"
    assert launch(clip, run, *imports(exported)) == 0
    flow, old = (
        folder / "flow" / "gap-1" / "00004.npz"
        for folder in (folder_of(run), exported.parent)
    )
    np.testing.assert_array_equal(flow_files.read_flow(flow), flow_files.read_flow(old))
    names = names_of(run)
    assert names["J"] > 0.6 and names["tracks_ARI"] > 0.6
    tracks = point_files.read_points(folder_of(run) / "points.npz", 10)
    assert tracks.size_hw == moving_clips.SIZE and len(tracks) > 300
    assert (tracks.first + tracks.count).max() == 10 and tracks.first.min() == 0


def test_flow_of_another_size_is_scaled_with_its_vectors(exported, clip, tmp_path):
    """Twice as large a picture moves twice as far."""
    official = copied(exported, tmp_path)
    for path in official.glob("Flows_gap*/disk/*.flo"):
        flow = flow_files.read_flow(path)
        flow_files.write_flo(path, 2 * flow.repeat(2, 0).repeat(2, 1))
    words = [*FLOW_ONLY, *imports(official)[:2]]
    assert launch(clip, tmp_path / "run", *words) == 0
    name = "flow/gap1/00004.npz"
    np.testing.assert_array_equal(
        flow_files.read_flow(folder_of(tmp_path / "run") / name),
        flow_files.read_flow(exported.parent / name),
    )


def test_a_network_of_other_gaps_needs_no_flow_between_neighbours(
    exported, clip, tmp_path
):
    """As FBMS is published; of windows of the files of tracks as they are."""
    official = copied(exported, tmp_path)
    for gap in (1, -1):
        place = official / f"Flows_gap{gap}"
        place.rename(official / f"Flows_gap{3 * gap}")
    run, words = tmp_path / "run", [*QUIET, *imports(official), *LEARNING]
    words += ["--config.network.gaps=(3,)", "--config.network.windows=files"]
    assert launch(clip, run, *words) == 0
    flow = folder_of(run) / "flow"
    assert sorted(path.name for path in flow.iterdir()) == ["gap-3", "gap3"]
    names = sorted(path.stem for path in (flow / "gap3").iterdir())
    assert names == [f"{t:05d}" for t in range(7)]
    assert names_of(run)["J"] >= 0  # Four steps learn little.


def test_every_second_frame_takes_flow_over_two(exported, clip, tmp_path, capsys):
    official = copied(exported, tmp_path)
    words = [*FLOW_ONLY, *imports(official)[:2], "--config.data.stride=2"]
    assert launch(clip, tmp_path / "run", *words) == 2
    said = capsys.readouterr().err
    assert "Flows_gap2/disk: no such folder; gaps there: 1, -1" in said
    for gap in (1, -1):
        place = official / f"Flows_gap{gap}"
        place.rename(official / f"Flows_gap{2 * gap}")
    assert launch(clip, tmp_path / "run", *words) == 0
    flow = folder_of(tmp_path / "run") / "flow"
    names = sorted(path.stem for path in (flow / "gap1").iterdir())
    assert names == ["00000", "00002", "00004", "00006"]


def test_where_a_clip_begins_again_there_is_no_flow(exported, clip, tmp_path):
    """The file of frame 5 leads to frame 6, which is cut off."""
    words = [*FLOW_ONLY, *imports(exported)[:2], "--config.data.max_frames=6"]
    assert launch(clip, tmp_path / "run", *words, "--config.data.repeat=2") == 0
    flow = folder_of(tmp_path / "run") / "flow"
    names = [sorted(p.stem for p in (flow / f"gap{g}").iterdir()) for g in (1, -1)]
    for found, frames in zip(names, (range(5), range(1, 6)), strict=True):
        once = [f"{t:05d}" for t in frames]
        assert found == [*once, *(f"pass2_{name}" for name in once)]


def test_a_frame_whose_flow_is_damaged_or_missing_is_left_out(
    exported, clip, tmp_path, capsys
):
    official = copied(exported, tmp_path)
    path = official / "Flows_gap1" / "disk" / "00002.flo"
    path.write_bytes(path.read_bytes()[:-8])
    (official / "Flows_gap-1" / "disk" / "00006.flo").unlink()
    words = [*FLOW_ONLY, *imports(official)[:2]]
    assert launch(clip, tmp_path / "run", *words) == 3
    said = capsys.readouterr().out
    assert "flow skipped 2 frame(s), first 00002" in said and "take 110604" in said
    done = arrays.read_json(folder_of(tmp_path / "run") / "done.json")
    assert "no flow of 00006, over a gap of -1" in done["flow"]["skipped"][1]["reason"]
    labels = folder_of(tmp_path / "run") / "labels"
    assert len([*labels.iterdir()]) == 10  # Frame 2 by its flow back.
    assert launch(clip, tmp_path / "run", *words) == 3
    assert "--only=flow tries again" in capsys.readouterr().out


def test_flow_of_a_picture_of_another_shape_is_refused(
    exported, clip, tmp_path, capsys
):
    official = copied(exported, tmp_path)
    flow_files.write_flo(
        official / "Flows_gap1" / "disk" / "00000.flo", np.zeros((96, 96, 2))
    )
    words = [*FLOW_ONLY, *imports(official)[:2]]
    assert launch(clip, tmp_path / "run", *words) == 2
    said = capsys.readouterr().err
    assert "flow of 00000 is 96 x 96; the images are 144 x 96" in said
    assert len(said.strip().splitlines()) == 1


def test_flow_that_can_nowhere_be_read_is_refused(exported, clip, tmp_path, capsys):
    official = copied(exported, tmp_path)
    for path in official.glob("Flows_gap*/disk/*.flo"):
        path.write_bytes(b"PIEH")
    words = [*FLOW_ONLY, *imports(official)[:2]]
    assert launch(clip, tmp_path / "run", *words) == 2
    said = capsys.readouterr().err
    assert "no flow can be read" in said and "4 bytes" in said


def tracks_run(official, clip, run, *words):
    words = [*imports(official)[2:], *QUIET, *words]
    return launch(clip, run, *words, "--config.show.overlay=False")


def rewritten(path: pathlib.Path, **changes) -> None:
    pt_writing.write_pt(path, {**pickles.read_pt(path), **changes})


@pytest.fixture
def few(exported, tmp_path) -> pathlib.Path:
    """Exports whose tracks are of frame 3 alone."""
    official = copied(exported, tmp_path)
    for path in official.glob("Tracks/*/*.pt"):
        if path.name != "disk-00003.pt":
            path.unlink()
    return official


@pytest.mark.parametrize("kind", ["NaN", "invisible", "one"])
def test_tracks_that_tell_nothing_leave_empty_masks(few, clip, tmp_path, kind):
    path = next(few.glob("Tracks/*/*.pt"))
    found = pickles.read_pt(path)
    if kind == "NaN":
        rewritten(path, tracks=np.full_like(found["tracks"], np.nan))
    elif kind == "invisible":
        rewritten(path, vis=np.zeros_like(found["vis"]))
    else:
        one = {name: found[name][:, 5:6, 5:6] for name in ("tracks", "vis")}
        rewritten(path, **one)
    run = tmp_path / "run"
    shown = f"--config.show.report={kind == 'one'}"
    assert tracks_run(few, clip, run, shown) == 3  # Of nine frames there are no files.
    tracks = point_files.read_points(folder_of(run) / "points.npz", 10)
    assert len(tracks) == (1 if kind == "one" else 0)
    labels = images.read_labels(folder_of(run) / "labels" / "00003.png")
    assert not labels.any()
    done = arrays.read_json(folder_of(run) / "done.json")
    assert len(done["tracks"]["skipped"]) == 9
    assert done["tracks"]["skipped"][0]["reason"] == "no tracks of disk-00000"
    if kind == "one":
        assert "no tracks of disk-00000" in (folder_of(run) / "report.html").read_text()


def test_tracks_of_another_clip_length_are_refused(few, clip, tmp_path, capsys):
    path = next(few.glob("Tracks/*/*.pt"))
    found = pickles.read_pt(path)
    longer = {name: np.concatenate([found[name]] * 2, 0) for name in ("tracks", "vis")}
    rewritten(path, **longer)
    for t in range(10):
        if t != 3:
            (path.parent / f"disk-{t:05d}.pt").write_bytes(path.read_bytes())
    assert tracks_run(few, clip, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert "no tracks can be read" in said and "the clip has 0 to 9" in said


def test_tracks_of_a_longer_clip_are_cut_where_the_clip_is(exported, clip, tmp_path):
    words = ["--config.data.max_frames=6"]
    assert tracks_run(exported, clip, tmp_path / "run", *words) == 0
    tracks = point_files.read_points(folder_of(tmp_path / "run") / "points.npz", 6)
    assert len(tracks) > 300


def test_tracks_of_a_picture_of_another_shape_are_refused(few, clip, tmp_path, capsys):
    rewritten(next(few.glob("Tracks/*/*.pt")), height=96, width=96)
    assert tracks_run(few, clip, tmp_path / "run") == 2
    assert "disk-00003 is 96 x 96; the images are 144 x 96" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.flow.method=files"], "needs --config.flow.root=FOLDER"),
        (["--config.flow.root=/tmp"], "only config.flow.method=files reads it"),
        (["--config.tracks.method=cotracker"], "needs --config.tracks.root"),
        (["--config.network.windows=files"], "goes with --config.tracks.method"),
        (
            ["--config.tracks.method=cotracker", "--config.tracks.root=/no/such"],
            "config.tracks.root=/no/such: no such folder",
        ),
        (
            [
                "--config.tracks.method=cotracker",
                f"--config.tracks.root={ROOT}",
                "--config.data.stride=2",
            ],
            "expected config.data.stride=1",
        ),
        (
            ["--config.tracks.method=cotracker", f"--config.tracks.root={ROOT}"],
            "no tracks of disk; expected disk-00000.pt to disk-00009.pt",
        ),
        (["--config.tracks.max_frames=-1"], "tracks.max_frames=-1: below 0"),
        (["--config.tracks.method=raft"], "there are chain, cotracker"),
        (["--config.export.size_hw=(480,)"], "expected height and width"),
        (
            ["--config.export.signals=True", "--config.data.stride=2"],
            "config.export.signals: official files are of every frame, once",
        ),
        (["--config.export.grid_step=0"], "export.grid_step=0: below 1"),
        (["--config.export.grid_stride=0"], "export.grid_stride=0: below 1"),
        (["--config.export.max_frames=0"], "export.max_frames=0: below 1"),
    ],
)
def test_imports_and_exports_that_cannot_be_are_told(
    clip, tmp_path, capsys, words, said
):
    assert launch(clip, tmp_path / "run", *words) == 2
    assert said in capsys.readouterr().err


def test_true_flow_of_the_world_is_one_word(tmp_path):
    """Smoke size; what follows is along the true flow, whatever images say."""
    words = ["--config.flow.method=true", "--config.show.overlay=False"]
    command = ["launch.py", "--config=configs/motion_seg.py:smoke", *words]
    words = [f"--workdir={tmp_path}", "--config.data.max_frames=8", "--only=flow"]
    assert cli.main([*command, *words]) == 0
    (folder,) = (tmp_path / "clips").iterdir()
    truth = gliding_clip(0, (96, 160)).truth
    name = truth.frame_ids[3]
    for gap, source in ((1, truth.flow_fwd), (-1, truth.flow_bwd)):
        found = flow_files.read_flow(folder / f"flow/gap{gap}" / f"{name}.npz")
        np.testing.assert_allclose(found, source[3], atol=0.02)
    assert not (folder / "flow/gap-1" / f"{truth.frame_ids[0]}.npz").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.flow.method=true"], "the true flow of this clip is not known"),
        (["--config.flow.method=true", "--config.data.stride=2"], "data.stride=1"),
    ],
)
def test_true_flow_where_there_is_none_is_refused(clip, tmp_path, capsys, words, said):
    assert launch(clip, tmp_path / "run", *words) == 2
    assert said in capsys.readouterr().err
