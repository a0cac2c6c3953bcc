"""Config fields: refused where they make no sense, read by something, and passed on."""

import pathlib
import re

import pytest

from egojax import tasks
from egojax.apps import cli
from egojax.errors import UsageError
from egojax.methods.tracker import OFFICIAL, TrackerConfig
from egojax.tasks import assoc_config, tracking

CONFIG = cli.find_config("configs/tracking.py")[0]
SOURCES = pathlib.Path(tasks.__file__).resolve().parents[1]


def load(variant="smoke", **fields):
    config = cli.load_config(CONFIG, variant)
    for name, value in fields.items():
        *groups, last = name.split("__")
        at = config
        for group in groups:
            at = at[group]
        at[last] = value
    return config


def leaves(config, path=()):
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def test_every_field_of_the_config_is_read():
    code = "\n".join(path.read_text() for path in SOURCES.rglob("*.py"))
    known = set(assoc_config.FIELDS) | set(assoc_config.SWITCHES)
    unread = [
        ".".join(path)
        for path in leaves(load())
        if path[-1] not in known and not re.search(rf"\w\.{path[-1]}\b", code)
    ]
    assert unread == []


@pytest.mark.parametrize("field", tracking.CHOICES)
def test_a_word_that_is_no_choice_is_refused(field, tmp_path):
    config = load(**{field.replace(".", "__"): "sideways"})
    with pytest.raises(UsageError) as error:
        tasks.make(config, "predict", tmp_path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"config.{field}=sideways: there are ")


@pytest.mark.parametrize("field", tracking.LEAST)
def test_a_number_that_is_too_small_is_refused(field, tmp_path):
    value = tracking.LEAST[field] - 1
    with pytest.raises(UsageError, match=rf"config.{field}={value:g}.*: below"):
        tasks.make(load(**{field.replace(".", "__"): value}), "predict", tmp_path)


@pytest.mark.parametrize("field", tracking.MOST)
def test_a_number_that_is_too_large_is_refused(field, tmp_path):
    value = tracking.MOST[field] + 1
    with pytest.raises(UsageError, match=rf"config.{field}={value}: above"):
        tasks.make(load(**{field.replace(".", "__"): value}), "predict", tmp_path)


@pytest.mark.parametrize(
    "field", ["assoc.alpha", "assoc.moved_by", "data.fps", "data.corrupt_depth.shift"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_refused(field, value, tmp_path):
    config = load(**{field.replace(".", "__"): value})
    with pytest.raises(UsageError, match=rf"config.{field}={value}: not a finite"):
        tasks.make(config, "predict", tmp_path)


def test_only_a_cap_may_be_infinite(tmp_path):
    tasks.make(load(assoc__location_cap=float("inf")), "predict", tmp_path)
    with pytest.raises(UsageError, match="location_cap=nan"):
        tasks.make(load(assoc__location_cap=float("nan")), "predict", tmp_path)


def test_all_wrong_fields_are_told_at_once(tmp_path):
    config = load(data__stride=0, lift__mode="foo", depth__space="bar")
    with pytest.raises(UsageError) as error:
        tasks.make(config, "predict", tmp_path)
    assert len(str(error.value).splitlines()) == 3


def test_switches_that_offline_does_not_read_are_refused(tmp_path):
    for field in ("gate", "solver", "noise_std", "alpha"):
        value = {"gate": "after", "solver": "exact"}.get(field, 1.0)
        config = load(assoc__mode="offline", **{f"assoc__{field}": value})
        with pytest.raises(UsageError, match=f"assoc.{field} goes with"):
            tasks.make(config, "predict", tmp_path)


def test_the_benchmark_takes_no_other_length(tmp_path):
    task = tasks.make(load("bench", world__num_frames=12), "predict", tmp_path)
    with pytest.raises(UsageError, match="scene=bench have 600 frames"):
        task.clips["world-0"]()


def test_stride_and_count_cut_the_clip(tmp_path):
    config = load(data__stride=3, data__max_frames=3, data__repeat=2)
    clip = tasks.make(config, "predict", tmp_path).clips["world-0"]()
    assert clip.num_frames == 6
    assert clip.frame_ids[:3] == clip.frame_ids[3:]
    whole = tasks.make(load(), "predict", tmp_path).clips["world-0"]()
    assert clip.frame_ids[:3] == whole.frame_ids[0:9:3]
    assert clip.fps == pytest.approx(whole.fps / 3)


def test_the_published_variant_sets_what_was_published(tmp_path):
    config = load("smoke+official")
    clip = tasks.make(config, "predict", tmp_path).clips["world-0"]()
    found = tracking.settings_of(config, clip)
    assert (found.mode, found.space, found.exclude_segments) == (
        "centroid",
        "official",
        False,
    )
    assert (config.depth.use_lens, config.depth.cull) == (False, True)
    assert (config.assoc.category, config.official.categories) == ("last", "last")
    assert assoc_config.tracker_config(config.assoc) == OFFICIAL
    usual = tracking.settings_of(load("smoke"), clip)
    assert (usual.mode, usual.space, usual.exclude_segments) == (
        "median",
        "depth",
        True,
    )


def test_settings_of_a_clip_are_those_of_the_config(tmp_path):
    config = load(
        lift__erode=5,
        depth__align=False,
        features__name="none",
        segments__ignore_categories=("mug", "nothing of the kind"),
        segments__min_pixels=77,
    )
    clip = tasks.make(config, "predict", tmp_path).clips["world-0"]()
    found = tracking.settings_of(config, clip)
    assert (found.erode, found.align, found.features) == (5, False, "none")
    assert found.selection.min_pixels == 77
    assert [clip.category_names[k] for k in found.selection.ignored] == ["mug"]


def test_switches_set_by_hand_reach_the_tracker():
    given = dict(
        solver="exact",
        gate="after",
        appearance_update="ema",
        label_memory="mode",
        noise_std=0.5,
        gamma=7,
    )
    config = load(**{f"assoc__{name}": value for name, value in given.items()})
    assert assoc_config.tracker_config(config.assoc) == TrackerConfig(**given)
    lagged = load(assoc__mode="lagged", assoc__lag=3)
    assert assoc_config.tracker_config(lagged.assoc) == TrackerConfig(lag=3)


def test_a_mode_runs_at_its_own_precision_and_seed(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        assoc_config.association,
        "track_online",
        lambda columns, weights, config, **options: seen.update(options),
    )
    assoc_config.associate(None, None, load("smoke+official", seed=11))
    assert (seen["seed"], seen["precise"]) == (11, True)
    assoc_config.associate(None, None, load())
    assert (seen["seed"], seen["precise"]) == (0, False)


def test_weights_by_hand_win_over_the_modes_own():
    weights, _ = assoc_config.weights_of(load(assoc__alpha=3.0).assoc)
    assert weights.alpha == 3.0
    assert weights.beta_s == assoc_config.DEFAULT_WEIGHTS.beta_s
    published, _ = assoc_config.weights_of(load("smoke+official").assoc)
    assert (published.alpha, published.beta_c) == (30.0, 1e4)
