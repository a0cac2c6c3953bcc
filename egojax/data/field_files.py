"""Radiance fields on disk: one file of named weights, and what they are.

fields.npz    an array for each weight, by its path ("static_table"), and `about`,
              JSON: kind, sizes, scene
"""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from egojax.data import arrays
from egojax.errors import UsageError

ABOUT = "about"


class FieldFile(NamedTuple):
    """What such a file holds."""

    weights: dict[str, np.ndarray]  # By path.
    about: dict[str, Any]


def write_fields(path: pathlib.Path, found: FieldFile) -> None:
    """Writes the file."""
    about = np.array(json.dumps(found.about))
    arrays.write_npz(path, {**found.weights, ABOUT: about})


def read_fields(path: pathlib.Path) -> FieldFile:
    """Reads the file.

    Raises:
      UsageError: it is something else, or a weight is not finite.
    """
    weights = arrays.read_npz(path)
    try:
        about = json.loads(str(weights.pop(ABOUT)))
    except (KeyError, ValueError):
        about = None
    if not isinstance(about, dict):
        raise UsageError(f"{path}: no radiance fields: it does not say what it holds")
    problems = [
        f"{path}: {name} holds NaN or infinite weights"
        for name, value in weights.items()
        if not np.issubdtype(value.dtype, np.floating) or not np.isfinite(value).all()
    ]
    if problems:
        raise UsageError.from_problems(problems)
    return FieldFile(weights, about)
