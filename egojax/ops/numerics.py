"""Roots and quotients with finite gradients, sums that lose few digits, solvers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from egojax.types import typed


def safe_divide(
    numerator: Float[Array, "*batch"] | float,
    denominator: Float[Array, "*batch"],
    otherwise: float = 0.0,
) -> Float[Array, "*batch"]:
    """The quotient; `otherwise`, with gradient 0, where the denominator is 0."""
    is_zero = denominator == 0
    return jnp.where(
        is_zero, otherwise, numerator / jnp.where(is_zero, 1.0, denominator)
    )


@typed
def safe_sqrt(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The root of x; 0, with gradient 0, where x <= 0."""
    is_positive = x > 0
    return jnp.where(is_positive, jnp.sqrt(jnp.where(is_positive, x, 1.0)), 0.0)


@typed
def safe_norm(x: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
    """Length along the last axis; the gradient at the origin is 0."""
    return safe_sqrt((x * x).sum(-1))


@typed
def fold_sum(x: Float[Array, "N *rest"], width: int = 256) -> Float[Array, "*rest"]:
    """The sum over the first axis, in `width` running sums that are then summed.

    Vectorises where a single running sum cannot, and rounds some `width` times less.
    """
    rows = -(-x.shape[0] // width)
    pad = [(0, rows * width - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
    return jnp.pad(x, pad).reshape(rows, width, *x.shape[1:]).sum(0).sum(0)


def dot_rows(a: Array, b: Array) -> Array:
    """a b^T of matrices (*batch, I, N) and (*batch, J, N), as precise as their type.

    By `lax` and without a type for the result: `jnp` names one, which is lost where a
    function that computes in float64 within is mapped over from outside.
    """
    batch = tuple(range(a.ndim - 2))
    axes = ((a.ndim - 1,), (b.ndim - 1,)), (batch, batch)
    return lax.dot_general(a, b, axes, precision=lax.Precision.HIGHEST)


def in_float64(fn: Callable[..., Any], *args: Array) -> Any:
    """What `fn` returns where float64 exists while it is traced, as float32.

    The one way of the project to compute in float64 within a program of float32: `fn`
    turns what it wants to be wide into `jnp.float64` by itself, and multiplies matrices
    by `dot_rows`. It may be jitted, mapped over and split over devices from outside;
    differentiated it may not be, so it belongs into a `jax.custom_vjp`. TPUs have no
    float64.
    """
    with jax.enable_x64(True):
        return jax.tree.map(lambda x: x.astype(jnp.float32), fn(*args))


def one_by_one(fn: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """`fn` of matrices (*batch, I, J), such as `jnp.linalg.eigh`, which hangs nowhere.

    On a CPU the matrices are solved one after the other, also where the result is
    mapped over. XLA has all threads work on a batch, and two batches at once, of one
    program or on several devices, can wait for each other's threads for ever (jaxlib
    0.10, `ParallelBatchMap`). It has no gradient.
    """

    def each(matrices: Array) -> Any:
        batch = matrices.shape[:-2]
        found = lax.map(fn, matrices.reshape(-1, *matrices.shape[-2:]))
        return jax.tree.map(lambda x: x.reshape(*batch, *x.shape[1:]), found)

    @jax.custom_batching.custom_vmap
    def solve(matrices: Array) -> Any:
        with jax.enable_x64(matrices.dtype == jnp.float64):
            return lax.platform_dependent(matrices, cpu=each, default=fn)

    @solve.def_vmap
    def solve_batch(size: int, is_batched: Any, matrices: Array) -> Any:
        del size, is_batched
        found = solve(matrices)  # Of one more axis in front, which it takes.
        return found, jax.tree.map(lambda _: True, found)

    return solve
