"""The published head of LRTL: features of one image to K masks.

Four maps of features (keys of four blocks of DINO) become one map of 256 channels four
times as fine; K queries look at the last of the four, and the product of what they
found with the map is a mask each. Features are h x w cells, logits (4 h + 6) x
(4 w + 6): two layers with a kernel of 1 x 1 are padded by 1, and `fitted` cuts what is
too much off again; of what is left, cell i has the pixels 4 i + 2 .. 4 i + 5.

Source: Karazija et al. 2024 (LRTL), `big_pixel_decoder.py` and
`transformer_predictor.py`, after Cheng et al. 2021 (MaskFormer). Published weights
depend on the padding, and on one norm that five layers share; both are as there.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from egojax.models.blocks import products
from egojax.models.mask_layers import PYTORCH, MaskHeadConfig, conv, group_norm
from egojax.models.mask_queries import QueryDecoder
from egojax.ops.image import resize_bilinear, resize_nearest

CROP = 1.1  # Logits larger by less than that are cut to size, others are resized.


class MaskHead(nnx.Module):
    """Masks of features."""

    def __init__(self, config: MaskHeadConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.pixels = PixelDecoder(config, rngs)
        self.queries = QueryDecoder(config, rngs)

    def __call__(
        self,
        features: Sequence[Float[Array, "B h w C"]],
        key: jax.Array | None = None,
    ) -> Float[Array, "B K H W"]:
        """Logits, H = 4 h + 6 and W = 4 w + 6, in float32.

        Args:
          features: Four, from the earliest block to the last.
          key: For dropout; None = nothing is dropped.
        """
        kernels = self.queries(features[-1], key)
        fine = self.pixels(features)
        return jnp.einsum(
            "bkc,bhwc->bkhw",
            *(kernels.astype(fine.dtype), fine),
            precision=products(self.config.dtype)["precision"],
            preferred_element_type=jnp.float32,
        )


class PixelDecoder(nnx.Module):
    """A map of features that is four times as fine as the four that it is made of."""

    def __init__(self, config: MaskHeadConfig, rngs: nnx.Rngs):
        width = config.width

        def norms() -> nnx.List:
            return nnx.List([group_norm(config, rngs) for _ in range(3)])

        def adapter() -> nnx.Conv:
            return conv(config, rngs, config.features, 1, pad=0)

        def fine(kernel: int, bias: bool = False) -> nnx.Conv:
            return conv(config, rngs, width, kernel, kernel_init=PYTORCH, bias=bias)

        self.last = conv(config, rngs, config.features, 3)
        self.adapters = nnx.List([adapter() for _ in range(3)])
        self.adapter_norms = norms()
        self.layers = nnx.List([conv(config, rngs, width, 3) for _ in range(3)])
        self.layer_norms = norms()
        self.shared_norm = group_norm(config, rngs)
        kernels = (3, 1, 3, 1)  # The small ones are padded like the large ones.
        self.fine = nnx.List([fine(kernel) for kernel in kernels])
        self.out = fine(3, bias=True)

    def __call__(self, features: Sequence[Array]) -> Array:
        """(B, 4 h + 6, 4 w + 6, width), of four maps."""
        *earlier, last = features
        y = self._shared(self.last, last)
        levels = zip(
            *(reversed(earlier), self.adapters, self.adapter_norms),
            *(self.layers, self.layer_norms),
            strict=True,
        )
        for x, adapter, adapter_norm, layer, norm in levels:
            part = adapter_norm(adapter(x))
            if part.shape[1:3] != y.shape[1:3]:
                y = resize_nearest(y, part.shape[1:3])
            y = jax.nn.relu(norm(layer(part + y)))
        first, grown, inner, grown_again = self.fine
        y = _doubled(self._shared(first, y))
        y = _doubled(self._shared(inner, self._shared(grown, y)))
        return self.out(self._shared(grown_again, y))

    def _shared(self, layer: nnx.Conv, x: Array) -> Array:
        return jax.nn.relu(self.shared_norm(layer(x)))


def fitted(
    logits: Float[Array, "B K H W"], size_hw: tuple[int, int]
) -> Float[Array, "B K h w"]:
    """Logits of another size: the middle of what is hardly too large, else resized.

    Source: LRTL, `interpolate_or_crop` of `mask_former_model.py`.
    """
    have = logits.shape[-2:]
    if all(new <= old < CROP * new for old, new in zip(have, size_hw, strict=True)):
        # Where the rest is odd, torchvision rounds its half to even.
        top, left = (round((a - b) / 2) for a, b in zip(have, size_hw, strict=True))
        return logits[..., top : top + size_hw[0], left : left + size_hw[1]]
    moved = jnp.moveaxis(logits, -3, -1)
    return jnp.moveaxis(resize_bilinear(moved, size_hw), -1, -3)


def _doubled(x: Array) -> Array:
    """Each cell as two by two."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
