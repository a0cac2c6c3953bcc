"""The references of the benchmark are a second implementation: ours must agree."""

import numpy as np
import pytest

from egojax import metrics
from tests.experiment_modules import load


@pytest.fixture(scope="module")
def bench():
    return load("bench_metrics")


def crowded_boxes(seed, frames=60, ids=7):
    """Boxes that nearly coincide, so that frames have conflicts above the threshold."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(frames):
        place = rng.normal(0, 4, (ids, 2))
        t, p = (np.flatnonzero(rng.random(ids) < 0.8) for _ in range(2))
        pred = place[p] + rng.normal(0, 2, (len(p), 2))
        boxes = [np.hstack([xy, xy + 20]) for xy in (place[t], pred)]
        out.append((t, (p + rng.integers(0, 2)) % ids + 50, metrics.box_iou(*boxes)))
    return out


@pytest.mark.parametrize("seed", range(6))
def test_dense_tables_frame_by_frame_agree_where_boxes_compete(bench, seed):
    frames = crowded_boxes(seed)
    conflicts = sum(np.any((s >= 0.5).sum(1) > 1) for _, _, s in frames)
    assert conflicts > 20
    ours = metrics.TrackingScores.of(frames).compute()
    for name, value in bench.dense_scores(frames).items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_all_ways_from_label_maps_to_scores_agree(bench):
    for line in bench.tracking_rows(num_frames=3, repeats=1):
        assert line["error"] < 1e-9
        assert line["ratio_reference"] > 1


def test_whole_frames_and_bounding_boxes_give_the_same_j_and_f(bench):
    (line,) = bench.region_rows(num_frames=1, repeats=1)
    assert line["error"] < 1e-12
