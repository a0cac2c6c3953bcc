"""The contract between a job and the launcher and training loop."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
from flax import nnx

from egojax.types import Clip

Batch = Any  # A pytree of arrays, whatever the task's loss takes.
Scores = Any  # A metric accumulator: update, merge, compute.


class Task(NamedTuple):
    """A system, as five functions. Pure, except `batches`, which iterates."""

    init: Callable[[jax.Array], nnx.Module]  # Fresh weights; empty module if none.
    batches: Callable[[Iterable[Clip], jax.Array], Iterator[Batch]]
    loss: Callable[[nnx.Module, Batch, jax.Array], tuple[jax.Array, dict]] | None
    predict: Callable[[nnx.Module, Clip, jax.Array], Clip]  # Answers filled in.
    score: Callable[[Clip, Clip], Scores]  # (predicted, true)
