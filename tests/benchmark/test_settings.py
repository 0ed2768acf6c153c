"""What a benchmark can be told, without a model."""

import dataclasses
import json
import shlex

import numpy as np
import pytest
from helpers.command_line import run

from rap_keras.benchmark import running
from rap_keras.benchmark.distributed import Workers
from rap_keras.benchmark.protocol import command
from rap_keras.benchmark.rows import CONTROLS, read_row
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.tuning import check_tuned
from rap_keras.errors import InputError
from rap_keras.models.classes import read_classes

# A value for each setting that is not its default, and how it is typed.
CHANGED = {
    "model": "vgg16",
    "weights": "none",
    "preprocess": "unit",
    "mean": (0.485, 0.4561234567, 1.0),
    "std": (2.0,),
    "size": 64,
    "classes": "a b,c'd",
    "data": "folder:my photos",
    "methods": ("rap:add=signed", "rap"),
    "controls": False,
    "patterns": "p.npz",
    "metrics": ("morf", "ratio"),
    "limit": 5,
    "half": "second",
    "tuned": "candidates",
    "tuned_by": "energy",
    "seed": 3,
    "keep": "all",
    "foreground": "any",
    "percentile": 87.12345678,
    "pooled": False,
    "steps": 7,
    "pixels_per_step": 8,
    "replacement": ("uniform", "mean"),
    "patch": 2,
    "deletion_grid": "3x5",
    "top_k": 12,
    "draws": 30,
    "neighbours": 3,
    "radius": 0.125,
    "tolerance": 4,
    "grid": "1x3",
    "grid_cells": "full",
    "grid_confidence": 0.25,
    "backend": "innvestigate",
    "chunk": 3,
    "batch_size": 9,
    "costs": True,
    "figures": 0,
    "photos": False,
    "resamples": 50,
    "validate": 4,
    "title": "A network on photographs",
}


@pytest.fixture
def seen(monkeypatch):
    """The settings that the command line makes; nothing is run."""
    found = []

    def note(settings, *rest):
        found.append((settings, *rest))
        return []

    monkeypatch.setattr(running, "run", note)
    monkeypatch.setattr("rap_keras.cli.benchmark._check_early", lambda settings: None)
    monkeypatch.setattr("rap_keras.benchmark.distributed.check_ray", lambda: None)
    return found


def typed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", CHANGED)
def test_the_command_of_the_report_gives_the_settings_again(name, seen):
    settings = Settings(**{name: CHANGED[name]})
    line = command(settings)
    words = shlex.split(line)
    assert words[:2] == ["rap-keras", "benchmark"]
    assert len(words) > 2
    typed(*words[1:])
    assert seen[0][0] == settings


def test_the_command_of_lists(seen):
    given = {"metrics": ["ratio", "lerf"], "mean": [1.0, 2.5, 3.0]}
    typed(*shlex.split(command(Settings(**given)))[1:])
    assert seen[0][0] == Settings(**{name: tuple(value) for name, value in given.items()})


@pytest.mark.parametrize("mean", [2, [2.0], np.array(2.0), np.array([2], np.uint8)])
def test_the_mean_may_be_a_number_or_an_array(mean):
    assert Settings(mean=mean, std=mean) == Settings(mean=(2.0,), std=(2.0,))
    assert "--mean 2 --std 2" in command(Settings(mean=mean, std=mean))
    for wrong in ("a", [[1, 2]]):
        with pytest.raises(InputError, match="Expected std to be one number or one per channel"):
            Settings(std=wrong)


def test_every_setting_is_a_flag(seen):
    assert set(CHANGED) == {field.name for field in dataclasses.fields(Settings)}
    typed("benchmark")
    assert seen[0][0] == Settings()
    typed(*shlex.split(command(Settings(**CHANGED)))[1:])
    assert seen[1][0] == Settings(**CHANGED)


def test_how_it_is_run(seen, tmp_path):
    typed("benchmark", "--out", tmp_path, "--shard", "2/3", "--strict", "--workers", 4)
    assert seen[0][1:] == (tmp_path, (2, 3), True, Workers(4))
    typed("benchmark", "--out", tmp_path)
    assert seen.pop()[1:] == (tmp_path, (1, 1), False, None)
    typed("benchmark", "--out", tmp_path, "--ray-address", "auto")
    assert seen[1][1:] == (tmp_path, (1, 1), False, Workers(1, address="auto"))
    typed("benchmark", "--workers", 8, "--gpus-per-worker", 0.5, "--cpus-per-worker", 2)
    assert seen[2][-1] == Workers(8, cpus=2, gpus=0.5)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"count": 0}, "workers to be an integer of at least 1"),
        ({"cpus": -1}, "cpus_per_worker"),
        ({"gpus": 1.5}, "gpus_per_worker to be a whole number or a share below 1, got 1.5"),
        ({"cpus": 0}, "a CPU or a GPU"),
    ],
)
def test_workers_that_cannot_be(told, message):
    with pytest.raises(InputError, match=message):
        Workers(**{"count": 1} | told)


def test_the_order_of_methods():
    settings = Settings(methods=("gradient", "rap:add=signed"))
    assert [row.title for row in settings.rows()] == ["gradient", "rap:add=signed", *CONTROLS]
    without = dataclasses.replace(settings, controls=False)
    assert [row.is_control for row in without.rows()] == [False, False]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("embedded:vit", "bundled:vit"), ("bundled:vit", "bundled:vit"), ("vgg16", "vgg16")],
)
def test_a_bundled_model_has_one_name(given, expected):
    assert Settings(model=given) == Settings(model=expected)
    assert Settings(model=given).recorded()["model"] == expected


def test_a_title_is_a_line_of_text():
    assert Settings(title=" VGG-16\non  digits ").title == "VGG-16 on digits"
    for title in ("", " ", 5):
        with pytest.raises(InputError, match="Expected title to be a text, got") as caught:
            Settings(title=title)
        assert caught.value.arguments == ("title",)


def test_options_that_concern_all_methods():
    settings = Settings(
        methods=("pattern.net", "pattern.net:patterns=b.npz", "smoothgrad", "smoothgrad:seed=2"),
        patterns="a.npz",
        seed=7,
    )
    options = {row.title: row.options for row in settings.rows() if not row.is_control}
    assert options == {
        "pattern.net": {"patterns": "a.npz"},
        "pattern.net:patterns=b.npz": {"patterns": "b.npz"},
        "smoothgrad": {"seed": 7},
        "smoothgrad:seed=2": {"seed": 2},
    }


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("rap", {}),
        (" rap : add = signed ", {"add": "signed"}),
        ("m:a=1:b=0.5:c=true:d=null:e=word", {"a": 1, "b": 0.5, "c": True, "d": None, "e": "word"}),
        ("m:a=-1", {"a": -1}),
        ("m:a=x=y", {"a": "x=y"}),
    ],
)
def test_methods_with_options(text, options):
    method = read_row(text)
    assert method.name == text.partition(":")[0].strip()
    assert method.title == text.strip()
    assert dict(method.options) == options


@pytest.mark.parametrize("text", ["m:a", "m:=1", "m:a=", "m:", "m:a=1:a=2"])
def test_methods_that_cannot_be_read(text):
    with pytest.raises(InputError, match="NAME:OPTION=VALUE"):
        read_row(text)


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("rap", "zero"),
        ("gradient", "zero"),
        ("gradient:postprocess=abs", "mean"),
        ("gradient:postprocess=square", "mean"),
        ("lrp.alpha_1_beta_0", "mean"),
        ("lrp.alpha_2_beta_1", "zero"),
        ("lrp.alpha_beta:alpha=1", "mean"),
        ("lrp.alpha_beta:beta=0", "mean"),
        ("lrp.alpha_beta:alpha=2", "zero"),
        ("deep_taylor", "mean"),
        ("control.edges", "mean"),
        ("control.random", "zero"),
    ],
)
def test_where_foreground_begins(text, threshold):
    row = read_row(text)
    assert row.threshold == threshold
    assert row.completed(None, None, percentile=90.0).threshold == 90


@pytest.mark.parametrize(
    ("value", "threshold"), [("mean", "mean"), ("zero", "zero"), ("75", 75), ("2.5", 2.5)]
)
def test_a_threshold_of_its_own(value, threshold):
    method = read_row(f"pattern.attribution:project=false:threshold={value}")
    assert method.completed("a.npz", None, percentile=90.0).threshold == threshold
    assert method.options == {"project": False}


@pytest.mark.parametrize("value", ["median", "0", "100", "-1", "true", "null"])
def test_thresholds_that_are_none(value):
    with pytest.raises(InputError, match="threshold"):
        read_row(f"rap:threshold={value}")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (None, "a, b,c", ("a", "b", "c")),
        ("c.txt", "a\nb \n", ("a", "b")),
        ("c.csv", "class_index,synset\n1,n2\n0,n1\n", ("n1", "n2")),
        ("c.csv", "class,class_index\na,0\n", ("a",)),
        ("c.txt", "\ufeffa\nb\n", ("a", "b")),
        ("c.csv", "\ufeffclass_index,class\n0,a\n", ("a",)),
        ("C.TXT", "a\nb\n", ("a", "b")),
        ("c.names", "a\nb\n", ("a", "b")),
    ],
)
def test_classes(name, content, expected, tmp_path):
    assert read_classes(written(tmp_path, name, content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, "a,,b", "none of them empty"),
        (None, "a,a", "different names"),
        ("c.txt", "", None),
        ("c.txt", b"\xff\xfe\xff", "to be UTF-8 text"),
        ("c.csv", "class_index,class\n0,a\n1\n", "columns class_index"),
        ("c.csv", "class_index,synset\n0,n1\n2,n2\n", "columns class_index"),
        ("c.csv", "class_index,synset\nx,n1\n", "columns class_index"),
        ("c.csv", "index,name\n0,a\n", "columns class_index"),
        ("c.csv", "class_index,synset\n0,\n", "class"),
    ],
)
def test_classes_that_cannot_be_read(name, content, message, tmp_path):
    text = written(tmp_path, name, content)
    if message is None:
        assert read_classes(text) == ()
        return
    with pytest.raises(InputError, match=message):
        read_classes(text)


def written(folder, name, content):
    """The file with that content; the content itself where it has no name."""
    if name is None:
        return content
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_one_replacement_may_be_a_text():
    assert Settings(replacement="128").replacement == ("128",)
    with pytest.raises(InputError, match="each replacement once"):
        Settings(replacement=("mean", "mean"))
    with pytest.raises(InputError, match=r"whole grey level from 0 to 255, got '0\.5'"):
        Settings(replacement=0.5)  # pixels are whole numbers, so this would be black


def test_replacements_that_no_metric_can_use_are_refused():
    with pytest.raises(InputError, match="one replacement for insertion, got zero, blur: add lerf"):
        Settings(metrics=("insertion",), replacement=("zero", "blur"))
    with pytest.raises(InputError, match="keep=correct for replacement=infill"):
        Settings(replacement="infill", keep="all")


def test_methods_are_a_list():
    assert Settings(methods=["rap", "gradient"]).methods == ("rap", "gradient")
    with pytest.raises(InputError, match=r"as a list of names, .* got the text 'rap,gradient'"):
        Settings(methods="rap,gradient")


def candidates(folder, **changes):
    """A report of candidates on the first half, whose summary has only what tuning reads."""
    values = {"rap": 3, "rap:head=positive": 4, "gradient": 5, "control.random": 9, "smoothgrad": 1}
    values["smoothgrad:augment_by_n=8"] = None
    protocol = {
        "model": "bundled:vgg",
        "data": "cluttered-digits",
        "seed": 0,
        "keep": "correct",
        "metrics": ["srg"],
    }
    methods = {
        title: {"control": title.startswith("control"), "quantities": {"srg": {"value": value}}}
        for title, value in values.items()
    }
    found = {
        "protocol": protocol | {"half": "first"} | changes,
        "summary": {"kept": 9, "methods": methods},
    }
    (folder / "summary.json").write_text(json.dumps(found))
    return str(folder)


def test_tuned_rows_are_the_best_of_each_method(tmp_path):
    given = {"methods": ("rap", "gradient"), "half": "second", "controls": False}
    chosen = Settings(**given, tuned=candidates(tmp_path))
    assert [row.title for row in chosen.rows()] == ["rap", "gradient", "rap:head=positive"]
    with pytest.raises(InputError, match=r"no 'energy' .* to tune by: choose one of srg"):
        Settings(**given, tuned=str(tmp_path), tuned_by="energy").rows()
    (tmp_path / "summary.json").write_text('{"protocol": [], "summary": {"methods": {"rap": 1}}}')
    with pytest.raises(InputError, match="to be the summary of a benchmark"):
        Settings(**given, tuned=str(tmp_path)).rows()


def test_rows_are_tuned_by_another_replacement(tmp_path):
    perturbation = {"replacement": "zero", "replacements": ["zero", "blur"]}
    folder = candidates(tmp_path, perturbation=perturbation)
    path = tmp_path / "summary.json"
    path.write_text(path.read_text().replace('{"srg":', '{"srg@blur":'))
    chosen = Settings(methods=("rap",), half="second", tuned=folder, tuned_by="srg@blur")
    assert "rap:head=positive" in [row.title for row in chosen.rows()]


@pytest.mark.parametrize(
    ("half", "changes", "message"),
    [
        ("first", {}, "got half=first in .* and half=first in this run"),
        ("both", {}, "got half=first in .* and half=both in this run"),
        ("second", {"model": None}, "got model=None in .* and model=bundled:vgg in this run"),
        ("second", {"seed": 1}, "got seed=1 in .* and seed=0 in this run"),
    ],
)
def test_tuned_rows_come_from_the_other_half(half, changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        Settings(half=half, tuned=candidates(tmp_path, **changes)).rows()


def test_tuned_rows_are_of_the_same_weights(tmp_path):
    folder = candidates(tmp_path, weights_crc32=7)
    check_tuned(folder, 7)
    with pytest.raises(InputError, match="with the weights of this run, got other weights"):
        check_tuned(folder, 8)
