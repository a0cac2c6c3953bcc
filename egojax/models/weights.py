"""The weights of a network by name, out of it and back into it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from egojax.errors import UsageError


def named_weights(model: nnx.Module) -> dict[str, np.ndarray]:
    """Each weight by its path, such as "geometry/layers/0/kernel"."""
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def with_weights(
    init: Callable[[jax.Array], nnx.Module], named: Mapping[str, Any], where: str
) -> nnx.Module:
    """The network that `init(key)` makes, with weights by name and none of its own.

    Args:
      where: What errors begin with, such as the file's name.

    Raises:
      UsageError: a line for each weight that is missing, too many, or of another shape.
    """
    blank = nnx.eval_shape(lambda: init(jax.random.key(0)))
    graphdef, params = nnx.split(blank, nnx.Param)
    leaves, tree = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(params))
    like = {_name(path): leaf.shape for path, leaf in leaves}
    given = {name: np.shape(value) for name, value in named.items()}
    problems = [
        f"{where}: {name} is {given.get(name, 'not there')}; the network's is "
        f"{like.get(name, 'not there')}"
        for name in sorted(like.keys() | given.keys())
        if like.get(name) != given.get(name)
    ]
    if problems:
        raise UsageError.from_problems(problems)
    filled = [jnp.asarray(named[_name(path)], leaf.dtype) for path, leaf in leaves]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, filled))


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
