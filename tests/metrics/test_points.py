"""Point tracks: all official cases, limits."""

import numpy as np
import pytest

from egojax import metrics

NAN = float("nan")
CASES = [
    "a_first",
    "a_strided",
    "a_per_track",
    "b_first",
    "b_strided",
    "b_per_track",
    "distance_exactly_on_threshold",
    "never_visible_after_query",
    "half_frame_query",
]


def time_first(values):
    return np.swapaxes(np.array(values, float), 0, 1)


@pytest.mark.parametrize("index", range(9), ids=CASES)
def test_every_official_case_is_reproduced(index, oracle, agrees):
    case = oracle("tapvid")["cases"][index]
    assert case["name"] == CASES[index]
    given = case["inputs"]
    for k in range(len(given["gt_occluded"])):
        ours = metrics.point_accuracy(
            np.array(given["query_points_tyx"][k])[:, 0],
            time_first(given["gt_tracks_xy"][k]),
            1 - time_first(given["gt_occluded"][k]),
            time_first(given["pred_tracks_xy"][k]),
            1 - time_first(given["pred_occluded"][k]),
            mode=given["query_mode"],
            per_track=given["per_track"],
        )
        agrees(ours, {name: v[k] for name, v in case["outputs"].items()})


def test_the_official_query_sampling_is_reproduced(oracle):
    case = oracle("tapvid")["cases"][9]
    tracks = time_first(case["inputs"]["points_xy"])
    visible = 1 - time_first(case["inputs"]["occluded"])
    expected = case["outputs"]
    first = metrics.sample_queries(tracks, visible)
    np.testing.assert_allclose(first.queries_txy[:, [0, 2, 1]], expected["first"])
    strided = metrics.sample_queries(tracks, visible, mode="strided")
    np.testing.assert_allclose(strided.queries_txy[:, [0, 2, 1]], expected["strided5"])
    np.testing.assert_array_equal(strided.track, expected["strided5_trackgroup"])


@pytest.mark.parametrize("index", range(3))
def test_every_official_redetection_is_reproduced(index, oracle, agrees):
    case = oracle("redetection")["cases"][index]
    scores = metrics.RedetectionScores()
    keys = ("gt_tracks_xy", "gt_visible", "pred_tracks_xy", "pred_visible")
    for video in zip(*(np.array(case["inputs"][k], float) for k in keys), strict=True):
        scores = scores.update(*video)
    agrees(scores.compute(), case["outputs"], 1e-6)


def still_points(visible, found=None, offset=0.0):
    """One point at rest, as (true xy, visibility, predicted xy, visibility)."""
    visible = np.array(visible, bool)[:, None]
    place = np.full((len(visible), 1, 2), 50.0)
    found = visible if found is None else np.array(found, bool)[:, None]
    return place, visible, place + offset, found


def test_only_gaps_that_grow_are_events():
    scores = metrics.RedetectionScores().update(*still_points([0, 1, 0, 0, 1, 0, 1, 1]))
    np.testing.assert_array_equal(scores.gap, [1, 2])
    assert scores.compute()["AJ_RD"] == 1.0
    # A distance of exactly D counts here, and does not in TAP-Vid.
    off = np.array([4.0, 0.0])
    scores = scores.update(*still_points([1, 0, 1], offset=off))
    np.testing.assert_array_equal(scores.jaccard[-1], [0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("seen", "found", "jaccard", "within", "redetected"),
    [
        (1, 0, 0.0, 1.0, 0.0),
        (0, 1, 0.0, NAN, NAN),
        (0, 0, NAN, NAN, NAN),
    ],
)
def test_empty_sides_give_the_fixed_values(seen, found, jaccard, within, redetected):
    arrays = still_points([0, 0, seen, seen], [0, 0, found, found])
    scores = metrics.PointScores().update(np.zeros(1), *arrays).compute()
    np.testing.assert_equal(scores["average_pts_within_thresh"], within)
    np.testing.assert_equal(scores["average_jaccard"], jaccard)
    events = metrics.RedetectionScores().update(*arrays)
    np.testing.assert_equal(events.compute()["AJ_RD"], redetected)


def test_videos_are_averaged():
    good = metrics.PointScores().update(np.zeros(1), *still_points([1, 1, 1]))
    both = good.update(np.zeros(1), *still_points([1, 1, 1], [0, 0, 0]))
    assert both.compute()["average_jaccard"] == 0.5


def test_an_unknown_query_mode_is_an_error():
    with pytest.raises(ValueError, match="query mode 'last'"):
        metrics.point_accuracy(np.zeros(1), *still_points([1, 1]), mode="last")
