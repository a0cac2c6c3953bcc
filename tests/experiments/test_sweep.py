"""Sweeps: what a file becomes, its processes, its table; two by two over two clips."""

import fcntl
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "experiments"))

import sweep  # noqa: E402
import sweep_backends  # noqa: E402
import sweep_jobs  # noqa: E402
import sweep_settings  # noqa: E402
import sweep_table  # noqa: E402
from sweep_jobs import Record  # noqa: E402
from sweep_settings import Job, Sweep, grid  # noqa: E402

from egojax.apps import cli  # noqa: E402
from egojax.errors import UsageError  # noqa: E402

TWO_BY_TWO = """
from sweep_settings import grid
CONFIG = "configs/tracking.py:smoke"
CLIPS = ("0", "1")
SETTINGS = grid({"assoc.mode": ["online", "offline"], "segments.min_pixels": [40, 200]})
COLUMNS = ("HOTA", "before.HOTA", "IDSW")
"""
QUICK = (
    "--config.world.num_frames=4",
    "--config.world.size_hw=(48, 80)",
    "--config.show.overlay=False",
    "--config.show.report=False",
)
# As a script's `command &`: what it starts ignores Ctrl-C.
IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$0" "$@"')
PATIENCE = 300.0  # Seconds after which a test gives up.


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def make(settings, **fields) -> Sweep:
    known = dict(name="s", config="configs/tracking.py:smoke", mode="", clips=())
    known |= dict(jobs="settings", columns=(), best="")
    return Sweep(**{**known, **fields}, settings=tuple(settings))


# ---------------------------------------------------------------- what a file becomes


def test_a_grid_is_every_combination_with_the_last_field_fastest():
    rows = grid({"assoc.lag": [2, 4]}, seed=[0, 1])
    pairs = [(row["assoc.lag"], row["seed"]) for row in rows]
    assert pairs == [(2, 0), (2, 1), (4, 0), (4, 1)]
    assert grid() == [{}]


def test_fields_that_change_together_are_one_value_of_a_grid(tmp_path):
    text = 'from sweep_settings import grid\nCONFIG = "configs/tracking.py"\n'
    text += 'SETTINGS = grid(assoc=[{"mode": "online"}, {"mode": "lagged", "lag": 2}])'
    (tmp_path / "s.py").write_text(text)
    found = sweep_settings.read_sweep(tmp_path / "s.py").settings
    lagged = {"assoc.mode": "lagged", "assoc.lag": 2}
    assert found == ({"assoc.mode": "online"}, lagged)


def test_a_run_is_a_command_of_the_launcher():
    (job,) = sweep_settings.expand(
        make([{"assoc.lag": 2, "world.size_hw": (48, 80)}], clips=("0", "1")),
        pathlib.Path("d"),
        ["--config.seed=3"],
    )
    assert job.words == (
        "--config=configs/tracking.py:smoke",
        "--config.seed=3",
        "--config.assoc.lag=2",
        "--config.world.size_hw=(48, 80)",
        "--config.data.clips=0,1",
        f"--workdir={job.folder}",
    )
    parsed = cli.parse(list(job.words))
    assert parsed.config.world.size_hw == (48, 80) and parsed.workdir == job.folder


def test_shards_share_a_run_folder_and_scenes_have_one_each():
    given = dict(clips=("7", "8", "9"))
    shards = sweep_settings.expand(
        make([{}, {"seed": 1}], jobs="shards", **given), pathlib.Path("d")
    )
    assert [job.words[-1] for job in shards] == [
        f"--shard={k}/3" for k in (0, 1, 2)
    ] * 2
    assert (
        len({job.folder for job in shards}) == 2 and len({j.name for j in shards}) == 6
    )
    scenes = sweep_settings.expand(
        make([{}], jobs="scenes", **given), pathlib.Path("d")
    )
    assert len({job.folder for job in scenes}) == 3
    clips = [cli.parse(list(job.words)).config.data.clips for job in scenes]
    assert clips == ["7", "8", "9"]


def test_a_name_depends_on_the_setting_alone_and_is_a_safe_folder():
    assert sweep_settings.name_of({"seed": 0, "assoc.lag": 4}) == "assoc.lag=4,seed=0"
    assert sweep_settings.name_of({}) == "as-configured"
    texts = [
        "../../etc",
        "a/b",
        "a b",
        "a-b",
        "x" * 300,
        "x" * 299,
        "",
        ".",
        "\n",
        "é,b=1",
    ]
    settings = [{"data.root": text} for text in texts]
    rng = np.random.default_rng(0)
    settings += [{"lr": v, "size": (1, int(k))} for k, v in enumerate(rng.random(50))]
    names = [sweep_settings.name_of(setting) for setting in settings]
    assert len(set(names)) == len(names)
    for name in names:
        assert pathlib.PurePath(name).name == name and len(name.encode()) < 130
        assert name == sweep_settings.name_of(settings[names.index(name)])


def test_numpy_numbers_are_values(tmp_path):
    text = 'import numpy as np\nCONFIG = "configs/tracking.py"\n'
    text += 'SETTINGS = [{"assoc.alpha": a} for a in np.linspace(1, 2, 2)]'
    (tmp_path / "s.py").write_text(text)
    found = sweep_settings.read_sweep(tmp_path / "s.py").settings
    assert [sweep_settings.text_of(s["assoc.alpha"]) for s in found] == ["1.0", "2.0"]


@pytest.mark.parametrize("name", ["tracking_lag", "tracking_costs"])
def test_shipped_sweeps_fit_their_config(name):
    found = sweep_settings.read_sweep(sweep_settings.find_sweep(name))
    jobs = sweep_settings.expand(found, pathlib.Path("d"))
    assert len(jobs) == len(found.settings) * len(found.clips)


def test_a_sweep_of_scenes_is_shipped():
    found = sweep_settings.read_sweep(sweep_settings.find_sweep("decomposition_scenes"))
    assert found.jobs == "shards" and len(found.clips) > 1
    assert {"train.steps", "train.learning_rate"} == found.settings[0].keys()


# ------------------------------------------------------------------------- misuse


def told(capsys, *argv: str) -> list[str]:
    """The lines of a call that is wrong."""
    assert sweep.main(list(argv)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("sweep: ") for line in lines)
    return lines


def test_a_mistake_on_the_command_line_is_one_line(capsys, tmp_path):
    here = "--sweep=tracking_lag", f"--workdir={tmp_path / 'd'}"
    for words, part in [
        (("--backend=cloud",), "invalid choice: 'cloud'"),
        (("--workers=0",), "expected a number from 1 on"),
        (("--devices=0,gpu1",), "'gpu1': expected GPU numbers or cpu"),
        (("--devices=0,1", "--workers=3"), "--workers=3 for 2 devices"),
        (("--devices=0", "--backend=slurm"), "--devices is for --backend=local"),
        (("--ray.num_gpus=1",), "an option of --backend=ray"),
        (("--best=HOTA",), "expected NAME:max or NAME:min"),
        (("--config.sead=1",), "--config.sead: no such field; nearest: seed"),
        (("--mode=train",), "--mode=train: the sweep gives that"),
        (("--shard=0/2",), "--shard=0/2: the sweep gives that"),
        (("--config.data.clips=3",), "CLIPS sets data.clips, as a word does"),
        (("frames=4",), "frames=4: not understood"),
        (("--sweep=nothing",), "--sweep=nothing: no such file; there are"),
    ]:
        (line,) = told(capsys, *here, *words)
        assert part in line
    (line,) = told(capsys)
    assert "--sweep" in line
    assert not (tmp_path / "d").exists()


def test_all_mistakes_of_a_file_are_told_at_once(capsys, tmp_path):
    file = tmp_path / "s.py"
    file.write_text('SETTING = []\nJOBS = "clips"\nCLIPS = "0,1"\nCONFIG = 3\n')
    lines = told(capsys, f"--sweep={file}")
    parts = ["SETTING is no field", "CONFIG = 3", "CLIPS = '0,1'", "JOBS = 'clips'"]
    for part in [*parts, "no SETTINGS"]:
        assert sum(part in line for line in lines) == 1
    file.write_text(
        'CONFIG = "configs/tracking.py"\n'
        'SETTINGS = [{"seed": 0}, {"sead": 0}, {"seed": 0}, {"seed": "a"},'
        ' {"data.clips": "1"}]\nCLIPS = ["0"]\n'
    )
    lines = told(capsys, f"--sweep={file}", f"--workdir={tmp_path / 'd'}")
    assert len(lines) == 4
    assert "SETTINGS[1]: --config.sead: no such field" in lines[0]
    assert "SETTINGS[2] is SETTINGS[0] again" in lines[1]
    assert "SETTINGS[3]" in lines[2] and "SETTINGS[4] sets data.clips" in lines[3]


@pytest.mark.parametrize(
    "text, part",
    [
        ("SETTINGS = [", "SyntaxError"),
        ("import nowhere", "ModuleNotFoundError"),
        ('CONFIG = "a"\nSETTINGS = [{"assoc.alpha": None}]', "takes numbers, texts"),
        ('CONFIG = "a"\nSETTINGS = [[1]]', "expected a dict of fields"),
        ('CONFIG = "a"\nSETTINGS = [{}]\nJOBS = "shards"', "needs CLIPS"),
        ('CONFIG = "a.py"\nSETTINGS = [{}]', "no file a.py"),
        (
            'CONFIG = "a"\nSETTINGS = [{}]\nJOBS = "shards"\nMODE = "train"\n'
            'CLIPS = ("0",)',
            "training takes no shard",
        ),
    ],
)
def test_a_file_that_is_no_sweep_is_one_line(text, part, capsys, tmp_path):
    (tmp_path / "s.py").write_text(text)
    (line,) = told(capsys, f"--sweep={tmp_path / 's.py'}")
    assert part in line


def test_a_folder_of_something_else_is_left_alone(capsys, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    (line,) = told(capsys, "--sweep=tracking_lag", f"--workdir={tmp_path}")
    assert "is no sweep's folder" in line
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


# -------------------------------------------------------------------------- the table


def finished_run(folder: pathlib.Path, numbers: dict) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"clips": {}, "all": numbers}))


def test_the_table_shows_what_differs_the_numbers_asked_for_and_the_best(tmp_path):
    found = make([{"seed": 1, "lr": 0.1}, {"seed": 1, "lr": 0.2}, {"seed": 1}])
    jobs = [Job(f"{k}", k, tmp_path / f"{k}", ()) for k in range(3)]
    values = [(20.0, 0.5), (21.0, None), (19.5, 0.25)]
    for job, (psnr, hota) in zip(jobs, values, strict=True):
        finished_run(job.folder, {"psnr": psnr, "after": {"HOTA": hota}, "list": [1]})
    rows = sweep_table.rows_of(found, jobs, [Record(0)] * 3)
    assert sweep_table.best_row(rows, "psnr:max") == 1
    assert sweep_table.best_row(rows, "HOTA:min") == 2
    assert sweep_table.best_row(rows, "after.HOTA:max") == 0
    assert sweep_table.best_row(rows, "nothing:max") is None
    lines = sweep_table.table(rows, ["psnr", "HOTA"], best=1).splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["#", "lr", "psnr", "HOTA"]
    assert cells[2:] == [
        ["1", "0.1", "20.00", "50.0"],
        ["2 best", "0.2", "21.00", "-"],
        ["3", "-", "19.50", "25.0"],
    ]
    assert sweep_table.unknown_columns(rows, ["HOTA", "SSIM"], "psnr:max") == [
        "no run has a number SSIM; there are HOTA, ..."
    ]


def test_a_row_of_scenes_is_their_mean_and_a_failed_one_has_no_numbers(tmp_path):
    found = make([{"seed": 0}, {"seed": 1}], jobs="scenes", clips=("0", "1"))
    jobs = sweep_settings.expand(found, tmp_path)
    for job, psnr in zip(jobs, (20.0, 23.0, 24.0, 25.0), strict=True):
        finished_run(job.folder, {"psnr": psnr, "mAP": None if psnr < 22 else 0.5})
    records = [Record(0), Record(3), Record(0), Record(-9)]
    first, second = sweep_table.rows_of(found, jobs, records)
    assert first.numbers == {"psnr": 21.5, "mAP": 0.5} and first.state == "some skipped"
    assert (second.state, second.numbers) == ("failed", {})
    assert " failed |" in sweep_table.table([first, second], ["psnr"])


@pytest.mark.parametrize("answer", ["after", "held_out"])
def test_a_plain_name_is_the_number_of_the_answer(answer, tmp_path):
    finished_run(tmp_path / "0", {"before": {"psnr": 9.0}, answer: {"psnr": 20.0}})
    jobs = [Job("0", 0, tmp_path / "0", ())]
    (row,) = sweep_table.rows_of(make([{}]), jobs, [Record(0)])
    assert sweep_table.number(row, "psnr") == 20.0
    assert sweep_table.number(row, "before.psnr") == 9.0
    assert sweep_table.columns_of([row], ()) == ["psnr"]


def test_damaged_results_are_told_and_run_again(tmp_path):
    found = make([{"seed": 0}])
    (job,) = sweep_settings.expand(found, tmp_path)
    finished_run(job.folder, {"psnr": 1.0})
    record = dict(words=list(job.words), exit_code=0, seconds=1.0, last_line="")
    (tmp_path / f"{job.name}.json").write_text(json.dumps(record))
    assert sweep_jobs.is_finished(tmp_path, job)
    assert not sweep_jobs.is_finished(tmp_path, job._replace(words=("--config=b",)))
    (job.folder / "metrics.json").write_text('{"all": ')
    assert not sweep_jobs.is_finished(tmp_path, job)
    (row,) = sweep_table.rows_of(found, [job], [Record(0)])
    assert row.state == "failed" and "metrics.json: no JSON" in row.fault


def test_a_single_setting_shows_all_of_its_fields():
    assert sweep_table.differing([{"a": 1, "b": 2}]) == ["a", "b"]
    assert sweep_table.differing([{"a": 1, "b": 2}, {"a": 1.0, "b": 2}]) == ["a"]


# ---------------------------------------------------------------------- the processes

TELL = """
import os, pathlib, sys, time
start = time.time()
time.sleep(0.3)
keys = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS", "NPROC")
print(start, time.time(), *(os.environ.get(key) for key in keys))
"""
STUBBORN = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


def jobs_of(tmp_path, monkeypatch, program: str, count: int) -> list[Job]:
    """Jobs that are this program instead of the launcher."""
    file = tmp_path / "program.py"
    file.write_text(program)
    monkeypatch.setattr(sweep_jobs, "LAUNCHER", file)
    return [
        Job(f"job-{k}", k, tmp_path, (str(tmp_path / f"started-{k}"),))
        for k in range(count)
    ]


def test_each_local_worker_has_a_device_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    jobs = jobs_of(tmp_path, monkeypatch, TELL, 5)
    ended: list[Job] = []
    devices = ["3", "cpu"]
    sweep_backends.run_locally(jobs, tmp_path, devices, ended.append)
    assert sorted(job.name for job in ended) == [job.name for job in jobs]
    rows = [(tmp_path / f"{job.name}.out").read_text().split() for job in jobs]
    told = {(gpu, platform, threads) for _, _, gpu, platform, threads in rows}
    assert told == {("3", "tpu", "None"), ("None", "cpu", "4")}
    for device in ("3", "None"):
        times = sorted((float(r[0]), float(r[1])) for r in rows if r[2] == device)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(times))


def test_submitit_without_slurm_runs_so_many_at_a_time(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="needs the extra: sweep")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", "")
    jobs = [Job(f"job-{k}", k, tmp_path, ("--help",)) for k in range(3)]
    ended: list[Job] = []
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        options = {"cluster": "local"}
        sweep_backends.run_on_slurm(jobs, tmp_path, 1, options, ended.append)
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert ended == jobs
    spans = []
    for job in jobs:
        end = (tmp_path / f"{job.name}.json").stat().st_mtime
        spans.append((end - sweep_jobs.read_record(tmp_path, job).seconds, end))
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_a_process_that_was_killed_is_a_failed_run(tmp_path, monkeypatch):
    program = "import os, sys; sys.stderr.write('bye\\n'); os.kill(os.getpid(), 9)"
    (job,) = jobs_of(tmp_path, monkeypatch, program, 1)
    sweep_jobs.execute(job, tmp_path, tmp_path, {})
    record = sweep_jobs.read_record(tmp_path, job)
    assert (record.exit_code, record.last_line) == (-signal.SIGKILL, "bye")
    (line,) = sweep._problems([job], [record], tmp_path)
    assert line == f"job-0: failed by SIGKILL: bye; log {tmp_path / 'job-0.err'}"


def test_a_process_that_does_not_listen_is_killed_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_jobs, "GRACE", 0.3)
    (job,) = jobs_of(tmp_path, monkeypatch, STUBBORN, 1)
    started = pathlib.Path(job.words[0])
    with pytest.raises(KeyboardInterrupt):
        sweep_jobs.execute(job, tmp_path, tmp_path, {}, started.exists)
    assert is_free(tmp_path / "job-0.lock")
    assert sweep_jobs.read_record(tmp_path, job) == Record(None)


def test_a_job_waits_for_what_a_killed_sweep_has_left_of_it(tmp_path, monkeypatch):
    (job,) = jobs_of(tmp_path, monkeypatch, TELL, 1)
    left = os.open(tmp_path / "job-0.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(left, fcntl.LOCK_EX)
    call = threading.Thread(
        target=sweep_jobs.execute, args=(job, tmp_path, tmp_path, {})
    )
    call.start()
    call.join(0.5)
    assert call.is_alive() and not (tmp_path / "job-0.out").exists()
    os.close(left)
    call.join(PATIENCE)
    assert sweep_jobs.read_record(tmp_path, job).exit_code == 0


def is_free(path: pathlib.Path) -> bool:
    """Whether no process of this job is left."""
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


# -------------------------------------------------------------------------- the whole


def start(file: pathlib.Path, workdir: pathlib.Path, *words: str) -> subprocess.Popen:
    """The command of a user, with the compiler and the cache of the tests."""
    one_device = " --xla_force_host_platform_device_count=1"
    environment = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"] + one_device}
    command = [sys.executable, "experiments/sweep.py", f"--sweep={file}"]
    return subprocess.Popen(
        [*IN_BACKGROUND, *command, f"--workdir={workdir}", *words, *QUICK],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def interrupt_when(process: subprocess.Popen, workdir: pathlib.Path, pattern: str):
    """SIGTERM as soon as a file is there that the process has made or changed."""
    deadline, begun = time.monotonic() + PATIENCE, time.time()
    while not any(path.stat().st_mtime > begun for path in workdir.glob(pattern)):
        assert process.poll() is None, end(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, _, err = end(process)
    assert code == 130
    assert err == "sweep: interrupted; the same command continues\n"
    assert all(is_free(path) for path in workdir.glob("logs/*.lock"))


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("sweep") / "two_by_two.py"
    path.write_text(TWO_BY_TWO)
    return path


@pytest.fixture(scope="module")
def never_stopped(file, tmp_path_factory) -> str:
    """The table of the same runs, each started by hand and never stopped."""
    os.chdir(ROOT)
    found = sweep_settings.read_sweep(file)
    jobs = sweep_settings.expand(found, tmp_path_factory.mktemp("by-hand"), QUICK)
    assert [cli.main(["launch.py", *job.words]) for job in jobs] == [0] * 4
    rows = sweep_table.rows_of(found, jobs, [Record(0)] * 4)
    assert len({rows[k].numbers["before.HOTA"] for k in (0, 1)}) == 2  # They differ.
    return sweep_table.table(rows, found.columns)


@pytest.fixture(scope="module")
def finished(file, tmp_path_factory) -> pathlib.Path:
    """The sweep, stopped on Slurm, stopped on local processes, ended on Slurm."""
    pytest.importorskip("submitit", reason="needs the extra: sweep")
    os.chdir(ROOT)
    workdir = tmp_path_factory.mktemp("runs") / "sweep"
    slurm = "--backend=slurm", "--slurm.cluster=local"
    interrupt_when(start(file, workdir, *slurm), workdir, "*/log.jsonl")
    interrupt_when(start(file, workdir, "--workers=2"), workdir, "logs/*.json")
    assert not (workdir / "sweep.md").exists()
    code, out, err = end(start(file, workdir, *slurm))
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert first.startswith("two_by_two: 4 runs of 4 settings, ")
    assert 1 <= int(first.split(", ")[1].split()[0]) <= 3
    return workdir


def table_in(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def test_a_sweep_that_was_stopped_and_goes_on_gives_the_table_of_one_that_never_was(
    finished, never_stopped
):
    assert table_in((finished / "sweep.md").read_text()) == never_stopped
    rows = json.loads((finished / "sweep.json").read_text())["rows"]
    assert [row["state"] for row in rows] == ["done"] * 4
    assert {row["overrides"]["assoc.mode"] for row in rows} == {"online", "offline"}
    for row in rows:
        metrics = json.loads((finished / row["name"] / "metrics.json").read_text())
        assert list(metrics["clips"]) == ["world-0", "world-1"]
        assert row["numbers"]["after.HOTA"] == metrics["all"]["after"]["HOTA"]


def test_a_setting_that_fails_is_one_line_and_the_others_go_on(
    finished, file, never_stopped, tmp_path
):
    one, *_ = sorted(finished.glob("logs/*.json"))
    one.unlink()  # So there is another one to run.
    more = tmp_path / "more.py"
    bad = 'SETTINGS.insert(0, {"assoc.mode": "psychic"})\nBEST = "HOTA:max"\n'
    more.write_text(TWO_BY_TWO + bad)
    code, out, err = end(start(more, finished))
    assert code == 3
    assert "5 runs of 5 settings, 3 finished before" in out
    (line,) = err.splitlines()
    assert line.startswith("sweep: assoc.mode=psychic: failed with exit code 2: ")
    assert "psychic" in line.split("code 2:")[1] and line.endswith("psychic.err")
    rows = [line.strip("|").split("|") for line in table_in(out).splitlines()[2:]]
    assert [row[-1].strip() for row in rows] == ["failed", *["done"] * 4]
    old = [line.strip("|").split("|") for line in never_stopped.splitlines()[2:]]
    for row, before in zip(rows[1:], old, strict=True):
        cells = [[c.strip() for c in line] for line in (row[-4:-1], before[-3:])]
        assert cells[0] == cells[1]
    assert sum("best" in row[0] for row in rows) == 1


def test_nothing_that_runs_is_exit_code_two(tmp_path):
    file = tmp_path / "bad.py"
    head = 'CONFIG = "configs/tracking.py:smoke"\n'
    file.write_text(f'{head}SETTINGS = [{{"assoc.mode": "psychic"}}]\n')
    code, _, err = end(start(file, tmp_path / "d"))
    assert code == 2 and len(err.splitlines()) == 1


def test_ray_gives_the_same_table(finished, file, never_stopped):
    pytest.importorskip("ray", reason="needs the extra: ray")
    for path in finished.glob("logs/*offline,*min_pixels=40.json"):
        path.unlink()  # One run is started again; what is done stays done.
    code, out, err = end(start(file, finished, "--backend=ray", "--workers=2"))
    assert (code, "3 finished before" in out) == (0, True), err
    assert table_in(out) == never_stopped
    files = finished.glob("logs/*min_pixels=40.json")
    assert [json.loads(path.read_text())["exit_code"] for path in files] == [0, 0]


def test_an_option_that_slurm_does_not_know_is_told_before_anything_runs(tmp_path):
    pytest.importorskip("submitit", reason="needs the extra: sweep")
    file, workdir = pathlib.Path("tracking_lag"), tmp_path / "d"
    slurm = "--backend=slurm", "--slurm.cluster=local", "--slurm.partitoin=gpu"
    code, _, err = end(start(file, workdir, *slurm))
    (line,) = err.splitlines()
    assert code == 2 and line.startswith("sweep: --slurm: Unknown argument 'partitoin'")
    assert not list(workdir.rglob("*.out"))


def test_an_extra_that_is_not_there_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = "--sweep=tracking_lag", f"--workdir={tmp_path / 'd'}", "--backend=ray"
    (line,) = told(capsys, *words)
    assert line == "sweep: ray is not installed; pip install 'egojax[ray]'"


def test_usage_errors_are_for_the_user():
    with pytest.raises(UsageError, match="expected NAME:max"):
        sweep_table.split_best("HOTA:best")
