"""How a network learns masks of what moves as one body, and what it then shows.

The network sees an image and, where it was asked to, the flow of that image: per frame
of time and forward, whichever way it was estimated, in units of `SPEED` pixels of a
frame of 854 columns. Its masks are the softmax of its logits, at the size of what it
sees; the terms of its loss are `ops.motion_losses`, at that size too. Nothing here
knows a label.

A batch is a `motion_batches.MotionBatch`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from egojax.data.resizing import LAYERS
from egojax.methods.motion_batches import MotionBatch
from egojax.methods.motion_clips import fitted_flow, unit_hw
from egojax.models.dino import normalised
from egojax.models.unet import UNet
from egojax.ops.image import resize_bilinear
from egojax.ops.motion_losses import (
    FASTEST,
    MotionImages,
    MotionWeights,
    masked_flow_loss,
    temporal_loss,
    track_loss,
)
from egojax.ops.subspace import stack_tracks
from egojax.ops.temporal_basis import reduce_tracks
from egojax.types import ArrayLike, Source

PUBLISHED_POINTS = 70_000  # That the weight of tracks is for.
SPEED = 10.0

Size = tuple[int, int]
Logs = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class MaskLoss:
    """What the loss is made of."""

    size_hw: Size = (96, 172)  # Of images and masks.
    num_points: int = 4096  # Of each image.
    rank: int = 5  # Of the tracks of one thing.
    keep: int = 0  # Functions of time that tracks are reduced to; 0 = all of them.
    weights: MotionWeights = MotionWeights()  # noqa: RUF009 (frozen). As published, for 70,000 points.

    @property
    def own_weights(self) -> MotionWeights:
        """For this number of points: the term grows with its root."""
        share = (PUBLISHED_POINTS / self.num_points) ** 0.5
        return dataclasses.replace(self.weights, tracks=share * self.weights.tracks)


def mask_loss(
    settings: MaskLoss,
) -> Callable[[UNet, MotionBatch, jax.Array], tuple[Array, Logs]]:
    """The loss of a step, as `train.loop.fit` takes it; the terms are logged."""

    def loss(model: UNet, batch: MotionBatch, key: jax.Array) -> tuple[Array, Logs]:
        del key  # Batches are drawn on the host.
        images, motion, gap = batch.in_a_row()
        masks = masks_of(model, images, motion.flow, gap)
        return terms(masks, motion, batch.ramp[0], settings)

    return loss


def terms(
    masks: Float[Array, "B K H W"],
    images: MotionImages,
    ramp: Float[ArrayLike, ""],
    settings: MaskLoss,
) -> tuple[Array, Logs]:
    """The loss of masks, and its parts; images are quadruple by quadruple."""
    weights, zero = settings.own_weights, jnp.zeros((), masks.dtype)
    flow = tracks = temporal = zero
    if weights.flow:
        flow = weights.flow * masked_flow_loss(masks, images.flow)
    if weights.tracks:
        points = images
        if settings.keep:
            reduced = jax.vmap(lambda x: _reduced(x, settings.keep))(images.tracks)
            points = images._replace(tracks=reduced)
        tracks = weights.tracks * track_loss(masks, points, settings.rank)
    if weights.temporal:
        gaps = _by_quadruple(masks, images, unit_hw(settings.size_hw))
        temporal = weights.temporal * ramp * gaps.mean()
    logs = {"flow_loss": flow, "tracks_loss": tracks, "temporal_loss": temporal}
    return flow + tracks + temporal, logs


def _by_quadruple(
    masks: Float[Array, "B K H W"], images: MotionImages, size_hw: Size
) -> Float[Array, " Q"]:
    """The term over time of each quadruple, which is on one device as a whole."""
    cut = jax.tree.map(lambda x: x.reshape(-1, 4, *x.shape[1:]), (masks, images))
    return jax.vmap(lambda m, given: temporal_loss(m, given, size_hw))(*cut)


def _reduced(tracks: Array, keep: int) -> Float[Array, "R N 2"]:
    found = reduce_tracks(stack_tracks(tracks), keep).tracks
    return jnp.moveaxis(found.reshape(2, -1, found.shape[1]), 0, -1)


def masks_of(
    model: UNet,
    images: UInt8[ArrayLike, "B H W 3"],
    flow: Float[ArrayLike, "B H W 2"],
    gap: Float[ArrayLike, " B"],
) -> Float[Array, "B K H W"]:
    """Soft masks, which sum to 1.

    Args:
      model: Of 3 features, then it sees no flow, or 5.
      images: 0 .. 255.
      flow: Pixels of `motion_clips.unit_hw`.
      gap: Frames that it spans; < 0 = back.
    """
    seen = normalised(jnp.asarray(images, jnp.float32), 1)
    if model.config.features > 3:
        flow = jnp.clip(jnp.asarray(flow), -FASTEST, FASTEST)
        speed = flow / (SPEED * jnp.asarray(gap))[:, None, None, None]
        seen = jnp.concatenate([seen, speed], axis=-1)
    return jax.nn.softmax(model(seen), axis=1)


# ------------------------------------------------------------------------- prediction


def soft_masks(
    model: UNet,
    frames: Source[Any],
    size_hw: Size,
    flows: tuple[Source[Any], Source[Any]] | None = None,
) -> Source[Any]:
    """The masks of frames, found as they are asked for: float32 (K, H, W).

    Args:
      model: As it was trained.
      frames: uint8 (H, W, 3); what cannot be read raises as it does there.
      size_hw: That it was trained at; masks are interpolated from it to the frame's.
      flows: To the next frame and back to the one before, for a model that sees flow:
        the first that a frame has counts; a frame with neither is taken to rest.

    Raises:
      ValueError: the model sees flow and none is given.
    """
    sees_flow = model.config.features > 3
    if sees_flow and flows is None:
        raise ValueError("the network sees flow as well; give it that of the frames")
    graphdef, state = nnx.split(model)

    @jax.jit
    def find(state: Any, image: Array, flow: Array, gap: Array, like: Array) -> Array:
        found = masks_of(nnx.merge(graphdef, state), image[None], flow[None], gap)[0]
        moved = resize_bilinear(jnp.moveaxis(found, 0, -1), like.shape)
        return jnp.moveaxis(moved, -1, 0)

    def read(t: int) -> np.ndarray:
        frame = frames[t]
        flow, gap = np.zeros((*size_hw, 2), np.float32), 1.0
        for way, source in zip((1.0, -1.0), flows or (), strict=False):
            given = source[t] if sees_flow else None
            if given is not None:
                flow, gap = fitted_flow(given, size_hw), way
                break
        image = LAYERS["frames"](frame.shape[:2], size_hw, frame)
        like = np.empty(frame.shape[:2], bool)
        return np.asarray(find(state, image, flow, np.array([gap], np.float32), like))

    return Source(read, len(frames))
