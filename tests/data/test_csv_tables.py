"""Checked CSV tables and the times in them."""

import numpy as np
import pytest

from egojax.data import csv_tables
from egojax.errors import UsageError


def test_columns_come_with_their_types_and_blanks_as_unknown(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfname,extra,uid,x\r\nmug,?,9007199254740993,\r\n\r\n")
    found = csv_tables.read_table(path, {"uid": int, "x": float, "name": str}, ["x"])
    assert found["uid"].tolist() == [2**53 + 1] and found["uid"].dtype == np.int64
    assert np.isnan(found["x"]).all() and found["name"].tolist() == ["mug"]


def test_many_problems_are_cut_short(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "bad\n" * 50)
    with pytest.raises(UsageError) as told:
        csv_tables.read_table(path, {"x": float})
    lines = str(told.value).splitlines()
    assert len(lines) == 21 and lines[-1].endswith("and 30 more problems")
    assert lines[0] == f"{path}:2: x 'bad'; expected a finite number"


def test_rows_are_grouped_by_time_in_their_order():
    rows = csv_tables.rows_by_time(np.array([5, 3, 5, 9]))
    assert {t: r.tolist() for t, r in rows.items()} == {3: [1], 5: [0, 2], 9: [3]}
    assert csv_tables.rows_by_time(np.zeros(0, np.int64)) == {}


@pytest.mark.parametrize(
    ("t", "expected"), [(0, 0), (14, 0), (16, 1), (15, 0), (26, 1), (31, None)]
)
def test_the_nearest_stamp_within_the_tolerance(t, expected):
    assert csv_tables.nearest(np.array([10, 20]), t, 10) == expected


def test_poses_follow_the_quaternion():
    """A quarter turn about z takes x to y."""
    half = np.sqrt(0.5)
    columns = {"tx": [1.0], "ty": [2.0], "tz": [3.0]}
    columns |= {"qw": [half], "qx": [0.0], "qy": [0.0], "qz": [half]}
    table = {name: np.array(values) for name, values in columns.items()}
    (pose,) = csv_tables.matrices("a.csv", table, "t{}", "q{}")
    np.testing.assert_allclose(pose @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)


def test_a_column_that_is_there_twice_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,x\n1,2,3\n")
    with pytest.raises(UsageError, match="the column x is there twice"):
        csv_tables.read_table(tmp_path / "a.csv", {"x": float})
    found = csv_tables.read_table(tmp_path / "a.csv", {"y": int})
    assert found["y"].tolist() == [2]
