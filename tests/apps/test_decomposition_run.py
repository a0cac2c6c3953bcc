"""The decomposition job through the launcher: all of it, stopped, misused."""

import json
import os
import pathlib
import re
import shutil

import cv2
import numpy as np
import pytest

from egojax.apps import cli
from egojax.data import arrays, images, stream_images, weight_files
from egojax.errors import UsageError
from egojax.tasks import clips, field_config

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = [
    "--config.world.num_frames=9",
    "--config.world.size_hw=(32,48)",
    "--config.train.steps=4",
    "--config.train.block=2",
    "--config.train.log_every=2",
    "--config.train.batch_size=32",
    "--config.views.split_nth=2",
    "--config.render.fixed=2",
]
QUIET = ["--config.show.summary=False", "--config.show.report=False"]
LOG = "clips/world-0/fit/log.jsonl"
EYE = np.eye(4)[:3]


def launch(workdir: pathlib.Path, *words: str, variant: str = "smoke") -> int:
    config = f"--config=configs/decomposition.py:{variant}"
    return cli.main(["launch.py", config, f"--workdir={workdir}", *words])


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    os.chdir(ROOT)
    assert launch(path, *TINY, "--config.show.official=True") == 0
    return path


def fields_of(run: pathlib.Path, clip: str = "world-0") -> dict[str, np.ndarray]:
    return weight_files.read_weights(
        run / "clips" / clip / "fields.npz", "radiance fields"
    ).weights


def assert_same_fields(a: pathlib.Path, b: pathlib.Path) -> None:
    left, right = fields_of(a), fields_of(b)
    assert left.keys() == right.keys()
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


def test_one_command_leaves_fields_streams_scores_and_pictures(finished):
    folder = finished / "clips" / "world-0"
    names = [f"frame_{n:010d}" for n in range(1, 10)]
    assert sorted(p.stem for p in (folder / "streams").iterdir()) == names
    assert len(list((folder / "fixed").iterdir())) == 2
    shown = stream_images.read_images(folder / "streams" / f"{names[0]}.npz")
    assert shown.rgb.shape == (16, 24, 3) and shown.masks.shape == (3, 16, 24)
    scores = arrays.read_json(folder / "scores.json")
    assert {row["split"] for row in scores["frames"].values()} == {
        *("train", "val", "test")
    }
    for name in ("summary.mp4", "report.html"):
        assert (folder / name).stat().st_size > 1000
    assert list((folder / "official" / "summary").glob("cat-*.mp4"))
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["all"]["held_out"]["psnr"] > 5.0


def test_training_tells_how_a_validation_frame_looks_early_and_at_the_end(finished):
    lines = (finished / LOG).read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row["event"] == "evaluate"]
    assert [row["step"] for row in rows] == [2, 4]
    scores = arrays.read_json(finished / "clips" / "world-0" / "scores.json")["frames"]
    found = [row["psnr"] for row in scores.values() if row["split"] == "val"]
    middle = found[len(found) // 2]
    assert rows[-1]["val_psnr"] == pytest.approx(middle, abs=0.01)


def test_the_score_is_that_of_the_files(finished):
    folder = finished / "clips" / "world-0"
    scores = arrays.read_json(folder / "scores.json")
    by_frame = [r["psnr"] for r in scores["frames"].values() if r["split"] != "train"]
    assert scores["names"]["held_out"]["psnr"] == pytest.approx(np.mean(by_frame))
    assert scores["names"]["held_out"]["num_images"] == len(by_frame) == 5


def test_the_same_command_again_does_nothing(finished, capsys):
    before = (finished / "clips" / "world-0" / "fields.npz").stat().st_mtime_ns
    assert launch(finished, *TINY, "--config.show.official=True") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (finished / "clips" / "world-0" / "fields.npz").stat().st_mtime_ns == before


def test_a_run_stopped_in_training_and_continued_ends_as_one_never_stopped(
    finished, tmp_path, monkeypatch
):
    from egojax.train import loop

    calls = []

    def stop_after_two(self, *args):
        calls.append(self.done)
        if self.done == 2:
            self.save(args[1])
            raise loop.Interrupted("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(loop._Run, "report", stop_after_two)
        words = [*TINY, *QUIET, "--config.show.official=True"]
        assert launch(tmp_path / "run", *words) == 130
    assert calls == [2]
    assert launch(tmp_path / "run", *words) == 0
    assert_same_fields(tmp_path / "run", finished)


def test_images_that_fit_nowhere_are_read_from_a_file(finished, tmp_path):
    """Two of five frames at a time: other rays, and nothing is left of the file."""
    run, sizes = tmp_path / "run", ("train.host_images=0.003", "read.device_images=0.0")
    assert (
        launch(run, *TINY, *(f"--config.{size}" for size in sizes), "--only=fit") == 0
    )
    left = {path.name for path in (run / "clips" / "world-0" / "fit").iterdir()}
    assert left == {"checkpoints", "log.jsonl", "tensorboard"}
    paged, whole = fields_of(run), fields_of(finished)
    assert all(np.isfinite(value).all() for value in paged.values())
    assert any((paged[name] != whole[name]).any() for name in whole)


def test_what_only_rendering_reads_renders_again_and_trains_not(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = (run / "clips" / "world-0" / "fields.npz").stat().st_mtime_ns
    words = [*TINY, *QUIET, "--config.show.official=True"]
    assert launch(run, *words, "--config.render.suppress_actor=True") == 0
    assert (run / "clips" / "world-0" / "fields.npz").stat().st_mtime_ns == before
    for path in (run / "clips" / "world-0" / "streams").iterdir():
        assert (stream_images.read_images(path).masks[2] == 0).all()


def test_fields_that_exist_are_used_and_not_trained(finished, tmp_path):
    weights = finished / "clips" / "{clip}" / "fields.npz"
    words = [*TINY, *QUIET, f"--config.train.weights={weights}"]
    assert launch(tmp_path / "run", *words) == 0
    assert_same_fields(tmp_path / "run", finished)
    assert not (tmp_path / "run" / "clips" / "world-0" / "fit").exists()


def test_a_clip_that_fails_in_a_stage_does_not_end_the_others(
    finished, tmp_path, capsys
):
    weights = finished / "clips" / "{clip}" / "fields.npz"
    words = [*TINY, *QUIET, "--config.data.clips=7,0", "--only=fit"]
    words.append(f"--config.train.weights={weights}")
    for _ in range(2):  # The same command tries the first one again.
        assert launch(tmp_path / "run", *words) == 3
        said = capsys.readouterr().out
        assert "world-7: skipped: " in said and "world-7/fields.npz: cannot" in said
        assert_same_fields(tmp_path / "run", finished)


def test_planes_train_by_the_same_command_and_their_fields_say_what_they_are(tmp_path):
    tables = "static", "moving", "proposal"
    grids = [f"--config.grid.planes.{k}.levels=1" for k in tables]
    words = [*TINY, *QUIET, *grids, "--config.grid.actor_levels=1", "--only=fit"]
    assert launch(tmp_path / "run", *words, "--config.grid.kind=planes") == 0
    file = weight_files.read_weights(
        tmp_path / "run/clips/world-0/fields.npz", "radiance fields"
    )
    assert file.about["grid"] == "planes"
    # The file's kind counts: the config is that of hashed grids.
    weights = tmp_path / "run" / "clips" / "{clip}" / "fields.npz"
    words = [*TINY, *QUIET, f"--config.train.weights={weights}"]
    assert launch(tmp_path / "again", *words) == 0
    assert_same_fields(tmp_path / "again", tmp_path / "run")
    metrics = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert metrics["all"]["held_out"]["psnr"] > 5.0


def test_tracking_takes_the_static_depth_of_the_same_clip(finished, tmp_path):
    words = ["--config=configs/tracking.py:smoke", f"--workdir={tmp_path / 'run'}"]
    words += ["--config.world.num_frames=9", "--config.world.size_hw=(32,48)"]
    words += [f"--config.depth.fields={finished}", "--config.segments.min_pixels=4"]
    shown = ["--config.show.overlay=False", "--config.show.report=False"]
    assert cli.main(["launch.py", *words, *shown]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (
        "depth_abs_relative_difference_after" in metrics["clips"]["world-0"]["geometry"]
    )


def test_poses_exposure_and_motion_are_learned_by_the_same_command(tmp_path, capsys):
    mask = np.zeros((32, 48), np.int32)
    mask[8:20, 10:30] = 255
    (tmp_path / "masks" / "world-0").mkdir(parents=True)
    images.write_labels(tmp_path / "masks" / "world-0" / "frame_0000000002.png", mask)
    words = [*TINY, *QUIET, f"--config.data.motion={tmp_path / 'masks' / '{clip}'}"]
    words += ["--config.cameras.refine=True", "--config.cameras.exposure=True"]
    words += ["--config.cameras.align_steps=2", "--config.world.faults=poses"]
    run = tmp_path / "run"
    assert launch(run, *words) == 0
    assert "nothing for 8 frames" in capsys.readouterr().out
    found = fields_of(run)
    assert found["poses/shift"].shape == found["poses/turn"].shape == (9, 3)
    # Frames of training while the fields were learned, the others after that.
    assert found["poses/turn"].any(axis=1).all() and found["exposure"].any()
    rows = [json.loads(row) for row in (run / LOG).read_text().splitlines()]
    rows = [row for row in rows if row["event"] == "train"]
    assert rows and all(row["motion_loss"] > 0 for row in rows)
    scored = run / "clips" / "world-0" / "scores.json"
    first = arrays.read_json(scored)["names"]["held_out"]["psnr"]
    # The same fields, with poses as they came: other frames are shown.
    weights = run / "clips" / "world-0" / "fields.npz"
    held = weight_files.read_weights(weights, "radiance fields")
    still = {k: v * (not k.startswith("poses")) for k, v in held.weights.items()}
    weight_files.write_weights(tmp_path / "still.npz", *held._replace(weights=still))
    again = [*TINY, *QUIET, "--config.world.faults=poses"]
    again += [f"--config.train.weights={tmp_path / 'still.npz'}"]
    assert launch(tmp_path / "still", *again) == 0
    scored = tmp_path / "still" / "clips" / "world-0" / "scores.json"
    assert arrays.read_json(scored)["names"]["held_out"]["psnr"] != first


@pytest.mark.parametrize("variant", ["official", "nerfw"])
def test_published_networks_train_by_the_same_command(variant, tmp_path):
    words = ["--config.train.epochs=0", "--config.train.batch_size=32"]
    words += ["--config.data.scale=2.0", "--config.views.near_floor=0.05"]
    run = tmp_path / "run"
    assert launch(run, *TINY, *QUIET, *words, variant=f"{variant}+smoke") == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert np.isfinite(metrics["all"]["held_out"]["psnr"])


# ------------------------------------------------------------------------- bad input


def refused(capsys, tmp_path, *words: str, variant: str = "smoke") -> list[str]:
    code = launch(tmp_path / "run", *TINY, *QUIET, *words, variant=variant)
    # On a busy machine the bar of progress tells a line a minute.
    told = capsys.readouterr().err.splitlines()
    lines = [line for line in told if not re.search(r": \d+/\d+, [\d.]+/s", line)]
    assert code == 2 and lines, "it was not refused"
    return lines


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("fields.kind=hash", "config.fields.kind=hash: there are grid, neuraldiff"),
        ("data.scale=0.5", "config.data.scale=0.5: below 1"),
        ("data.scale=1000.0", "images of world-0 would be 1 x 1; expected 4 or more"),
        ("train.ratio=1.5", "config.train.ratio=1.5: above 1"),
        ("train.weight_decay=-1.0", "config.train.weight_decay=-1.0: below 0"),
        ("views.near=-1.0", "config.views.near=-1.0: below"),
        ("views.far=1e30", "far=1e+30; expected a number from 0 to 1e+09"),
        ("grid.width=100000", "config.grid.width=100000: above 4096"),
        ("render.chunk=1000000000", "render.chunk=1000000000: above 1e+08"),
        ("mesh.shard=(", "mesh.shard=(: no regular expression"),
        ("mesh.shard=.*", "sharding rule '.*': 4 devices cannot share params/"),
        ("mesh.shard=nothing", "sharding rule 'nothing' matches no weight"),
        ("train.learning_rate=nan", "not a finite number"),
        ("train.host_images=-1.0", "config.train.host_images=-1.0: below 0"),
        ("grid.static.log2_rows=40", "config.grid.static.log2_rows=40: above 24"),
        ("grid.kind=cubes", "config.grid.kind=cubes: there are hash, planes"),
        ("grid.planes.moving.volume=0", "config.grid.planes.moving.volume=0: below 1"),
        ("render.fixed_frame=nobody", "fixed_frame=nobody: no such frame"),
        ("train.weights=/nowhere/x.npz", "/nowhere/x.npz: cannot be read"),
        ("data.name=folder", "needs --config.data.root"),
        ("data.motion=/nowhere/{clip}", "motion=/nowhere/world-0: no such folder"),
        ("cameras.penalty=-1.0", "config.cameras.penalty=-1.0: below 0"),
        ("nerf.lowpass_K=20", "config.nerf.lowpass_K=20: expected an odd one"),
        ("nerf.N_vocab=1", "config.nerf.N_vocab=1: below 2"),
        ("grid.time_basis=4", "config.grid.time_basis=4: expected an odd one"),
        ("grid.appearance_dim=-1", "config.grid.appearance_dim=-1: below 0"),
        ("grid.static.levels=100000", "grid.static.levels=100000: above 32"),
        ("loss.beta=-3.0", "config.loss.beta=-3.0: below 0"),
        ("read.ahead=-5", "config.read.ahead=-5: below 0"),
        ("train.learning_rate=1e9", "more); try a lower rate"),
        ("nerf.perturb=3.0", "config.nerf.perturb=3.0: above 1"),
        ("views.split_nth=1", "every=1 (config.views.split_nth); 0 trains on all"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(word, told, capsys, tmp_path):
    (line,) = refused(capsys, tmp_path, f"--config.{word}")
    assert told in line


def test_without_uncertainty_its_floor_must_not_be_zero(capsys, tmp_path):
    words = ["--config.loss.beta=0.0", "--config.loss.beta_min=0.0"]
    (line,) = refused(capsys, tmp_path, *words)
    assert "needs a config.loss.beta_min above 0" in line


def test_a_clip_of_which_nothing_would_be_rendered_is_refused(capsys, tmp_path):
    words = ["--config.views.split_nth=0", "--config.render.frames=test"]
    (line,) = refused(capsys, tmp_path, *words)
    assert "render.frames=test: none of 9 frames is in test" in line


def test_fields_are_not_written_as_procedural_clips(capsys, tmp_path):
    (line,) = refused(capsys, tmp_path, "--mode=synthesize")
    assert "--mode=synthesize" in line and "configs/tracking.py" in line


def test_damaged_files_of_a_run_are_one_line(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    words = [*TINY, *QUIET, "--config.show.official=True"]
    for name, told in (("scores", "no scores"), ("render", "names no frame")):
        file = run / "clips" / "world-0" / f"{name}.json"
        held = file.read_text()
        file.write_text("{}")
        assert launch(run, *words, "--only=show") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{file}: {told}" in line and "again" in line
        file.write_text(held)


def test_a_frame_that_was_lost_is_not_left_out_of_the_score(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    streams = run / "clips" / "world-0" / "streams"
    (streams / "frame_0000000003.npz").unlink()
    words = [*TINY, *QUIET, "--config.show.official=True"]
    assert launch(run, *words, "--only=score") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{streams}: 8 frames here, render.json tells of 9" in line


def test_frames_of_a_rendering_that_was_stopped_are_of_its_options(
    finished, tmp_path, monkeypatch
):
    """Else those before the signal would show the actor, and those after it not."""
    write, written = stream_images.write_images, []

    def write_three(path, shown):
        written.append(path)
        if len(written) > 3:
            raise KeyboardInterrupt
        write(path, shown)

    weights = finished / "clips" / "{clip}" / "fields.npz"
    words = [*TINY, *QUIET, f"--config.train.weights={weights}"]
    with monkeypatch.context() as patched:
        patched.setattr(stream_images, "write_images", write_three)
        assert launch(tmp_path / "run", *words) == 130
    assert launch(tmp_path / "run", *words, "--config.render.suppress_actor=True") == 0
    shown = [path for path in (written[0].parent).iterdir() if path.suffix == ".npz"]
    assert len(shown) == 9
    for path in shown:
        assert (stream_images.read_images(path).masks[2] == 0).all()


def test_runs_of_fields_are_averaged_and_not_compared(finished, capsys):
    assert cli.main(["launch.py", "compare", str(finished), str(finished)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is a run of decomposition" in line and "`average`" in line


def test_poses_are_refined_where_tables_are_shared_out(tmp_path):
    """Poses are then found alone: the rule is of the fields."""
    words = ["--config.cameras.refine=True", "--config.cameras.align_steps=2"]
    shared = [*TINY, *words, "--config.mesh.shard=_table$", "--only=fit"]
    assert launch(tmp_path / "run", *shared) == 0


def test_options_of_grids_are_refused_of_published_networks(capsys, tmp_path):
    words = ["--config.cameras.refine=True", "--config.data.motion=masks"]
    lines = refused(capsys, tmp_path, *words, variant="smoke+official")
    for name, line in zip(("cameras.refine", "data.motion"), lines, strict=True):
        assert f"config.{name}: of config.fields.kind=grid alone" in line


def test_an_actor_is_suppressed_only_where_there_is_one(capsys, tmp_path):
    words = ["--config.render.suppress_actor=True", "--config.loss.beta=0.5"]
    beta, actor = refused(capsys, tmp_path, *words, variant="smoke+nerfw")
    assert "config.loss.beta: 1 for config.fields.kind=nerfw" in beta
    assert "config.fields.kind=nerfw has no actor" in actor


def test_weights_of_another_network_are_one_line_each(finished, capsys, tmp_path):
    weights = finished / "clips" / "world-0" / "fields.npz"
    words = [f"--config.train.weights={weights}"]
    kind = "--config.fields.kind=neuraldiff"
    (line,) = refused(capsys, tmp_path / "a", *words, kind)
    assert "the weights are of kind grid" in line and "set it to grid" in line
    found = weight_files.read_weights(weights, "radiance fields")
    cut = {k: v[:-1] if k == "time" else v for k, v in found.weights.items()}
    weight_files.write_weights(tmp_path / "cut.npz", *found._replace(weights=cut))
    words = [f"--config.train.weights={tmp_path / 'cut.npz'}"]
    (line,) = refused(capsys, tmp_path / "b", *words)
    assert "time is (6, 16); the network's is (7, 16)" in line


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"grid": "cubes"}, "'cubes'"),
        ({"sizes": {}}, "'static'"),
        ({"box": 3}, "'int'"),
        ({"box": {"center": [0, 0], "radius": 1, "unit": 1}}, "a box of"),
        ({"box": {"center": [0] * 3, "radius": float("nan"), "unit": 1}}, "a box of"),
    ],
)
def test_weights_whose_description_is_damaged_are_one_line(
    about, told, finished, capsys, tmp_path
):
    found = weight_files.read_weights(
        finished / "clips" / "world-0" / "fields.npz", "radiance fields"
    )
    path = tmp_path / "other.npz"
    weight_files.write_weights(path, *found._replace(about=found.about | about))
    (line,) = refused(capsys, tmp_path / "a", f"--config.train.weights={path}")
    assert f"{path}: what it says of its fields is damaged" in line and told in line


def test_weights_of_a_shorter_clip_are_refused(finished, capsys, tmp_path):
    """Time codes beyond the tables would silently be those of the last frame."""
    weights = finished / "clips" / "world-0" / "fields.npz"
    words = [f"--config.train.weights={weights}", "--config.world.num_frames=12"]
    (line,) = refused(capsys, tmp_path, *words)
    assert "slots up to 11, the fields have codes for 9" in line


def test_variants_compose_and_keep_the_size_of_the_data():
    path = cli.find_config("configs/decomposition.py")[0]
    for variant in ("official", "nerfw"):
        both = cli.load_config(path, f"bench+{variant}")
        assert both.data.scale == cli.load_config(path, "bench").data.scale == 2.0
        assert both.train.learning_rate == 5e-4


def scene(folder: pathlib.Path, num: int = 4, size=(24, 32), **changes) -> pathlib.Path:
    """A scene in the layout of NeuralDiff; its frames are a gradient."""
    ids = list(range(num))
    pose = {str(i): [*map(list, EYE[:, :3].tolist())] for i in ids}
    poses = {k: [[*row, 0.1 * int(k)] for row in pose[k]] for k in pose}
    data = {
        "ids_all": ids,
        "ids_train": ids[1:] or ids,
        "ids_val": [],
        "ids_test": ids[:1] if num > 1 else [],
        "images": {str(i): f"IMG_{i:010d}.png" for i in ids},
        "poses": poses,
        "nears": {str(i): 0.1 for i in ids},
        "fars": {str(i): 5.0 for i in ids},
        "intrinsics": [[30, 0, 16], [0, 30, 12], [0, 0, 1]],
        "image_w": 32,
        "image_h": 24,
        **changes,
    }
    (folder / "frames").mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(data))
    ramp = np.tile(np.linspace(0, 255, size[1]), (size[0], 1)).astype(np.uint8)
    for i in ids:
        cv2.imwrite(str(folder / "frames" / f"IMG_{i:010d}.png"), np.dstack([ramp] * 3))
    return folder


def on_scene(capsys, tmp_path, folder, *words):
    root = f"--config.data.root={folder}"
    name = "--config.data.name=epic_diff"
    return refused(capsys, tmp_path, root, name, "--config.data.scale=1.0", *words)


def test_bounds_of_a_scene_in_the_published_layout_are_its_own(capsys, tmp_path):
    folder = scene(tmp_path / "P99_01")
    (line,) = on_scene(capsys, tmp_path, folder, "--config.views.far=9.0")
    assert "config.views.far: scenes of epic_diff have bounds of their own" in line


def test_a_scene_in_the_published_layout_trains(tmp_path):
    folder = scene(tmp_path / "P99_01")
    (folder / "annotations").mkdir()
    mask = np.zeros((24, 32), np.uint8)
    mask[:, :8] = 255
    cv2.imwrite(str(folder / "annotations" / "IMG_0000000000.png"), mask)
    words = [f"--config.data.root={folder}", "--config.data.name=epic_diff"]
    words += ["--config.data.scale=1.0"]
    assert launch(tmp_path / "run", *TINY, *QUIET, *words) == 0
    clip = tmp_path / "run" / "clips" / "P99_01"
    lines = (clip / "official" / "metrics.txt").read_text().splitlines()
    assert lines[:2] == ["Epoch: None.", "avgpre\tpsnr\t"]
    found = arrays.read_json(clip / "scores.json")["names"]["test"]
    precision, psnr = lines[2].split()
    assert float(precision) == pytest.approx(found["mAP"], abs=1e-4)
    assert float(psnr) == pytest.approx(found["psnr"], abs=1e-2)


@pytest.mark.parametrize(("variant", "last"), [("official", 999), ("", 3)])
def test_published_networks_see_own_clips_spread_over_all_of_their_codes(
    variant, last, tmp_path
):
    """Else a short clip would be a corner of their time axis."""
    config = cli.load_config(cli.find_config("configs/decomposition.py")[0], variant)
    config.data.name, config.data.root = "epic_diff", str(scene(tmp_path / "P99_01"))
    opened = clips.make(config, field_config.prepared, field_config.settled)
    assert [view.slot for view in opened["P99_01"]().views][-1] == last


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"poses": {}}, "pose"),
        ({"nears": {"0": 1.0}}, "nears"),
        ({"nears": dict.fromkeys("0123", 9.0)}, "near"),
        (
            {"poses": {str(i): [[float("nan")] * 4] * 3 for i in range(4)}},
            "meta.json",
        ),
        ({"ids_train": []}, "is in no split"),
    ],
)
def test_a_scene_that_lacks_something_is_refused(changes, told, capsys, tmp_path):
    folder = scene(tmp_path / "P99_01", **changes)
    lines = on_scene(capsys, tmp_path, folder)
    assert all(told in line for line in lines) and len(lines) <= 5


def test_one_frame_is_enough_to_train_and_too_few_to_score(tmp_path, capsys):
    folder = scene(tmp_path / "P99_01", num=1)
    words = [f"--config.data.root={folder}", "--config.data.name=epic_diff"]
    words += ["--config.data.scale=1.0"]
    assert launch(tmp_path / "run", *TINY, *QUIET, *words) == 0
    assert "held-out" not in capsys.readouterr().out


def test_a_mask_of_another_size_leaves_its_frame_out(tmp_path, capsys):
    folder = scene(tmp_path / "P99_01")
    (folder / "annotations").mkdir()
    mask = np.full((5, 7), 255, np.uint8)
    cv2.imwrite(str(folder / "annotations" / "IMG_0000000000.png"), mask)
    words = [f"--config.data.root={folder}", "--config.data.name=epic_diff"]
    words += ["--config.data.scale=1.0"]
    assert launch(tmp_path / "run", *TINY, *QUIET, *words) == 3
    assert "score skipped 1 frame(s)" in capsys.readouterr().out


def test_an_image_of_another_size_leaves_its_frame_out(tmp_path, capsys):
    folder = scene(tmp_path / "P99_01")
    path = folder / "frames" / "IMG_0000000002.png"
    cv2.imwrite(str(path), np.zeros((10, 10, 3), np.uint8))
    words = [f"--config.data.root={folder}", "--config.data.name=epic_diff"]
    words += ["--config.data.scale=1.0"]
    assert launch(tmp_path / "run", *TINY, *QUIET, *words) == 3
    assert "fit skipped 1 frame(s), first IMG_0000000002" in capsys.readouterr().out


def test_frames_without_poses_are_refused(tmp_path, capsys):
    (tmp_path / "clip").mkdir()
    for n in range(3):
        picture = np.zeros((24, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "clip" / f"{n:06d}.png"), picture)
    words = ["--config.data.name=folder", f"--config.data.root={tmp_path / 'clip'}"]
    (line,) = refused(capsys, tmp_path, *words)
    assert "no frame has a camera pose" in line


def test_a_file_that_is_no_fields_is_refused(tmp_path):
    arrays.write_npz(tmp_path / "a.npz", {"x": np.zeros(3)})
    with pytest.raises(UsageError, match="no radiance fields"):
        weight_files.read_weights(tmp_path / "a.npz", "radiance fields")
    bad = weight_files.WeightFile({"w": np.array([1.0, np.nan])}, {"kind": "grid"})
    weight_files.write_weights(tmp_path / "b.npz", *bad)
    with pytest.raises(UsageError, match="w holds NaN or infinite"):
        weight_files.read_weights(tmp_path / "b.npz", "radiance fields")
