"""Hashed grids against their definition, node by node."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from egojax.ops.hash_grid import PRIMES, HashGrid, hash_encode

SMALL = HashGrid(levels=4, coarsest=3, finest=20, log2_rows=9, features=2)


def table_of(grid: HashGrid, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=grid.table_shape).astype(np.float32)


def plain(points, table, grid: HashGrid) -> np.ndarray:
    """Point by point, level by level, corner by corner, in float64."""
    out, most = [], 2**grid.log2_rows
    for point in np.clip(np.float64(points), 0, 1):
        features, start = [], 0
        for cells, rows in zip(grid.resolutions, grid.rows, strict=True):
            at = point * cells
            low = np.minimum(np.floor(at), cells - 1).astype(int)
            total = np.zeros(grid.features)
            for corner in np.ndindex(2, 2, 2):
                x, y, z = (int(v) for v in low + corner)
                if (cells + 1) ** 3 <= most:
                    row = x + (cells + 1) * (y + (cells + 1) * z)
                else:
                    terms = (
                        v * p % 2**32 for v, p in zip((x, y, z), PRIMES, strict=True)
                    )
                    a, b, c = terms
                    row = (a ^ b ^ c) % most
                part = np.where(corner, at - low, 1 - (at - low))
                total += part.prod() * table[start + row]
            features.append(total)
            start += rows
        out.append(np.concatenate(features))
    return np.array(out)


def test_levels_grow_from_the_coarsest_to_the_finest():
    assert HashGrid(12, 16, 1024, 19).resolutions[0] == 16
    assert HashGrid(12, 16, 1024, 19).resolutions[-1] == 1024
    assert HashGrid(1, 16, 16, 19).resolutions == (16,)
    assert SMALL.resolutions == (3, 5, 10, 20)
    assert SMALL.rows == (64, 216, 512, 512)
    assert SMALL.table_shape == (1304, 2) and SMALL.dim == 8


@pytest.mark.parametrize("features", [1, 2, 4])
def test_features_are_those_of_the_definition(features):
    grid = HashGrid(4, 3, 20, 9, features)
    rng = np.random.default_rng(1)
    points = np.concatenate(
        [rng.random((40, 3)), [[0, 0, 0], [1, 1, 1], [0.5, 0, 1], [-2, 3, 0.4]]]
    ).astype(np.float32)
    table = table_of(grid)
    found = hash_encode(points, table, grid)
    np.testing.assert_allclose(found, plain(points, table, grid), atol=2e-5)


def test_a_level_that_fits_reproduces_what_is_linear():
    """Nodes that hold a x + b y + c z give it back everywhere."""
    grid = HashGrid(1, 6, 6, 12, 1)
    node = np.stack(np.meshgrid(*[np.arange(7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    table = np.zeros((343, 1), np.float32)
    slope = np.array([0.3, -2.0, 1.1])
    table[node @ [1, 7, 49], 0] = node / 6 @ slope
    points = np.random.default_rng(0).random((2, 50, 3)).astype(np.float32)
    np.testing.assert_allclose(
        hash_encode(points, table, grid)[..., 0], points @ slope, atol=1e-5
    )
    found = jax.grad(lambda p: hash_encode(p, table, grid).sum())(points)
    np.testing.assert_allclose(found, np.broadcast_to(slope, points.shape), rtol=1e-4)


def test_gradients_are_those_of_the_gather_and_of_differences():
    rng = np.random.default_rng(2)
    points, table = rng.random((30, 3)).astype(np.float32), table_of(SMALL)
    weight = rng.normal(size=(30, SMALL.dim)).astype(np.float32)

    def total(points, table):
        return (weight * hash_encode(points, table, SMALL)).sum()

    by_points, by_table = jax.grad(total, argnums=(0, 1))(points, jnp.asarray(table))
    # Linear in the table: its gradient is what each row alone would give.
    change = rng.normal(size=table.shape).astype(np.float32)
    moved = (weight * plain(points, change, SMALL)).sum()
    np.testing.assert_allclose((by_table * change).sum(), moved, rtol=1e-4)
    step = 1e-5
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            at = np.float64(points)
            at[:, axis] += sign * step
            ends.append((weight * plain(at, table, SMALL)).sum(-1))
        slope = (ends[0] - ends[1]) / (2 * step)
        close = np.abs(by_points[:, axis] - slope) < 1e-2 * (1 + np.abs(slope))
        assert close.mean() > 0.9  # But for those that a step takes into another cell.


def test_batches_and_maps_give_the_same():
    points = np.random.default_rng(0).random((3, 5, 3)).astype(np.float32)
    table = table_of(SMALL)
    whole = hash_encode(points, table, SMALL)
    chex.assert_shape(whole, (3, 5, 8))
    mapped = jax.vmap(lambda p: hash_encode(p, table, SMALL))(points)
    np.testing.assert_allclose(mapped, whole, atol=1e-6)
    assert hash_encode(points[:0], table, SMALL).shape == (0, 5, 8)


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"table \(7, 2\); the grid has \(1304, 2\)"):
        hash_encode(np.zeros((1, 3), np.float32), np.zeros((7, 2), np.float32), SMALL)


def test_rows_beyond_those_of_the_grid_are_not_used():
    points = np.random.default_rng(0).uniform(size=(50, 3)).astype(np.float32)
    table = table_of(SMALL)
    more = np.concatenate([table, np.full((232, 2), np.nan, np.float32)])

    def total(table):
        return hash_encode(points, table, SMALL).sum()

    expected, found = jax.grad(total)(table), jax.grad(total)(more)
    np.testing.assert_array_equal(total(more), total(table))
    np.testing.assert_array_equal(found[: len(table)], expected)
    assert (found[len(table) :] == 0).all()


def test_tables_of_fewer_bits_have_gradients_of_their_own_type():
    table = jnp.asarray(table_of(SMALL))
    points = jnp.array([[0.1, 0.7, 0.3], [0.9, 0.2, 0.6]])

    def slope(table):
        return jax.grad(lambda t: hash_encode(points, t, SMALL).sum())(table)

    found = slope(table.astype(jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), slope(table), atol=0.02)


def test_encoding_lowers_for_every_device():
    def slope(points, table):
        return jax.grad(lambda p, t: hash_encode(p, t, SMALL).sum(), (0, 1))(
            points, table
        )

    args = jnp.zeros((4, 3)), jnp.asarray(table_of(SMALL))
    out = export.export(jax.jit(slope), platforms=("cpu", "cuda", "tpu"))(*args)
    assert out.platforms == ("cpu", "cuda", "tpu")
