"""Means over frames of several numbers by name: what scores of single frames share."""

import dataclasses
import operator
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import struct


@struct.dataclass
class FrameMeans:
    """Sums over frames; a pytree.

    A number that is NaN in a frame, or is not given there, leaves its mean as it was.
    """

    total: Any  # float64 (K,)
    count: Any  # int64 (K,), frames in which each number is defined.
    names: tuple[str, ...] = struct.field(pytree_node=False)

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> "FrameMeans":
        """No frame yet."""
        return cls(np.zeros(len(names)), np.zeros(len(names), np.int64), tuple(names))

    def update(self, values: Mapping[str, float]) -> "FrameMeans":
        """Adds one frame.

        Raises:
          ValueError: A number of another name.
        """
        if unknown := sorted(set(values) - set(self.names)):
            raise ValueError(f"numbers {unknown}; there are {list(self.names)}")
        row = np.array([values.get(name, np.nan) for name in self.names], np.float64)
        known = ~np.isnan(row)
        return dataclasses.replace(
            self, total=self.total + np.where(known, row, 0.0), count=self.count + known
        )

    def merge(self, other: "FrameMeans") -> "FrameMeans":
        """The frames of both, which have the same names."""
        return jax.tree.map(operator.add, self, other)

    def compute(self) -> dict[str, float]:
        """The means; NaN where no frame has the number."""
        nothing = np.full(len(self.names), np.nan)
        mean = np.divide(self.total, self.count, out=nothing, where=self.count > 0)
        return dict(zip(self.names, mean.tolist(), strict=True))

    def counts(self) -> dict[str, int]:
        """How many frames each mean is over."""
        return dict(zip(self.names, self.count.tolist(), strict=True))
