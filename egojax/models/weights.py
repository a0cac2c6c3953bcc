"""The weights of a network by name, out of it and back into it.

Published weights come in by tables, a row each. PyTorch stores those of affine layers
as (out, in), of convolutions as (out, in, height, width); here outputs are last.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from egojax.errors import UsageError

Net = TypeVar("Net", bound=nnx.Module)


def named_weights(model: nnx.Module) -> dict[str, np.ndarray]:
    """Each weight by its path, such as "geometry/layers/0/kernel"."""
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def with_weights(
    init: Callable[[jax.Array], Net], named: Mapping[str, Any], where: str
) -> Net:
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


class Row(NamedTuple):
    """One weight of a published network, in ours."""

    theirs: str
    ours: str  # As in `named_weights`; "" = must be there, but is not needed.
    part: tuple[int, int] = (0, 1)  # Which of how many equal parts of its outputs.
    same_as: str = ""  # Of theirs: published a second time, where it is shared.


def layer_rows(theirs: str, ours: str, weight: str = "kernel") -> list[Row]:
    """Of a layer with a weight and a bias; a norm's weight is called "scale"."""
    return [
        Row(f"{theirs}.weight", f"{ours}/{weight}"),
        Row(f"{theirs}.bias", f"{ours}/bias"),
    ]


def from_published(
    init: Callable[[jax.Array], Net],
    table: Sequence[Row],
    state: Mapping[str, np.ndarray],
    where: str,
    *,
    unused: Iterable[str] = (),
) -> Net:
    """The network that `init(key)` makes, with published weights.

    Args:
      init: Not called for its weights.
      table: All weights of the network, in the order of lines of an error.
      state: Published weights by name.
      where: What errors begin with, such as the file's name.
      unused: Patterns of the whole names of other weights that may be there.

    Raises:
      UsageError: a line for each weight that is missing, of another shape, not finite,
        not like the one that it is shared with, or of a name that is not known.
    """
    shapes = {k: v.shape for k, v in _shapes(init).items()}
    known = {row.theirs for row in table}
    problems = [
        f"{where}: {name} is not a weight of this network"
        for name in sorted(state.keys() - known)
        if not any(re.fullmatch(pattern, name) for pattern in unused)
    ]
    named: dict[str, Any] = {}
    for row in table:
        problem = _problem(row, state, shapes)
        if problem:
            problems.append(f"{where}: {row.theirs} {problem}")
        elif row.ours:
            named[row.ours] = _ours(row, state[row.theirs])
    if problems:
        raise UsageError.from_problems(dict.fromkeys(problems))
    return with_weights(init, named, where)


def _problem(
    row: Row, state: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    """What is wrong with a published weight; "" = nothing."""
    if row.theirs not in state:
        return "is missing"
    found = state[row.theirs]
    if row.same_as:
        other = state.get(row.same_as, found)
        is_same = np.array_equal(found, other)
        return "" if is_same else f"is not {row.same_as}, with which it is shared"
    if row.ours:
        expected = _published_shape(row, shapes[row.ours])
        if found.shape != expected:
            return f"is {found.shape}; expected {expected}"
    return "" if np.isfinite(found).all() else "holds NaN or infinite weights"


def _published_shape(row: Row, shape: tuple[int, ...]) -> tuple[int, ...]:
    *lead, last = shape
    whole = last * row.part[1]
    if not row.ours.endswith("kernel"):
        return (*lead, whole)
    return (whole, lead[-1], *lead[:-1])


def _ours(row: Row, weight: np.ndarray) -> np.ndarray:
    number, count = row.part
    part = np.split(weight, count, axis=0)[number] if count > 1 else weight
    if not row.ours.endswith("kernel"):
        return part
    return np.moveaxis(part, (0, 1), (-1, -2))


def _shapes(init: Callable[[jax.Array], nnx.Module]) -> dict[str, Any]:
    """What the network has, by name; computes nothing."""
    blank = nnx.eval_shape(lambda: init(jax.random.key(0)))
    params = nnx.to_pure_dict(nnx.state(blank, nnx.Param))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {_name(path): leaf for path, leaf in leaves}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
