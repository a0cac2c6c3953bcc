"""Which stages run again, on a job of four made-up stages."""

import pathlib

import pytest

from egojax.apps import plan
from egojax.data.runs import ClipFolder
from egojax.errors import UsageError
from egojax.task import Stage

NAMES = ("a", "b", "c", "d")


def stages(**fields) -> tuple[Stage, ...]:
    """A chain a, b, d; c reads what b writes, and nothing reads c."""
    links = dict(a=(), b=("a.txt",), c=("b.txt",), d=("b.txt",))
    return tuple(
        Stage(
            name,
            lambda clip, folder, progress: [],
            reads={k: v for k, v in fields.items() if k.startswith(name)},
            files=tuple(k for k in fields if k == f"{name}_file"),
            needs=links[name],
            writes=(f"{name}.txt",),
        )
        for name in NAMES
    )


def finish(folder: ClipFolder, job, names=NAMES) -> None:
    read = plan.inputs(job)
    folder.path.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder.path / f"{name}.txt").write_text("old")
        folder.mark(name, seconds=1.0, read=dict(read[name]))


def planned(job, folder, wanted=NAMES, request=None):
    found = plan.make(
        job, folder, plan.inputs(job), wanted=wanted, request=request, hint="HINT"
    )
    return "".join(s.name for s in found.run), "".join(s.name for s in found.forget)


@pytest.fixture
def folder(tmp_path) -> ClipFolder:
    return ClipFolder(tmp_path / "clip")


def test_what_has_finished_does_not_run_again(folder):
    assert planned(stages(), folder) == ("abcd", "bcd")
    finish(folder, stages())
    assert planned(stages(), folder) == ("", "")


def test_an_interrupted_stage_keeps_its_files_and_those_after_it_do_not(folder):
    finish(folder, stages(), "ab")
    (folder.path / "c.txt").write_text("half")
    assert planned(stages(), folder) == ("cd", "")
    finish(folder, stages(), "abcd")
    (folder.path / "done.json").write_text('{"a": {"seconds": 1}}')
    assert planned(stages(), folder) == ("bcd", "cd")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [("b_x", "bcd"), ("c_x", "c"), ("d_x", "d"), ("a_x", "abcd")],
)
def test_a_changed_field_runs_its_stage_and_what_depends_on_it(
    folder, changed, expected
):
    fields = dict(a_x=1, b_x=1, c_x=[1, None], d_x="x")
    finish(folder, stages(**fields))
    assert planned(stages(**fields), folder) == ("", "")
    job = stages(**{**fields, changed: 2})
    assert planned(job, folder) == (expected, expected)
    found = plan.make(job, folder, plan.inputs(job), wanted=NAMES)
    assert found.why == f"{changed} is 2, was {fields[changed]!r}"


def test_what_a_stopped_stage_left_is_of_the_fields_that_it_began_with(folder):
    finish(folder, stages(b_x=1), "a")
    folder.begin("b", {"b_x": 1})
    assert planned(stages(b_x=1), folder) == ("bcd", "cd")
    assert planned(stages(b_x=2), folder) == ("bcd", "bcd")
    with pytest.raises(UsageError, match=r"no b\.txt"):
        planned(stages(b_x=1), folder, "d")
    (folder.path / "b.txt").write_text("half")
    with pytest.raises(UsageError, match="b_x is 2, was 1"):
        planned(stages(b_x=2), folder, "d")


def test_the_content_of_a_file_counts_and_not_how_its_path_is_written(folder, tmp_path):
    file = tmp_path / "links.json"
    file.write_text("[]")
    finish(folder, stages(b_file=str(file)))
    other = tmp_path / "same" / ".." / "links.json"
    (tmp_path / "same").mkdir()
    assert planned(stages(b_file=str(other)), folder) == ("", "")
    file.write_text("[1]")
    assert planned(stages(b_file=str(file)), folder) == ("bcd", "bcd")
    found = plan.inputs(stages(b_file=None, c_file=str(tmp_path / "none")))
    assert found["b"]["b_file"] is None and found["c"]["c_file"] is None


def test_stages_asked_for_run_again_but_not_twice_for_one_request(folder):
    finish(folder, stages())
    assert planned(stages(), folder, "bd", "first") == ("bd", "bcd")
    job = {stage.name: stage for stage in stages()}
    folder.forget(
        {name: job[name].writes for name in "bcd"}, dict.fromkeys("bd", "first")
    )
    assert planned(stages(), folder, "bd", "first") == ("bd", "cd")
    finish(folder, stages(), "b")
    assert planned(stages(), folder, "bd", "first") == ("d", "")
    assert planned(stages(), folder, "bd", "second") == ("bd", "bcd")


def test_what_a_killed_call_was_to_remove_is_removed_by_the_next(folder):
    finish(folder, stages())
    entries = folder.entries() | {"c": {"forgotten": True}}
    folder._write(entries)
    assert planned(stages(), folder) == ("c", "c")
    assert planned(stages(), folder, "d") == ("", "c")


@pytest.mark.parametrize("wanted", ["b", "d"])
def test_a_stage_without_its_input_says_what_comes_first(folder, wanted):
    with pytest.raises(UsageError, match=r"no [ab]\.txt; the stage [ab] .*; HINT"):
        planned(stages(), folder, wanted)


def test_files_of_another_config_are_no_input(folder):
    finish(folder, stages(b_x=1))
    with pytest.raises(UsageError, match=r"b\.txt is old, b_x is 2, was 1; the"):
        planned(stages(b_x=2), folder, "d", "request")
    assert planned(stages(b_x=2), folder, "a", "request") == ("a", "abcd")
    finish(folder, stages(b_x=1))
    with pytest.raises(UsageError, match="b_x is 2, was 1"):  # d is done.
        planned(stages(b_x=2), folder, "d")
    with pytest.raises(UsageError, match="out of date by then; the stage b"):
        planned(stages(), folder, "ad", "request")


def test_a_lost_file_is_told_with_the_stage_that_makes_it(folder):
    finish(folder, stages(), "ab")
    pathlib.Path(folder.path / "b.txt").unlink()
    with pytest.raises(UsageError, match="--only=b does that"):
        plan.make(stages(), folder, plan.inputs(stages()), wanted=NAMES)
