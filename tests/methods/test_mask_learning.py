"""What masks are learned by, and what a network then shows of frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from egojax.errors import FrameError
from egojax.methods import mask_learning
from egojax.methods.mask_learning import MaskLoss
from egojax.methods.motion_batches import MotionBatch
from egojax.models.unet import UNet, UNetConfig
from egojax.ops.motion_losses import MotionImages, MotionWeights, motion_loss
from egojax.types import Source

HW = (12, 20)
SETTINGS = MaskLoss(num_points=24, rank=2)


def network(features=3) -> UNet:
    config = UNetConfig(num_masks=3, features=features, channels=(8, 8), groups=4)
    return UNet(config, rngs=nnx.Rngs(0))


def batch_of(count=8, seed=0, size_hw=HW) -> MotionBatch:
    rng = np.random.default_rng(seed)
    paths = np.cumsum(rng.normal(size=(count, 9, 24, 2)), 1)
    motion = MotionImages(
        tracks=(rng.uniform(0, 500, (count, 1, 24, 2)) + paths).astype(np.float32),
        visible=np.ones((count, 9, 24), np.float32),
        loc=rng.uniform(-1, 1, (count, 24, 2)).astype(np.float32),
        own=np.full(count, 2 + seed),
        flow=rng.normal(size=(count, *size_hw, 2)).astype(np.float32),
        weights=np.ones((count, 24), np.float32),
    )
    images = rng.integers(0, 256, (count, *size_hw, 3), np.uint8)
    gap = np.tile(np.float32([1, -1, 1, -1]), count // 4)
    given = jax.tree.map(
        lambda x: x.reshape(-1, 4, *x.shape[1:]), (images, motion, gap)
    )
    return MotionBatch(*given, np.full(count // 4, 0.3, np.float32))


def test_the_loss_is_that_of_the_masks_quadruple_by_quadruple():
    """By its definition; the weight of tracks is for 70,000 points."""
    model, batch = network(), batch_of()
    total, logs = jax.jit(mask_learning.mask_loss(SETTINGS))(
        model, batch, jax.random.key(0)
    )
    images, given, gap = batch.in_a_row()
    np.testing.assert_array_equal(images[5], batch.images[1, 1])
    masks = mask_learning.masks_of(model, images, given.flow, gap)
    np.testing.assert_allclose(masks.sum(1), 1, rtol=1e-5)
    weights = MotionWeights(tracks=5e-5 * np.sqrt(70_000 / 24))
    motion = jax.tree.map(jnp.asarray, given)
    expected = motion_loss(masks, motion, 0.3, rank=2, weights=weights)
    assert total == pytest.approx(float(expected.total), rel=1e-5)
    for name in ("flow", "tracks", "temporal"):
        value = float(getattr(expected, name))
        assert logs[f"{name}_loss"] == pytest.approx(value, rel=1e-5) and value > 0


def test_pieces_of_a_batch_have_its_loss_and_gradient_in_the_mean():
    graphdef, params = nnx.split(network(), nnx.Param)
    loss = mask_learning.mask_loss(SETTINGS)

    @jax.jit
    @jax.value_and_grad
    def value(params, batch):
        return loss(nnx.merge(graphdef, params), batch, jax.random.key(0))[0]

    batch = batch_of()
    whole, slope = value(params, batch)
    halves = [
        value(params, jax.tree.map(lambda x, n=n: x[n::2], batch)) for n in (0, 1)
    ]
    assert np.mean([half[0] for half in halves]) == pytest.approx(
        float(whole), rel=1e-5
    )
    mean = jax.tree.map(lambda a, b: (a + b) / 2, halves[0][1], halves[1][1])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), mean, slope
    )


def test_tracks_in_few_functions_of_time_lose_what_is_fast():
    given = batch_of().in_a_row()[1]
    masks = jax.nn.softmax(jax.random.normal(jax.random.key(0), (8, 3, *HW)), 1)
    motion = jax.tree.map(jnp.asarray, given)

    all_of, few, none = (
        motion_loss(masks, motion, 0.3, rank=2, keep=keep) for keep in (9, 3, 0)
    )
    assert all_of.tracks == pytest.approx(float(none.tracks), rel=1e-4)
    assert 0 < few.tracks < 0.9 * none.tracks
    assert few.flow == none.flow and few.temporal == none.temporal


def without_points(motion: MotionImages) -> MotionImages:
    return motion._replace(weights=jnp.zeros_like(motion.weights))


def hidden(motion: MotionImages) -> MotionImages:
    return motion._replace(visible=jnp.zeros_like(motion.visible))


def at_rest(motion: MotionImages) -> MotionImages:
    still = jnp.broadcast_to(motion.tracks[:, :1], motion.tracks.shape)
    return motion._replace(tracks=still, flow=jnp.zeros_like(motion.flow))


@pytest.mark.parametrize("size", [0.0, 5.0, 1e3])  # Even, usual, one mask has all.
@pytest.mark.parametrize("change", [without_points, hidden, at_rest])
@pytest.mark.parametrize("keep", [0, 3])
def test_gradients_stay_finite(size, change, keep):
    motion = change(jax.tree.map(jnp.asarray, batch_of().in_a_row()[1]))

    @jax.jit
    @jax.value_and_grad
    def loss(logits):
        masks = jax.nn.softmax(logits, 1)
        return motion_loss(masks, motion, rank=2, keep=keep).total

    logits = size * jax.random.normal(jax.random.key(0), (8, 3, *HW))
    logits = logits.at[:, 0].add(size if size > 100 else 0.0)
    value, slope = loss(logits)
    assert np.isfinite(value) and np.isfinite(slope).all()
    assert value >= 0


@pytest.mark.parametrize("flow", [0.0, np.inf, 1e30])
def test_what_the_network_sees_is_bounded(flow):
    model = network(features=5)
    images = np.zeros((1, *HW, 3), np.uint8)
    given = np.full((1, *HW, 2), flow, np.float32)
    masks = mask_learning.masks_of(model, images, given, np.ones(1, np.float32))
    assert np.isfinite(masks).all()


def test_a_flow_back_is_seen_as_the_flow_forward_that_undoes_it():
    model = network(features=5)
    images, motion, _ = batch_of(4).in_a_row()
    forward = mask_learning.masks_of(
        model, images, motion.flow, np.full(4, 2, np.float32)
    )
    back = mask_learning.masks_of(
        model, images, -motion.flow, np.full(4, -2, np.float32)
    )
    np.testing.assert_allclose(forward, back, atol=1e-6)
    other = mask_learning.masks_of(
        model, images, motion.flow, np.full(4, -2, np.float32)
    )
    assert np.abs(forward - other).max() > 1e-3


def test_a_finer_flow_is_seen_at_the_size_of_the_image():
    model = network(features=5)
    images, motion, gap = batch_of(4).in_a_row()
    constant = np.broadcast_to(motion.flow[:, :1, :1], motion.flow.shape)
    fine = np.broadcast_to(motion.flow[:, :1, :1], (4, 48, 70, 2))
    a, b = (mask_learning.masks_of(model, images, f, gap) for f in (constant, fine))
    np.testing.assert_allclose(a, b, atol=1e-5)


def frames(num=3, size_hw=(24, 40)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, *size_hw, 3), np.uint8)


def test_masks_of_frames_are_found_as_they_are_asked_for():
    asked = []

    def read(t: int) -> np.ndarray:
        asked.append(t)
        if t == 1:
            raise FrameError("damaged")
        return frames()[t]

    found = mask_learning.small_masks(network(), Source(read, 3), HW)
    assert len(found) == 3 and not asked
    masks = found[2]
    assert asked == [2] and masks.shape == (3, *HW) and masks.dtype == np.float32
    np.testing.assert_allclose(masks.sum(0), 1, rtol=1e-5)
    large = mask_learning.enlarged(masks, (24, 40))
    assert large.shape == (3, 24, 40) and large.dtype == np.float32
    np.testing.assert_allclose(large.sum(0), 1, rtol=1e-5)
    with pytest.raises(FrameError, match="damaged"):
        found[1]


def test_frames_of_the_trained_size_get_the_masks_of_the_network():
    model, given = network(), frames(size_hw=HW)
    still, one = np.zeros((3, *HW, 2), np.float32), np.ones(3, np.float32)
    expected = mask_learning.masks_of(model, given, still, one)
    found = mask_learning.small_masks(model, Source.of(given), HW)
    np.testing.assert_allclose(np.stack(list(found)), expected, atol=1e-5)


def test_a_frame_is_seen_with_the_flows_that_it_has():
    """Flow (6, 2) in frames of 40 columns is (6, 2) * 854 / 40; of both, the mean."""
    model, given = network(features=5), frames()
    there = np.full((24, 40, 2), [6.0, 2.0], np.float32)
    forward, back = Source.of([there, None, None]), Source.of([None, -there, None])
    none = Source.of([None] * 3)
    found = mask_learning.small_masks(model, Source.of(given), HW, (forward, back))
    bare = mask_learning.small_masks(
        model, Source.of(given[[1, 1, 1]]), HW, (back, back)
    )
    same = mask_learning.small_masks(
        model, Source.of(given[[1, 1, 1]]), HW, (Source.of([there] * 3), back)
    )
    np.testing.assert_allclose(found[1], same[0], atol=1e-6)
    assert np.abs(found[1] - bare[2]).max() > 1e-3
    both = mask_learning.small_masks(
        model, Source.of(given), HW, (Source.of([there] * 3), Source.of([there] * 3))
    )
    ways = [
        mask_learning.small_masks(model, Source.of(given), HW, pair)
        for pair in ((Source.of([there] * 3), none), (none, Source.of([there] * 3)))
    ]
    np.testing.assert_allclose(both[0], (ways[0][0] + ways[1][0]) / 2, atol=1e-6)
    with pytest.raises(ValueError, match="the network sees flow as well"):
        mask_learning.small_masks(model, Source.of(given), HW)


def test_flow_over_three_frames_is_three_times_as_long():
    model, given = network(features=5), frames()
    slow, none = np.full((24, 40, 2), [0.2, 0.1], np.float32), Source.of([None] * 3)
    one, three = (
        mask_learning.small_masks(
            *(model, Source.of(given), HW, (Source.of([gap * slow] * 3), none)), gap=gap
        )
        for gap in (1, 3)
    )
    np.testing.assert_allclose(one[0], three[0], atol=1e-5)
