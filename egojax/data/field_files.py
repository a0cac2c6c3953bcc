"""Radiance fields on disk: one file of named weights, and what they are.

fields.npz    an array for each weight, by its path ("static_table"), and `about`,
              JSON: kind, sizes, scene
"""

import pathlib

from egojax.data import weight_files
from egojax.data.weight_files import ABOUT, WeightFile

FieldFile = WeightFile

__all__ = ["ABOUT", "FieldFile", "read_fields", "write_fields"]


def write_fields(path: pathlib.Path, found: FieldFile) -> None:
    """Writes the file."""
    weight_files.write_weights(path, *found)


def read_fields(path: pathlib.Path) -> FieldFile:
    """Reads the file.

    Raises:
      UsageError: it is something else, or a weight is not finite.
    """
    return weight_files.read_weights(path, "radiance fields")
