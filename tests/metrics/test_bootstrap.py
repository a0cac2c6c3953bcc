"""Bootstrap: coverage, pairing, seeds."""

import numpy as np
import pytest

from egojax import metrics


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(200):
        values = rng.normal(3.0, 1.0, 40)
        interval = metrics.bootstrap_interval(values, num_samples=300, seed=seed)
        inside += interval.low <= 3.0 <= interval.high
    assert 0.88 <= inside / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_nan_is_skipped():
    values = [*np.random.default_rng(2).normal(2, 1, 30), np.nan]
    one = metrics.bootstrap_interval(values, seed=7)
    assert one == metrics.bootstrap_interval(values, seed=7)
    assert one != metrics.bootstrap_interval(values, seed=8)
    assert one.value == pytest.approx(np.mean(values[:-1]))


def test_pairing_finds_a_small_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(1)
    hard = rng.normal(50, 10, 20)
    a, b = hard + rng.normal(0, 0.5, 20), hard + 1 + rng.normal(0, 0.5, 20)
    difference = metrics.bootstrap_difference(a, b)
    assert difference.is_significant
    assert difference.value == pytest.approx(1.0, abs=0.5)
    first, second = metrics.bootstrap_interval(a), metrics.bootstrap_interval(b)
    assert first.high > second.low
    assert not metrics.bootstrap_difference(a, a).is_significant


def test_scores_that_merge_are_pooled_in_every_resample():
    scores = [
        metrics.TrackingScores.of([([1], [5], [[s]])] * n)
        for s, n in ((0.9, 10), (0.2, 1), (0.9, 4), (0.6, 5))
    ]
    interval = metrics.bootstrap_interval(
        scores, metrics.pooled("IDF1"), num_samples=50
    )
    assert interval.value == pytest.approx(19 / 20)
    assert interval.low < interval.value <= interval.high == 1.0


def test_nothing_to_resample_and_unequal_runs_are_errors():
    with pytest.raises(ValueError, match="0 items"):
        metrics.bootstrap_interval([])
    with pytest.raises(ValueError, match="runs of 1 and 2"):
        metrics.bootstrap_difference([1.0], [1.0, 2.0])
