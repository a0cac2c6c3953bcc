"""How a network learns masks of what moves as one body, and what it then shows.

There are two networks. A `UNet` sees an image and, where it was asked to, the flow of
that image: per frame of time and forward, whichever way it was estimated, in units of
`SPEED` pixels of a frame of 854 columns. The published `MaskHead` sees keys of a frozen
`Dino`, its backbone, which are computed in each step or come with the batch. Masks are
the softmax of logits, at the size of the image; the loss is `ops.motion_losses`, that
of flow at the size that the flow is given in. Nothing here knows a label.

A batch is a `motion_batches.MotionBatch`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from egojax.data.resizing import LAYERS
from egojax.methods.motion_clips import fitted_flow
from egojax.models.dino import Dino, normalised
from egojax.models.mask_head import MaskHead, fitted
from egojax.models.unet import UNet
from egojax.ops.image import resize_bilinear
from egojax.ops.motion_losses import FASTEST, MotionWeights, motion_loss
from egojax.types import ArrayLike, Source

PUBLISHED_POINTS = 70_000  # That the weight of tracks is for.
SPEED = 10.0
TERMS = ("flow", "tracks", "temporal")

Size = tuple[int, int]
Logs = dict[str, Any]
MaskNet = UNet | MaskHead


@dataclasses.dataclass(frozen=True)
class MaskLoss:
    """What the loss is made of."""

    num_points: int = 4096  # Of each image.
    rank: int = 5  # Of the tracks of one thing.
    keep: int = 0  # Functions of time that tracks are reduced to; 0 = all of them.
    published: bool = False  # See `ops.motion_losses`.
    weights: MotionWeights = MotionWeights()  # noqa: RUF009 (frozen). As published, for 70,000 points.

    @property
    def own_weights(self) -> MotionWeights:
        """For this number of points: the term grows with its root."""
        share = (PUBLISHED_POINTS / self.num_points) ** 0.5
        return dataclasses.replace(self.weights, tracks=share * self.weights.tracks)


def mask_loss(
    settings: MaskLoss, backbone: Dino | None = None
) -> Callable[[Any, Any, jax.Array], tuple[Array, Logs]]:
    """The loss of a step, as `train.loop.fit` takes it; the terms are logged.

    Args:
      settings: See there.
      backbone: Of a `MaskHead`, where batches come without keys: a step then sees
        (batch, the weights of the backbone), which `frozen` gives.
    """
    graphdef = None if backbone is None else nnx.split(backbone)[0]

    def loss(model: MaskNet, seen: Any, key: jax.Array) -> tuple[Array, Logs]:
        batch, weights = (seen, None) if graphdef is None else seen
        images, motion, gap = batch.in_a_row()
        keys = None
        if batch.keys is not None:
            keys = batch.keys.reshape(-1, *batch.keys.shape[2:])
        elif graphdef is not None:
            keys = keys_of(nnx.merge(graphdef, weights), images)
        # Batches are drawn on the host: the noise is that of dropout.
        masks = masks_of(model, images, motion.flow, gap, keys=keys, key=key)
        found = motion_loss(
            masks,
            motion,
            batch.ramp[0],
            rank=settings.rank,
            keep=settings.keep,
            weights=settings.own_weights,
            published=settings.published,
        )
        logs = {f"{name}_loss": getattr(found, name) for name in TERMS}
        return found.total, logs

    return loss


def frozen(backbone: Dino) -> Any:
    """Its weights, as a pytree."""
    return nnx.split(backbone)[1]


def keys_of(
    backbone: Dino, images: UInt8[ArrayLike, "B H W 3"]
) -> Float[Array, "B L h w C"]:
    """What a `MaskHead` sees of images: the keys of L blocks, without a gradient."""
    found = backbone(normalised(jnp.asarray(images, jnp.float32), 1))
    return jax.lax.stop_gradient(jnp.stack(found, 1))


def masks_of(
    model: MaskNet,
    images: UInt8[ArrayLike, "B H W 3"],
    flow: Float[ArrayLike, "B h w 2"],
    gap: Float[ArrayLike, " B"],
    *,
    keys: Float[ArrayLike, "B L h w C"] | None = None,
    key: jax.Array | None = None,
) -> Float[Array, "B K H W"]:
    """Soft masks, which sum to 1.

    Args:
      model: A `UNet` of 3 features, then it sees no flow, or 5; or a `MaskHead`.
      images: 0 .. 255.
      flow: Pixels of 480 x 854; of any size.
      gap: Frames that it spans; < 0 = back.
      keys: What a `MaskHead` sees in place of all this; see `keys_of`.
      key: For dropout, of a `MaskHead`; None = nothing is dropped.
    """
    if isinstance(model, MaskHead):
        if keys is None:
            raise ValueError("a mask head sees keys; give it those of the images")
        levels = jnp.asarray(keys, model.config.dtype)
        logits = model([levels[:, n] for n in range(levels.shape[1])], key)
        height, width = images.shape[1:3]
        return jax.nn.softmax(fitted(logits, (height, width)), axis=1)
    seen = normalised(jnp.asarray(images, jnp.float32), 1)
    if model.config.features > 3:
        flow = resize_bilinear(jnp.asarray(flow), images.shape[1:3])
        flow = jnp.clip(flow, -FASTEST, FASTEST)
        speed = flow / (SPEED * jnp.asarray(gap))[:, None, None, None]
        seen = jnp.concatenate([seen, speed], axis=-1)
    return jax.nn.softmax(model(seen), axis=1)


# ------------------------------------------------------------------------- prediction


def small_masks(
    model: MaskNet,
    frames: Source[Any],
    size_hw: Size,
    flows: tuple[Source[Any], Source[Any]] | None = None,
    backbone: Dino | None = None,
    gap: int = 1,
) -> Source[Any]:
    """The masks of frames at the size of training, as they are asked for: (K, h, w).

    Args:
      model: As it was trained.
      frames: uint8 (H, W, 3); what cannot be read raises as it does there.
      size_hw: That it was trained at.
      flows: Ahead and back, for a model that sees flow: the mean of what it shows by
        each counts, since either flow is wrong where something comes or goes; a frame
        with neither is taken to rest.
      backbone: Of a `MaskHead`.
      gap: Frames that these flows span.

    Raises:
      ValueError: the model sees flow or keys, and none are given.
    """
    is_head = isinstance(model, MaskHead)
    sees_flow = not is_head and model.config.features > 3
    if sees_flow and flows is None:
        raise ValueError("the network sees flow as well; give it that of the frames")
    if is_head and backbone is None:
        raise ValueError("the network sees keys; give it the backbone that finds them")
    graphdef, state = nnx.split((model, backbone))

    @jax.jit
    def find(state: Any, image: Array, flow: Array, gap: Array) -> Array:
        net, eye = nnx.merge(graphdef, state)
        keys = None if eye is None else keys_of(eye, image[None])
        return masks_of(net, image[None], flow[None], gap, keys=keys)[0]

    def read(t: int) -> np.ndarray:
        frame = frames[t]
        image = LAYERS["frames"](frame.shape[:2], size_hw, frame)
        given = [source[t] for source in flows or ()] if sees_flow else []
        seen = [
            (fitted_flow(flow, size_hw), way)
            for flow, way in zip(given, (gap, -gap), strict=False)
            if flow is not None
        ]
        seen = seen or [(np.zeros((*size_hw, 2), np.float32), gap)]
        found = [
            find(state, image, flow, np.array([way], np.float32)) for flow, way in seen
        ]
        return np.mean(found, 0)

    return Source(read, len(frames))


@functools.partial(jax.jit, static_argnames="size_hw")
def enlarged(masks: Float[ArrayLike, "K h w"], size_hw: Size) -> Float[Array, "K H W"]:
    """Masks at the size of their frame; they still sum to 1."""
    moved = resize_bilinear(jnp.moveaxis(jnp.asarray(masks), 0, -1), size_hw)
    return jnp.moveaxis(moved, -1, 0)
