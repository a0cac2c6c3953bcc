"""Scores on disk, while other shards write and remove them."""

import types

import numpy as np
import pytest

from egojax.data import arrays, results
from egojax.errors import UsageError
from egojax.metrics import TrackingScores, frame_overlap


def scores():
    overlap = frame_overlap(np.array([[1, 1, 2]]), np.array([[5, 5, 6]]))
    tracking = TrackingScores.of([overlap])
    record = dict(tracking=tracking, protocol=None, strict=None, permanence=None)
    return {"after": types.SimpleNamespace(**record)}


def test_scores_come_back(tmp_path):
    results.write_scores(tmp_path, scores(), {"lift_count": 3.0})
    found = results.read_scores(tmp_path)["after"]
    assert found["tracking"].compute()["HOTA"] == 1.0 and found["permanence"] is None
    assert results.read_geometry(tmp_path) == {"lift_count": 3.0}


@pytest.mark.parametrize("missing", ["scores.json", "scores.npz", "both"])
def test_scores_that_another_shard_has_half_written_are_not_there_yet(
    tmp_path, missing
):
    results.write_scores(tmp_path, scores())
    for name in ("scores.json", "scores.npz"):
        if missing in (name, "both"):
            (tmp_path / name).unlink()
    assert results.read_scores(tmp_path) == {}


def test_scores_that_go_away_while_they_are_read_are_not_there(tmp_path, monkeypatch):
    results.write_scores(tmp_path, scores())
    read = arrays.read_json

    def late(path):
        (tmp_path / "scores.json").unlink()
        return read(path)

    monkeypatch.setattr(arrays, "read_json", late)
    assert results.read_scores(tmp_path) == {}


@pytest.mark.parametrize("text", ["[1]", '{"names": []}', "{"])
def test_damaged_scores_are_told(tmp_path, text):
    results.write_scores(tmp_path, scores())
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(UsageError, match=r"scores\.json: no (scores|JSON)"):
        results.read_numbers(tmp_path)
