"""The DAVIS protocols: whole official evaluations, statistics, the free form."""

import numpy as np
import pytest

from egojax import metrics
from egojax.errors import UsageError

STATISTICS = "T1 T2 T3 T4 T5 T7 T10 T25 T80 T255 T256 T257 T300 T600 recall_is_strict"
EVALUATIONS = (
    "semi semi_fewer_predicted unsup_permuted_void_extra unsup_fewer_predicted"
)


def moving_squares(ids=(1, 2), frames=6, size=(30, 40)):
    """Label maps with a square an id, all moving to the right."""
    out = np.zeros((frames, *size), np.uint8)
    for t in range(frames):
        for k, i in enumerate(ids):
            out[t, 3 + 9 * k : 10 + 9 * k, 2 + t : 12 + t] = i
    return out


@pytest.mark.parametrize("index", range(15), ids=STATISTICS.split())
def test_every_official_statistic_is_reproduced(index, oracle):
    cases = oracle("davis_jf")["statistics"]
    assert [case["name"] for case in cases] == STATISTICS.split()
    values = np.array(cases[index]["inputs"]["per_frame"], float)
    ours = metrics.series_statistics(values, official_compat=True)
    expected = [
        float(np.nan if v is None else v) for v in cases[index]["outputs"].values()
    ]
    np.testing.assert_allclose(list(ours.values()), expected, atol=1e-12)
    if len(values) > 256:
        right = metrics.series_statistics(values)
        quarter = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
        first, last = (values[quarter[k] : quarter[k + 1] + 1] for k in (0, 3))
        assert right["Decay"] == pytest.approx(np.nanmean(first) - np.nanmean(last))


@pytest.mark.parametrize("index", range(4), ids=EVALUATIONS.split())
def test_every_official_evaluation_is_reproduced(index, oracle, from_runs, agrees):
    case = oracle("davis_jf")["sequences"][index]
    assert case["name"] == EVALUATIONS.split()[index]
    protocol = "semi" if case["inputs"]["task"] == "semi-supervised" else "unsup"
    scores = metrics.RegionScores()
    for name, maps in case["inputs"]["sequences"].items():
        truth, pred = from_runs(maps["gt"]), from_runs(maps["pred"])
        scores = scores.update(truth, pred, protocol=protocol, name=name)
    agrees(scores.compute(official_compat=True), case["outputs"]["global"])
    per_object = scores.per_object()
    for key in ("J", "F"):
        ours = {name: row[key] for name, row in per_object.items()}
        agrees(ours, case["outputs"][f"{key}_per_object"])


@pytest.mark.parametrize(
    "protocol", ["semi", "unsup", "unsup-motion", "davis2016", "free"]
)
def test_a_perfect_prediction_scores_one(protocol):
    maps = moving_squares()
    scores = metrics.score_sequence(maps, maps, protocol=protocol).compute()
    assert scores["J-Mean"] == scores["F-Mean"] == scores["J&F-Mean"] == 1.0
    assert scores["J-Recall"] == 1.0
    assert scores["J-Decay"] == 0.0


def test_davis_2016_merges_the_objects_into_one_foreground():
    truth = moving_squares()
    pred = truth.copy()
    pred[pred == 2] = 1
    scores = metrics.score_sequence(truth, pred, protocol="davis2016")
    assert len(scores.objects) == 1
    assert scores.compute()["J&F-Mean"] == 1.0


def test_the_free_form_counts_objects_that_appear_late_and_ids_with_gaps():
    truth = moving_squares(ids=(7, 300 - 60))
    truth[:3][truth[:3] == 240] = 0
    pred = truth.copy()
    pred[:, 25:28, 5:9] = 99  # Not in the truth, so it does not count.
    pred[1, 12:19, 2:9] = 240  # Too early: frame 1 of object 240 scores 0.
    scores = metrics.score_sequence(truth, pred, protocol="free", name="s")
    assert [s.object_id for s in scores.objects] == [7, 240]
    np.testing.assert_array_equal(scores.objects[1].J, [1, 0, 1, 1, 1, 1])


def test_merging_keeps_all_objects_and_names_sequences():
    maps = moving_squares()
    one = metrics.score_sequence(maps, maps, name="a")
    both = one.update(maps, np.zeros_like(maps), name="b")
    assert both.compute()["J-Mean"] == 0.5
    assert both.sequences()["a"].compute()["J-Mean"] == 1.0


def test_wrong_inputs_are_told_by_name_and_frame():
    maps = moving_squares()
    too_many = maps.copy()
    too_many[2, 0, 0] = 5
    with pytest.raises(UsageError, match="kite, frame 2: predicted id 5"):
        metrics.score_sequence(maps, too_many, name="kite")
    with pytest.raises(
        UsageError, match=r"kite, frame 0: the prediction is \(30, 39\)"
    ):
        metrics.score_sequence(maps, maps[:, :, 1:], name="kite")
    with pytest.raises(UsageError, match="kite: the prediction ends after 5 frames"):
        metrics.score_sequence(maps, maps[:5], name="kite")
    with pytest.raises(UsageError, match="no object"):
        metrics.score_sequence(0 * maps, maps, protocol="free")
    crowded = maps.copy()
    crowded[0, 0, :30] = np.arange(1, 31)
    with pytest.raises(UsageError, match="30 proposals"):
        metrics.score_sequence(maps, crowded, protocol="unsup")
