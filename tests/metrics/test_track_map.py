"""Track mAP: the official numbers, and its limits."""

import numpy as np
import pytest

from egojax import metrics


def volumes_of(sequence):
    """Feeds the boxes of one sequence of the oracle frame by frame."""
    recorder = metrics.TrackVolumeRecorder()
    tracks = [
        [{int(t): box for t, box in track.items()} for track in sequence[key]]
        for key in ("gt_tracks", "dt_tracks")
    ]
    score = np.array(sequence["dt_track_scores"])
    for t in range(1 + max(t for side in tracks for track in side for t in track)):
        seen = [[k for k, track in enumerate(side) if t in track] for side in tracks]
        boxes = [
            np.reshape([side[k][t] for k in rows], (-1, 4))
            for side, rows in zip(tracks, seen, strict=True)
        ]
        overlap = metrics.box_overlap(*boxes, *map(np.array, seen), form="xywh")
        recorder.add(overlap, score[seen[1]])
    return recorder.finish()


def test_every_official_number_is_reproduced(oracle, agrees):
    case = oracle("track_map")["cases"][0]
    scores = metrics.TrackMapScores()
    for sequence in case["inputs"].values():
        volumes = volumes_of(sequence)
        np.testing.assert_allclose(volumes.iou, sequence["track_iou"], atol=1e-12)
        np.testing.assert_allclose(volumes.true_area, sequence["gt_track_areas"])
        np.testing.assert_allclose(volumes.pred_area, sequence["dt_track_areas"])
        scores = scores.update(volumes)
    computed = scores.compute()
    agrees(computed, {f"{k}_by_iou": v for k, v in case["outputs"].items()})
    assert computed["AP"] == pytest.approx(np.mean(case["outputs"]["AP_all"]))


def labels(*columns):
    """A 1 x n label map repeated for three frames."""
    return [np.array([columns])] * 3


def record(truth, pred):
    recorder = metrics.TrackVolumeRecorder()
    for overlap in metrics.frame_overlaps(truth, pred):
        recorder.add(overlap)
    return metrics.TrackMapScores((recorder.finish(),)).compute()


def test_perfect_masks_score_one_and_ranges_without_truth_minus_one():
    scores = record(labels(1, 1, 2, 0), labels(7, 7, 9, 0))
    assert scores["AP"] == pytest.approx(1.0)
    assert scores["AR"] == 1.0
    assert scores["AP_area_l"] == scores["AR_time_l"] == -1.0


@pytest.mark.parametrize(
    ("truth", "pred", "expected"),
    [(1, 0, 0.0), (0, 1, -1.0), (0, 0, -1.0)],
)
def test_empty_sides_give_the_fixed_values(truth, pred, expected):
    scores = record(labels(truth, 0), labels(pred, 0))
    assert scores["AP"] == expected


def test_a_track_that_changes_its_id_halfway_matches_at_half_overlap_alone():
    truth = [np.array([[1, 1]])] * 4
    pred = [np.array([[5, 5]])] * 2 + [np.array([[6, 6]])] * 2
    scores = record(truth, pred)
    assert scores["AR_all_by_iou"] == [1.0] + [0.0] * 9
