"""Values as JSON brings them, checked one by one."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np


def is_int(value: Any) -> TypeGuard[int]:
    """Whether this is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether this is a number that a float holds; true and false are none, NaN is."""
    return isinstance(value, float) or (is_int(value) and abs(value) < 1e308)


def numbers(given: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """The finite numbers of that shape that this is, float64; None if it is not."""
    try:
        found = np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.shape == shape and np.isfinite(found).all() else None


def expected_numbers(shape: tuple[int, ...]) -> str:
    """What to say where `numbers` finds none."""
    return f"expected {' x '.join(map(str, shape))} finite numbers"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested objects by dotted name: {"a": {"b": 1}} gives {"a.b": 1}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
