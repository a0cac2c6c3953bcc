"""Average precision of soft masks, its protocols: official numbers, loops, limits."""

import math

import jax
import numpy as np
import pytest

from egojax import metrics
from egojax.errors import FrameError, UsageError

EXAMPLE = np.array([[1, 2, 0], [3, 0, 1]])
EXAMPLE_SCORES = np.array([[0.9, 0.8, 0.3], [0.2, 0.1, 0.6]])


def by_loop(scores, positive, ignore=None):
    """The definition: every distinct score is a threshold, from the highest down."""
    rows = [
        (float(s), bool(p))
        for k, (s, p) in enumerate(zip(scores, positive, strict=True))
        if ignore is None or not ignore[k]
    ]
    total = sum(p for _, p in rows)
    out, recall = 0.0, 0.0
    for threshold in sorted({s for s, _ in rows}, reverse=True):
        above = [p for s, p in rows if s >= threshold]
        out += (sum(above) / total - recall) * sum(above) / len(above)
        recall = sum(above) / total
    return out


def test_the_official_cases_are_reproduced(oracle):
    cases = oracle("average_precision")["cases"]
    assert len(cases) == 10
    for case in cases:
        labels, scores = (np.array(case["inputs"][k]) for k in ("labels", "scores"))
        expected = case["outputs"]["average_precision"]
        if not labels.any():
            with pytest.warns(RuntimeWarning, match="without a positive"):
                ours = metrics.mask_average_precision(scores, labels)
        else:
            ours = metrics.mask_average_precision(scores, labels)
        assert ours == pytest.approx(expected, abs=1e-12), case["name"]


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.8333333333),
        ([1, 0, 1, 0, 1], [0.9, 0.9, 0.5, 0.4, 0.1], 0.5888888889),
        ([1, 0, 1], [0.5, 0.5, 0.5], 0.6666666667),
        ([0, 1, 0, 0], [0.0] * 4, 0.25),
    ],
)
def test_small_cases_of_the_neuraldiff_evaluation(labels, scores, expected):
    ours = metrics.mask_average_precision(np.array(scores), np.array(labels))
    assert ours == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("levels", [2, 7, 1000])
def test_it_is_its_definition_with_ties_and_ignored_pixels(seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-levels, levels, 60) / levels
    positive, ignore = rng.random(60) < 0.3, rng.random(60) < 0.2
    ours = metrics.mask_average_precision(scores, positive, ignore)
    assert ours == pytest.approx(by_loop(scores, positive, ignore), abs=1e-12)
    image = (scores.reshape(6, 10), positive.reshape(6, 10), ignore.reshape(6, 10))
    assert metrics.mask_average_precision(*image) == ours


@pytest.mark.parametrize("seed", range(3))
def test_only_the_order_of_scores_and_not_of_pixels_matters(seed):
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 30, 200) / 8, rng.random(200) < 0.5
    value = metrics.mask_average_precision(scores, positive)
    order = rng.permutation(200)
    for other, truth in (
        (scores[order], positive[order]),
        (np.exp(scores), positive),
        (scores.astype(np.float16), positive),
        ((scores * 8).astype(np.uint8), positive),
        (jax.numpy.asarray(scores, "bfloat16"), positive),
    ):
        assert metrics.mask_average_precision(other, truth) == value


def test_zeros_of_both_signs_are_one_threshold_and_infinite_scores_are_allowed():
    assert metrics.mask_average_precision([0.0, -0.0], [1, 0]) == 0.5
    assert metrics.mask_average_precision([np.inf, -np.inf, 0], [1, 0, 1]) == 1


def test_a_large_map_without_ties_equals_a_plain_sort():
    rng = np.random.default_rng(0)
    positive = rng.random((480, 854)) < 0.3
    scores = rng.random((480, 854)) + 0.5 * positive
    hits = positive.ravel()[np.argsort(-scores, axis=None, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    expected = precision[hits].sum() / hits.sum()
    found = metrics.mask_average_precision(scores, positive)
    assert found == pytest.approx(expected, abs=1e-12)


def test_what_does_not_fit_is_told():
    scores, positive = np.zeros((2, 3)), np.ones((2, 3), bool)
    with pytest.raises(UsageError, match=r"\(2, 3\), positives \(3, 2\)"):
        metrics.mask_average_precision(scores, positive.T)
    with pytest.raises(UsageError, match=r"ignore \(3,\) differ"):
        metrics.mask_average_precision(scores, positive, np.zeros(3, bool))
    scores[0, 0] = np.nan
    with pytest.raises(FrameError, match="1 scores are NaN"):
        metrics.mask_average_precision(scores, positive)
    with pytest.raises(FrameError, match="1 scores are NaN"):
        metrics.mask_average_precision(scores, np.arange(6).reshape(2, 3) > 0)
    hole = np.isnan(scores)
    assert metrics.mask_average_precision(scores, positive, hole) == 1


def test_frames_without_a_positive_are_skipped_in_the_mean():
    rng = np.random.default_rng(0)
    scores = metrics.SoftMaskScores.empty()
    assert math.isnan(scores.compute()["mAP"])
    parts, expected = [scores, scores], []
    for k in range(6):
        soft, truth = rng.random((5, 7)), rng.random((5, 7)) < (0.4 if k % 3 else 0)
        scores = scores.update({"mAP": metrics.ScoredMask(soft, truth)})
        parts[k % 2] = parts[k % 2].update({"mAP": metrics.ScoredMask(soft, truth)})
        if truth.any():
            expected.append(by_loop(soft.ravel(), truth.ravel()))
    result = scores.compute()
    assert result == {
        "mAP": pytest.approx(np.mean(expected), abs=1e-12),
        "num_frames_mAP": 4,
    }
    assert parts[0].merge(parts[1]).compute() == pytest.approx(result, abs=1e-12)


def test_streams_are_counted_apart():
    scores = metrics.SoftMaskScores.empty(("mAP", "mAP_actor"))
    good = metrics.ScoredMask(np.array([0.9, 0.1]), np.array([True, False]))
    empty = metrics.ScoredMask(np.array([0.9, 0.1]), np.array([False, False]))
    scores = scores.update({"mAP": good, "mAP_actor": empty}).update({"mAP": good})
    result = scores.compute()
    assert (result["mAP"], result["num_frames_mAP"]) == (1, 2)
    assert math.isnan(result["mAP_actor"])
    with pytest.raises(ValueError, match=r"\['mAP_body'\]; there are"):
        scores.update({"mAP_body": good})
    with pytest.raises(ValueError, match="mAP_actor"):
        scores.merge(metrics.SoftMaskScores.empty())


def test_udos_rules_on_the_worked_example():
    motions = ("semistatic", "dynamic_semistatic")
    masks = metrics.udos_masks(
        dict.fromkeys(motions, EXAMPLE_SCORES), dict.fromkeys(motions, EXAMPLE)
    )
    scores = metrics.SoftMaskScores.empty(metrics.UDOS_NAMES).update(masks)
    result = scores.compute()
    assert 100 * result["mAP_dynamic_semistatic"] == pytest.approx(91.6666667, abs=1e-7)
    assert result["mAP_semistatic"] == 1
    assert math.isnan(result["mAP_dynamic"])


def test_udos_counts_pixels_by_the_rule_of_each_motion_type():
    maps = dict.fromkeys(metrics.MOTIONS, EXAMPLE_SCORES)
    masks = metrics.udos_masks(maps, dict.fromkeys(metrics.MOTIONS, EXAMPLE))
    dynamic, semistatic, both = (masks[name] for name in metrics.UDOS_NAMES)
    np.testing.assert_array_equal(dynamic.positive, EXAMPLE > 0)
    assert dynamic.ignore is None
    np.testing.assert_array_equal(semistatic.positive, EXAMPLE == 1)
    np.testing.assert_array_equal(semistatic.ignore, EXAMPLE == 2)
    np.testing.assert_array_equal(both.positive, (EXAMPLE == 1) | (EXAMPLE == 3))
    np.testing.assert_array_equal(both.ignore, EXAMPLE == 2)


def test_the_other_kind_is_negative_or_void():
    """Four pixels: moves now, moves at another time, never, never."""
    now, other = np.array([1, 0, 0, 0], bool), np.array([0, 1, 0, 0], bool)
    either = now | other
    annotations = dict(zip(metrics.MOTIONS, (now, other, either), strict=True))
    maps = dict.fromkeys(metrics.MOTIONS, np.array([0.8, 0.9, 0.1, 0.2]))
    found = {}
    for others in ("negative", "void"):
        masks = metrics.udos_masks(maps, annotations, others=others)
        scores = metrics.SoftMaskScores.empty(metrics.UDOS_NAMES).update(masks)
        found[others] = [scores.compute()[name] for name in metrics.UDOS_NAMES]
    assert found == {"negative": [0.5, 1, 1], "void": [1, 1, 1]}
    # A pixel of both kinds stays positive.
    annotations["semistatic"] = either
    mask = metrics.udos_masks(maps, annotations, others="void")["mAP_dynamic"]
    np.testing.assert_array_equal(mask.ignore, other)


def test_a_video_without_a_number_counts_as_zero_in_the_udos_mean_alone():
    nan = float("nan")
    videos = [
        {"mAP_dynamic": 0.5, "mAP_semistatic": nan, "mAP_dynamic_semistatic": 0.4},
        {"mAP_dynamic": nan, "mAP_semistatic": nan},
    ]
    assert metrics.udos_mean_over_videos(videos) == {
        "mAP_dynamic": 0.25,
        "mAP_semistatic": 0.0,
        "mAP_dynamic_semistatic": 0.2,
    }
    assert metrics.mean_of_results(videos)["mAP_dynamic"] == 0.5
    assert all(math.isnan(v) for v in metrics.udos_mean_over_videos([]).values())


def test_annotations_that_break_the_rules_are_told():
    soft = {"dynamic": np.zeros((2, 3)), "semistatic": np.zeros((2, 3))}
    with pytest.raises(UsageError, match="from 0 to 255, expected 0 to 3; divide"):
        metrics.udos_masks(soft, {"dynamic": np.full((2, 3), 255, np.uint8)})
    with pytest.raises(UsageError, match="dynamic annotation is float64"):
        metrics.udos_masks(soft, {"dynamic": np.zeros((2, 3))})
    with pytest.raises(UsageError, match="motion type 'moving'; there are"):
        metrics.udos_masks(soft, {"moving": EXAMPLE})
    with pytest.raises(UsageError, match=r"no scores for .*\['semistatic'\]"):
        metrics.udos_masks({"dynamic": soft["dynamic"]}, {"semistatic": EXAMPLE})
    with pytest.raises(UsageError, match="no dynamic annotation"):
        metrics.udos_masks(soft, {"semistatic": EXAMPLE}, others="void")
    with pytest.raises(ValueError, match="'ignored'; there are"):
        metrics.udos_masks(soft, {"dynamic": EXAMPLE}, others="ignored")
