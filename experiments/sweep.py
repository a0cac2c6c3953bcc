"""Many runs of one config that differ by a few fields, and one table of them.

    python experiments/sweep.py --sweep=experiments/sweeps/NAME.py
        [--backend=local|slurm|ray] [--workers=n] [--workdir=DIR] [--devices=0,1,...]
        [--columns=HOTA,IDF1,...] [--best=HOTA:max]
        [--slurm.OPTION=VALUE ...] [--ray.OPTION=VALUE ...]
        [--config.FIELD=VALUE ... and other words for each launch.py]

What a sweep file holds: sweep_settings.py. Each setting becomes a run folder DIR/NAME
(default DIR: runs/sweep-FILE) of `python launch.py`; one process does a setting, or one
clip of it, as the file's JOBS says. Logs are in DIR/logs. At the end, the table: a row
a setting, the fields that differ, numbers of metrics.json "all"; printed, and in
DIR/sweep.md and DIR/sweep.json.

Resuming: the same command again goes on. Runs that have finished are not started again,
those that failed or were stopped are, and continue where they stopped. Ctrl-C and
SIGTERM end all processes, gently. If the sweep itself is killed, what it has left runs
on, and the next call waits for it. A run that failed is one line; the others go on.

Backends
  local   a pool of n processes (default: one a device, else one). --devices=0,1 gives
          each a GPU of its own, --devices=cpu,cpu the CPU with its share of threads
  slurm   a job array by submitit (extra: sweep), at most n at a time; its options, such
          as --slurm.partition=gpu --slurm.gpus_per_node=1 --slurm.timeout_min=600.
          Preempted jobs are queued again. --slurm.cluster=local needs no Slurm
  ray     tasks of Ray (extra: ray), on this machine with n CPUs, or on the cluster at
          --ray.address=...; options of ray.remote, such as --ray.num_gpus=1

Exit codes: 0 done; 2 wrong usage, or no run went well; 3 done, but runs failed or have
skipped something; 130 interrupted, the same command continues.
"""

import argparse
import ast
import pathlib
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import sweep_backends
import sweep_jobs
import sweep_settings
import sweep_table
from sweep_jobs import FINISHED, Record
from sweep_settings import Job, Sweep
from sweep_table import Row

from egojax.data import arrays
from egojax.errors import UsageError

BACKENDS = ("local", "slurm", "ray")


def main(argv: list[str]) -> int:
    """Runs a sweep; returns the exit code. Bugs keep their traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(*parse(argv))
    except UsageError as err:
        for line in str(err).splitlines():
            print(f"sweep: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: interrupted; the same command continues", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Options, and the words that each run gets.

    Raises:
      UsageError: an option that is missing, or that the backend does not take.
    """
    parser = _Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage=argparse.SUPPRESS,
    )
    parser.add_argument("--sweep", required=True)
    parser.add_argument("--backend", default="local", choices=BACKENDS)
    parser.add_argument("--workers", type=_count)
    parser.add_argument("--workdir", type=pathlib.Path)
    parser.add_argument("--devices", type=_names, default=())
    parser.add_argument("--columns", type=_names, default=())
    parser.add_argument("--best", default="")
    options, words = parser.parse_known_args(argv)
    options.backend_options, words = _backend_options(options.backend, words)
    if options.devices and options.backend != "local":
        raise UsageError("--devices is for --backend=local; others give out their own")
    if options.workers and len(options.devices) not in (0, options.workers):
        raise UsageError(
            f"--workers={options.workers} for {len(options.devices)} devices: expected "
            "one each; a device that is named twice is shared"
        )
    strange = [d for d in options.devices if d != "cpu" and not d.isdigit()]
    if strange:
        raise UsageError(f"--devices: {strange[0]!r}: expected GPU numbers or cpu")
    return options, words


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 on")
    return int(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _backend_options(
    backend: str, words: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Takes `--slurm.OPTION=VALUE` and the like out of the words."""
    found, rest = {}, []
    for word in words:
        option = re.fullmatch(r"--(slurm|ray)\.(\w+)=(.*)", word, re.DOTALL)
        if not option:
            rest.append(word)
        elif option[1] != backend:
            raise UsageError(f"{word}: an option of --backend={option[1]}")
        else:
            found[option[2]] = _value(option[3])
    return found, rest


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def run(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Runs what has not finished yet and writes the table."""
    sweep = sweep_settings.read_sweep(sweep_settings.find_sweep(options.sweep))
    best = options.best or sweep.best
    if best:
        sweep_table.split_best(best)
    workdir = options.workdir or pathlib.Path("runs") / f"sweep-{sweep.name}"
    jobs = sweep_settings.expand(sweep, workdir, words)
    logs = _make_logs(workdir)
    todo = [job for job in jobs if not sweep_jobs.is_finished(logs, job)]
    print(
        f"{sweep.name}: {len(jobs)} runs of {len(sweep.settings)} settings, "
        f"{len(jobs) - len(todo)} finished before",
        flush=True,
    )
    if todo:
        _start(options, todo, logs)
    records = [sweep_jobs.read_record(logs, job) for job in jobs]
    rows = sweep_table.rows_of(sweep, jobs, records)
    problems = _problems(jobs, records, logs) + [r.fault for r in rows if r.fault]
    problems += _show(sweep, rows, options.columns or sweep.columns, best, workdir)
    for line in problems:
        print(f"sweep: {line}", file=sys.stderr)
    if all(row.state == "failed" for row in rows):
        return 2
    return 3 if problems else 0


def _show(
    sweep: Sweep,
    rows: Sequence[Row],
    asked: Sequence[str],
    best: str,
    workdir: pathlib.Path,
) -> list[str]:
    """Prints the table and writes it; returns what it lacks."""
    columns = sweep_table.columns_of(rows, asked)
    marked = sweep_table.best_row(rows, best)
    table = sweep_table.table(rows, columns, marked)
    found = sweep_table.as_json(sweep, rows, columns, marked)
    arrays.write_json(workdir / "sweep.json", found)
    title = f"# {sweep.name}: {sweep.config}"
    arrays.write_text(workdir / "sweep.md", f"{title}\n\n{table}\n")
    print(table)
    return sweep_table.unknown_columns(rows, asked, best)


def _make_logs(workdir: pathlib.Path) -> pathlib.Path:
    """Makes the folder of a sweep, or finds it.

    Raises:
      UsageError: the folder holds something else, or cannot be made.
    """
    logs = workdir / "logs"
    strange = workdir.exists() and (
        not workdir.is_dir() or (any(workdir.iterdir()) and not logs.is_dir())
    )
    if strange or (workdir / "config.json").exists():
        raise UsageError(f"{workdir}: exists and is no sweep's folder; name a new one")
    arrays.make_folder(logs)
    return logs


def _start(
    options: argparse.Namespace, jobs: Sequence[Job], logs: pathlib.Path
) -> None:
    """Runs jobs on the backend, a line as each ends."""
    num_ended = 0

    def ended(job: Job) -> None:
        nonlocal num_ended
        num_ended += 1
        found = sweep_jobs.read_record(logs, job)
        how = "done" if found.exit_code in FINISHED else _how(found)
        text = f"[{num_ended}/{len(jobs)}] {job.name}: {how} in {found.seconds:.1f} s"
        print(text, flush=True)

    workers, given = options.workers, options.backend_options
    if options.backend == "slurm":
        sweep_backends.run_on_slurm(jobs, logs, workers, given, ended)
    elif options.backend == "ray":
        sweep_backends.run_on_ray(jobs, logs, workers, given, ended)
    else:
        devices = options.devices or [""] * (workers or 1)
        sweep_backends.run_locally(jobs, logs, devices, ended)


def _problems(
    jobs: Sequence[Job], records: Sequence[Record], logs: pathlib.Path
) -> list[str]:
    """A line for each run that failed or has skipped something."""
    lines = []
    for job, record in zip(jobs, records, strict=True):
        if record.exit_code == 0:
            continue
        suffix = "out" if record.exit_code == 3 else "err"
        log = sweep_jobs.log_file(logs, job, suffix)
        said = record.last_line.removeprefix("egojax: ") or "it said nothing"
        lines.append(f"{job.name}: {_how(record)}: {said}; log {log}")
    return lines


def _how(record: Record) -> str:
    if record.exit_code is None:
        return "failed without an exit code"
    if record.exit_code < 0:
        return f"failed by {signal.Signals(-record.exit_code).name}"
    if record.exit_code == 3:
        return "some skipped"
    return f"failed with exit code {record.exit_code}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
