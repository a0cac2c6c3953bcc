"""Scores of EPIC Fields, on the worked examples and by their rules."""

import numpy as np
import pytest

from egojax.data.stream_images import StreamImages
from egojax.errors import UsageError
from egojax.methods import benchmark_scores, field_scores
from egojax.methods.benchmark_scores import BenchmarkFrame, BenchmarkScores
from egojax.methods.field_scores import ScoredFrame

# The worked example of new views: the foreground is the first column.
PREDICTED = np.array([[(0.2, 0.3, 0.4), (0.5, 0.5, 0.5)], [(0.9, 0.1, 0), (0.3,) * 3]])
TARGET = np.array(
    [[(0.1, 0.3, 0.5), (0.5, 0.4, 0.5)], [(1, 0.2, 0.1), (0.3, 0.3, 0.2)]]
)
FOREGROUND = np.array([[3, 0], [1, 0]], np.uint8)
# That of UDOS.
MASK = np.array([[1, 2, 0], [3, 0, 1]], np.uint8)
SOFT = np.array([[0.9, 0.8, 0.3], [0.2, 0.1, 0.6]], np.float32)


def shown(rgb=None, moving=None, actor=None, size=(2, 3)) -> StreamImages:
    """A field of as many streams as are given, beside the static one."""
    rgb = np.zeros((*size, 3)) if rgb is None else np.asarray(rgb)
    size = rgb.shape[:2]
    given = [mask for mask in (moving, actor) if mask is not None]
    masks = np.stack([np.zeros(size, np.float32), *given])
    flat = np.zeros(size)
    parts = np.zeros((len(masks), *size, 3))
    return StreamImages(rgb, parts, masks, flat, rgb, flat, flat)


def scored(*frames) -> dict:
    scores = BenchmarkScores.empty()
    for frame in frames:
        scores = scores.update(*frame)
    return scores.compute()


def test_new_views_are_those_of_the_worked_example():
    frame = BenchmarkFrame(("within_action",), {"dynamic": FOREGROUND})
    (row,) = scored((shown(PREDICTED), TARGET, frame)).values()
    assert row["psnr"] == pytest.approx(22.3408318, abs=1e-5)
    assert row["psnr_foreground"] == pytest.approx(20.7918129, abs=1e-5)
    assert row["psnr_background"] == pytest.approx(24.7712135, abs=1e-5)


def test_images_are_clipped():
    """By hand: 1.2 becomes 1, so that one of six values is wrong, by 0.1."""
    target = np.array([[(0.1, 0.5, 1.0), (0.0, 0.0, 0.0)]])
    pred = np.array([[(0.0, 0.5, 1.2), (-0.3, 0.0, 0.0)]])
    frame = BenchmarkFrame(("outside_action",), {})
    (row,) = scored((shown(pred), target, frame)).values()
    assert row["psnr"] == pytest.approx(-10 * np.log10(0.01 / 6))
    assert np.isnan(row["psnr_foreground"])


def test_soft_masks_are_those_of_the_worked_example():
    """One soft mask for all types: 91.67 and, where positives are ones alone, 100."""
    frame = BenchmarkFrame(
        ("within_action",), {"semistatic": MASK, "dynamic_semistatic": MASK}
    )
    row = scored((shown(moving=SOFT), np.zeros((2, 3, 3)), frame))["udos"]
    assert 100 * row["mAP_dynamic_semistatic"] == pytest.approx(91.6666667, abs=1e-6)
    assert 100 * row["mAP_semistatic"] == pytest.approx(100.0)
    assert np.isnan(row["mAP_dynamic"])
    assert row["num_frames_mAP_dynamic"] == 0


def test_three_streams_say_by_the_actor_what_moves_now():
    rng = np.random.default_rng(3)
    moving, actor = rng.random((2, 2, 3), dtype=np.float32)
    soft = benchmark_scores.soft_masks(shown(moving=moving, actor=actor))
    np.testing.assert_array_equal(soft["dynamic"], actor)
    for name in ("semistatic", "dynamic_semistatic"):
        np.testing.assert_array_equal(soft[name], moving + actor)


def test_two_streams_say_the_same_of_every_type_and_one_says_nothing():
    soft = benchmark_scores.soft_masks(shown(moving=SOFT))
    assert all((mask == SOFT).all() for mask in soft.values()) and len(soft) == 3
    assert benchmark_scores.soft_masks(shown()) == {}
    frame = BenchmarkFrame(("within_action",), {"dynamic": MASK})
    found = scored((shown(), np.zeros((2, 3, 3)), frame))
    assert list(found) == ["nvs_within_action"]


def test_lists_are_groups_of_their_own_and_a_frame_may_be_in_two():
    masks = {"dynamic": FOREGROUND}
    easy = BenchmarkFrame(("outside_action", "outside_action_easy"), {})
    found = scored(
        (shown(PREDICTED), TARGET, BenchmarkFrame(("within_action",), masks)),
        (shown(TARGET + 0.1 * (TARGET < 0.5)), TARGET, easy),
        (shown(PREDICTED), TARGET, BenchmarkFrame(("outside_action",), {})),
    )
    counts = {name: row["num_images"] for name, row in found.items() if name != "udos"}
    assert counts == {
        "nvs_within_action": 1,
        "nvs_outside_action": 2,
        "nvs_outside_action_easy": 1,
    }


def test_frames_without_foreground_are_left_out():
    empty = {"dynamic": np.zeros((2, 2), np.uint8)}
    frames = [BenchmarkFrame(("within_action",), masks) for masks in (empty, {})]
    found = scored(*((shown(PREDICTED), TARGET, frame) for frame in frames))
    assert found == {}
    # Their soft masks were asked for: the number is there, and is undefined.
    frame = BenchmarkFrame(("within_action",), {"dynamic": np.zeros((2, 3), np.uint8)})
    found = scored((shown(moving=SOFT), np.zeros((2, 3, 3)), frame))
    assert list(found) == ["udos"] and np.isnan(found["udos"]["mAP_dynamic"])


def test_all_foreground_has_no_background():
    frame = BenchmarkFrame(("within_action",), {"dynamic": np.ones((2, 2), np.uint8)})
    (row,) = scored((shown(PREDICTED), TARGET, frame)).values()
    assert row["psnr_foreground"] == pytest.approx(row["psnr"])
    assert np.isnan(row["psnr_background"])


def test_nothing_has_no_groups():
    assert scored() == {}


def test_masks_of_another_size_are_refused():
    frame = BenchmarkFrame(("within_action",), {"dynamic": MASK[:, :2]})
    with pytest.raises(UsageError, match="differ in size"):
        scored(
            (
                shown(moving=SOFT),
                np.zeros((2, 3, 3)),
                frame._replace(masks={"semistatic": MASK[:, :2]}),
            )
        )
    with pytest.raises(UsageError, match="the region is"):
        scored((shown(moving=SOFT), np.zeros((2, 3, 3)), frame))


def test_the_groups_stand_beside_those_of_every_clip():
    asked = BenchmarkFrame(("within_action",), {"dynamic": FOREGROUND})
    target = np.round(255 * TARGET).astype(np.uint8)
    frames = [
        ScoredFrame("a", "test", shown(PREDICTED), target, {}, None, asked),
        ScoredFrame("b", "train", shown(PREDICTED), target, {}),
    ]
    found = field_scores.score_frames(frames).groups
    assert set(found) == {"held_out", "train", "nvs_within_action"}
    assert found["nvs_within_action"]["num_images"] == 1
    assert found["nvs_within_action"]["psnr"] == pytest.approx(22.34, abs=0.1)
