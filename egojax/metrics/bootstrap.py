"""Intervals by resampling sequences or objects, and whether two runs differ.

The resampled items are whatever a number is computed from: plain values, or scores that
merge. A difference of two runs is paired: both are resampled alike, so that what makes
a clip hard for both cancels.

Source: Efron 1979, the percentile interval.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.metrics.tracking import TrackingScores, combine_sequences

Statistic = Callable[[list[Any]], float]


class Interval(NamedTuple):
    """A number and where it may lie."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """How much the second run is above the first."""

    value: float
    low: float
    high: float
    is_significant: bool  # The interval excludes 0.


def bootstrap_interval(
    items: Sequence[Any],
    statistic: Statistic | None = None,
    *,
    num_samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic of items with its interval.

    Args:
      items: One per sequence or object: numbers, or anything that `statistic` takes.
      statistic: From a list of items to a number; by default the mean, NaN skipped.
      num_samples: Resamples.
      level: Share of resamples inside the interval.
      seed: Of the resampling.

    Raises:
      ValueError: There is no item.
    """
    chosen = _resamples(len(items), num_samples, seed)
    value, samples = _evaluate(items, statistic, chosen)
    return Interval(value, *_percentiles(samples, level))


def bootstrap_difference(
    first: Sequence[Any],
    second: Sequence[Any],
    statistic: Statistic | None = None,
    *,
    num_samples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The second run minus the first, over the same items in the same order.

    Other arguments as in `bootstrap_interval`.

    Raises:
      ValueError: The runs differ in length or are empty.
    """
    if len(first) != len(second):
        raise ValueError(
            f"runs of {len(first)} and {len(second)} items cannot be paired"
        )
    chosen = _resamples(len(first), num_samples, seed)
    value_a, samples_a = _evaluate(first, statistic, chosen)
    value_b, samples_b = _evaluate(second, statistic, chosen)
    low, high = _percentiles(samples_b - samples_a, level)
    return Difference(value_b - value_a, low, high, bool(low > 0 or high < 0))


def pooled(name: str) -> Callable[[list[TrackingScores]], float]:
    """The statistic "this number of all sequences together", for `TrackingScores`."""
    return lambda scores: combine_sequences(scores).compute()[name]


def _resamples(count: int, num_samples: int, seed: int) -> np.ndarray:
    if count == 0:
        raise ValueError("nothing to resample: 0 items, expected at least one")
    return np.random.default_rng(seed).integers(0, count, (num_samples, count))


def _evaluate(
    items: Sequence[Any], statistic: Statistic | None, chosen: np.ndarray
) -> tuple[float, np.ndarray]:
    if statistic is not None:
        samples = [statistic([items[i] for i in row]) for row in chosen]
        return float(statistic(list(items))), np.array(samples, np.float64)
    values = np.asarray(items, np.float64)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    rows = np.vstack([np.arange(len(values)), chosen])
    count = known[rows].sum(axis=1)
    total = filled[rows].sum(axis=1)
    means = np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0)
    return float(means[0]), means[1:]


def _percentiles(samples: np.ndarray, level: float) -> tuple[float, float]:
    known = samples[~np.isnan(samples)]
    if not known.size:
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)
