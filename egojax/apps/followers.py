"""A run on several hosts: the first process leads it, the others follow.

The first one plans, writes, tells, and runs what needs no companions. For what all must
compute together it calls the others, one call after another, and none begins before all
of them have said that they can:

    number                [verb, words...]       what is to be done; END is the last
    number/index          problems               of each follower; none = it is ready
    number/go             true | false           whether all do it now
    stop                  true                   a signal to one stops all

These lines lie in the key-value store that JAX's processes share. A process may wait
there for hours, while the first one renders, where a collective would run out of time.
"""

import contextlib
import functools
import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

# The store has no public name yet; it is that of orbax, too.
from jax._src import distributed as runtime

from egojax import tasks
from egojax.apps import fit
from egojax.apps.cli import Arguments
from egojax.data.runs import ClipFolder
from egojax.data.values import flatten
from egojax.errors import UsageError
from egojax.metrics.schema import to_json
from egojax.task import Stage, Task

JOB, STAGE, LEARN, END = "job", "stage", "learn", "end"
STOP = "stop"
WAIT_MS = 250  # At a time: a signal is not heard while waiting.
TRACEBACK = 1  # The exit code of a bug.
CODES = {UsageError: 2, KeyboardInterrupt: 130, BrokenPipeError: 0}  # As of `cli`.

Call = Callable[..., None]  # call(verb, *words)


def settings(arguments: Arguments) -> dict[str, Any]:
    """What all processes have to have been told alike."""
    flat = flatten(arguments.config.to_dict())
    same = {
        f"config.{name}": value
        for name, value in flat.items()
        if name.split(".")[0] != "hosts"
    }
    return {"mode": arguments.mode, **same}


# -------------------------------------------------------------------------- the first


def alone(verb: str, *words: Any) -> None:
    """Calls nobody: there is one process."""
    del verb, words


def lead(run: Callable[[Call], int]) -> int:
    """Runs the job, with whom to call, and sends the others away however it ends."""
    leader, code = _Leader(), TRACEBACK
    with _heeding_stops():
        try:
            code = run(leader)
        except tuple(CODES) as err:
            code = next(code for kind, code in CODES.items() if isinstance(err, kind))
            raise
        finally:
            leader.end(code)
    return code


@contextlib.contextmanager
def _heeding_stops() -> Iterator[None]:
    """Within, what stops a follower that waits is a signal to this process, too."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(WAIT_MS / 1000):
            if _is_posted(STOP):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def with_calls(task: Task, call: Call) -> Task:
    """The job, whose stages call the others where all run them together."""

    def called(stage: Stage) -> Stage:
        def run(clip: Any, folder: ClipFolder, progress: Any) -> Any:
            call(STAGE, stage.name, clip.name)
            return stage.run(clip, folder, progress)

        return stage._replace(run=run) if stage.together else stage

    return task._replace(stages=tuple(map(called, task.stages)))


class _Leader:
    """Calls the followers."""

    def __init__(self):
        self._numbers = itertools.count()

    def __call__(self, verb: str, *words: Any) -> None:
        """Returns when all are ready; what was called for begins then.

        Raises:
          UsageError: a line for each problem that a follower has.
        """
        number, can_go = next(self._numbers), False
        _post(f"{number}", [verb, *words])
        try:
            problems = [
                f"process {index}: {line}"
                for index in range(1, jax.process_count())
                for line in _wait(f"{number}/{index}")
            ]
            if problems:
                raise UsageError.from_problems(problems)
            can_go = True
        finally:
            _post(f"{number}/go", can_go)

    def end(self, code: int) -> None:
        """The followers leave with this exit code."""
        _post(f"{next(self._numbers)}", [END, code])


# ------------------------------------------------------------------------- the others


def follow(arguments: Arguments) -> int:
    """Does what the first process calls for; returns its exit code.

    Raises:
      UsageError: what was called for cannot be done here; or the first one is gone.
    """
    index = jax.process_index()
    name = f"process {index}"
    print(f"{name}: follows the first of {jax.process_count()}")
    follower, called = _Follower(arguments), 0
    for number in itertools.count():
        verb, *words = _next_call(number)
        if verb == END:
            _tell_end(name, called, *words)
            return words[0]
        try:
            act = follower.prepare(verb, *words)
        except UsageError as err:
            _post(f"{number}/{index}", str(err).splitlines())
            raise
        _post(f"{number}/{index}", [])
        if _wait(f"{number}/go") and act is not None:
            act()
            called += 1
    raise AssertionError  # Numbers do not end.


def _next_call(number: int) -> list[Any]:
    """The first signal asks the first process to end all; a second one acts."""
    try:
        return _wait(f"{number}")
    except KeyboardInterrupt:
        _post(STOP, True)
        return _wait(f"{number}")


def _tell_end(name: str, called: int, code: int) -> None:
    if code in (0, 3):
        print(f"{name}: {'done' if called else 'nothing to do'}")
    else:
        print(f"egojax: {name}: the first one ended with {code}", file=sys.stderr)


class _Follower:
    """Gets ready what it is called for."""

    def __init__(self, arguments: Arguments):
        self._arguments = arguments
        self._task: Task | None = None

    def prepare(self, verb: str, *words: Any) -> Callable[[], Any] | None:
        """Returns what is to be done together, if anything.

        Raises:
          UsageError: it cannot be.
        """
        if self._task is None:
            self._task = self._make(*words)
            return None
        if verb == STAGE:
            return self._stage(self._task, *words)
        config, folder = self._arguments.config, self._arguments.workdir
        return functools.partial(fit.learn, self._task, config, folder, words, _silent)

    def _make(self, theirs: dict[str, Any]) -> Task:
        """The job, as the first process has it; this is its first call."""
        mine = json.loads(json.dumps(to_json(settings(self._arguments))))
        different = [
            f"{name} is {mine.get(name)!r}, {theirs.get(name)!r} at the first process: "
            "give all the same"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
        if different:
            raise UsageError.from_problems(different)
        arguments = self._arguments
        return tasks.make(arguments.config, arguments.mode, arguments.workdir)

    def _stage(self, task: Task, stage: str, clip: str) -> Callable[[], Any]:
        (run,) = (found.run for found in task.stages if found.name == stage)
        folder = ClipFolder(self._arguments.workdir / "clips" / clip)
        return functools.partial(run, task.clips[clip](), folder, _silent)


def _silent(done: int, total: int) -> None:
    """The first process tells how far all are."""


# -------------------------------------------------------------------------- the store


def _post(key: str, value: Any) -> None:
    text = json.dumps(to_json(value))
    _store().key_value_set(f"egojax/{key}", text, allow_overwrite=True)


def _is_posted(key: str) -> bool:
    try:
        _store().key_value_try_get(f"egojax/{key}")
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _wait(key: str) -> Any:
    """What another process posts under this key, once it does."""
    while True:
        try:
            found = _store().blocking_key_value_get(f"egojax/{key}", WAIT_MS)
            return json.loads(found)
        except jax.errors.JaxRuntimeError as err:
            if "DEADLINE_EXCEEDED" not in str(err):
                raise UsageError(
                    "hosts: another process is gone; see what it says "
                    f"({str(err).splitlines()[0]})"
                ) from None


def _store() -> Any:
    return runtime.global_state.client
