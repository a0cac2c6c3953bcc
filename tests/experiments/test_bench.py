"""The bench runs as one command; what its suites measure is their own matter."""

import importlib.util
import json
import pathlib
import sys

import pytest

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[2] / "experiments"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load("bench")


@pytest.mark.parametrize("suite", bench.SUITES)
def test_every_suite_of_the_bench_has_rows(suite, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
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
