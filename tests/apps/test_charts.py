"""Curves: on round scales that hold them, whatever the numbers."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egojax.apps import charts
from egojax.apps.charts import Curve

FLOATS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 6))


@given(FLOATS, FLOATS)
def test_a_scale_holds_all_values_and_is_not_far_too_large(one, other):
    low, high = min(one, other), max(one, other)
    start, stop = charts._scale(low, high)
    slack = 1e-9 * max(1, abs(low), abs(high))
    assert start <= low + slack and stop >= high - slack
    least = max(high - low, 2e-6 * max(abs(low), abs(high), 1e-6))
    assert stop - start <= 5 * least + slack


@given(FLOATS, st.floats(1e-3, 1e6))
def test_labels_are_few_round_and_within(left, width):
    ticks = charts._ticks(left, left + width)
    assert 1 <= len(ticks) <= charts.MOST_LABELS
    slack = 1e-6 * (width + abs(left))
    assert all(left - slack <= t <= left + width + slack for t in ticks)
    gaps = np.diff(ticks)
    if len(gaps):
        assert float(f"{gaps[0]:.2g}") == pytest.approx(gaps[0], rel=1e-3)


def test_points_are_drawn_where_they_are():
    """By hand: x from 0 to 4, y on the scale 0 to 10, downwards on the screen."""
    curve = Curve("a", np.array([0.0, 1, 4]), np.array([0.0, 10, 5]), ("p", "q", "r"))
    text = charts.curves_figure([curve], "a chart")
    assert 'd="M0.000 100.000L25.000 0.000L100.000 50.000"' in text
    assert text.count('class="point') == 3 and "<title>q</title>" in text
    assert "<span>10</span><span>5</span><span>0</span>" in text


def test_what_is_not_finite_is_left_out_with_its_dot():
    y = np.array([1.0, np.nan, 3.0, np.inf])
    text = charts.curves_figure([Curve("a", np.arange(4.0), y, "abcd")], "a chart")
    titles = re.findall("<title>(.)</title>", text)
    assert titles == ["a", "c"] and "nan" not in text and "inf" not in text


def test_nothing_to_draw_is_said():
    empty = Curve("a", np.zeros(0), np.zeros(0))
    assert "nothing to draw" in charts.curves_figure([empty], "a chart")
    assert "nothing to draw" in charts.curves_figure([], "a chart")


def test_one_point_is_a_chart_too():
    text = charts.curves_figure([Curve("a", np.ones(1), np.full(1, 7.0), "p")], "c")
    assert "<title>p</title>" in text and "nan" not in text


def test_a_long_curve_is_averaged():
    x = np.arange(100_000.0)
    text = charts.curves_figure([Curve("a", x, np.sin(x / 1e4))], "a chart")
    assert len(text) < 20_000


def test_names_are_shown_of_several_curves_alone():
    one = Curve("<b>", np.arange(3.0), np.arange(3.0))
    assert "legend" not in charts.curves_figure([one], "c")
    text = charts.curves_figure([one, one._replace(name="two")], "c")
    assert "legend" in text and "&lt;b&gt;" in text and "<b>" not in text
