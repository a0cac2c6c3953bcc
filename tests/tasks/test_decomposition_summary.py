"""Means over scenes, and the tables of a decomposition."""

import math

import pytest

from egojax.data import arrays
from egojax.data.runs import ClipFolder
from egojax.tasks import decomposition_summary
from egojax.tasks.decomposition_summary import means_over_scenes

NAN = math.nan
WITHIN = {"psnr": 20.0, "psnr_foreground": 18.0, "psnr_background": 22.0}
UDOS = {"mAP_dynamic": 0.8, "mAP_semistatic": 0.4, "mAP_dynamic_semistatic": 0.6}
PER_CLIP = {
    "a": {"held_out": {"psnr": 25.0}, "nvs_within_action": WITHIN, "udos": UDOS},
    "b": {
        "held_out": {"psnr": 27.0},
        "nvs_within_action": {"psnr": 24.0, "psnr_foreground": 20.0},
        "udos": {**UDOS, "mAP_semistatic": None},
    },
    "c": {"held_out": {"psnr": None}},
}


def test_new_views_leave_out_videos_without_and_udos_counts_them_as_0():
    """By hand; video c is in no list, video b has no semistatic pixel."""
    means = means_over_scenes(PER_CLIP)
    assert means["held_out"] == {"psnr": 26.0}
    assert means["nvs_within_action"] == {
        "psnr": 22.0,
        "psnr_foreground": 19.0,
        "psnr_background": 22.0,
        "num_videos": 2,
    }
    assert means["udos"] == {
        "mAP_dynamic": pytest.approx(0.8),
        "mAP_semistatic": pytest.approx(0.2),
        "mAP_dynamic_semistatic": pytest.approx(0.6),
        "num_videos": 2,
    }


def test_no_scene_has_no_mean():
    assert means_over_scenes({}) == {} and means_over_scenes({"a": {}}) == {}
    (row,) = means_over_scenes({"a": {"test": {"mAP": None}}}).values()
    assert math.isnan(row["mAP"])


def test_the_summary_has_a_table_of_the_benchmark(tmp_path):
    folders = {}
    for name, groups in PER_CLIP.items():
        folders[name] = ClipFolder(tmp_path / name)
        (tmp_path / name).mkdir()
        arrays.write_json(tmp_path / name / "scores.json", {"names": groups})
    found = decomposition_summary.summary(folders)
    rows = [line.split("|")[1:-1] for line in found["table"].splitlines() if line]
    cells = {row[0].strip(): [c.strip() for c in row[1:]] for row in rows}
    assert cells["within action"] == ["22.00", "19.00", "22.00", "-", "-", "-", "2"]
    assert cells["UDOS"] == ["-", "-", "-", "80.0", "20.0", "60.0", "2"]
    assert cells["held-out frames"] == ["26.00"]
    assert "outside action" not in cells
    assert found["all"]["udos"]["num_videos"] == 2
    assert found["clips"]["b"] == PER_CLIP["b"]


def test_runs_without_the_benchmark_have_no_such_table(tmp_path):
    arrays.write_json(tmp_path / "scores.json", {"names": {"held_out": {"psnr": 25.0}}})
    found = decomposition_summary.summary({"a": ClipFolder(tmp_path)})
    assert "EPIC Fields" not in found["table"]
    assert found["all"] == {"held_out": {"psnr": 25.0}}
