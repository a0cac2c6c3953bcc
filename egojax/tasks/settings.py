"""Checks of config fields, told all at once."""

from collections.abc import Iterable, Mapping
from typing import Any

from egojax.errors import UsageError


def check(
    config: Any,
    choices: Mapping[str, Iterable[str]],
    least: Mapping[str, float],
) -> None:
    """Refuses fields that are none of their choices, or below what they can be.

    Args:
      config: A ConfigDict; fields are named as on the command line, such as
        "data.stride". A field of None is left to the job.
      choices: What a field may say.
      least: The least value of a number.

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
        if value is not None and not value >= low:
            problems.append(f"config.{name}={value}: below {low:g}")
    if problems:
        raise UsageError.from_problems(problems)


def _field(config: Any, name: str) -> Any:
    for word in name.split("."):
        config = config[word]
    return config
