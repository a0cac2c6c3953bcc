"""DINO: frozen vision transformers whose attention keys tell objects apart.

A token is a patch of 8 x 8 pixels; patches lie 4 pixels apart, not 8, so that an image
of 192 x 352 has 47 x 87 of them. What comes out are the keys of some blocks' attention,
channels in the order (dimension, head), heads fastest, as the mask head reads them.

Source: Caron et al. 2021 (DINO), the patches as in Amir et al. 2021
(`dino-vit-features`), the choice of keys as in Karazija et al. 2024 (LRTL). Differs:
nothing is computed behind the last block's keys.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from egojax.models.blocks import attention, products
from egojax.ops.image import resize_bicubic

MEAN = (123.675, 116.280, 103.530)  # Of ImageNet's red, green and blue,
STD = (58.395, 57.120, 57.375)  # of 255.
# DINO adds it to the sides that positions are resized to, against rounding; the scale
# of the resize is off by it.
STRETCH = 0.1


@dataclasses.dataclass(frozen=True)
class DinoConfig:
    """A vision transformer; the defaults are ViT-B/8 as LRTL reads it."""

    dim: int = 768
    heads: int = 12
    blocks: int = 12
    patch: int = 8  # Pixels,
    stride: int = 4  # and from one to the next.
    grid: int = 28  # Patches along a side of the images that it was trained on.
    layers: tuple[int, ...] = (5, 7, 9, 11)  # Blocks whose keys come out, from 0.
    dtype: str = "float32"  # Of products; "bfloat16" is faster. Sums stay in float32.


DINO_B8 = DinoConfig()
DINO_S8 = DinoConfig(dim=384, heads=6, layers=(11,))  # Tells which masks belong.


class Block(nnx.Module):
    """Attention and two layers, each after a norm and added to what came in."""

    def __init__(self, config: DinoConfig, rngs: nnx.Rngs):
        dim, kind = config.dim, products(config.dtype)
        self.norm1 = _norm(dim, rngs)
        self.qkv = nnx.Linear(dim, 3 * dim, rngs=rngs, **kind)
        self.proj = nnx.Linear(dim, dim, rngs=rngs, **kind)
        self.norm2 = _norm(dim, rngs)
        self.fc1 = nnx.Linear(dim, 4 * dim, rngs=rngs, **kind)
        self.fc2 = nnx.Linear(4 * dim, dim, rngs=rngs, **kind)
        self.heads = config.heads

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """The next tokens, and this block's keys (B, N, dim), heads side by side."""
        queries, keys, values = jnp.split(self.qkv(self.norm1(x)), 3, axis=-1)
        x = x + self.proj(attention(queries, keys, values, self.heads))
        inner = jax.nn.gelu(self.fc1(self.norm2(x)), approximate=False)
        return x + self.fc2(inner), keys


class LastKeys(nnx.Module):
    """What is needed of the last block."""

    def __init__(self, config: DinoConfig, rngs: nnx.Rngs):
        kind = products(config.dtype)
        self.norm1 = _norm(config.dim, rngs)
        self.key = nnx.Linear(config.dim, config.dim, rngs=rngs, **kind)

    def __call__(self, x: Array) -> Array:
        return self.key(self.norm1(x))


class Dino(nnx.Module):
    """The transformer up to the keys of the last block that is asked for."""

    def __init__(self, config: DinoConfig, *, rngs: nnx.Rngs):
        self.config = config
        side = (config.patch, config.patch)
        step = (config.stride, config.stride)
        self.patch = nnx.Conv(
            *(3, config.dim, side),
            strides=step,
            padding="VALID",
            rngs=rngs,
            **products(config.dtype),
        )
        small = nnx.initializers.normal(0.02)
        tokens = 1 + config.grid**2
        self.first = nnx.Param(small(rngs.params(), (1, 1, config.dim)))
        self.positions = nnx.Param(small(rngs.params(), (1, tokens, config.dim)))
        last = max(config.layers)
        self.blocks = nnx.List([Block(config, rngs) for _ in range(last)])
        self.last = LastKeys(config, rngs)

    def __call__(
        self, images: Float[Array, "B H W 3"]
    ) -> tuple[Float[Array, "B h w E"], ...]:
        """Keys of each of `config.layers`, in their order.

        Args:
          images: See `normalised`; at least a patch high and wide.

        Returns:
          One cell a patch, h = (H - patch) // stride + 1, in `config.dtype`.
        """
        cells = self.patch(images).astype(jnp.float32)
        batch, *grid_hw, dim = cells.shape
        x = cells + self._grid(grid_hw[0], grid_hw[1])
        first = self.first[...] + self.positions[...][:, :1]
        first = jnp.broadcast_to(first, (batch, 1, dim))
        x = jnp.concatenate([first, x.reshape(batch, -1, dim)], axis=1)
        found = {}
        for number, block in enumerate(self.blocks):
            x, found[number] = block(x)
        found[len(self.blocks)] = self.last(x)
        return tuple(self._cells(found[n], grid_hw) for n in self.config.layers)

    def _grid(self, height: int, width: int) -> Array:
        """Positions (1, height, width, dim) of patches."""
        side, dim = self.config.grid, self.config.dim
        table = self.positions[...][:, 1:].reshape(1, side, side, dim)
        if (height, width) == (side, side):
            return table
        scale = (height + STRETCH) / side, (width + STRETCH) / side
        return resize_bicubic(table, (height, width), scale)

    def _cells(self, keys: Array, grid_hw: list[int]) -> Array:
        batch, _, dim = keys.shape
        heads = self.config.heads
        keys = keys[:, 1:].reshape(batch, -1, heads, dim // heads)
        return jnp.swapaxes(keys, -1, -2).reshape(batch, *grid_hw, dim)


def _norm(dim: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(dim, epsilon=1e-6, use_fast_variance=False, rngs=rngs)


def normalised(
    rgb: Float[Array, "*batch H W 3"], multiple: int = 32
) -> Float[Array, "*batch h w 3"]:
    """Images as the networks take them, zeros below and to the right of them.

    Args:
      rgb: 0 .. 255.
      multiple: What both sides of the result divide by.
    """
    lead = (None,) * (rgb.ndim - 1)
    images = (rgb - jnp.asarray(MEAN, rgb.dtype)[lead]) / jnp.asarray(STD)[lead]
    height, width = rgb.shape[-3:-1]
    pad = [(0, 0)] * (rgb.ndim - 3)
    return jnp.pad(
        images, [*pad, (0, -height % multiple), (0, -width % multiple), (0, 0)]
    )
