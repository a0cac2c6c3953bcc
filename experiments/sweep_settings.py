"""What a sweep is: a file of settings, and the runs that it becomes. Starts nothing.

A sweep file is data, in Python as configs are:

    CONFIG = "configs/tracking.py:smoke"
    SETTINGS = grid({"assoc.lag": [2, 4]}, seed=[0, 1])   # or a list of dicts

and where it is wanted
    MODE = "predict"           of the launcher; default: the config's own
    CLIPS = ("0", "1")         for config.data.clips, one each; default: the config's
    JOBS = "settings"          what one process does (`JOBS_ARE`)
    COLUMNS = ("HOTA",)        numbers of the table (sweep_table.py)
    BEST = "HOTA:max"          the row to mark
"""

import difflib
import hashlib
import itertools
import pathlib
import re
import runpy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from egojax.apps import cli
from egojax.data.values import flatten
from egojax.errors import UsageError

SWEEPS = pathlib.Path(__file__).parent / "sweeps"
FIELDS = ("CONFIG", "SETTINGS", "MODE", "CLIPS", "JOBS", "COLUMNS", "BEST")
JOBS_ARE = {
    "settings": "one process a setting, all clips in it",
    "shards": "one process a clip (--shard=i/n), one run folder a setting: the score "
    "pools the clips as one process would",
    "scenes": "one process and one run folder a clip, for jobs that learn a single "
    "scene: a setting's numbers are means over its scenes",
}
OURS = ("config", "workdir", "mode", "shard")  # Options that the sweep itself gives.
LONGEST_NAME = 100


class Sweep(NamedTuple):
    """A sweep file."""

    name: str
    config: str
    mode: str  # "" = the config's own.
    clips: tuple[str, ...]  # () = the config's own.
    jobs: str  # A key of JOBS_ARE.
    settings: tuple[dict[str, Any], ...]  # Each flat: dotted field to value.
    columns: tuple[str, ...]
    best: str


class Job(NamedTuple):
    """One process: `python launch.py WORDS`."""

    name: str  # Of its log files.
    setting: int  # Position in the sweep.
    folder: pathlib.Path  # Its run folder.
    words: tuple[str, ...]


# ---------------------------------------------------------------------- settings


def grid(
    fields: Mapping[str, Sequence[Any]] | None = None, /, **more: Sequence[Any]
) -> list[dict[str, Any]]:
    """Every combination of the values, the last field turning fastest.

    Args:
      fields: Dotted field to its values; a value may be a dict of fields that change
        together: {"assoc": [{"mode": "online"}, {"mode": "lagged", "lag": 4}]}.
      more: The same, for fields without a dot.
    """
    values = {**(fields or {}), **more}
    rows = itertools.product(*values.values())
    return [dict(zip(values, row, strict=True)) for row in rows]


def find_sweep(text: str) -> pathlib.Path:
    """The file of that path, or of that name among the shipped ones."""
    for path in (pathlib.Path(text), SWEEPS / f"{text.removesuffix('.py')}.py"):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in SWEEPS.glob("*.py")))
    raise UsageError(f"--sweep={text}: no such file; there are {known}")


def read_sweep(path: pathlib.Path) -> Sweep:
    """Runs a sweep file and checks its form; its fields meet the config in `expand`.

    Raises:
      UsageError: it does not run, or is no sweep; all problems at once.
    """
    try:
        found = runpy.run_path(str(path))
    except Exception as err:  # Whatever a mistake in it raises.
        why = " ".join(str(err).split())
        raise UsageError(f"{path}: {type(err).__name__}: {why}") from err
    given = {key: value for key, value in found.items() if key.isupper()}
    problems = [f"{path}: {text}" for text in _problems(given)]
    if problems:
        raise UsageError.from_problems(problems)
    return Sweep(
        name=path.stem,
        config=given["CONFIG"],
        mode=given.get("MODE", ""),
        clips=tuple(given.get("CLIPS", ())),
        jobs=given.get("JOBS", "settings"),
        settings=tuple(_plain(setting) for setting in given["SETTINGS"]),
        columns=tuple(given.get("COLUMNS", ())),
        best=given.get("BEST", ""),
    )


def _problems(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the form of a sweep file."""
    found = []
    for name in given:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, 1, 0.5) or FIELDS
            found.append(f"{name} is no field of a sweep; nearest: {', '.join(near)}")
    for name in ("CONFIG", "MODE", "BEST"):
        if not isinstance(given.get(name, ""), str):
            found.append(f"{name} = {given[name]!r}: expected text")
    for name in ("CLIPS", "COLUMNS"):
        if not _is_texts(given.get(name, ())):
            found.append(f"{name} = {given[name]!r}: expected a tuple of texts")
    if not given.get("CONFIG"):
        found.append('no CONFIG; write CONFIG = "configs/tracking.py:smoke"')
    if given.get("JOBS", "settings") not in JOBS_ARE:
        found.append(f"JOBS = {given['JOBS']!r}: there are {', '.join(JOBS_ARE)}")
    elif given.get("JOBS", "settings") != "settings" and not given.get("CLIPS"):
        found.append(f"JOBS = {given['JOBS']!r} needs CLIPS")
    elif given.get("JOBS") == "shards" and given.get("MODE") == "train":
        found.append("JOBS = 'shards': training takes no shard; write 'scenes'")
    settings = given.get("SETTINGS")
    if not isinstance(settings, list | tuple) or not settings:
        return [*found, "no SETTINGS; write a list of dicts, or grid(...)"]
    for k, setting in enumerate(settings):
        if not isinstance(setting, Mapping) or not _is_texts(list(setting)):
            found.append(f"SETTINGS[{k}] = {setting!r}: expected a dict of fields")
        else:
            found += [f"SETTINGS[{k}]: {text}" for text in _bad_values(setting)]
    return found


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)


def _bad_values(setting: Mapping[str, Any]) -> list[str]:
    return [
        f"{field} = {value!r}: a command line takes numbers, texts and tuples of them"
        for field, value in flatten(setting).items()
        if not _is_value(value)
    ]


def _is_value(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_value(item) for item in value)
    return isinstance(value, bool | int | float | str | np.generic)


def _plain(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field: value.item() if isinstance(value, np.generic) else value
        for field, value in flatten(setting).items()
    }


# -------------------------------------------------------------------------- runs


def text_of(value: Any) -> str:
    """A value as the launcher's command line takes it."""
    return value if isinstance(value, str) else repr(value)


def name_of(setting: Mapping[str, Any]) -> str:
    """The folder of a setting: its fields in alphabetical order, `lag=4,seed=0`.

    It depends on the setting alone, so that a sweep may grow and go on. A digest tells
    apart what is too long for a name, or has signs that a path should not have.
    """
    pairs = [f"{field}={text_of(setting[field])}" for field in sorted(setting)]
    whole = ",".join(pairs) or "as-configured"
    safe = ",".join(re.sub(r"[^\w.+=-]+", "-", pair).strip("-") for pair in pairs)
    safe = safe or whole
    if safe == whole and len(safe) <= LONGEST_NAME:
        return safe
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{safe[:LONGEST_NAME]}-{digest}"


def expand(
    sweep: Sweep, workdir: pathlib.Path, words: Sequence[str] = ()
) -> tuple[Job, ...]:
    """The processes of a sweep, in the order of its settings.

    Args:
      words: For every run, as `--config.world.num_frames=4`.

    Raises:
      UsageError: settings that are there twice, or that the config does not know; a
        word that the sweep itself gives. All problems of the settings at once.
    """
    _check_words(sweep, words)
    names = [name_of(setting) for setting in sweep.settings]
    problems = []
    for k, (name, setting) in enumerate(zip(names, sweep.settings, strict=True)):
        if names.index(name) < k:
            first = names.index(name)
            problems.append(f"SETTINGS[{k}] is SETTINGS[{first}] again: {name}")
            continue
        twice = _fields(words) & setting.keys()
        problems += [f"SETTINGS[{k}] sets {f}, as a word does" for f in sorted(twice)]
        if sweep.clips and "data.clips" in setting:
            problems.append(f"SETTINGS[{k}] sets data.clips, as CLIPS does")
        try:
            cli.parse([*_common(sweep, words), *_overrides(setting)])
        except UsageError as err:
            problems += [f"SETTINGS[{k}]: {line}" for line in str(err).splitlines()]
    if problems:
        raise UsageError.from_problems(f"{sweep.name}: {text}" for text in problems)
    common = _common(sweep, words)
    return tuple(
        Job(f"{name}{part}", k, folder, (*common, *_overrides(setting), *own))
        for k, (name, setting) in enumerate(zip(names, sweep.settings, strict=True))
        for part, folder, own in _parts(sweep, workdir / name)
    )


def _check_words(sweep: Sweep, words: Sequence[str]) -> None:
    given = [word for word in words if word.split("=")[0].lstrip("-") in OURS]
    if given:
        raise UsageError.from_problems(f"{w}: the sweep gives that" for w in given)
    if sweep.clips and "data.clips" in _fields(words):
        raise UsageError(f"{sweep.name}: CLIPS sets data.clips, as a word does")
    cli.parse([*_common(sweep, words), *_clips(sweep.clips)])


def _common(sweep: Sweep, words: Sequence[str]) -> list[str]:
    mode = [f"--mode={sweep.mode}"] if sweep.mode else []
    return [f"--config={sweep.config}", *mode, *words]


def _overrides(setting: Mapping[str, Any]) -> list[str]:
    return [f"--config.{field}={text_of(value)}" for field, value in setting.items()]


def _clips(clips: Sequence[str]) -> list[str]:
    return [f"--config.data.clips={','.join(clips)}"] if clips else []


def _fields(words: Sequence[str]) -> set[str]:
    heads = (word.split("=")[0] for word in words)
    return {head.removeprefix("--config.") for head in heads}


def _parts(
    sweep: Sweep, folder: pathlib.Path
) -> list[tuple[str, pathlib.Path, list[str]]]:
    """Of one setting's processes: end of the name, run folder, words of their own."""
    own = [*_clips(sweep.clips), f"--workdir={folder}"]
    count = len(sweep.clips)
    if sweep.jobs == "shards":
        shards = [f"{k}/{count}" for k in range(count)]
        return [
            (f".shard-{shard.replace('/', '-of-')}", folder, [*own, f"--shard={shard}"])
            for shard in shards
        ]
    if sweep.jobs == "scenes":
        scenes = {name_of({"clip": clip}): clip for clip in sweep.clips}
        return [
            (f".{name}", folder / name, [*_clips([clip]), f"--workdir={folder / name}"])
            for name, clip in scenes.items()
        ]
    return [("", folder, own)]
