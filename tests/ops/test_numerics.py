"""Solvers of many matrices, one by one: values, types, and what a CPU is told."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.ops.numerics import in_float64, one_by_one

EIGH = one_by_one(jnp.linalg.eigh)


def symmetric(*batch, size=5):
    rows = np.random.default_rng(0).normal(size=(*batch, size, size + 2))
    return rows @ np.swapaxes(rows, -1, -2)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,), (1, 1, 4)])
def test_eigenvalues_of_any_batch_are_those_of_numpy(batch):
    given = symmetric(*batch)
    values, vectors = EIGH(jnp.asarray(given, jnp.float32))
    assert values.shape == given.shape[:-1] and vectors.shape == given.shape
    np.testing.assert_allclose(values, np.linalg.eigh(given)[0], rtol=1e-4)
    back = np.asarray(vectors) @ (
        np.asarray(values)[..., None] * np.swapaxes(np.asarray(vectors), -1, -2)
    )
    np.testing.assert_allclose(back, given, atol=1e-4)


def test_mapped_over_within_float64_it_keeps_its_digits():
    given = symmetric(2, 3)

    def lowest(matrix):
        def solve(x):
            return EIGH(x.astype(jnp.float64) + 1e-9 * jnp.eye(5, dtype=jnp.float64))[0]

        return in_float64(solve, matrix)

    small = jnp.asarray(given - given, jnp.float32)
    found = jax.jit(jax.vmap(jax.vmap(lowest)))(small + 1.0)
    expected = np.linalg.eigvalsh(np.ones((5, 5)) + 1e-9 * np.eye(5))
    np.testing.assert_allclose(found[1, 2], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("platform", "call", "shape"),
    [("cpu", "lapack_ssyevd_ffi", "5x5"), ("cuda", "cusolver_syevd_ffi", "3x4x5x5")],
)
def test_a_cpu_solves_one_matrix_at_a_time_and_a_gpu_all(platform, call, shape):
    solve = jax.jit(jax.vmap(jax.vmap(EIGH))).trace(jnp.zeros((3, 4, 5, 5)))
    text = solve.lower(lowering_platforms=(platform,)).as_text()
    (line,) = re.findall(rf"custom_call @{call}\([^\n]*", text)
    assert f": (tensor<{shape}xf32>) ->" in line


PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from egojax.ops.subspace import lowrank_tail
def loss(a, b, m):
    tails = jax.vmap(lambda x, y: lowrank_tail(x, y, 3))
    return tails(a, m).sum() + tails(b, 1 - m).sum()
a, b, m = np.random.default_rng(0).uniform(size=(3, 16, 8, 600)).astype(np.float32)
mesh = jax.sharding.Mesh(jax.devices(), ("x",))
split = jax.NamedSharding(mesh, jax.P("x"))
a, b, m = jax.device_put((a, b, m), split)
step = jax.jit(jax.value_and_grad(loss, argnums=2))
for _ in range(5):
    value, slope = jax.block_until_ready(step(a, b, m))
assert np.isfinite(value) and np.isfinite(slope).all()
"""


def test_two_batches_on_two_devices_end(monkeypatch):
    """On two threads they waited for each other for ever."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=300)
