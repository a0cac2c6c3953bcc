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
    configs = [
        cli.load_config(cli.find_config(f"configs/{job}.py")[0], "")
        for job in ("tracking", "decomposition", "motion_seg")
    ]
    names = set(re.findall(r"--config\.([A-Za-z_.]+)", text))
    assert len(names) > 20
    for name in names:
        assert any(_has(config, name.rstrip(".")) for config in configs), name


def _has(config, name: str) -> bool:
    for word in name.split("."):
        if word not in config:
            return False
        config = config[word]
    return True
