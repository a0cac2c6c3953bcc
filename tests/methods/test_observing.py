"""The observe stage: what a frame that lacks a layer keeps, and what is told of it."""

import dataclasses

import numpy as np
import pytest

from egojax.errors import FrameError
from egojax.methods import appearance, observing
from egojax.methods.lifting import Selection
from egojax.methods.observing import ObserveSettings
from egojax.types import Camera, Clip, SegmentFeatures, Segments, Source

SIZE = (12, 16)
COUNT = 5
SETTINGS = ObserveSettings(Selection(min_pixels=0), exclude_segments=False)
CAMERA = Camera(
    np.array([[10.0, 0, 8], [0, 10, 6], [0, 0, 1]]), np.eye(4), size_hw=SIZE
)
IDS = np.array([5, 300])


def labels() -> np.ndarray:
    out = np.zeros(SIZE, np.int32)
    out[2:6, 2:6] = 5
    out[8:11, 3:9] = 300
    return out


def ramp() -> np.ndarray:
    """Depth with something to fit."""
    return np.linspace(1, 2, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)


def source(value, bad=(), none=()) -> Source:
    def read(t: int):
        if t in bad:
            raise FrameError(f"layer/{t}.x: broken")
        return None if t in none else value

    return Source(read, COUNT)


def features(width: int = 3) -> SegmentFeatures:
    return SegmentFeatures(IDS, np.ones((2, width), np.float32))


def make_clip(**changes) -> Clip:
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    table = Segments(IDS, np.array([0, 1], np.int32), np.ones(2, np.float32))
    clip = Clip(
        "mine",
        tuple(f"f{t}" for t in range(COUNT)),
        SIZE,
        category_names=("cup", "mug"),
        frames=source(image),
        labels=source(labels()),
        segments=source(table),
        depth=source(ramp()),
        static_depth=source(3 * ramp() + 1),
        camera=source(CAMERA),
    )
    return clip.replace(**changes)


def observe(clip: Clip, chunk: int = 64, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    return list(observing.observe_clip(clip, settings, None, chunk=chunk))


def of_frame(seen, t: int) -> dict[str, np.ndarray]:
    rows = seen.segments["frame_idx"] == t
    return {name: column[rows] for name, column in seen.segments.items()}


@pytest.mark.parametrize(
    ("layer", "value"),
    [
        ("depth", ramp()),
        ("frames", np.zeros((*SIZE, 3), np.uint8)),
        ("static_depth", ramp()),
        ("camera", CAMERA),
        ("segments", None),
    ],
)
def test_a_frame_without_another_layer_keeps_its_segments_and_is_told(layer, value):
    (seen,) = observe(make_clip(**{layer: source(value, bad=(2,))}))
    assert [tuple(one) for one in seen.skipped] == [
        (2, f"read in part, without {layer}: layer/2.x: broken")
    ]
    assert np.bincount(seen.segments["frame_idx"]).tolist() == [2] * COUNT
    found = of_frame(seen, 2)
    assert found["segment_id"].tolist() == IDS.tolist()
    assert np.isnan(found["raw_depth"]).all() == (layer == "depth")
    assert (found["feature"] == 0).all() == (layer == "frames")
    assert seen.segments["feature"].shape == (2 * COUNT, appearance.DIM)
    no_fit = layer in ("depth", "static_depth")
    assert np.isnan(seen.frames["scale"]).tolist() == [
        t == 2 and no_fit for t in range(5)
    ]
    assert seen.frames["has_camera"][2] == (layer != "camera")


def test_only_a_frame_without_labels_is_left_out():
    clip = make_clip(
        labels=source(labels(), bad=(1,)), depth=source(ramp(), bad=(1, 3))
    )
    (seen,) = observe(clip)
    assert [tuple(one) for one in seen.skipped] == [
        (1, "layer/1.x: broken"),
        (3, "read in part, without depth: layer/3.x: broken"),
    ]
    assert np.bincount(seen.segments["frame_idx"]).tolist() == [2, 0, 2, 2, 2]


def test_all_that_a_frame_lacks_is_one_line():
    broken = source(None, bad=range(COUNT))
    (seen,) = observe(make_clip(depth=broken, frames=broken))
    assert len(seen.skipped) == COUNT
    assert seen.skipped[0].reason == (
        "read in part, without depth and frames: layer/0.x: broken"
    )


@pytest.mark.parametrize("chunk", [1, 64])
def test_frames_without_features_count_as_features_of_zero(chunk):
    """Also where a whole chunk of frames, the first one too, has none."""
    clip = make_clip(features=source(features(), none=(0, 3), bad=(4,)))
    parts = observe(clip, chunk)
    assert [one.frame_idx for part in parts for one in part.skipped] == [4]
    width = {part.segments["feature"].shape[1] for part in parts}
    assert width == {3}
    total = np.concatenate([part.segments["feature"] for part in parts]).sum(1)
    assert total.tolist() == [0, 0, 3, 3, 3, 3, 0, 0, 0, 0]


def test_features_of_another_length_name_the_frame_and_both_lengths():
    values = [features(), features(), features(4), None, features()]
    (seen,) = observe(make_clip(features=Source.of(values)))
    (told,) = seen.skipped
    assert told.frame_idx == 2
    assert "without appearance: its features have 4 numbers, " in told.reason
    assert "first frame with features 3" in told.reason
    assert (of_frame(seen, 2)["feature"] == 0).all()


def test_a_segment_without_a_feature_costs_the_frame_its_features_alone():
    few = SegmentFeatures(IDS[:1], np.ones((1, 3), np.float32))
    values = [features(), few, features(), features(), features()]
    (seen,) = observe(make_clip(features=Source.of(values)))
    assert [one.frame_idx for one in seen.skipped] == [1]
    assert "segments [300] have no feature" in seen.skipped[0].reason
    assert of_frame(seen, 1)["segment_id"].tolist() == IDS.tolist()
    assert (of_frame(seen, 1)["feature"] == 0).all()


def test_a_frame_without_an_image_or_labels_is_no_fault():
    clip = make_clip(
        frames=source(np.zeros((*SIZE, 3), np.uint8), none=(1,)),
        labels=source(labels(), none=(3,)),
    )
    (seen,) = observe(clip)
    assert not seen.skipped
    assert np.bincount(seen.segments["frame_idx"]).tolist() == [2, 2, 2, 0, 2]
    assert (of_frame(seen, 1)["feature"] == 0).all()
