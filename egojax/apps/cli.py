"""The command line: arguments in, an exit code out.

Heavy modules are imported only once the arguments are known to be right, so that help
and mistakes are answered at once.
"""

import ast
import dataclasses
import difflib
import importlib.util
import pathlib
import re
import sys
from types import ModuleType
from typing import Any

from egojax.apps import stopping
from egojax.errors import UsageError

MODES = ("predict", "eval", "train", "view", "synthesize", "convert")
OPTIONS = ("config", "mode", "workdir", "only", "shard")

HELP = """\
egojax: objects in video from a moving camera.

  python launch.py --config=FILE[:VARIANT[+VARIANT]] [--mode=MODE] [--workdir=DIR]
                   [--only=STAGE,...] [--shard=i/n] [--config.FIELD=VALUE ...]
  python launch.py compare DIR DIR [DIR ...]
  python launch.py average DIR [DIR ...] [--official]

Modes (default: the config's)
  predict      run the job's stages on every clip; score where the truth is known
  eval         score outputs that exist: a run folder's, or an official tree
  train        fit, then predict
  view         open the 3D viewer on a finished run
  synthesize   write procedural clips in an official layout
  convert      write a COLMAP or EPIC-FIELDS scene in the layout of NeuralDiff, as
               config.convert says; needs no run folder

Options
  --workdir    the run folder; default runs/CONFIG-VARIANT[-train]
  --only       run these stages again, and no others
  --shard=i/n  take the i-th (from 0) of n runs of neighbouring clips
  --help       with --config: that config's own help and fields

The same command again continues a run that was stopped.
Exit codes: 0 done, 2 wrong usage or input, 3 done but something was skipped,
130 interrupted.

Configs
"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What one call of the launcher asks for."""

    config: Any  # ml_collections.ConfigDict
    config_name: str
    mode: str
    workdir: pathlib.Path
    only: tuple[str, ...]
    shard: tuple[int, int]


def console() -> int:
    """The installed command `egojax`."""
    return main(sys.argv)


def main(argv: list[str]) -> int:
    """Runs one job. Exit codes as in `HELP`. Bugs keep their traceback."""
    try:
        with stopping.listening():
            return _answer(argv[1:])
    except UsageError as err:
        for line in str(err).splitlines():
            print(f"egojax: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("egojax: interrupted; the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _answer(words: list[str]) -> int:
    if not words or "--help" in words or "-h" in words:
        print(_help(words))
        return 0
    if words[0] == "compare":
        from egojax.apps import compare

        return compare.main(words[1:])
    if words[0] == "average":
        from egojax.apps import average

        return average.main(words[1:])
    arguments = parse(words)
    if arguments.mode == "convert":
        from egojax.apps import convert

        return convert.main(arguments.config)
    from egojax.apps import run

    return run.run(arguments)


def parse(words: list[str]) -> Arguments:
    """Reads the words behind the program's name.

    Raises:
      UsageError: for every word that is not understood, all of them at once.
    """
    options, overrides, problems = _split(words)
    if "config" not in options:
        problems.append(
            "no --config; try --config=configs/tracking.py (see --help for others)"
        )
    if problems:
        raise UsageError.from_problems(problems)
    path, name, variant = find_config(options["config"])
    config = load_config(path, variant)
    _override(config, overrides)
    mode = options.get("mode", config.mode)
    if mode not in MODES:
        raise UsageError(f"--mode={mode}: modes are {', '.join(MODES)}")
    idle = [f"--{key}" for key in ("workdir", "only", "shard") if key in options]
    if mode == "convert" and idle:
        raise UsageError(
            f"--mode=convert takes no {' and no '.join(idle)}: it has no run folder, "
            "and writes to config.convert.out"
        )
    name = f"{name}-{variant.replace('+', '-')}" if variant else name
    learned = "-train" if mode == "train" else ""
    return Arguments(
        config=config,
        config_name=name,
        mode=mode,
        workdir=pathlib.Path(options.get("workdir") or f"runs/{name}{learned}"),
        only=tuple(filter(None, options.get("only", "").split(","))),
        shard=_shard(options.get("shard", "0/1")),
    )


def _split(words: list[str]) -> tuple[dict[str, str], list[str], list[str]]:
    options: dict[str, str] = {}
    overrides, problems = [], []
    for word in words:
        found = re.fullmatch(r"--([a-z_]+)(\.[\w.]+)?=(.*)", word, re.DOTALL)
        if found and found[1] == "config" and found[2]:
            overrides.append(word)
        elif found and found[1] in OPTIONS and not found[2]:
            options[found[1]] = found[3]
        else:
            problems.append(f"{word}: not understood{_hint(word)}")
    return options, overrides, problems


def _hint(word: str) -> str:
    name = word.lstrip("-").split("=")[0].split(".")[0]
    if name in OPTIONS:
        return f"; write --{word.lstrip('-')}=VALUE, with two dashes and an equals sign"
    near = difflib.get_close_matches(name, OPTIONS, 1, 0.5)
    return f"; did you mean --{near[0]}=...?" if near else "; see --help"


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise UsageError(f"--shard={text}: expected i/n with 0 <= i < n, such as 0/8")
    return int(found[1]), int(found[2])


def config_folders() -> list[pathlib.Path]:
    """Where shipped configs are: beside the package in a checkout, inside a wheel."""
    package = pathlib.Path(__file__).resolve().parents[1]
    return [f for f in (package.parent / "configs", package / "configs") if f.is_dir()]


def find_config(text: str) -> tuple[pathlib.Path, str, str]:
    """Splits FILE[:VARIANT] and finds the file, here or among the shipped ones."""
    path, _, variant = text.partition(":")
    file = pathlib.Path(path)
    shipped = [folder / file.name for folder in config_folders()]
    for candidate in (file, *shipped):
        if candidate.is_file() and candidate.suffix == ".py":
            return candidate, file.stem, variant
    known = sorted(p.stem for f in config_folders() for p in f.glob("*.py"))
    known = [name for name in known if name not in ("base", "__init__")]
    raise UsageError(f"--config={text}: no file {path}; there are {', '.join(known)}")


def load_config(path: pathlib.Path, variant: str) -> Any:
    """Runs the config file's `get_config(variant)`.

    Raises:
      UsageError: no such variant, or not a config file.
    """
    module = _import_file(path)
    variants = getattr(module, "VARIANTS", {})
    unknown = [v for v in filter(None, variant.split("+")) if v not in variants]
    if unknown:
        raise UsageError(
            f"{path.name} has no variant {', '.join(unknown)}; "
            f"there are {', '.join(variants) or 'none'}"
        )
    if not hasattr(module, "get_config"):
        raise UsageError(f"{path}: no function get_config, so this is not a config")
    return module.get_config(variant)


def _import_file(path: pathlib.Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"egojax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    # `base.py` lies beside the shipped configs; a user's own file may import it too.
    folders = [str(path.parent.resolve()), *map(str, config_folders())]
    sys.path[:0] = folders
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.path[: len(folders)]
    return module


def _override(config: Any, overrides: list[str]) -> None:
    from absl import flags
    from ml_collections import config_flags

    problems = [p for word in overrides if (p := _unknown_field(config, word))]
    if problems:
        raise UsageError.from_problems(problems)
    values = flags.FlagValues()
    # The last word on a field counts; absl would join those on a tuple.
    last = {word.split("=")[0]: word for word in overrides}
    argv = ["egojax", *last.values()]
    try:
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=argv
        )
        values(argv)
    except (flags.Error, TypeError, ValueError) as err:
        raise UsageError(" ".join(str(err).split())) from err


def _unknown_field(config: Any, word: str) -> str | None:
    field = word.removeprefix("--config.").split("=")[0]
    known = dict(_flatten(config))
    if field in known:
        return None
    inner = sorted(k for k in known if k.startswith(field + "."))
    if inner:
        return f"--config.{field} is a group; set its fields: {', '.join(inner)}"
    near = difflib.get_close_matches(field, known, 3, 0.4)
    return f"--config.{field}: no such field; nearest: {', '.join(near) or 'none'}"


def _flatten(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    rows = []
    for key, value in config.items():
        if hasattr(value, "items"):
            rows += _flatten(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, value))
    return rows


def _help(words: list[str]) -> str:
    named = [w.removeprefix("--config=") for w in words if w.startswith("--config=")]
    if named:
        path, _, variant = find_config(named[0])
        config = load_config(path, variant)
        rows = [f"  --config.{k}={v!r}" for k, v in _flatten(config)]
        return "\n".join([_docstring(path), "", "Fields", *rows])
    lines = []
    for folder in config_folders()[:1]:
        for path in sorted(folder.glob("*.py")):
            if path.stem not in ("base", "__init__"):
                lines.append(f"  configs/{path.name:18} {_docstring(path, 1)}")
    return HELP + "\n".join(lines)


def _docstring(path: pathlib.Path, lines: int | None = None) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return "\n".join(text.splitlines()[:lines])
