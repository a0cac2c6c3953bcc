"""Scores of rendered frames, by hand."""

import numpy as np
import pytest

from egojax.data.stream_images import StreamImages
from egojax.methods import field_scores
from egojax.methods.field_scores import ScoredFrame

SIZE = (12, 14)


def _frame(name, split, *, off=0.1, truth=None, masks=None, depth=None, true=None):
    target = np.full((*SIZE, 3), 128, np.uint8)
    rgb = np.full((*SIZE, 3), 128 / 255 + off, np.float32)
    masks = np.zeros((3, *SIZE), np.float32) if masks is None else masks
    shown = StreamImages(
        rgb=rgb,
        parts=np.zeros((len(masks), *SIZE, 3)),
        masks=masks,
        depth=np.ones(SIZE),
        static_rgb=rgb,
        static_depth=np.ones(SIZE) if depth is None else depth,
        uncertainty=np.ones(SIZE),
    )
    return ScoredFrame(name, split, shown, target, truth or {}, true)


def test_groups_are_means_of_their_frames():
    """By hand: an error of 0.1 everywhere is 20 dB, one of 0.01 is 40 dB."""
    frames = [
        _frame("a", "test", off=0.1),
        _frame("b", "val", off=0.01),
        _frame("c", "train", off=0.001),
    ]
    found = field_scores.score_frames(frames)
    assert found.groups["held_out"]["psnr"] == pytest.approx(30.0, abs=1e-3)
    assert found.groups["train"]["psnr"] == pytest.approx(60.0, abs=1e-2)
    assert "test" not in found.groups  # Nothing is annotated.
    assert found.frames["b"]["split"] == "val"
    assert found.frames["b"]["psnr"] == pytest.approx(40.0, abs=1e-3)
    assert np.isnan(found.frames["a"]["ap"])


def test_masks_count_where_the_truth_has_a_pixel():
    actor, nothing = np.zeros((2, *SIZE), bool)
    actor[:3] = True
    masks = np.zeros((3, *SIZE), np.float32)
    masks[2, :3] = 0.9
    masks[1, 3:6] = 1.2  # More than the actor has, where nothing moves.
    truth = {"dynamic": actor, "actor": actor, "moving": nothing}
    frames = [
        _frame("a", "test", truth=truth, masks=masks),
        _frame("b", "test", truth={"dynamic": nothing}, masks=masks),
    ]
    found = field_scores.score_frames(frames).groups
    assert found["held_out"]["mAP_actor"] == pytest.approx(1.0)
    assert found["held_out"]["mAP"] == pytest.approx(0.5)  # Half of the first rank.
    assert np.isnan(found["held_out"]["mAP_moving"])
    assert found["held_out"]["num_images"] == 2
    assert found["test"]["num_images"] == 1  # Without an annotated pixel: left out.


def test_static_depth_counts_where_the_field_has_one():
    depth = np.full(SIZE, 2.2)
    depth[0] = np.inf
    true = np.full(SIZE, 2.0)
    true[1] = np.inf
    (row,) = field_scores.score_frames(
        [_frame("a", "train", depth=depth, true=true)]
    ).groups.values()
    assert row["static_depth_abs_relative_difference"] == pytest.approx(0.1)


def test_a_stream_that_is_not_there_has_no_score():
    truth = {k: np.ones(SIZE, bool) for k in ("dynamic", "moving", "actor")}
    masks = np.full((2, *SIZE), 0.5, np.float32)
    found = field_scores.score_frames([_frame("a", "val", truth=truth, masks=masks)])
    assert np.isnan(found.groups["held_out"]["mAP_actor"])
    assert found.groups["held_out"]["mAP_moving"] == pytest.approx(1.0)


def test_a_network_without_streams_that_change_has_no_mask_to_score():
    truth = {"dynamic": np.eye(*SIZE, dtype=bool)}
    masks = np.ones((1, *SIZE), np.float32)
    found = field_scores.score_frames([_frame("a", "val", truth=truth, masks=masks)])
    assert np.isnan(found.groups["held_out"]["mAP"])


def test_small_images_have_no_structural_similarity():
    frame = _frame("a", "val")
    shown = frame.shown._replace(
        rgb=frame.shown.rgb[:5], masks=frame.shown.masks[:, :5]
    )
    small = frame._replace(target=frame.target[:5], shown=shown)
    assert (
        "ssim_gauss11_valid"
        not in field_scores.score_frames([small]).groups["held_out"]
    )
    numbers = field_scores.score_frames([frame], ssim=False).groups["held_out"]
    assert "ssim_gauss11_valid" not in numbers
