"""Labels and masks, each from the other, under jit.

A label map has one integer a pixel, 0 for background, so that objects exclude each
other; masks have a layer an object and may overlap. What is measured of label maps, on
the host and for ragged ids, is in `ops.segments`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from egojax.types import typed


@jax.jit
@typed
def masks_from_labels(
    labels: Int[Array, "*batch H W"], ids: Int[Array, "K"]
) -> Bool[Array, "*batch K H W"]:
    """One mask per id; an id of 0 (unused row) gives an empty mask."""
    rows = _along_masks(ids, labels.ndim + 1)
    return (labels[..., None, :, :] == rows) & (rows != 0)


@jax.jit
@typed
def labels_from_masks(
    masks: Bool[Array, "*batch K H W"], ids: Int[Array, "K"]
) -> Int[Array, "*batch H W"]:
    """Paints the masks in their order: where they overlap the last one is on top."""
    count = ids.shape[0]
    # The top mask of a pixel is the one with the highest row; 0 = none.
    order = _along_masks(jnp.arange(1, count + 1), masks.ndim)
    top = jnp.max(masks * order, axis=-3, initial=0)
    return jnp.concatenate([jnp.zeros((1,), ids.dtype), ids])[top].astype(jnp.int32)


def _along_masks(values: Array, ndim: int) -> Array:
    return values.reshape((1,) * (ndim - 3) + (-1, 1, 1))
