"""A clip at another size: oracles are boxes in exact fractions, and the cameras."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from egojax.data.resizing import LAYERS, resized, resized_camera, scale_size
from egojax.data.world.clip import make_clip
from egojax.errors import FrameError, UsageError
from egojax.ops import camera as camera_ops
from egojax.ops.lens import LENSES
from egojax.types import Boxes, Camera, Clip, Segments, Source, Tracks, View

SIZES = [(6, 8), (5, 7), (12, 8), (6, 16), (1, 1), (24, 32), (17, 20), (31, 5), (12, 3)]
OLD = (12, 16)


def overlap(old: int, new: int) -> np.ndarray:
    """(new, old): the share of each new pixel that is in each old one, exactly."""
    out = np.zeros((new, old))
    for i in range(new):
        for j in range(old):
            low = max(Fraction(i, new), Fraction(j, old))
            high = min(Fraction(i + 1, new), Fraction(j + 1, old))
            out[i, j] = float(max(high - low, 0) * new)
    return out


def boxes_mean(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    rows, columns = (overlap(a, b) for a, b in zip(values.shape, size_hw, strict=False))
    return np.einsum("ih,hw...,jw->ij...", rows, values.astype(float), columns)


def clip_of(**layers) -> Clip:
    """One frame of 12 x 16 pixels with these layers."""
    streams = layers.pop("streams", {})
    sources = {name: Source.of([value]) for name, value in layers.items()}
    streams = {name: Source.of([value]) for name, value in streams.items()}
    return Clip("c", ("f",), OLD, streams=streams, **sources)


def noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


# ----------------------------------------------------------------------- sizes, cameras


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((256, 456), 8, (32, 57)),
        ((255, 456), 2, (127, 228)),
        ((256, 456), 1, (256, 456)),
        ((3, 4), 100, (1, 1)),
        ((12, 16), 0.5, (24, 32)),
        ((100, 90), 1.5, (66, 60)),
    ],
)
def test_sizes_are_divided_and_rounded_down(size, scale, expected):
    assert scale_size(size, scale) == expected


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(UsageError, match=f"scale={scale}: expected a number > 0"):
        scale_size((12, 16), scale)


def lens_camera(lens: str, seed: int = 0) -> Camera:
    rng = np.random.default_rng(seed)
    k = np.array([[20, 0.3, 8.2], [0, 19, 5.7], [0, 0, 1]], np.float32)
    values = rng.uniform(0.01, 0.05, len(LENSES[lens])).astype(np.float32)
    if lens == "eucm":
        values = np.array([0.5, 1.0], np.float32)
    return Camera(k, np.eye(4, dtype=np.float32), values, OLD, lens)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("size", [(6, 8), (17, 5)])
def test_points_project_to_the_same_share_of_the_image(lens, size):
    camera = lens_camera(lens)
    small = resized(clip_of(camera=camera), size).camera[0]
    assert (small.size_hw, small.lens) == (size, lens)
    points = np.random.default_rng(1).uniform((-1, -1, 3), (1, 1, 6), (50, 3))
    points = points.astype(np.float32)
    before = np.asarray(camera_ops.project(camera, points).xy) / OLD[::-1]
    after = np.asarray(camera_ops.project(small, points).xy) / size[::-1]
    np.testing.assert_allclose(after, before, atol=2e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_the_ray_of_a_small_pixel_is_the_mean_ray_of_its_block(factor):
    camera = dataclasses.replace(lens_camera("pinhole"), distortion=None)
    size = (OLD[0] // factor, OLD[1] // factor)
    small = resized_camera(camera, size)

    def rays(cam: Camera) -> np.ndarray:
        xy = np.asarray(camera_ops.pixel_centers(cam.size_hw)).reshape(-1, 2)
        return np.asarray(camera_ops.directions(cam, xy)).reshape(*cam.size_hw, 3)

    blocks = rays(camera).reshape(size[0], factor, size[1], factor, 3).mean((1, 3))
    np.testing.assert_allclose(rays(small), blocks, atol=1e-6)


def test_a_frame_without_a_pose_stays_without():
    clip = clip_of(camera=None, labels=None, frames=None, streams={"a": None})
    small = resized(clip, (6, 8))
    assert small.camera[0] is None and small.labels[0] is None
    assert small.frames[0] is None and small.streams["a"][0] is None


# ------------------------------------------------------- means and majorities


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_frames_that_shrink_by_a_whole_factor_are_block_means(seed, factor):
    image = noise(seed, (12, 24, 3))
    size = (12 // factor, 24 // factor)
    clip = Clip("c", ("f",), (12, 24), frames=Source.of([image]))
    found = resized(clip, size).frames[0]
    wanted = image.reshape(size[0], factor, size[1], factor, 3).mean((1, 3))
    assert found.dtype == np.uint8
    assert np.abs(found - wanted).max() <= 0.5 + 1e-4  # Rounded to whole values.


@pytest.mark.parametrize("size", [s for s in SIZES if s[0] <= 12 and s[1] <= 16])
def test_frames_that_shrink_are_means_of_boxes(size):
    image = noise(5, (*OLD, 3))
    found = resized(clip_of(frames=image), size).frames[0]
    assert np.abs(found - boxes_mean(image, size)).max() <= 0.51


@pytest.mark.parametrize("size", [(24, 32), (17, 20), (6, 32), (24, 8)])
def test_frames_that_grow_keep_a_slope_and_its_place(size):
    """A slope v = a x + b y is what it was at each new centre, away from the border."""
    y, x = np.mgrid[:12, :16] + 0.5
    image = np.repeat((4 * x + 6 * y)[..., None], 3, -1).round().astype(np.uint8)
    found = resized(clip_of(frames=image), size).frames[0]
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    wanted = 4 * x * 16 / size[1] + 6 * y * 12 / size[0]
    inside = (slice(size[0] // 6, -(size[0] // 6)), slice(size[1] // 6, -size[1] // 6))
    assert np.abs(found[..., 0] - wanted)[inside].max() <= 1.5


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", SIZES)
def test_masks_are_true_where_more_than_half_of_the_box_is(seed, size):
    masks = noise(seed, (3, *OLD)) > 128
    clip = clip_of(masks=masks, actor=masks[0], streams={"m": masks, "one": masks[1]})
    small = resized(clip.replace(mask_ids=(4, 5, 6)), size)
    shares = np.stack([boxes_mean(mask, size) for mask in masks])
    # OpenCV leaves out what is less than a thousandth of a pixel.
    clear = (np.abs(shares - 0.5) > 2e-3) | (np.abs(shares - 0.5) < 1e-9)
    wanted = shares > 0.5 + 1e-9
    assert small.mask_ids == (4, 5, 6)
    for found, at in (
        (small.masks[0], slice(None)),
        (small.streams["m"][0], slice(None)),
        (small.actor[0], 0),
        (small.streams["one"][0], 1),
    ):
        assert found.dtype == np.bool_ and found.shape == wanted[at].shape
        assert not (found != wanted)[at][clear[at]].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_soft_masks_and_streams_are_means_of_boxes(dtype, size):
    soft = (noise(1, (5, *OLD)) / 255).astype(dtype)
    colours = np.moveaxis(soft[:3], 0, -1)
    clip = clip_of(masks=soft, actor=soft[0], streams={"rgb": colours, "all": soft})
    small = resized(clip, size)
    wanted = np.stack([boxes_mean(layer, size) for layer in soft])
    close = dict(atol=3e-3)
    np.testing.assert_allclose(small.masks[0], wanted, **close)
    np.testing.assert_allclose(small.actor[0], wanted[0], **close)
    np.testing.assert_allclose(small.streams["all"][0], wanted, **close)
    found = small.streams["rgb"][0]
    assert found.dtype == dtype
    np.testing.assert_allclose(found, np.moveaxis(wanted[:3], 0, -1), **close)


def test_no_masks_stay_none():
    small = resized(clip_of(masks=np.zeros((0, *OLD), bool)), (6, 8))
    assert small.masks[0].shape == (0, 6, 8)


# ------------------------------------------------------------------ single pixels


@pytest.mark.parametrize("size", SIZES)
def test_labels_and_depths_are_of_the_one_pixel_under_the_centre(size):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 1 << 20, OLD).astype(np.int32)
    depth = labels.astype(np.float32) + 0.5
    depth[rng.random(OLD) < 0.2] = np.inf
    layers = dict(labels=labels, depth=depth, static_depth=depth + 1)
    streams = dict(aligned_depth=depth, ids=labels)
    small = resized(clip_of(**layers, streams=streams), size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = (Fraction(2 * i + 1, 2) * OLD[0] / size[0]).__floor__()
            x = (Fraction(2 * j + 1, 2) * OLD[1] / size[1]).__floor__()
            assert small.labels[0][i, j] == labels[y, x]
            assert small.depth[0][i, j] == depth[y, x]
            assert small.static_depth[0][i, j] == depth[y, x] + 1
            assert small.streams["aligned_depth"][0][i, j] == depth[y, x]
            assert small.streams["ids"][0][i, j] == labels[y, x]
    assert small.labels[0].dtype == np.int32 and small.depth[0].dtype == np.float32


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (24, 16)])
def test_flow_boxes_and_tracks_are_in_pixels_of_the_new_size(size):
    ratio = np.array([size[1] / OLD[1], size[0] / OLD[0]])
    flow = np.tile(np.float32([3.0, -2.0]), (*OLD, 1))
    flow[0, 0] = np.nan  # Unknown: it must not spread.
    boxes = Boxes(np.array([7]), np.array([[1.0, 2, 9, 11]]), np.ones(1))
    tracks = Tracks(np.float32([[4, 6], [16, 12]]), np.array([True, False]))
    clip = clip_of(flow_fwd=flow, flow_bwd=-flow, boxes=boxes, tracks=tracks)
    small = resized(clip, size)
    np.testing.assert_allclose(small.flow_fwd[0][-1, -1], [3, -2] * ratio, rtol=1e-6)
    np.testing.assert_allclose(small.flow_bwd[0][-1, -1], [-3, 2] * ratio, rtol=1e-6)
    assert small.flow_fwd[0].dtype == np.float32
    known = np.isfinite(small.flow_fwd[0]).all(-1)
    assert (~known).sum() <= (4 if size[0] > OLD[0] else 1)
    expected = [[1 * ratio[0], 2 * ratio[1], 9 * ratio[0], 11 * ratio[1]]]
    np.testing.assert_allclose(small.boxes[0].xyxy, expected)
    assert small.boxes[0].ids.tolist() == [7]
    np.testing.assert_allclose(
        small.tracks[0].tracks_xy, [[4, 6], [16, 12]] * ratio, rtol=1e-6
    )
    assert small.tracks[0].visibility.tolist() == [True, False]


# -------------------------------------------------------------------------- whole clips


def test_every_layer_is_resized_or_known_to_have_no_pixels():
    """A layer that is new in `Clip` must be put on one side."""
    fields = {f.name for f in dataclasses.fields(Clip) if "Source[" in str(f.type)}
    untouched = {"segments", "features", "objects", "views", "streams"}
    assert set(LAYERS) | untouched == fields and not set(LAYERS) & untouched


def test_layers_without_pixels_and_the_own_size_stay_as_they_are():
    rows = Segments(np.array([1]), np.zeros(1, np.int32), np.ones(1, np.float32))
    pose = np.eye(4)
    clip = clip_of(
        segments=rows, views=View(1.0, 2.0, 0, "train"), streams={"pose": pose}
    )
    clip = clip.replace(points=np.ones((3, 3)), fps=12.0)
    assert resized(clip, OLD) is clip
    small = resized(clip, (6, 8))
    assert small.size_hw == (6, 8) and small.fps == 12 and small.notes == clip.notes
    assert small.segments[0] is rows and small.views[0].near == 1
    assert small.streams["pose"][0] is pose and small.points is clip.points


def test_nothing_is_read_before_it_is_asked_for_and_bad_frames_stay_bad():
    asked = []

    def read(t: int) -> np.ndarray:
        asked.append(t)
        if t == 1:
            raise FrameError("b: truncated")
        return noise(t, (*OLD, 3))

    clip = Clip("c", ("a", "b", "d"), OLD, frames=Source(read, 3))
    small = resized(clip.replace(truth=clip), (6, 8)).select([1, 2])
    assert asked == []
    for frames in (small.frames, small.truth.frames):
        with pytest.raises(FrameError, match="b: truncated"):
            frames[0]
        assert frames[1].shape == (6, 8, 3)
    assert asked == [1, 2, 1, 2]


@pytest.mark.parametrize("size", [(0, 8), (6, -1)])
def test_a_size_without_pixels_is_refused(size):
    with pytest.raises(UsageError, match="c: 16 x 12 pixels cannot become"):
        resized(clip_of(labels=np.zeros(OLD, np.int32)), size)


def test_a_clip_without_a_size_is_refused():
    with pytest.raises(UsageError, match="nothing: 0 x 0 pixels cannot become 8 x 6"):
        resized(Clip("nothing", (), (0, 0)), (6, 8))


def test_the_procedural_world_at_half_its_size_agrees_with_itself():
    """Labels and depth are of the same pixels; truth comes along, empty ends too."""
    clip = make_clip(0, 2, size_hw=(64, 114))
    small = resized(clip, scale_size(clip.size_hw, 2))
    truth, big = small.truth, clip.truth
    assert truth.size_hw == small.size_hw == truth.camera[0].size_hw == (32, 57)
    np.testing.assert_array_equal(truth.labels[0], big.labels[0][1::2, 1::2])
    np.testing.assert_array_equal(truth.depth[0], big.depth[0][1::2, 1::2])
    assert truth.masks[0].shape == (len(big.mask_ids), 32, 57)
    wanted = big.masks[0].reshape(-1, 32, 2, 57, 2).mean((2, 4)) > 0.5
    np.testing.assert_array_equal(truth.masks[0], wanted)
    assert truth.flow_bwd[0] is None
