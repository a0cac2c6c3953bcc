"""Which stages of a clip run, and which of its files are out of date and go first.

A stage runs if it has not finished, if a call asks for it by name, or if what it read
has changed: fields of the config, files that these name, or files of an earlier stage
that runs again. What a stage has left that was stopped is kept if nothing has changed.
"""

import hashlib
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from egojax.data import arrays
from egojax.data.runs import ClipFolder, is_finished
from egojax.errors import UsageError
from egojax.metrics.schema import to_json
from egojax.task import Stage

Inputs = Mapping[str, Mapping[str, Any]]  # By stage: fields and their values.
Entry = Mapping[str, Any]  # Of a clip's done.json.


class Plan(NamedTuple):
    """What one call does with one clip."""

    run: tuple[Stage, ...]  # In order.
    forget: tuple[Stage, ...]  # Whose files are removed before that.
    why: str = ""  # The change of the config for which stages run again.


def inputs(stages: Sequence[Stage]) -> Inputs:
    """The fields that stages read; of those that name files, digests of these."""
    digests: dict[str, str | None] = {}
    found = {}
    for stage in stages:
        fields = to_json(stage.reads)
        for name in stage.files:
            if fields[name] not in digests:
                digests[fields[name]] = _digest(fields[name])
            fields[name] = digests[fields[name]]
        found[stage.name] = fields
    return found


def _digest(path: str | None) -> str | None:
    if not path or not pathlib.Path(path).is_file():
        return None
    return "sha256:" + hashlib.sha256(arrays.read_bytes(path)).hexdigest()


def changes(stage: Stage, entry: Entry, read: Inputs) -> list[str]:
    """The fields that differ from those that the stage read, if it has begun."""
    if not is_finished(entry) and "read" not in entry:
        return []
    old, new = _read_of(entry), read[stage.name]
    return sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))


def _read_of(entry: Entry) -> Mapping[str, Any]:
    old = entry.get("read")
    return old if isinstance(old, dict) else {}


def make(
    stages: Sequence[Stage],
    folder: ClipFolder,
    read: Inputs,
    *,
    wanted: Collection[str],
    request: str | None = None,
    hint: str = "",
) -> Plan:
    """Plans one call.

    Args:
      stages: All of the job, in order.
      folder: Of the clip.
      read: See `inputs`.
      wanted: Names of the stages that may run.
      request: Set if they are to run again even if they are done; stages that have run
        for the same request, before it was interrupted, are not run twice.
      hint: What to type so that other stages run too, if they are not all wanted.

    Raises:
      UsageError: a stage needs files of another one that is not wanted.
    """
    entries = folder.entries()
    run, forget = [], []
    made: set[str] = set()
    renewed: set[str] = set()  # Files that are made again, or removed.
    gone: dict[str, str] = {}  # Files that nothing makes, and why.
    why = ""
    for stage in stages:
        todo = stage.name in wanted
        entry = entries.get(stage.name, {})
        change = _told(stage, entry, read)
        asked = todo and request is not None
        again = (
            (asked and entry.get("request") != request)
            or "forgotten" in entry
            or bool(renewed.intersection(stage.needs))
            or (todo and bool(change))
        )
        runs = todo and (again or not is_finished(entry))
        if runs or (todo and gone.keys() & set(stage.needs)):
            _check_needs(stage, stages, folder, made, gone, hint)
        if runs:
            run.append(stage)
            made.update(stage.writes)
            renewed.update(stage.writes)
            why = why or change
        elif again:
            renewed.update(stage.writes)
            gone |= {name: f"{name} is out of date by then" for name in stage.writes}
        elif change:
            gone |= {name: f"{name} is old, {change}" for name in stage.writes}
        if again:
            forget.append(stage)
    return Plan(tuple(run), tuple(forget), why)


def _told(stage: Stage, entry: Entry, read: Inputs) -> str:
    fields = changes(stage, entry, read)
    if not fields:
        return ""
    first, *others = fields
    old = _read_of(entry).get(first)
    new = read[stage.name].get(first)
    text = f"{first} is {new!r}, was {old!r}"
    if first in stage.files:
        text = f"the file of {first} is another one"
    return f"{text} (and {len(others)} more)" if others else text


def _check_needs(
    stage: Stage,
    stages: Sequence[Stage],
    folder: ClipFolder,
    made: Collection[str],
    gone: Mapping[str, str],
    hint: str,
) -> None:
    for name in stage.needs:
        if name in made or (name not in gone and _is_there(folder.path / name)):
            continue
        writer = next((s.name for s in stages if name in s.writes), "")
        fault = gone.get(name, f"no {name}")
        hint = hint or f"--only={writer} does that"
        raise UsageError(
            f"{folder.path.name}: {stage.name} cannot run: {fault}; "
            f"the stage {writer} comes first; {hint}"
        )


def _is_there(path: pathlib.Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))
