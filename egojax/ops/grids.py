"""Features of positions from a grid of any kind.

What asks for features does not know the kind: a grid says how large its table is, how
many features a position has, and how many cells are along each side.
"""

from jaxtyping import Array, Float

from egojax.ops.hash_grid import HashGrid, hash_encode
from egojax.ops.plane_grid import PlaneGrid, plane_encode
from egojax.types import ArrayLike, typed

Grid = HashGrid | PlaneGrid
KINDS: dict[str, type[Grid]] = {"hash": HashGrid, "planes": PlaneGrid}


@typed
def encode(
    points: Float[ArrayLike, "*batch 3"], table: Float[ArrayLike, "R F"], grid: Grid
) -> Float[Array, "*batch E"]:
    """As `hash_encode` or `plane_encode`, whichever the grid asks for."""
    if isinstance(grid, HashGrid):
        return hash_encode(points, table, grid)
    return plane_encode(points, table, grid)
