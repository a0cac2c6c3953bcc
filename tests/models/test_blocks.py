"""Attention against its definition, in parts, and with weights that are dropped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from egojax.models.blocks import attention


def draw(count, others, width=12):
    rng = np.random.default_rng(0)
    sizes = [(2, count, width), (2, others, width), (2, others, width)]
    return [jnp.asarray(rng.normal(size=size), jnp.float32) for size in sizes]


def by_definition(queries, keys, values, heads) -> np.ndarray:
    out = np.zeros(queries.shape)
    size = queries.shape[-1] // heads
    for b in range(len(queries)):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            q, k, v = (
                np.asarray(x[b, :, part], float) for x in (queries, keys, values)
            )
            weights = np.exp(q @ k.T / size**0.5)
            out[b, :, part] = weights / weights.sum(1, keepdims=True) @ v
    return out


@pytest.mark.parametrize("chunk", [3, 4, 7, 512])
def test_attention_is_the_definition_in_parts_of_any_size(chunk):
    given = draw(7, 9)
    found = attention(*given, heads=3, chunk=chunk)
    np.testing.assert_allclose(found, by_definition(*given, 3), atol=1e-6)


def test_weights_are_dropped_at_once_for_all_queries():
    given, seen = draw(7, 9), []

    def drop(weights):
        seen.append(weights)
        return jnp.zeros_like(weights)

    found = attention(*given, heads=3, drop=drop, chunk=2)
    assert (found == 0).all()
    assert [weights.shape for weights in seen] == [(2, 3, 7, 9)]
    np.testing.assert_allclose(seen[0].sum(-1), 1, rtol=1e-6)


def test_large_scores_stay_finite_also_in_half_precision():
    given = [100 * x for x in draw(7, 9)]
    for dtype in (jnp.float32, jnp.bfloat16):
        cast = [x.astype(dtype) for x in given]
        found = attention(*cast, heads=3)
        assert found.dtype == dtype and np.isfinite(np.asarray(found, float)).all()
        slope = jax.grad(lambda q, c=cast: attention(q, *c[1:], heads=3).sum())(cast[0])
        assert np.isfinite(np.asarray(slope, float)).all()
