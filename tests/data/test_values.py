"""Values out of JSON: what counts as a number, and leaves by name."""

import math

import numpy as np
import pytest

from egojax.data import values


@pytest.mark.parametrize(
    ("value", "whole", "number"),
    [
        (3, True, True),
        (-(2**70), True, True),
        (10**400, True, False),
        (0.5, False, True),
        (math.nan, False, True),
        (True, False, False),
        ("3", False, False),
        (None, False, False),
        ([3], False, False),
    ],
)
def test_true_and_text_and_what_no_float_holds_are_no_numbers(value, whole, number):
    assert (values.is_int(value), values.is_number(value)) == (whole, number)


def test_numbers_have_the_shape_asked_for_and_are_finite():
    found = values.numbers([[1, 2.5], [3, 4]], (2, 2))
    assert found.dtype == np.float64 and found.tolist() == [[1, 2.5], [3, 4]]
    for bad in ([1, 2], [[1, 2], [3]], [[1, 2], [3, None]], "text", None, {}):
        assert values.numbers(bad, (2, 2)) is None
    assert values.numbers([1, math.inf], (2,)) is None
    assert values.numbers([1, 10**400], (2,)) is None
    assert values.expected_numbers((3, 4)) == "expected 3 x 4 finite numbers"


def test_leaves_are_named_by_their_path():
    tree = {"a": 1, "b": {"c": [2, {"d": 3}], "e": {"f": None}}, "g": {}}
    assert values.flatten(tree) == {"a": 1, "b.c": [2, {"d": 3}], "b.e.f": None}
