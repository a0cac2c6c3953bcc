"""How far point trajectories are from moving as one body, mask by mask.

The trajectories of N points over T frames are the columns of a matrix P (D, N) with
D = 2 T: all x, then all y (`stack_tracks`), in pixels. Points of one rigid body before
an affine camera lie in a subspace of four dimensions. For a mask m over the points, the
tail is the sum of the singular values of P diag(m) beyond the first `rank`: small where
what the mask weighs moves as one body.

Points may have weights c >= 0: one of weight c counts as c copies of it, so that a
weight of 0 is padding.

Source: Karazija et al. 2024 (LRTL), `losses/track_svdval.py`. Differs: singular values
of the D x D Gram matrix or of a QR factor, not of the D x N matrix; a gradient of its
own, which divides by no difference of singular values; values mask by mask.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from egojax.ops.numerics import dot_rows, in_float64, one_by_one
from egojax.types import ArrayLike, typed

Method = Literal["auto", "gram64", "qr32", "deflate32"]
# Points at once: of a Gram matrix, so that its operands stay in a cache, and of slopes.
CHUNK, SLOPES = 1024, 8192
# Singular values below these shares of the largest are rounding, which has no gradient.
NOISE = {"gram64": 1e-7, "qr32": 1e-7, "deflate32": 1e-6}
EIGH, SVD = one_by_one(jnp.linalg.eigh), one_by_one(jnp.linalg.svd)
UPPER = one_by_one(functools.partial(jnp.linalg.qr, mode="r"))


class _Tail(NamedTuple):
    """Tails (K,), and A (K, D, D - rank) whose A A^T is the slope by P diag(c m^2) P^T.

    To be exact, twice that slope. `sums` (K, 2, D - rank) are those of A's rows of x
    and of y: they round less than A, see `_product`.
    """

    value: Array
    factor: Array
    sums: Array


def stack_tracks(tracks: Float[ArrayLike, "T N 2"]) -> Float[Array, "D N"]:
    """Trajectories as a matrix: a column a point, the rows all x, then all y."""
    tracks = jnp.asarray(tracks)
    frames, count, _ = tracks.shape
    return jnp.moveaxis(tracks, -1, 0).reshape(2 * frames, count)


@functools.partial(jax.jit, static_argnames=("rank", "method", "axis_name"))
@typed
def lowrank_tail(
    tracks: Float[ArrayLike, "D N"],
    masks: Float[ArrayLike, "K N"],
    rank: int = 5,
    weights: Float[ArrayLike, " N"] | None = None,
    *,
    method: Method = "auto",
    axis_name: str | None = None,
) -> Float[Array, " K"]:
    """The sum of singular values beyond the first `rank`, mask by mask.

    Args:
      tracks: See `stack_tracks`; finite. Neither centred nor scaled here.
      masks: >= 0.
      rank: How many values are free.
      weights: >= 0, of each point; None = 1.
      method: "gram64" forms Gram matrices in float64; "qr32" reduces chunks of points
        by QR in float32, for devices without float64; "deflate32" is of products and
        eigenvectors alone in float32, good for a percent; "auto" is gram64, on a TPU
        qr32.
      axis_name: In `jax.shard_map`, the axis that N is split over. Each device gets the
        tails of all points, and the gradients of its own.

    Returns:
      Differentiable in tracks, masks and weights. Homogeneous in each mask; its
      gradient by the mask is >= 0, and 0 where all values beyond the first are 0.

    Raises:
      ValueError: rank < 0.
    """
    if rank < 0:
        raise ValueError(f"rank={rank}; expected 0 or more")
    tracks, masks = jnp.asarray(tracks), jnp.asarray(masks)
    shares = jnp.ones(tracks.shape[1], masks.dtype)
    if weights is not None:
        shares = jnp.asarray(weights, masks.dtype)
    return _tail(tracks, masks, shares, rank, method, axis_name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _tail(
    tracks: Array,
    masks: Array,
    weights: Array,
    rank: int,
    method: Method,
    axis_name: str | None,
) -> Array:
    return _solve(tracks, masks, weights, rank, method, axis_name).value


def _tail_fwd(
    tracks: Any,
    masks: Any,
    weights: Any,
    rank: int,
    method: Method,
    axis_name: str | None,
) -> tuple:
    wanted = tuple(() if x.perturbed else None for x in (tracks, weights))
    given = tracks.value, masks.value, weights.value
    found = _solve(*given, rank, method, axis_name)
    return found.value, (*given, found, wanted)


def _tail_bwd(
    rank: int, method: Method, axis_name: str | None, saved: tuple, slope: Any
) -> tuple:
    """With q = A^T p of a point, the slope of a tail by c m^2 is |q|^2 / 2."""
    del rank, method, axis_name
    tracks, masks, weights, tail, (of_tracks, of_weights) = saved
    if isinstance(slope, jax.custom_derivatives.SymbolicZero):
        return (jnp.zeros_like(tracks), jnp.zeros_like(masks), jnp.zeros_like(weights))

    def one(piece: tuple[Array, Array, Array]) -> tuple:
        points, mask, weight = piece  # (D, n), (K, n), (n,)
        q = _product(tail, points)
        length = (q * q).sum(1) * slope[:, None]
        by_points = None
        if of_tracks is not None:
            scaled = q * (slope[:, None] * weight[None] * mask * mask)[:, None]
            by_points = jnp.einsum("kdr,krn->dn", tail.factor, scaled)
        by_weight = None if of_weights is None else 0.5 * (length * mask**2).sum(0)
        return by_points, length * mask * weight[None], by_weight

    by_tracks, by_masks, by_weights = _over_points(one, (tracks, masks, weights))
    return (
        jnp.zeros_like(tracks) if by_tracks is None else by_tracks,
        by_masks,
        jnp.zeros_like(weights) if by_weights is None else by_weights,
    )


def _product(tail: _Tail, points: Array) -> Array:
    """A^T P, (K, D - rank, n).

    Places over time are a mean and little else, and the mean is nearly in directions
    that A lacks: summed up in float32 it would leave its rounding. It goes by itself.
    """
    half = len(points) // 2
    ways = points[:half], points[half:]
    means = jnp.stack([way.sum(0) / max(len(way), 1) for way in ways])
    near = [way - mean[None] for way, mean in zip(ways, means, strict=True)]
    return jnp.einsum(
        "kdr,dn->krn",
        jnp.concatenate([tail.factor, tail.sums], axis=1),
        jnp.concatenate([*near, means]),
        precision=lax.Precision.HIGHEST,
    )


_tail.defvjp(_tail_fwd, _tail_bwd, symbolic_zeros=True)


def _over_points(fn: Any, given: tuple) -> Any:
    """`fn` of chunks of the last axes, its results joined along theirs."""
    count = given[0].shape[-1]
    if count <= SLOPES:
        return fn(given)
    found = lax.map(fn, tuple(_cut(x, SLOPES) for x in given))
    return jax.tree.map(lambda x: _joined(x)[..., :count], found)


def _cut(x: Array, size: int) -> Array:
    """(..., N) as (chunks, ..., size), with zeros behind the last point."""
    chunks = -(-x.shape[-1] // size)
    pad = [(0, 0)] * (x.ndim - 1) + [(0, chunks * size - x.shape[-1])]
    cut = jnp.pad(x, pad).reshape(*x.shape[:-1], chunks, size)
    return jnp.moveaxis(cut, -2, 0)


def _joined(x: Array) -> Array:
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)


# --------------------------------------------------------------------- singular values


def _solve(
    tracks: Array,
    masks: Array,
    weights: Array,
    rank: int,
    method: Method,
    axis_name: str | None,
) -> _Tail:
    solvers = {
        name: functools.partial(fn, rank=rank, axis_name=axis_name)
        for name, fn in SOLVERS.items()
    }
    if method != "auto":
        return solvers[method](tracks, masks, weights)
    return lax.platform_dependent(
        *(tracks, masks, weights), tpu=solvers["qr32"], default=solvers["gram64"]
    )


def _by_gram64(
    tracks: Array, masks: Array, weights: Array, *, rank: int, axis_name: str | None
) -> _Tail:
    def solve(tracks: Array, masks: Array, weights: Array) -> _Tail:
        gram = _summed(_gram(tracks, masks, weights, jnp.float64), axis_name)
        values, vectors = _eigen(gram)
        tail = values[:, rank:], vectors[..., rank:]
        return _cut_off(*tail, values[:, :1], NOISE["gram64"])

    return in_float64(solve, tracks, masks, weights)


def _by_qr32(
    tracks: Array, masks: Array, weights: Array, *, rank: int, axis_name: str | None
) -> _Tail:
    """R of a QR of (P diag(m))^T has its singular values, and vectors of its rows."""
    depth, scale = len(tracks), jnp.sqrt(weights)

    def add(upper: Array, piece: tuple[Array, Array, Array]) -> tuple[Array, None]:
        points, mask, share = piece
        scaled = points[None] * (mask * share[None])[:, None]
        both = jnp.concatenate([upper, jnp.swapaxes(scaled, -1, -2)], axis=1)
        return UPPER(both), None

    pieces = _cut(tracks, CHUNK), _cut(masks, CHUNK), _cut(scale, CHUNK)
    upper = jnp.zeros((len(masks), depth, depth), tracks.dtype)
    if len(pieces[0]):
        upper, _ = add(upper, jax.tree.map(lambda x: x[0], pieces))
        upper, _ = lax.scan(add, upper, jax.tree.map(lambda x: x[1:], pieces))
    if axis_name is not None:
        # A sum, not a gather: so it is known to be the same on all devices.
        slots = jnp.zeros((lax.axis_size(axis_name), *upper.shape), upper.dtype)
        parts = lax.psum(slots.at[lax.axis_index(axis_name)].set(upper), axis_name)
        rows = jnp.moveaxis(parts, 0, 1).reshape(len(masks), -1, depth)
        upper = UPPER(rows)
    _, values, rows = SVD(upper)
    vectors = jnp.swapaxes(rows, -1, -2)
    tail = values[:, rank:], vectors[..., rank:]
    return _cut_off(*tail, values[:, :1], NOISE["qr32"])


def _by_deflate32(
    tracks: Array, masks: Array, weights: Array, *, rank: int, axis_name: str | None
) -> _Tail:
    """A second Gram matrix of what is left without the first values' directions."""
    gram = _summed(_gram(tracks, masks, weights, tracks.dtype), axis_name)
    values, vectors = _eigen(gram)
    first, largest = vectors[:, :, :rank], values[:, :1]
    rest = _gram(tracks, masks, weights, tracks.dtype, without=first)
    values, vectors = _eigen(_summed(rest, axis_name))
    kept = max(0, values.shape[-1] - rank)  # What remains is what was taken away.
    found = _cut_off(values[:, :kept], vectors[..., :kept], largest, NOISE["deflate32"])
    # Points are long in the first directions: what rounding leaves of them would count.
    inside = dot_rows(jnp.swapaxes(first, -1, -2), jnp.swapaxes(found.factor, -1, -2))
    factor = found.factor - dot_rows(first, jnp.swapaxes(inside, -1, -2))
    return found._replace(factor=factor, sums=_sums(factor))


SOLVERS = {"gram64": _by_gram64, "qr32": _by_qr32, "deflate32": _by_deflate32}


def _gram(
    tracks: Array,
    masks: Array,
    weights: Array,
    dtype: Any,
    without: Array | None = None,
) -> Array:
    """P diag(c m^2) P^T, (K, D, D), in this type; without directions (K, D, r)."""
    count, depth = len(masks), len(tracks)

    def product(points: Array, mask: Array, weight: Array) -> Array:
        points = points.astype(dtype)[None]
        square = weight.astype(dtype)[None] * mask.astype(dtype) ** 2
        if without is None:  # One product of all masks' rows.
            rows = points * square[:, None]
            rows = rows.reshape(1, count * depth, rows.shape[-1])
            return dot_rows(rows, points).reshape(count, depth, depth)
        left = jnp.broadcast_to(points, (count, *points.shape[1:]))
        across = jnp.swapaxes(without, -1, -2)
        inside = dot_rows(across, jnp.swapaxes(left, -1, -2))
        left = left - dot_rows(without, jnp.swapaxes(inside, -1, -2))
        return dot_rows(left * square[:, None], left)

    def add(total: Array, piece: tuple[Array, Array, Array]) -> tuple[Array, None]:
        return total + product(*piece), None

    if tracks.shape[1] <= CHUNK:
        return product(tracks, masks, weights)
    pieces = _cut(tracks, CHUNK), _cut(masks, CHUNK), _cut(weights, CHUNK)
    first = product(*(x[0] for x in pieces))
    return lax.scan(add, first, jax.tree.map(lambda x: x[1:], pieces))[0]


def _summed(gram: Array, axis_name: str | None) -> Array:
    return gram if axis_name is None else lax.psum(gram, axis_name)


def _eigen(gram: Array) -> tuple[Array, Array]:
    """Singular values from the largest on, and their directions as columns."""
    squares, vectors = EIGH(gram)
    values = jnp.sqrt(jnp.maximum(squares, 0.0))
    return values[..., ::-1], vectors[..., ::-1]


def _cut_off(tail: Array, vectors: Array, largest: Array, noise: float) -> _Tail:
    """Of values that are not free, with their directions."""
    is_real = tail > noise * largest
    root = jnp.where(is_real, lax.rsqrt(jnp.where(is_real, tail, 1.0)), 0.0)
    factor = vectors * root[..., None, :]
    return _Tail(tail.sum(-1), factor, _sums(factor))


def _sums(factor: Array) -> Array:
    half = factor.shape[1] // 2
    return jnp.stack([factor[:, :half].sum(1), factor[:, half:].sum(1)], 1)
