"""What the README shows runs."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_readmes_code_runs(capsys):
    text = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == "1.0\n"


def test_the_readmes_options_exist():
    from egojax.apps import cli

    text = (ROOT / "README.md").read_text()
    config = cli.load_config(cli.find_config("configs/tracking.py")[0], "")
    for name in set(re.findall(r"--config\.([a-z_.]+)", text)):
        at = config
        for word in name.rstrip(".").split("."):
            assert word in at, name
            at = at[word]
