"""Mistakes on the command line: one line each, at once, exit code 2."""

import pathlib
import subprocess
import sys

import pytest

from egojax.apps import cli
from egojax.errors import UsageError

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = "--config=configs/tracking.py"


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


MISTAKES = {
    "no config": (["--mode=predict"], "no --config"),
    "no such file": (["--config=configs/trakcing.py"], "there are"),
    "no such variant": ([f"{CONFIG}:offical"], "no variant offical"),
    "not a config": (["--config=launch.txt"], "no file launch.txt"),
    "a misspelt option": ([CONFIG, "--mod=eval"], "did you mean --mode"),
    "a stray word": ([CONFIG, "now"], "now: not understood"),
    "an option without a value": ([CONFIG, "--workdir"], "--workdir=VALUE"),
    "one dash": ([CONFIG, "-mode=eval"], "two dashes"),
    "no such mode": ([CONFIG, "--mode=predickt"], "modes are predict"),
    "a misspelt field": ([CONFIG, "--config.data.rot=x"], "data.root"),
    "a group as a field": ([CONFIG, "--config.data=x"], "is a group"),
    "a float for an int": ([CONFIG, "--config.data.stride=2.5"], "2.5"),
    "a word for a bool": ([CONFIG, "--config.show.report=maybe"], "maybe"),
    "a shard past the end": ([CONFIG, "--shard=4/4"], "0 <= i < n"),
    "a shard of nothing": ([CONFIG, "--shard=1"], "such as 0/8"),
    "an empty config": (["--config="], "no file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_one_line(mistake, capsys):
    words, told = MISTAKES[mistake]
    assert cli.main(["launch.py", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("egojax: ")
    assert told in lines[0]


def test_all_mistakes_are_told_at_once(capsys):
    words = [CONFIG, "--mod=eval", "now", "--config.data.rot=x"]
    assert cli.main(["launch.py", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) >= 2


def test_overrides_take_the_type_of_their_field():
    words = [CONFIG, "--config.data.root=x", "--config.world.size_hw=(64, 96)"]
    arguments = cli.parse([*words, "--config.seed=7", "--shard=2/5", "--only=a,b"])
    assert arguments.config.data.root == "x"
    assert arguments.config.world.size_hw == (64, 96)
    assert arguments.config.seed == 7
    assert (arguments.shard, arguments.only) == ((2, 5), ("a", "b"))
    assert arguments.workdir == pathlib.Path("runs/tracking")


def test_variants_compose_and_name_the_run_folder():
    arguments = cli.parse([f"{CONFIG}:smoke+official"])
    assert arguments.workdir == pathlib.Path("runs/tracking-smoke-official")
    smoke = cli.parse([f"{CONFIG}:smoke"]).config.to_dict()
    assert arguments.config.to_dict()["data"] == smoke["data"]
    assert arguments.config.to_dict() != smoke


def test_a_shipped_config_is_found_from_another_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.parse([f"{CONFIG}:smoke"]).config.job == "tracking"


def test_a_users_own_config_may_import_the_base(monkeypatch, tmp_path):
    text = "import base\n\ndef get_config(arg=''):\n    return base.run('mine')\n"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.parse(["--config=mine.py"]).config.job == "mine"


def test_the_last_word_on_a_field_counts():
    words = [f"--config.world.size_hw={size}" for size in ("(48,64)", "(96,160)")]
    words += ["--config.seed=1", "--config.seed=2"]
    config = cli.parse([f"{CONFIG}:smoke", *words]).config
    assert config.world.size_hw == (96, 160) and config.seed == 2


def test_a_file_without_get_config_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match="no function get_config"):
        cli.parse([f"--config={tmp_path}/mine.py"])


def test_help_lists_configs_and_imports_nothing_heavy():
    code = (
        "import sys; from egojax.apps import cli; cli.main(['launch.py', '--help']);"
        "print(sorted({'jax', 'numpy', 'ml_collections'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "configs/tracking.py" in out and "--shard=i/n" in out
    assert out.splitlines()[-1] == "[]"


def test_help_of_a_config_shows_its_stages_and_fields(capsys):
    assert cli.main(["launch.py", CONFIG, "--help"]) == 0
    out = capsys.readouterr().out
    assert "observe" in out and "--config.segments.min_pixels=500" in out
