"""The tracking job as a whole, where its parts do not show: scoring of trees."""

import json
import math

import numpy as np
import pytest

from egojax.apps import cli
from egojax.errors import UsageError
from egojax.methods import evaluation
from egojax.metrics import frame_overlap
from egojax.types import Objects, TrackTable

SMOKE = ("launch.py", "--config=configs/tracking.py:epic_fields")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The official layout, written by the procedural world, and tracked."""
    base = tmp_path_factory.mktemp("tree")
    world = "--config=configs/tracking.py:smoke"
    words = ["--mode=synthesize", "--config.world.num_frames=40"]
    assert cli.main(["launch.py", world, *words, f"--workdir={base}/world"]) == 0
    few = "--config.segments.min_pixels=40"
    root = base / "world" / "official"
    words = [f"--config.data.root={root}", few, "--config.show.overlay=False"]
    assert cli.main([*SMOKE, *words, f"--workdir={base}/run"]) == 0
    return base


def rows_of(path):
    (clip,) = json.loads((path / "metrics.json").read_text())["clips"].values()
    return clip["after"]


def test_a_tree_is_scored_to_the_numbers_of_the_run_that_wrote_it(root):
    (tree,) = {
        p.parent for p in (root / "run").rglob("pred.json") if "official" in p.parts
    }
    assert (tree / "pred.json").is_file()
    words = [
        f"--config.data.root={root}/world/official",
        "--config.segments.min_pixels=40",
        "--mode=eval",
        f"--config.eval.tree={tree}",
        f"--workdir={root}/eval",
    ]
    assert cli.main([*SMOKE, *words]) == 0
    expected, found = rows_of(root / "run"), rows_of(root / "eval")
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert json.dumps(found[name]) == json.dumps(value), name
    assert expected["egoseg3d_protocol"]["num_classes"] > 1


@pytest.mark.parametrize("tree", ["nowhere", "odd {name}", "{"])
def test_a_tree_that_is_not_there_is_one_line(tree, root, capsys):
    words = [
        f"--config.data.root={root}/world/official",
        "--mode=eval",
        f"--config.eval.tree={root}/{tree}",
        f"--workdir={root}/eval-{len(tree)}",
    ]
    assert cli.main([*SMOKE, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pred.json" in line


# ---------------------------------------------------------------------- judging


def table_of(rows):
    """A table from (frame, segment id, category, place)."""
    frame, segment, category, place = zip(*rows, strict=True)
    count = len(rows)
    return TrackTable(
        frame_idx=np.array(frame, np.int32),
        segment_id=np.array(segment, np.int64),
        track_id=np.array(segment, np.int32),
        category=np.array(category, np.int32),
        score=np.ones(count, np.float32),
        confidence=np.ones(count, np.float32),
        location=np.array(place, np.float32),
        centroid_xy=np.zeros((count, 2), np.float32),
        area=np.full(count, 100, np.int32),
    )


def true_frame(t, true, found, categories, objects=None):
    overlap = frame_overlap(np.array(true), np.array(found))
    return evaluation.TrueFrame(t, overlap, objects, categories)


def judge(frames, table, num_frames, **options):
    ids = table.segment_id
    namings = {"ids": evaluation.names_by_frame(table, ids, num_frames)}
    kinds = evaluation.by_frame(table.frame_idx, ids, table.category, num_frames)
    options = dict(min_pixels=0) | options
    return evaluation.score_names(frames, namings, table, {"ids": kinds}, **options)[
        "ids"
    ]


def test_each_name_of_a_true_class_is_scored_against_all_of_it():
    """Plates of which the prediction calls one a saucer, as written in the protocol."""
    nowhere = (np.nan,) * 3
    true, found = [[1, 1, 2, 2]], [[1, 1, 2, 2]]
    table = table_of([(0, 1, 1, nowhere), (0, 2, 2, nowhere)])
    frames = [true_frame(0, true, found, {1: 0, 2: 2})]
    scores = judge(
        frames,
        table,
        1,
        category_names=("plate", "saucer", "cup"),
        true_names=("plate", "plate", "cup"),
    )
    assert set(scores.protocol.per_class) == {"plate", "saucer", "cup"}
    per_class = {k: v.compute()["DetA"] for k, v in scores.protocol.per_class.items()}
    assert per_class == pytest.approx({"plate": 0.0, "saucer": 1.0, "cup": 1.0})


def test_ignored_categories_and_small_areas_are_those_of_the_config():
    nowhere = (np.nan,) * 3
    table = table_of([(0, 1, 0, nowhere), (0, 2, 1, nowhere)])
    frames = [true_frame(0, [[1, 1, 2]], [[1, 1, 2]], {1: 0, 2: 1})]
    names = dict(category_names=("sink", "cup"))
    assert set(judge(frames, table, 1, **names).protocol.per_class) == {"cup"}
    every = judge(frames, table, 1, **names, ignored=())
    assert set(every.protocol.per_class) == {"sink", "cup"}
    large = judge(frames, table, 1, **names, ignored=(), min_pixels=1)
    assert large.protocol.per_class["cup"].compute()["DetA"] == 0.0
    assert large.protocol.per_class["sink"].compute()["DetA"] == 1.0


def test_the_strict_protocol_counts_what_is_not_there():
    nowhere = (np.nan,) * 3
    table = table_of([(0, 1, 0, nowhere), (1, 1, 0, nowhere)])
    frames = [
        true_frame(0, [[1, 0]], [[1, 0]], {1: 0}),
        true_frame(1, [[0, 0]], [[1, 0]], {}),
    ]
    found = judge(frames, table, 2, category_names=("cup",))
    assert found.protocol.compute()["DetA"] == 1.0
    assert found.strict.compute()["DetA"] == pytest.approx(0.5)


def seen_again(frames_without):
    """An object that is away in frames 5 to 44, some frames being unreadable."""
    objects = Objects(
        ids=np.array([1]), category=np.array([0]), centers=np.array([[2.0, 0, 0]])
    )
    rows, frames = [], []
    for t in range(50):
        here = t < 5 or t >= 45
        if here:
            rows.append((t, 1, 0, (1.0, 0, 0)))
        if t not in frames_without:
            label = [[int(here), 0]]
            frames.append(true_frame(t, label, label, {1: 0}, objects))
    return frames, table_of(rows)


def test_absences_are_counted_in_frames_of_the_video():
    for without in ((), range(10, 40)):
        frames, table = seen_again(without)
        found = judge(frames, table, 50, metric_scale=0.5).permanence.compute()
        returned = found["num_returns_by_gap"]
        assert sum(returned) == 1 and np.argmax(returned) == 3  # 31 to 60 frames.
        # Where it was last seen is 1 m, half of the 2 world units of the truth.
        assert found["PCL_R0.3"] == 1.0


def test_objects_are_those_of_which_more_than_half_is_covered():
    overlap = frame_overlap(np.array([[1, 1, 2, 0]]), np.array([[1, 1, 2, 2]]))
    frames = [evaluation.TrueFrame(0, overlap, None, None)]
    table = table_of([(0, 1, 0, (0, 0, 0)), (0, 2, 0, (0, 0, 0))])
    assert evaluation.true_ids(frames, table).tolist() == [1, -2]


def test_frames_out_of_order_are_refused():
    frames, table = seen_again(())
    with pytest.raises(UsageError, match="comes after"):
        judge(frames[::-1], table, 50)
    assert math.isfinite(table.location.sum())
