"""Where 2D ids are cut, what noise they are judged by, which masks are parts."""

import numpy as np
import pytest

from egojax.methods.tracklet_cuts import (
    Rows,
    cut_at,
    find_halves,
    measure_jumps,
    measure_noise,
)


def rows_of(place: np.ndarray, segment=None, frame=None, feature=None, area=None):
    """Rows of one id in consecutive frames unless told otherwise."""
    count = len(place)
    return Rows(
        frame_idx=np.arange(count) if frame is None else np.asarray(frame),
        segment_id=np.ones(count, int) if segment is None else np.asarray(segment),
        category=np.zeros(count, int),
        location=np.asarray(place, float),
        feature=np.zeros((count, 2)) if feature is None else feature,
        area=np.full(count, 1000.0) if area is None else np.asarray(area, float),
    )


def cuts_of(rows: Rows, **options) -> list[int]:
    noise = measure_noise(rows)
    jumps = measure_jumps(rows, noise, 8, 0.015)
    options = dict(max_gap=3, threshold=5.0, window=8) | options
    return np.flatnonzero(cut_at(rows, jumps, **options)).tolist()


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_noise_is_found_whatever_the_motion_and_the_outliers(sigma):
    rng = np.random.default_rng(0)
    place = np.cumsum(np.full((2000, 3), 0.001), 0) + sigma * rng.normal(size=(2000, 3))
    place[::50] += 1.0
    feature = 3.0 + 0.2 * rng.normal(size=(2000, 16))
    noise = measure_noise(rows_of(place, feature=feature))
    assert noise.location == pytest.approx(sigma, rel=0.1)
    assert noise.feature == pytest.approx(0.2, rel=0.1)


def test_jumps_are_measured_as_by_the_definition():
    """A loop over rows, with numpy's own median."""
    rng = np.random.default_rng(1)
    place = rng.normal(size=(60, 3))
    place[rng.random(60) < 0.2] = np.nan
    segment = np.repeat([4, 7], 30)
    rows = rows_of(place, segment, np.tile(np.arange(30), 2))
    jumps = measure_jumps(rows, measure_noise(rows), 5, 0.0)
    for n in range(60):
        low, high = 30 * (n // 30), 30 * (n // 30) + 30
        for got, window in (
            (jumps.before[n], place[max(low, n - 5) : n]),
            (jumps.after[n], place[n : min(high, n + 5)]),
        ):
            known = window[np.isfinite(window).all(1)]
            if len(known):
                np.testing.assert_allclose(got, np.median(known, axis=0))
            else:
                assert np.isnan(got).all()


def test_an_id_that_rests_is_not_cut_and_one_that_jumps_is_cut_there():
    rng = np.random.default_rng(2)
    place = 0.02 * rng.normal(size=(100, 3))
    assert cuts_of(rows_of(place)) == [0]
    place[60:, 0] += 0.2
    first, cut = cuts_of(rows_of(place))
    assert first == 0 and abs(cut - 60) <= 1


def test_an_id_whose_looks_change_is_cut_there():
    rng = np.random.default_rng(3)
    feature = 0.3 * rng.normal(size=(100, 16))
    feature[40:] += 0.4
    place = 0.02 * rng.normal(size=(100, 3))
    first, cut = cuts_of(rows_of(place, feature=feature))
    assert first == 0 and abs(cut - 40) <= 3


def test_an_outlier_is_no_jump():
    place = 0.02 * np.random.default_rng(4).normal(size=(100, 3))
    place[50] += 1.0
    assert cuts_of(rows_of(place)) == [0]


def test_gaps_are_cut():
    frame = np.concatenate([np.arange(30), np.arange(34, 60), np.arange(62, 80)])
    place = 0.02 * np.random.default_rng(5).normal(size=(len(frame), 3))
    assert cuts_of(rows_of(place, frame=frame)) == [0, 30]


def test_a_swap_that_is_too_small_for_one_id_shows_in_both():
    """0.09 m apart, 0.04 m noise: below the bar of a jump, but they cross."""
    place = 0.04 * np.random.default_rng(0).normal(size=(160, 3))
    place[40:120, 0] += 0.12
    rows = rows_of(place, np.repeat([1, 2], 80), np.tile(np.arange(80), 2))
    cuts = np.array(cuts_of(rows))
    assert len(cuts) <= 6
    assert abs(cuts - 40).min() <= 3 and abs(cuts - 120).min() <= 3


def halves_of(area_while: float, offset: float = 0.05) -> np.ndarray:
    """An id of 60 frames whose area changes while another is seen beside it."""
    segment = np.repeat([1, 2], [60, 10])
    frame = np.concatenate([np.arange(60), np.arange(25, 35)])
    place = np.zeros((70, 3))
    place[60:, 0] = offset
    area = np.full(70, 2000.0)
    area[25:35] = area_while
    area[60:] = 900.0
    rows = rows_of(place, segment, frame, area=area)
    piece = np.repeat([0, 1], [60, 10])
    return find_halves(rows, piece, np.ones(2, bool), reach=0.15, error=0.25)


def test_a_part_is_paired_with_the_rest_of_its_mask_frame_by_frame():
    host = halves_of(area_while=1100.0)
    assert (host[:60] == -1).all()
    assert host[60:].tolist() == list(range(25, 35))


@pytest.mark.parametrize("case", [dict(area_while=2000.0), dict(area_while=300.0)])
def test_areas_that_do_not_add_up_are_two_things(case):
    assert (halves_of(**case) == -1).all()


def test_what_is_far_away_is_no_part():
    assert (halves_of(1100.0, offset=0.4) == -1).all()
