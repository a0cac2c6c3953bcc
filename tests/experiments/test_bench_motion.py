"""The bench of motion losses on tiny sizes: all references agree with ours."""

import numpy as np
import pytest

from egojax.ops.subspace import stack_tracks
from egojax.ops.trajectories import smooth_tracks
from tests.experiment_modules import load


@pytest.fixture(scope="module")
def bench():
    return load("bench_motion")


def test_references_of_the_tail_agree_with_ours(bench):
    columns, masks = bench.trajectories(300)
    value, slope = bench.by_numpy(columns.astype(float), masks.astype(float))
    found, by_masks = bench.by_jax(masks, columns)
    assert found == pytest.approx(value, rel=1e-4)
    assert bench.one_core.largest_error(by_masks, slope) < 1e-3
    rows = list(bench.tail_rows(300, turns=1))
    assert [row["name"].split(", ")[-1] for row in rows] == [
        *("gram64", "qr32", "deflate32")
    ]
    for row, bar in zip(rows, (1e-6, 1e-4, 1e-1), strict=True):
        assert row["error"] < bar and row["ours_ms"] > 0


def test_the_reference_of_the_flow_fit_agrees_with_ours(bench):
    row = bench.flow_row((24, 40), turns=1)
    assert row["error"] < 2e-5 and row["ratio_reference"] > 0
    assert "24 x 40" in row["name"]


def test_the_reference_of_the_step_agrees_with_ours(bench):
    row = bench.step_row(300, (16, 24), turns=1)
    assert row["error"] < 1e-4 and row["ratio_reference"] > 0
    assert "300 points" in row["name"] and "losses" in row["note"]
    large = bench.step_row(200, (16, 24), turns=1, has_reference=False)
    assert large["reference_ms"] is None and large["ours_ms"] > 0


def test_stages_of_the_job_are_read_from_its_log(bench):
    log = """{"time": 1.0, "event": "stage_start", "clip": "a", "stage": "flow"}
{"time": 3.5, "event": "stage_end", "clip": "a", "stage": "flow", "seconds": 2.5}
{"time": 4.0, "event": "stage_end", "clip": "a", "stage": "masks", "seconds": 0.5}
{"time": 5.0, "event": "stage_end", "clip": "a", "stage": "score", "seconds": 1.0}
"""
    assert bench.until_masks(log) == {"flow": 2.5, "masks": 0.5}


def test_averages_are_those_of_the_published_filter_and_fall_by_nine_orders(bench):
    columns, _ = bench.trajectories(900)
    found = bench.smoothed(columns, 11)
    tracks = np.moveaxis(columns.reshape(2, bench.FRAMES, -1), 0, -1)
    expected = stack_tracks(smooth_tracks(tracks, 11))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    values = np.linalg.svd(found.astype(np.float64), compute_uv=False)
    assert values[0] / values[-1] > 1e8
