"""The weights of a network on disk: one file of named arrays, and what they are.

FILE.npz    an array for each weight, by its path ("down/0/conv1/kernel"), and `about`,
            JSON: what the network is
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from egojax.data import arrays
from egojax.errors import UsageError

ABOUT = "about"


class WeightFile(NamedTuple):
    """What such a file holds."""

    weights: dict[str, np.ndarray]  # By path.
    about: dict[str, Any]


def write_weights(
    path: pathlib.Path, weights: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> None:
    """Writes the file."""
    arrays.write_npz(path, {**weights, ABOUT: np.array(json.dumps(dict(about)))})


def read_weights(path: pathlib.Path, what: str) -> WeightFile:
    """Reads the file.

    Args:
      path: Of the file.
      what: Is expected in it, for errors.

    Raises:
      UsageError: it is something else, or a weight is not finite.
    """
    weights = arrays.read_npz(path)
    try:
        about = json.loads(str(weights.pop(ABOUT)))
    except (KeyError, ValueError):
        about = None
    if not isinstance(about, dict):
        raise UsageError(f"{path}: no {what}: it does not say what it holds")
    problems = [
        f"{path}: {name} holds NaN or infinite weights"
        for name, value in weights.items()
        if not np.issubdtype(value.dtype, np.floating) or not np.isfinite(value).all()
    ]
    if problems:
        raise UsageError.from_problems(problems)
    return WeightFile(weights, about)
