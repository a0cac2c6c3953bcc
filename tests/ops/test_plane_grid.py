"""Planes and volumes against SciPy's interpolation, and without a single look-up."""

import dataclasses
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import PartitionSpec as P
from scipy.ndimage import map_coordinates

from egojax.ops.grids import encode
from egojax.ops.hash_grid import HashGrid
from egojax.ops.plane_grid import PlaneGrid, plane_encode
from egojax.train.mesh import make_mesh

SMALL = PlaneGrid(volume=2, levels=3, coarsest=3, finest=12, features=2)
LONG = PlaneGrid(volume=2, levels=2, coarsest=2, finest=4, features=3, along_z=2.6)
LOOK_UPS = re.compile(r"stablehlo\.\w*(?:gather|scatter)\w*")


def table_of(grid: PlaneGrid, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=grid.table_shape).astype(np.float32)


def points_of(num: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((num, 3)).astype(np.float32)


def parts_of(table, grid: PlaneGrid) -> list:
    """Volume and planes, each with its axes slowest first."""
    parts, start = [], 0
    for cells in (grid.volume, *grid.resolutions):
        x, z = cells + 1, max(1, round(cells * grid.along_z)) + 1
        for shape in [(x, x), (z, x), (z, x)] if parts else [(z, x, x)]:
            end = start + math.prod(shape)
            parts.append(table[start:end].reshape(*shape, -1))
            start = end
    assert start == len(table)
    return parts


def plain(points, table, grid: PlaneGrid) -> np.ndarray:
    """SciPy's interpolation of each part, in float64."""
    at = np.clip(np.float64(points), 0, 1)

    def between(part: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        ends = [n - 1 for n in part.shape[:-1]]
        where = [at[:, axis] * n for axis, n in zip(axes, ends, strict=True)]
        columns = np.moveaxis(np.float64(part), -1, 0)
        return np.stack([map_coordinates(c, where, order=1) for c in columns], -1)

    volume, *planes = parts_of(table, grid)
    out = [between(volume, (2, 1, 0))]
    for xy, xz, yz in zip(*[iter(planes)] * 3, strict=True):
        values = between(xy, (1, 0)), between(xz, (2, 0)), between(yz, (2, 1))
        out.append(np.prod([1 + v for v in values], axis=0) - 1)
    return np.concatenate(out, -1)


def looked_up(points, table, grid: PlaneGrid):
    """The same by reading the nodes around each point, for gradients."""
    at = jnp.clip(points, 0.0, 1.0)

    def between(part, axes):
        total = 0.0
        where = [at[:, a] * (n - 1) for a, n in zip(axes, part.shape, strict=False)]
        low = [
            jnp.clip(jnp.floor(w), 0, n - 2).astype(int)
            for w, n in zip(where, part.shape, strict=False)
        ]
        for corner in np.ndindex(*(2,) * len(axes)):
            share, index = 1.0, []
            for w, first, k in zip(where, low, corner, strict=True):
                share = share * (w - first if k else 1 - (w - first))
                index.append(first + k)
            total = total + share[:, None] * part[tuple(index)]
        return total

    volume, *planes = parts_of(table, grid)
    out = [between(volume, (2, 1, 0))]
    for xy, xz, yz in zip(*[iter(planes)] * 3, strict=True):
        values = between(xy, (1, 0)), between(xz, (2, 0)), between(yz, (2, 1))
        out.append((1 + values[0]) * (1 + values[1]) * (1 + values[2]) - 1)
    return jnp.concatenate(out, -1)


def test_levels_have_their_sizes():
    """By hand: 3^3 nodes, then three planes each of 4^2, 7^2 and 13^2."""
    assert SMALL.resolutions == (3, 6, 12)
    assert SMALL.table_shape == (27 + 3 * (16 + 49 + 169), 2) and SMALL.dim == 8
    assert SMALL.sides == (12, 12, 12)
    # Along z 2.6 times as many cells: 5 of the volume, then 5 and 10 of planes.
    assert LONG.rows == (54, 9, 18, 18, 25, 55, 55) and LONG.sides == (4, 4, 10)
    assert LONG.dim == 9
    assert LONG.chunk == 2**19 // (4 * 18)  # Pairs of the volume's y and z are most.


@pytest.mark.parametrize("grid", [SMALL, LONG])
@pytest.mark.parametrize("num", [1, 300])
def test_features_are_those_of_the_definition(grid, num):
    table = table_of(grid)
    points = np.concatenate(
        [points_of(num), [[0, 0, 0], [1, 1, 1], [0.5, 0, 1], [-2, 3, 0.4]]]
    ).astype(np.float32)
    found = plane_encode(points, table, grid)
    np.testing.assert_allclose(found, plain(points, table, grid), atol=5e-5)
    assert (found == encode(points, table, grid)).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_constant_table_is_constant_everywhere(seed):
    """Hats sum to one; of planes that hold c it is (1 + c)^3 - 1."""
    points = points_of(100, seed) * 3 - 1
    table = np.full(SMALL.table_shape, 0.5, np.float32)
    found = np.asarray(plane_encode(points, table, SMALL))
    np.testing.assert_allclose(found[:, :2], 0.5, rtol=1e-6)
    np.testing.assert_allclose(found[:, 2:], 1.5**3 - 1, rtol=1e-5)


def test_at_a_node_there_is_what_the_table_holds():
    grid = PlaneGrid(volume=4, levels=1, coarsest=4, finest=4, features=1)
    node = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    table = table_of(grid)
    found = plane_encode((node / 4).astype(np.float32), table, grid)
    np.testing.assert_allclose(
        found[:, 0], table[node @ [1, 5, 25], 0], rtol=1e-6, atol=1e-7
    )
    starts = 125 + 25 * np.arange(3)
    rows = starts + node @ np.array([[1, 1, 0], [5, 0, 1], [0, 5, 5]])
    held = table[rows, 0].astype(np.float64)
    np.testing.assert_allclose(found[:, 1], np.prod(1 + held, -1) - 1, atol=1e-5)


def test_outside_the_cube_is_what_is_on_its_border():
    points = 4 * points_of(200) - 1.5
    table = table_of(LONG)
    found = plane_encode(points, table, LONG)
    np.testing.assert_array_equal(
        found, plane_encode(np.clip(points, 0, 1), table, LONG)
    )
    slope = jax.grad(lambda p: plane_encode(p, table, LONG).sum())(points)
    outside = (points < 0) | (points > 1)
    assert (slope[outside] == 0).all() and (slope[~outside] != 0).all()


@pytest.mark.parametrize("grid", [SMALL, LONG])
def test_gradients_are_those_of_look_ups(grid):
    points, table = points_of(150), jnp.asarray(table_of(grid))
    weight = table_of(grid, 5)[:1, :1] + points_of(150, 3)[:, :1]

    def slope(fn):
        return jax.jit(jax.grad(lambda p, t: (weight * fn(p, t, grid)).sum(), (0, 1)))

    found = slope(plane_encode)(jnp.asarray(points), table)
    expected = slope(looked_up)(jnp.asarray(points), table)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


def test_gradients_of_points_are_those_of_differences():
    """Of points away from nodes, where all is smooth."""
    cells = np.random.default_rng(0).integers(0, 12, (60, 3))
    points = (
        (cells + np.random.default_rng(1).uniform(0.2, 0.8, (60, 3))) / 12
    ).astype(np.float32)
    table, step = table_of(SMALL), 1e-4
    found = jax.grad(lambda p: plane_encode(p, table, SMALL).sum())(points)
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        ends = [plain(points + s * shift, table, SMALL).sum(-1) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(found[:, axis], slope, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    "grid",
    [
        PlaneGrid(volume=1, levels=1, coarsest=1, finest=1, features=1),
        PlaneGrid(volume=1, levels=1, coarsest=3, finest=3, features=2, along_z=0.1),
    ],
)
def test_one_cell_along_an_axis_is_enough(grid):
    points, table = points_of(20), table_of(grid)
    found = plane_encode(points, table, grid)
    np.testing.assert_allclose(found, plain(points, table, grid), atol=2e-5)


def test_batches_maps_one_and_no_point_give_the_same():
    points, table = points_of(15).reshape(3, 5, 3), table_of(SMALL)
    whole = plane_encode(points, table, SMALL)
    chex.assert_shape(whole, (3, 5, 8))
    mapped = jax.vmap(lambda p: plane_encode(p, table, SMALL))(points)
    np.testing.assert_allclose(mapped, whole, atol=1e-5)
    np.testing.assert_allclose(
        plane_encode(points[0, 0], table, SMALL), whole[0, 0], atol=1e-5
    )
    assert plane_encode(points[:0], table, SMALL).shape == (0, 5, 8)
    slope = jax.grad(lambda t: plane_encode(points[:0], t, SMALL).sum())(table)
    assert (slope == 0).all()


def slopes(grid):
    def both(points, table):
        return jax.value_and_grad(lambda p, t: encode(p, t, grid).sum(), (0, 1))(
            points, table
        )

    return both


def test_many_points_in_chunks_are_as_few_at_once():
    """Two chunks of twenty points of 26 numbers, 104 bytes, and one point more."""
    num, few = 41, dataclasses.replace(SMALL, chunk_bytes=2100)
    assert few.chunk == 20 and SMALL.chunk > num
    points, table = points_of(num), jnp.asarray(table_of(SMALL))
    found, expected = (jax.jit(slopes(grid))(points, table) for grid in (few, SMALL))
    for ours, theirs in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    at_once = plane_encode(points, table, SMALL)
    np.testing.assert_allclose(plane_encode(points, table, few), at_once, atol=1e-5)


def lowered(grid, num: int) -> str:
    """The program of features and both gradients, for a TPU."""
    args = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((num, 3), grid.table_shape)]
    return export.export(jax.jit(slopes(grid)), platforms=("tpu",))(*args).mlir_module()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("num", [7, 10_000])
def test_nothing_is_looked_up_and_nothing_is_scattered(dtype, num):
    grid = PlaneGrid(8, 2, 32, 64, 4, dtype=dtype)
    assert not LOOK_UPS.findall(lowered(grid, num))
    # What is searched for is what hashed grids are full of.
    assert len(set(LOOK_UPS.findall(lowered(HashGrid(2, 4, 16, 8), num)))) == 2


def test_no_matrix_of_nodes_is_of_all_points():
    """Of 129 nodes and four features; what is kept of all points is far less."""
    num, grid = 1 << 20, PlaneGrid(8, 2, 32, 128, 4)
    sizes = [
        math.prod(int(n) for n in found.split("x")[:-1])
        for found in re.findall(r"tensor<((?:\d+x)+)f32>", lowered(grid, num))
    ]
    assert 4 * 4 * 129 * grid.chunk <= grid.chunk_bytes
    assert num * grid.dim <= max(sizes) <= 3 * num * grid.dim < num * 129


@pytest.mark.parametrize("grid", [SMALL, LONG])
def test_encoding_lowers_for_every_device(grid):
    args = jnp.zeros((4, 3)), jnp.asarray(table_of(grid))
    platforms = ("cpu", "cuda", "tpu")
    out = export.export(jax.jit(slopes(grid)), platforms=platforms)(*args)
    assert out.platforms == platforms


def test_four_devices_give_what_one_gives():
    mesh, grid = make_mesh(4), dataclasses.replace(SMALL, chunk_bytes=2100)
    points, table = points_of(3 * grid.chunk), table_of(grid)
    placed = [jax.sharding.NamedSharding(mesh, axes) for axes in (P("data"), P())]
    total, by_input = jax.jit(slopes(grid), in_shardings=placed)(points, table)
    alone, expected = jax.jit(slopes(grid))(points, table)
    np.testing.assert_allclose(total, alone, rtol=1e-4)
    for ours, theirs in zip(by_input, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_products_of_bfloat16_are_near_and_summed_in_float32():
    rough = PlaneGrid(2, 3, 3, 12, 2, dtype="bfloat16")
    points, table = points_of(500), table_of(rough)
    exact = np.asarray(plane_encode(points, table, SMALL))
    found = np.asarray(plane_encode(points, table, rough))
    error = np.abs(found - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 2**-6
    products = re.findall(r"dot_general.*: \((.*)\) -> (.*)", lowered(rough, 500))
    assert any("bf16" in operands and "f32" in out for operands, out in products)


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"table \(7, 2\); the grid has \(729, 2\)"):
        plane_encode(np.zeros((1, 3), np.float32), np.zeros((7, 2), np.float32), SMALL)


def test_rows_beyond_those_of_the_grid_are_not_used():
    points, table = points_of(50), table_of(SMALL)
    more = np.concatenate([table, np.full((39, 2), np.nan, np.float32)])
    found = jax.grad(lambda t: plane_encode(points, t, SMALL).sum())(more)
    expected = jax.grad(lambda t: plane_encode(points, t, SMALL).sum())(table)
    np.testing.assert_array_equal(found[: len(table)], expected)
    assert (found[len(table) :] == 0).all()
