"""The fast fields: the same three streams, in hashed grids and small networks.

Positions come contracted into the unit cube, the actor's in the axes of the camera. As
in `models.nerf` a ray has S samples, and what they share is multiplied once.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from egojax.models.blocks import Affine, Samples
from egojax.models.poses import PoseErrors
from egojax.ops.encoding import frequency_encoding, time_basis
from egojax.ops.grids import Grid, encode
from egojax.ops.hash_grid import HashGrid

DENSITY_BIAS = -1.0  # The static stream starts thin.
MOST_LOG_DENSITY = 12.0  # Opaque in a hundredth of a thousandth of a unit.
TABLE_RANGE = 1e-4  # Of fresh tables.
SHARED_BY = 256  # Devices, or any divisor of that, can share the rows of a table.
GEOMETRY = 15  # Numbers that the density network hands to the colour network.


STATIC, MOVING = HashGrid(12, 16, 1024, 19), HashGrid(8, 16, 256, 18)
PROPOSAL = HashGrid(5, 16, 256, 17)
ACTOR = HashGrid(4, 64, 512, 18)


@dataclasses.dataclass(frozen=True)
class GridConfig:
    """Sizes of the fields."""

    static: Grid = STATIC
    moving: Grid = MOVING
    proposal: Grid = PROPOSAL
    actor: Grid = ACTOR  # Of directions and time, once a ray; at the finest level
    actor_cells: int = 32  # so many cells are along each side of all directions,
    actor_times: int = 500  # and so many along time.
    width: int = 64
    proposal_width: int = 16
    direction_bands: int = 2
    actor_bands: int = 6
    num_slots: int = 1000
    appearance_dim: int = 8
    time_dim: int = 16
    time_basis: int = 21
    density_bias: float = DENSITY_BIAS  # Of fresh densities,
    changing_bias: float = DENSITY_BIAS  # and of those of what changes.
    dtype: str = "float32"  # Of products.
    exposure: bool = False  # Colours have a gain for each look.
    poses: bool = False  # Poses have errors.


def density_of(x: Array, bias: float = DENSITY_BIAS) -> Array:
    """What a network's number says of a density, >= 0.

    An exponential: a wall is as near to fog as numbers are, and is learned as soon.
    """
    return jnp.exp(jnp.minimum(x + bias, MOST_LOG_DENSITY))


class Mlp(nnx.Module):
    """Affine layers with rectifiers between them."""

    def __init__(self, dims: tuple[int, ...], dtype: str, rngs: nnx.Rngs):
        pairs = itertools.pairwise(dims)
        self.layers = nnx.List([Affine(a, b, dtype, rngs) for a, b in pairs])

    def __call__(self, x: Array, per_ray: Array | None = None) -> Array:
        """Of samples (*batch, S, A) and of what a ray's samples share (*batch, B)."""
        for i, layer in enumerate(self.layers):
            x = layer(x, per_ray) if i == 0 else layer(jax.nn.relu(x))
        return x


def _table(grid: Grid, rngs: nnx.Rngs) -> nnx.Param:
    """With unused rows at its end, so that devices can share it."""
    rows, features = grid.table_shape
    shape = -(-rows // SHARED_BY) * SHARED_BY, features
    values = jax.random.uniform(rngs.params(), shape, minval=-1.0)
    return nnx.Param(TABLE_RANGE * values)


class GridFields(nnx.Module):
    """The fields, the proposal and the codes of one scene."""

    def __init__(self, config: GridConfig, *, rngs: nnx.Rngs):
        self.config = config
        width, dtype = config.width, config.dtype
        direction = 3 + 6 * config.direction_bands
        self.proposal_table = _table(config.proposal, rngs)
        self.proposal = Mlp(
            (config.proposal.dim, config.proposal_width, 1), dtype, rngs
        )
        self.static_table = _table(config.static, rngs)
        self.geometry = Mlp((config.static.dim, width, 1 + GEOMETRY), dtype, rngs)
        color = GEOMETRY + direction + config.appearance_dim
        self.color = Mlp((color, width, 3), dtype, rngs)
        self.moving_table = _table(config.moving, rngs)
        changing = width, width, 5  # Density, colour, uncertainty.
        self.gate = Affine(config.time_dim, config.moving.dim, dtype, rngs)
        moving = config.moving.dim + config.time_dim
        self.moving = Mlp((moving, *changing), dtype, rngs)
        self.actor_table = _table(config.actor, rngs)
        actor = 3 + 6 * config.actor_bands + config.time_dim + config.actor.dim
        self.actor = Mlp((actor, *changing), dtype, rngs)
        self.appearance = nnx.Param(
            jnp.zeros((config.num_slots, config.appearance_dim))
        )
        shape = config.time_basis, config.time_dim
        table = jax.random.uniform(rngs.params(), shape, minval=-1.0)
        self.time = nnx.Param((6.0 / config.time_dim) ** 0.5 * table)
        gains = jnp.zeros((config.num_slots, 3))
        self.exposure = nnx.Param(gains) if config.exposure else None
        self.poses = PoseErrors(config.num_slots) if config.poses else None

    def time_code(self, slots: Int[Array, "*batch"]) -> Float[Array, "*batch C"]:
        """The code of a time."""
        config = self.config
        basis = time_basis(slots, config.num_slots, config.time_basis)
        return basis @ self.time[...]

    def actor_code(
        self, camera_dirs: Float[Array, "*batch 3"], slots: Int[Array, "*batch"]
    ) -> Float[Array, "*batch C"]:
        """What is in the way in a direction of the camera's, at a time.

        It is smooth over both, so that frames between those that were seen have what
        their neighbours have.
        """
        config = self.config
        cells, _, times = config.actor.sides
        cells, times = config.actor_cells / cells, config.actor_times / times
        when = times / max(config.num_slots - 1, 1) * slots.astype(jnp.float32)
        at = [cells * (0.5 + 0.5 * camera_dirs[..., :2]), when[..., None]]
        return encode(jnp.concatenate(at, axis=-1), self.actor_table[...], config.actor)

    def proposal_density(self, points: Float[Array, "*batch S 3"]) -> Array:
        """The density that says where to look, (*batch, S)."""
        table = self.proposal_table[...]
        encoded = encode(points, table, self.config.proposal)
        return density_of(self.proposal(encoded)[..., 0])

    def samples(
        self,
        points: Float[Array, "*batch S 3"],
        camera_points: Float[Array, "*batch S 3"],
        camera_dirs: Float[Array, "*batch 3"],
        dirs: Float[Array, "*batch 3"],
        slots: Int[Array, "*batch"],
        looks: Int[Array, "*batch"],
    ) -> Samples:
        """All streams: static, moving, actor.

        Args:
          points: In the unit cube.
          camera_points: The same points in the axes of the camera, of some unit length.
          camera_dirs: The rays there, unit length.
          dirs: Unit length, world.
          slots: When, for the time codes.
          looks: Whose appearance code.
        """
        config, code = self.config, self.time_code(slots)
        encoded = encode(points, self.static_table[...], config.static)
        geometry = self.geometry(encoded)
        per_ray = frequency_encoding(dirs, config.direction_bands)
        per_ray = jnp.concatenate([per_ray, self.appearance[...][looks]], axis=-1)
        color = jax.nn.sigmoid(self.color(geometry[..., 1:], per_ray))
        moving = encode(points, self.moving_table[...], config.moving)
        actor = frequency_encoding(camera_points, config.actor_bands)
        seen = self.actor_code(camera_dirs, slots)
        per_ray = jnp.concatenate([code, seen], axis=-1)
        # What is there at a time: features by position, each by the time's own factor.
        moving = moving * (1.0 + self.gate(code))[..., None, :]
        changing = [self.moving(moving, code), self.actor(actor, per_ray)]
        static = density_of(geometry[..., 0], config.density_bias)
        density = [density_of(x[..., 0], config.changing_bias) for x in changing]
        rgb = jnp.stack([color, *(jax.nn.sigmoid(x[..., 1:4]) for x in changing)])
        if self.exposure is not None:
            rgb = rgb * jnp.exp(self.exposure[...][looks])[None, ..., None, :]
        return Samples(
            density=jnp.stack([static, *density]),
            rgb=rgb,
            beta=jax.nn.softplus(jnp.stack([x[..., 4] for x in changing])),
        )
