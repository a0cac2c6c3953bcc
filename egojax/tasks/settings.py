"""Checks of config fields, told all at once."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from egojax.data.values import flatten
from egojax.errors import UsageError


def check(
    config: Any,
    choices: Mapping[str, Iterable[str]],
    least: Mapping[str, float],
    most: Mapping[str, float],
    endless: Collection[str] = (),
) -> None:
    """Refuses fields that are none of their choices, or beyond what they can be.

    Args:
      config: A ConfigDict; fields are named as on the command line, such as
        "data.stride". A field of None is left to the job.
      choices: What a field may say.
      least: The least value of a number.
      most: The greatest.
      endless: Numbers that may be infinite; no number may be NaN.

    Raises:
      UsageError: one line for each such field.
    """
    problems = []
    for name, allowed in choices.items():
        value, allowed = _field(config, name), list(allowed)
        if value is not None and value not in allowed:
            problems.append(f"config.{name}={value}: there are {', '.join(allowed)}")
    for name, low in least.items():
        value = _field(config, name)
        if value is not None and value < low:
            problems.append(f"config.{name}={value}: below {low:g}")
    for name, high in most.items():
        value = _field(config, name)
        if value is not None and value > high:
            problems.append(f"config.{name}={value}: above {high:g}")
    for name, value in _numbers(config):
        if math.isnan(value) or (math.isinf(value) and name not in endless):
            problems.append(f"config.{name}={value}: not a finite number")
    if problems:
        raise UsageError.from_problems(problems)


def fields(config: Any, *names: str) -> dict[str, Any]:
    """Fields, and all fields of groups, by their full names ("eval.depth", "show")."""
    flat = flatten(config.to_dict())
    return {k: v for k, v in flat.items() if k in names or k.split(".")[0] in names}


def _numbers(config: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield prefix + name, value


def _field(config: Any, name: str) -> Any:
    for word in name.split("."):
        config = config[word]
    return config
