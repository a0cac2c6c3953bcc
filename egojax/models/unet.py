"""A U-Net: an image, or features like one, to K masks at its own resolution.

From level to level cells become two by two and have the channels of the level; on the
way up, what was seen at a level stands beside what comes from below. It needs no other
network's features, and learns the masks of one clip from scratch.

Source: Ronneberger et al. 2015, as in Karazija et al. 2024 (LRTL), `unet.py`, whose
channels are `PUBLISHED`. Differs: norms of groups of channels, not of the batch, so
that an image's masks do not depend on what else is in its batch; sides that do not
divide by 2^levels are padded once, not at each level; up by half-pixel centres.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from egojax.models.blocks import products
from egojax.ops.image import pad_to_multiple, resize_bilinear

PUBLISHED = (64, 128, 256, 512, 512)


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """Sizes; the defaults are small enough for a CPU."""

    num_masks: int = 4
    features: int = 3  # Channels of what comes in.
    channels: tuple[int, ...] = (16, 32, 64, 64)  # Of each level, the finest first.
    groups: int = 8  # Of the norms; channels divide by it.
    dtype: str = "float32"  # Of products; "bfloat16" is faster.

    def __post_init__(self) -> None:
        odd = [count for count in self.channels if count % self.groups]
        if odd or not self.channels:
            raise ValueError(
                f"channels={self.channels}; expected multiples of groups={self.groups}"
            )


class UNet(nnx.Module):
    """Masks of images."""

    def __init__(self, config: UNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        down, up = [], []
        below = config.features
        for count in config.channels:
            down.append(Twice(below, count, config, rngs))
            below = count
        for level in reversed(range(len(config.channels) - 1)):
            count = config.channels[max(level - 1, 0)]
            beside = config.channels[level]
            up.append(Twice(below + beside, count, config, rngs))
            below = count
        self.down, self.up = nnx.List(down), nnx.List(up)
        kind = products(config.dtype)
        self.out = nnx.Conv(below, config.num_masks, (1, 1), rngs=rngs, **kind)

    def __call__(self, images: Float[Array, "B H W C"]) -> Float[Array, "B K H W"]:
        """Logits, in float32.

        Args:
          images: Of any size; about as large as 1, such as `dino.normalised` makes
            them.
        """
        height, width = images.shape[1:3]
        x = pad_to_multiple(images, 2 ** (len(self.down) - 1))
        seen = []
        for level in self.down:
            x = level(nnx.max_pool(x, (2, 2), (2, 2)) if seen else x)
            seen.append(x)
        for level, beside in zip(self.up, reversed(seen[:-1]), strict=True):
            raised = resize_bilinear(x, beside.shape[1:3])
            x = level(jnp.concatenate([beside, raised], axis=-1))
        logits = self.out(x).astype(jnp.float32)
        return jnp.moveaxis(logits[:, :height, :width], -1, 1)


class Twice(nnx.Module):
    """A convolution of 3 x 3 and its norm, two times over."""

    def __init__(self, din: int, dout: int, config: UNetConfig, rngs: nnx.Rngs):
        def conv(count: int) -> nnx.Conv:
            kind = products(config.dtype)
            return nnx.Conv(count, dout, (3, 3), use_bias=False, rngs=rngs, **kind)

        def norm() -> nnx.GroupNorm:
            return nnx.GroupNorm(
                dout,
                num_groups=config.groups,
                use_fast_variance=False,
                dtype=jnp.dtype(config.dtype),
                rngs=rngs,
            )

        self.conv1, self.norm1 = conv(din), norm()
        self.conv2, self.norm2 = conv(dout), norm()

    def __call__(self, x: Array) -> Array:
        x = jax.nn.relu(self.norm1(self.conv1(x)))
        return jax.nn.relu(self.norm2(self.conv2(x)))
