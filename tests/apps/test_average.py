"""`launch.py average`: means over the scenes of run folders; misuse."""

import json
import pathlib

import pytest

from egojax.apps import average, cli


def run_folder(path: pathlib.Path, clips, job: str = "decomposition") -> pathlib.Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"config": {"job": job}}))
    (path / "metrics.json").write_text(json.dumps({"clips": clips, "all": {}}))
    return path


def official(path: pathlib.Path, line: str, names: str = "avgpre\tpsnr\t") -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"Epoch: None.\n{names}\n{line}\n")


def call(capsys, *words) -> tuple[int, str, list[str]]:
    code = cli.main(["launch.py", "average", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


def cells_of(text: str) -> dict[str, list[str]]:
    rows = [line.split("|")[1:-1] for line in text.splitlines() if "|" in line]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_means_are_over_the_scenes_of_all_folders(tmp_path, capsys):
    """By hand: (20 + 22 + 27) / 3 dB; the precision is known of two scenes."""
    known = {"psnr": 20.0, "mAP": 0.5, "num_images": 4}
    a = run_folder(
        tmp_path / "a",
        {
            "P01_01": {"held_out": known},
            "P02_02": {"held_out": {"psnr": 22.0, "mAP": None}},
        },
    )
    udos = {"udos": {"mAP_dynamic": 0.6, "mAP_semistatic": None}}
    last = {"held_out": {"psnr": 27.0, "mAP": 0.7}, **udos}
    b = run_folder(tmp_path / "b", {"P03_03": last})
    code, out, _ = call(capsys, a, b)
    cells = cells_of(out)
    assert code == 0 and "mean over 3 scene(s) of 2 run folder(s)" in out
    assert cells["psnr"] == ["23.00", "3"] and cells["mAP"] == ["60.0", "2"]
    assert "held_out: 3 scene(s)" in cells and "udos: 1 scene(s)" in cells
    assert cells["mAP_dynamic"] == ["60.0", "1"]
    assert cells["mAP_semistatic"] == ["0.0", "0"]
    assert "num_images" not in cells


def test_numbers_of_other_jobs_are_averaged_and_lists_are_passed_over(tmp_path, capsys):
    rows = {"HOTA": 0.5, "HOTA_by_alpha": [0.1, 0.2], "note": "x"}
    more = {"HOTA": 0.7, "HOTA_by_alpha": [0.1], "note": "y"}
    run = run_folder(
        tmp_path / "a", {"x": {"after": rows}, "y": {"after": more}}, "tracking"
    )
    cells = cells_of(call(capsys, run)[1])
    assert cells["HOTA"] == ["60.0", "2"] and "HOTA_by_alpha" not in cells


def test_the_published_average_is_of_the_third_lines(tmp_path, capsys):
    """By hand: (.6912 + .7002) / 2 and (24.13 + 25.03) / 2, digits as they are."""
    run = tmp_path / "run"
    official(run / "clips" / "P01_01" / "official" / "metrics.txt", ".6912\t24.13\t")
    published = tmp_path / "rel"
    official(published / "P02_02" / "masks" / "metrics.txt", ".7002\t25.03\t")
    code, out, _ = call(capsys, "--official", run, published)
    assert code == 0 and out == "mAP 69.57  PSNR 24.58  over 2 scene(s)\n"


def test_a_scene_of_two_folders_names_both(tmp_path, capsys):
    row = {"P01_01": {"held_out": {"psnr": 20.0}}}
    a, b = run_folder(tmp_path / "a", row), run_folder(tmp_path / "b", row)
    code, _, lines = call(capsys, a, b)
    assert code == 2
    assert lines == [f"egojax: average: P01_01 is in {a} and in {b}; give one of them"]
    for path in (a, b):
        official(path / "clips" / "P01_01" / "official" / "metrics.txt", ".5\t20.00\t")
    code, _, lines = call(capsys, a, b, "--official")
    assert code == 2 and "P01_01 is in" in lines[0] and len(lines) == 1


@pytest.mark.parametrize("words", [(), ("--official",), ("a", "--best")])
def test_wrong_words_are_one_line(words, capsys):
    code, _, lines = call(capsys, *words)
    assert code == 2 and len(lines) == 1
    assert "expected one or more run folders" in lines[0]


def test_folders_that_cannot_be_averaged_are_one_line(tmp_path, capsys):
    good = {"P01_01": {"held_out": {"psnr": 20.0}}}
    unscored = run_folder(tmp_path / "unscored", {})
    (unscored / "metrics.json").unlink()
    strange = run_folder(tmp_path / "strange", {"P01_01": {"held_out": 3}})
    damaged = run_folder(tmp_path / "damaged", good)
    (damaged / "metrics.json").write_text('{"clips": ')
    empty = run_folder(tmp_path / "empty", {"P01_01": {}})
    fine = run_folder(tmp_path / "fine", good)
    other = run_folder(tmp_path / "other", {"v": {"after": {"HOTA": 1.0}}}, "tracking")
    for words, told in (
        ([tmp_path / "nowhere"], "no run folder"),
        ([unscored], "no metrics.json; the run has not been scored"),
        ([strange], "expected clips, with groups of numbers by name"),
        ([damaged], "damaged/metrics.json: no JSON"),
        ([empty], "no scored clip in"),
        ([fine, other], "runs of different jobs"),
        (["--official", fine], "no metrics.txt; expected clips/*/official"),
    ):
        code, _, lines = call(capsys, *words)
        assert code == 2 and len(lines) == 1 and told in lines[0], told


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (".6912", "avgpre\tpsnr"),
        (".69\tabc", "avgpre\tpsnr"),
        (".69\tnan", "avgpre\tpsnr"),
        (".69\t24.13", "psnr\tavgpre"),
        ("", ""),
    ],
)
def test_metrics_of_another_form_are_one_line(tmp_path, line, names, capsys):
    path = tmp_path / "clips" / "P01_01" / "official" / "metrics.txt"
    official(path, line, names)
    code, _, lines = call(capsys, "--official", tmp_path)
    assert code == 2 and len(lines) == 1 and str(path) in lines[0]


def test_a_thousand_scenes_are_one_table(tmp_path):
    clips = {f"v{n}": {"held_out": {"psnr": float(n)}} for n in range(1000)}
    assert "499.50" in average.tables([run_folder(tmp_path / "a", clips)])
