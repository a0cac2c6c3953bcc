"""The published networks: a radiance field of one stream, and one of three.

The static stream lives in the world, the moving stream in the world and in time, the
actor in the axes of the camera (x right, y up, z backward) and in time. A ray has S
samples; what is the same for all of them (direction, codes) is given once a ray and
multiplied once.

Source: Tschernezki et al. 2021 (NeuralDiff), after Martin-Brualla et al. 2021 (NeRF-W).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from egojax.models.blocks import Affine, Samples
from egojax.ops.encoding import frequency_encoding, time_basis, wave_code

Kind = Literal["neuraldiff", "nerf", "nerfw", "tnerf"]
TRUNK = 8  # Layers, all of one width;
SKIP = 4  # the one that sees the position again.
HEAD = 4  # Layers of a stream that changes.
WAVES = 8  # Bands of T-NeRF's time code.


@dataclasses.dataclass(frozen=True)
class NerfConfig:
    """Sizes of the networks; the defaults are the published ones."""

    kind: Kind = "neuraldiff"
    width: int = 256
    position_bands: int = 10
    direction_bands: int = 4
    num_slots: int = 1000  # Rows of the tables of codes.
    appearance_dim: int = 48
    time_dim: int = 17
    time_basis: int = 21
    dtype: str = "float32"  # Of products; sums and all else stay in float32.

    @property
    def position_dim(self) -> int:
        return 3 + 6 * self.position_bands

    @property
    def direction_dim(self) -> int:
        return 3 + 6 * self.direction_bands


class StaticField(nnx.Module):
    """Density and colour of what never moves."""

    def __init__(self, config: NerfConfig, appearance_dim: int, rngs: nnx.Rngs):
        width, encoded, dtype = config.width, config.position_dim, config.dtype
        dins = [encoded] + [width] * (TRUNK - 1)
        dins[SKIP] += encoded
        self.trunk = nnx.List([Affine(din, width, dtype, rngs) for din in dins])
        self.feature = Affine(width, width, dtype, rngs)
        color = width + config.direction_dim + appearance_dim
        self.color = Affine(color, width // 2, dtype, rngs)
        self.density = Affine(width, 1, dtype, rngs)
        self.rgb = Affine(width // 2, 3, dtype, rngs)

    def hidden(self, encoded: Array) -> Array:
        """The trunk, of encoded positions."""
        x = encoded
        for i, layer in enumerate(self.trunk):
            x = jnp.concatenate([encoded, x], axis=-1) if i == SKIP else x
            x = jax.nn.relu(layer(x))
        return x

    def density_of(self, hidden: Array) -> Array:
        """(*batch, S)"""
        return jax.nn.softplus(self.density(hidden))[..., 0]

    def rgb_of(self, feature: Array, per_ray: Array) -> Array:
        """(*batch, S, 3), by the direction and the appearance code of each ray."""
        return jax.nn.sigmoid(self.rgb(jax.nn.relu(self.color(feature, per_ray))))


class ChangingField(nnx.Module):
    """Density, colour and uncertainty of a stream that changes over time."""

    def __init__(self, din: int, config: NerfConfig, rngs: nnx.Rngs):
        half = config.width // 2
        dins = [din + config.time_dim] + [half] * (HEAD - 1)
        self.layers = nnx.List([Affine(d, half, config.dtype, rngs) for d in dins])
        self.density = Affine(half, 1, config.dtype, rngs)
        self.rgb = Affine(half, 3, config.dtype, rngs)
        self.beta = Affine(half, 1, config.dtype, rngs)

    def __call__(self, x: Array, time_code: Array) -> tuple[Array, Array, Array]:
        """Density (*batch, S), rgb (*batch, S, 3) and beta (*batch, S)."""
        first, *others = self.layers
        x = jax.nn.relu(first(x, time_code))
        for layer in others:
            x = jax.nn.relu(layer(x))
        density, beta = self.density(x), self.beta(x)
        density, beta = (jax.nn.softplus(value)[..., 0] for value in (density, beta))
        return density, jax.nn.sigmoid(self.rgb(x)), beta


class Nerf(nnx.Module):
    """The coarse field, the fine fields and the codes of one scene."""

    def __init__(self, config: NerfConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.coarse = StaticField(config, 0, rngs)
        appearance = 0 if config.kind == "nerf" else config.appearance_dim
        self.fine = StaticField(config, appearance, rngs)
        if config.kind != "nerf":
            table = jax.random.normal(rngs.params(), (config.num_slots, appearance))
            self.appearance = nnx.Param(table)
            self.moving = ChangingField(config.width, config, rngs)
        if config.kind == "neuraldiff":
            self.actor = ChangingField(config.position_dim, config, rngs)
            shape = config.time_basis, config.time_dim
            table = jax.random.uniform(rngs.params(), shape, minval=-1.0)
            self.time = nnx.Param((6.0 / config.time_dim) ** 0.5 * table)
        elif config.kind == "nerfw":
            shape = config.num_slots, config.time_dim
            self.time = nnx.Param(jax.random.normal(rngs.params(), shape))

    def time_code(self, slots: Int[Array, "*batch"]) -> Float[Array, "*batch C"]:
        """The code of a time."""
        config = self.config
        if config.kind == "neuraldiff":
            basis = time_basis(slots, config.num_slots, config.time_basis)
            return basis @ self.time[...]
        if config.kind == "nerfw":
            return self.time[...][slots]
        return wave_code(slots, config.num_slots - 1, WAVES)

    def coarse_density(self, points: Float[Array, "*batch S 3"]) -> Array:
        """The density that importance samples are drawn by, (*batch, S)."""
        encoded = frequency_encoding(points, self.config.position_bands)
        return self.coarse.density_of(self.coarse.hidden(encoded))

    def coarse_samples(
        self, points: Float[Array, "*batch S 3"], dirs: Float[Array, "*batch 3"]
    ) -> tuple[Array, Array]:
        """Density (*batch, S) and rgb (*batch, S, 3) of the coarse pass."""
        encoded = frequency_encoding(points, self.config.position_bands)
        hidden = self.coarse.hidden(encoded)
        per_ray = frequency_encoding(dirs, self.config.direction_bands)
        rgb = self.coarse.rgb_of(self.coarse.feature(hidden), per_ray)
        return self.coarse.density_of(hidden), rgb

    def samples(
        self,
        points: Float[Array, "*batch S 3"],
        camera_points: Float[Array, "*batch S 3"],
        dirs: Float[Array, "*batch 3"],
        slots: Int[Array, "*batch"],
        looks: Int[Array, "*batch"],
    ) -> Samples:
        """All streams: static; moving, but for NeRF; actor, for NeuralDiff.

        Args:
          points: World, scene units.
          camera_points: The same points in the axes of the camera.
          dirs: Unit length, world.
          slots: When, for the time codes.
          looks: Whose appearance code.
        """
        config = self.config
        hidden = self.fine.hidden(frequency_encoding(points, config.position_bands))
        feature = self.fine.feature(hidden)
        per_ray = frequency_encoding(dirs, config.direction_bands)
        if config.kind != "nerf":
            look = self.appearance[...][looks]
            per_ray = jnp.concatenate([per_ray, look], axis=-1)
        density, rgb = self.fine.density_of(hidden), self.fine.rgb_of(feature, per_ray)
        changing = self._changing(feature, camera_points, slots)
        if not changing:
            return Samples(density[None], rgb[None], jnp.zeros((0, *density.shape)))
        densities, colors, betas = zip(*changing, strict=True)
        return Samples(
            density=jnp.stack([density, *densities]),
            rgb=jnp.stack([rgb, *colors]),
            beta=jnp.stack(betas),
        )

    def _changing(
        self, feature: Array, camera_points: Array, slots: Array
    ) -> list[tuple[Array, Array, Array]]:
        config = self.config
        if config.kind == "nerf":
            return []
        code = self.time_code(slots)
        streams = [self.moving(feature, code)]
        if config.kind == "neuraldiff":
            encoded = frequency_encoding(camera_points, config.position_bands)
            streams.append(self.actor(encoded, code))
        return streams
