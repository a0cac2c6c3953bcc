"""The bench runs as one command; what its suites measure is their own matter."""

import json
import sys

import pytest

from tests.experiment_modules import load

bench = load("bench")


@pytest.mark.parametrize("suite", bench.SUITES)
def test_every_suite_of_the_bench_has_rows(suite):
    assert callable(load(f"bench_{suite}").rows)


def test_a_suite_prints_its_lines_and_writes_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "rows.json"
    assert bench.main(["start", f"--json={file}"]) == 0
    printed = capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert [row["name"] in printed for row in rows] == [True] * 3
    assert all(row["ours_ms"] > 0 for row in rows)


def test_an_unknown_suite_is_one_line(capsys):
    assert bench.main(["tracing"]) == 2
    assert capsys.readouterr().out.startswith("bench: no suite tracing; there are ")
