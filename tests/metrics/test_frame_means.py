"""Means over frames by name."""

import math

import numpy as np
import pytest

from egojax import metrics


@pytest.mark.parametrize("seed", range(3))
def test_means_skip_what_is_undefined_in_any_split(seed):
    rng = np.random.default_rng(seed)
    table = np.where(rng.random((9, 2)) < 0.3, np.nan, rng.random((9, 2)))
    empty = metrics.FrameMeans.empty(("a", "b"))
    parts = [empty, empty]
    for k, row in enumerate(table):
        # A number that is not given is as good as NaN.
        given = {n: v for n, v in zip("ab", row, strict=True) if k % 2 or v == v}
        parts[k % 2] = parts[k % 2].update(given)
    merged = parts[0].merge(parts[1])
    np.testing.assert_allclose(
        list(merged.compute().values()), np.nanmean(table, axis=0), rtol=1e-14
    )
    assert list(merged.counts().values()) == (~np.isnan(table)).sum(axis=0).tolist()


def test_nothing_is_undefined_and_infinity_stays():
    means = metrics.FrameMeans.empty(("a", "b")).update({"a": math.inf})
    result = means.update({"a": 1.0}).compute()
    assert result["a"] == math.inf
    assert math.isnan(result["b"])
    assert metrics.FrameMeans.empty(()).compute() == {}


def test_other_names_are_an_error():
    means = metrics.FrameMeans.empty(("a",))
    with pytest.raises(ValueError, match=r"numbers \['b'\]; there are \['a'\]"):
        means.update({"b": 1.0})
    with pytest.raises(ValueError, match="different pytree metadata"):
        means.merge(metrics.FrameMeans.empty(("b",)))
