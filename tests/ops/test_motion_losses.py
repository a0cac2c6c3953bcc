"""The total loss of quadruples: official numbers, the repaired defects, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.ops import motion_losses
from egojax.ops.motion_losses import MotionImages, MotionWeights
from egojax.ops.trajectories import places
from tests.ops.test_trajectories import quadruple

HW = (480, 854)


def images_of(tracks, visible, flow=None, loc=None, own=None) -> MotionImages:
    tracks = jnp.asarray(tracks, jnp.float32)
    count, length = tracks.shape[:2]
    own = jnp.full(count, length // 2) if own is None else jnp.asarray(own)
    middle = tracks[:, length // 2]
    flow = np.zeros((count, 6, 7, 2)) if flow is None else flow
    return MotionImages(
        tracks=tracks,
        visible=jnp.asarray(visible, jnp.float32),
        loc=places(middle, HW, published=True) if loc is None else loc,
        own=own,
        flow=jnp.asarray(flow, jnp.float32),
    )


def official() -> tuple[MotionImages, jax.Array]:
    """Spec 10.5, the total criterion."""
    rng = np.random.RandomState(11)
    tracks = rng.uniform(size=(4, 1, 300, 2)) * (853, 479)
    tracks = tracks + np.cumsum(2 * rng.standard_normal((4, 41, 1, 2)), 1)
    tracks = tracks + 0.3 * rng.standard_normal((4, 41, 300, 2))
    visible = rng.uniform(size=(4, 41, 300, 1))[..., 0] < 0.8
    logits = rng.standard_normal((4, 4, 24, 44)).astype(np.float32)
    flow = np.moveaxis(5 * rng.standard_normal((4, 2, 60, 107)), 1, -1)
    return images_of(tracks, visible, flow), jnp.asarray(logits)


@pytest.mark.parametrize(
    ("step", "temporal", "total", "norm"),
    [
        (0, 1.2401890e-5, 0.7509724, 1.1848417e-4),
        (10_000, 7.8674487e-4, 0.7517467, 1.2747648e-4),
    ],
)
def test_the_official_numbers(step, temporal, total, norm):
    images, logits = official()

    def loss(logits):
        ramp = motion_losses.temporal_ramp(step)
        masks = jax.nn.softmax(logits, 1)
        terms = motion_losses.motion_loss(masks, images, ramp, published=True)
        return terms.total, terms

    (value, terms), slope = jax.value_and_grad(loss, has_aux=True)(logits)
    assert terms.flow == pytest.approx(0.7459587, rel=3e-7)
    assert terms.tracks == pytest.approx(0.005001311, rel=2e-6)  # By SVDs in float32.
    assert terms.temporal == pytest.approx(temporal, rel=1e-6)
    assert value == pytest.approx(total, rel=3e-7)
    assert np.linalg.norm(slope) == pytest.approx(norm, rel=1e-5)


def test_the_official_ramp():
    found = [motion_losses.temporal_ramp(n) for n in (0, 1000, 10_000, 20_000, 160_000)]
    expected = [0.001, 0.00724375, 0.0634375, 0.125875, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert motion_losses.temporal_ramp(10**7) == 1


@pytest.mark.parametrize("published", [True, False])
def test_the_official_temporal_term_and_its_gradient(published):
    """One quadruple in the middle of its windows: no defect shows but the half pixel.

    So with places that are already in [-1, 1] of that kind, both are the same.
    """
    tracks, visible, logits = quadruple()
    images = images_of(tracks, visible)
    if not published:  # The same places, said in the corrected pixels.
        images = images._replace(
            tracks=images.tracks * np.float32([[[[854 / 853, 480 / 479]]]])
        )

    def loss(logits):
        masks = jax.nn.softmax(logits, 1)
        return motion_losses.temporal_loss(masks, images, HW, published=published)

    value, slope = jax.value_and_grad(loss)(jnp.asarray(logits))
    assert value == pytest.approx(0.0301546380, rel=1e-5)
    assert np.linalg.norm(slope) == pytest.approx(0.0633411556, rel=1e-5)


def two_quadruples():
    """Samples whose points differ, and are hidden in different places."""
    rng = np.random.default_rng(3)
    start = rng.uniform(50, 400, (8, 1, 40, 2))
    tracks = start + np.cumsum(rng.normal(size=(8, 41, 40, 2)), 1)
    visible = rng.uniform(size=(8, 41, 40)) < 0.6
    masks = jax.nn.softmax(rng.normal(size=(8, 3, 12, 20)).astype(np.float32), 1)
    return images_of(tracks, visible), masks


def part(images: MotionImages, rows: slice) -> MotionImages:
    return jax.tree.map(lambda x: x[rows], images)


def test_a_sample_is_weighed_by_its_own_points_unless_published():
    images, masks = two_quadruples()
    halves = [slice(0, 4), slice(4, 8)]

    def loss(images, masks, published):
        return float(
            motion_losses.temporal_loss(masks, images, HW, published=published)
        )

    alone = [loss(part(images, rows), masks[rows], True) for rows in halves]
    both = loss(images, masks, True)
    # By hand: the mean over all samples' errors and all samples' weights.
    crossed = []
    for rows, others in ((0, 4), (4, 0)):
        mixed = part(images, slice(rows, rows + 4))
        mixed = mixed._replace(visible=images.visible[others : others + 4])
        crossed.append(loss(mixed, masks[rows : rows + 4], True))
    assert both == pytest.approx(np.mean(alone + crossed), rel=1e-5)
    assert abs(both / np.mean(alone) - 1) > 1e-3
    alone = [loss(part(images, rows), masks[rows], False) for rows in halves]
    assert loss(images, masks, False) == pytest.approx(np.mean(alone), rel=1e-5)


def test_a_shifted_window_is_read_at_the_frame_itself_unless_published():
    """Things move with their masks, to the right by a pixel a frame, in windows that
    begin with the frame, or end with it."""
    own = np.array([5, 5, 10, 10] * 2)
    own[4:] += 25  # 30 and 35 of 41.
    i, j = np.mgrid[:40, :80]
    first = np.stack([np.sin(0.4 * i + 0.5 * j), np.cos(0.3 * i - 0.2 * j)])
    masks = [np.roll(first, t, axis=2) for t in (0, 0, 5, 5)] * 2
    masks = jnp.asarray(np.stack(masks), jnp.float32)
    x, y = np.meshgrid(np.arange(10.5, 50), np.arange(5.5, 35))
    start = np.stack([x.ravel(), y.ravel()], -1)  # In the first frame of a quadruple.
    shift = np.arange(41)[None] - own[:, None] + np.array([0, 0, 5, 5] * 2)[:, None]
    tracks = start[None, None] + shift[..., None, None] * np.array([1.0, 0.0])
    place = np.stack([tracks[n, at] for n, at in enumerate(own)])
    images = images_of(
        tracks,
        np.ones(tracks.shape[:3]),
        loc=places(jnp.asarray(place, jnp.float32), (40, 80)),
        own=own,
    )
    assert motion_losses.temporal_loss(masks, images, (40, 80)) < 1e-9
    wrong = motion_losses.temporal_loss(masks, images, (40, 80), published=True)
    assert wrong > 0.05


def test_frames_beyond_the_window_do_not_count():
    images, masks = two_quadruples()
    first = images._replace(own=jnp.full(8, 2))  # Two frames before it, not five.
    found = motion_losses.temporal_loss(masks, first, HW)
    seen = jnp.asarray(images.visible).at[:, :2].set(0)
    assert found == motion_losses.temporal_loss(masks, first._replace(visible=seen), HW)
    assert found > 0


def test_what_is_no_quadruple_is_refused_only_where_it_matters():
    images, masks = two_quadruples()
    images, masks = part(images, slice(0, 3)), masks[:3]
    with pytest.raises(ValueError, match="3 images; expected quadruples"):
        motion_losses.motion_loss(masks, images)
    still = MotionWeights(temporal=0.0)
    terms = motion_losses.motion_loss(masks, images, weights=still)
    assert terms.temporal == 0 and terms.total == terms.flow + terms.tracks


def test_weights_are_copies_of_points():
    images, masks = two_quadruples()
    copies = np.random.default_rng(0).integers(0, 3, 40)
    many = images._replace(
        tracks=jnp.repeat(images.tracks, copies, axis=2),
        visible=jnp.repeat(images.visible, copies, axis=2),
        loc=jnp.repeat(images.loc, copies, axis=1),
    )
    weights = jnp.broadcast_to(jnp.float32(copies), (8, 40))
    found = motion_losses.motion_loss(masks, images._replace(weights=weights))
    for a, b in zip(found, motion_losses.motion_loss(masks, many), strict=True):
        assert a == pytest.approx(float(b), rel=1e-4)


def test_points_outside_every_mask_and_flow_that_is_too_fast():
    """Masks are held off 0; faster flow counts as 20 pixels."""
    images, masks = two_quadruples()
    outside = images._replace(loc=jnp.full_like(images.loc, 3.0))
    whole = images._replace(loc=jnp.zeros_like(images.loc))
    ones = jnp.ones((8, 1, 12, 20))
    ratio = motion_losses.track_loss(ones, outside) / motion_losses.track_loss(
        ones, whole
    )
    assert ratio == pytest.approx(motion_losses.MARGIN, rel=1e-3)
    rng = np.random.default_rng(0)
    fast = jnp.asarray(rng.choice([-20.0, 20.0], (8, 30, 40, 2)), jnp.float32)
    found = motion_losses.masked_flow_loss(masks, fast * 4)
    assert found == motion_losses.masked_flow_loss(masks, fast)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_loss_and_its_gradient_lower_for_every_device(platform):
    images, masks = two_quadruples()
    step = jax.jit(
        jax.grad(lambda m, images: motion_losses.motion_loss(m, images).total)
    )
    given = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), images)
    like = jax.ShapeDtypeStruct(masks.shape, masks.dtype)
    assert jax.export.export(step, platforms=[platform])(like, given).mlir_module()
