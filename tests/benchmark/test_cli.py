"""`rap-keras benchmark` and `rap-keras merge` as they are typed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.benchmarks import (
    COLOURS,
    KEPT,
    MAIN,
    QUICK,
    assert_same_report,
    make_photos,
    put,
    records,
)
from helpers.command_line import fail, files, run, succeed
from PIL import Image

from rap_keras.benchmark.store import Store


def test_images_are_kept_left_out_or_skipped(whole):
    held = records(whole)
    assert [name for name, record in held.items() if record["status"] == "kept"] == KEPT
    assert held["e"]["status"] == "misclassified"
    assert (held["e"]["label"], held["e"]["predicted"]) == ("red", "green")
    assert held["f"]["status"] == held["g"]["status"] == "skipped"
    report = (whole / "report.md").read_text()
    assert re.search(r"\| f \| Expected the mask .* of the image 'f', got no such file", report)
    assert re.search(r"\| g \| .*'.*g.png' is truncated", report)
    assert "| e | red | green |" in report
    counts = json.loads((whole / "summary.json").read_text())["summary"]
    assert [counts[key] for key in ("kept", "misclassified", "skipped")] == [5, 1, 2]
    assert sorted({path.name for path in (whole / "figures").iterdir()}) == [
        "heatmaps.png",
        "lerf.png",
        "morf.png",
    ]


def test_the_same_report_in_an_instant_when_run_again(whole, common, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    for name in ("report.md", "summary.json", "figures/lerf.png"):
        (tmp_path / "out" / name).unlink()
    text = succeed("benchmark", *common, *MAIN, "--out", tmp_path / "out")
    assert "5 of 8 images kept, 1 misclassified, 2 skipped" in text
    assert_same_report(tmp_path / "out", whole)


@pytest.mark.slow
def test_a_finished_benchmark_gets_another_title(whole, common, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    arguments = [*common, *MAIN, "--out", tmp_path / "out"]
    for flags in (["--title", "Three colours"], []):
        text = succeed("benchmark", *arguments, *flags)
        assert text.startswith("Three colours: 5 of 8 images kept")
    refused = ["--title", "Another", "--shard", "1/2"]
    assert "got all images" in fail("benchmark", *arguments, *refused)
    assert succeed("report", tmp_path / "out").startswith("Three colours: 5 of 8")


def test_shards_merge_to_the_report_of_one_run(whole, common, tmp_path):
    folders = [tmp_path / f"{k}" for k in (1, 2, 3)]
    for k, folder in enumerate(folders, 1):
        arguments = [*common, *MAIN, "--shard", f"{k}/3", "--out", folder]
        assert f"Part {k}/3 is measured" in succeed("benchmark", *arguments)
        assert files(folder) == ["results.sqlite"]
    for _ in range(2):
        succeed("merge", *folders[::-1], "--out", tmp_path / "out")
        assert_same_report(tmp_path / "out", whole)
    assert records(tmp_path / "out") == records(whole)
    with Store(folders[1]) as store:
        store.rename("Three colours")
    assert succeed("merge", *folders, "--out", tmp_path / "out").startswith("Three colours: 5")

    none = tmp_path / "none"
    for chosen, message in (
        (folders[:2], "each of the 3 shards once, got 1/3, 2/3"),
        ([*folders, folders[0]], "each of the 3 shards once, got 1/3, 2/3, 3/3, 1/3"),
        ([*folders[:2], whole], "each of the 3 shards once, got 1/3, 2/3, 1/1"),
        ([*folders[:2], tmp_path], "no results"),
    ):
        assert message in fail("merge", *chosen, "--out", none)
    # Neither a shard's folder nor the whole's takes another part.
    assert "got the shard 2/3" in fail("merge", *folders, "--out", folders[1])
    assert "got the shard 2/3" in fail(
        "benchmark", *common, *MAIN, "--shard", "1/3", "--out", folders[1]
    )
    assert set(records(folders[1])) == {"c", "d"}

    with Store(folders[2]) as store:
        store._database.execute("DELETE FROM images WHERE position = 4")
    assert "all 8 images, got 7" in fail("merge", *folders, "--out", none)
    with Store(folders[2]) as store:
        changed = json.dumps(store.protocol | {"tolerance": 1})
        store._database.execute("DELETE FROM protocol")
        store._insert("protocol", changed)
    assert "tolerance was 0 and now is 1" in fail("merge", *folders, "--out", none)
    assert not none.exists()


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (["--methods", "rap,nothing"], "'nothing'"),
        (["--methods", "rap,gradient,rap"], "each method once"),
        (["--methods", " , "], "each method once"),
        (["--methods", "rap:add"], "NAME:OPTION=VALUE"),
        (["--methods", "rap:add=sign"], "'sign'"),
        (["--methods", "gradient:add=signed"], "Expected options of 'gradient'"),
        (["--methods", "rap:neuron_selection_mode=all"], "because the benchmark sets it"),
        (["--methods", "rap:batch_size=2"], "because the benchmark sets it"),
        (["--methods", "control.edges"], "got the control control.edges"),
        (["--methods", "pattern.attribution"], "pattern"),
        (["--methods", "pattern.net", "--patterns", "none.npz"], "none.npz"),
        (["--metrics", "ratio,nothing"], "'nothing'"),
        (["--metrics", "ratio,ratio"], "each metric once"),
        (["--metrics", ""], "each metric once"),
        (["--keep", "right"], "--keep"),
        (["--foreground", "all"], "--foreground"),
        (["--backend", "torch"], "--backend"),
        (["--limit", 0], "--limit"),
        (["--steps", 0], "--steps"),
        (["--steps", 145, "--metrics", "lerf"], "--steps"),
        (["--steps", 4, "--pixels-per-step", 37, "--metrics", "morf"], "--pixels-per-step"),
        (["--pixels-per-step", 0], "--pixels-per-step"),
        (["--tolerance", -1], "--tolerance"),
        (["--batch-size", 0], "--batch-size"),
        (["--figures", -1], "--figures"),
        (["--resamples", 1], "--resamples"),
        (["--seed", -1], "--seed"),
        (["--seed", 2**32], "--seed"),
        (["--percentile", 0], "--percentile"),
        (["--percentile", 100], "--percentile"),
        (["--percentile", "nan"], "--percentile"),
        (["--replacement", "black"], "--replacement"),
        (["--replacement", 256], "--replacement"),
        (["--replacement", "nan"], "--replacement"),
        (["--classes", "red,green"], "each of the 3 neurons"),
        (["--classes", "red,green,red"], "different names"),
        (["--classes", "none.txt"], "none.txt"),
        (["--data", "nothing:here"], "'nothing:here'"),
        (["--data", "folder:{empty}"], "folder masks or a file boxes.csv"),
        (["--data", "folder:{hollow}"], "images"),
        (["--data", "cluttered-digits:0"], "scenes"),
        (["--data", "cluttered-digits:x"], "scenes"),
        (["--model", "none.py:make"], "no model file"),
        (["--size", 13], "only images of 12 x 12"),
        (["--mean", "a"], "--mean"),
        (["--std", "0"], "positive"),
        (["--shard", "0/2"], "--shard"),
        (["--shard", "3/2"], "--shard"),
        (["--shard", "2"], "--shard"),
        (["--shard", "1/0"], "--shard"),
        (["--config", "none.toml"], "none.toml"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_bad_options_leave_nothing_behind(added, message, common, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("images", "masks"):
        (tmp_path / "hollow" / name).mkdir(parents=True)
    before = files(tmp_path)
    folders = {"empty": tmp_path / "empty", "hollow": tmp_path / "hollow"}
    added = [str(value).format(**folders) for value in added]
    arguments = [*common, *QUICK, "--out", tmp_path / "out", *added]
    assert message in fail("benchmark", *arguments)
    assert files(tmp_path) == before


def test_pixels_per_step_are_no_share_of_images_of_any_size(common, network, tmp_path):
    arguments = [*common, "--model", network.replace(":make", ":any_size"), *QUICK]
    arguments += ["--metrics", "lerf", "--steps", 4, "--out", tmp_path / "out"]
    assert "--size" in fail("benchmark", *arguments, "--pixels-per-step", 2)
    succeed("benchmark", *arguments)
    logits = [len(r["results"]["gradient"]["lerf"]["logit"]) for r in kept(tmp_path / "out")]
    assert logits == [5] * len(KEPT)


def kept(out):
    return [record for record in records(out).values() if record["status"] == "kept"]


def test_an_option_of_a_method_is_not_taken_for_a_flag(common, tmp_path):
    message = fail(
        *("benchmark", *common, *QUICK, "--methods", "smoothgrad:augment_by_n=2:seed=-1"),
        *("--out", tmp_path / "out"),
    )
    assert "Expected seed to be an integer of at least 0, got -1" in message


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_output_folder_that_cannot_be(out, common, tmp_path):
    (tmp_path / "file").write_text("kept")
    arguments = [*common, *QUICK, "--out", tmp_path / out]
    assert "cannot be written to" in fail("benchmark", *arguments)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_that_holds_no_results(common, tmp_path):
    (tmp_path / "results.sqlite").write_text("no database, but some text " * 50)
    before = (tmp_path / "results.sqlite").read_bytes()
    arguments = [*common, *QUICK, "--out", tmp_path]
    assert "not a database" in fail("benchmark", *arguments)
    assert "not a database" in fail("merge", tmp_path, "--out", tmp_path / "out")
    assert (tmp_path / "results.sqlite").read_bytes() == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (
            "b",
            lambda data: (data / "masks" / "b.png").unlink(),
            "of the image 'b', got no such file",
        ),
        ("b", lambda data: Image.new("1", (3, 3)).save(data / "masks" / "b.png"), "width 3"),
        ("b", lambda data: Image.new("1", (12, 12)).save(data / "masks" / "b.png"), "object"),
        ("a", lambda data: (data / "images" / "a.png").write_bytes(b"no"), "cannot be read|can be"),
        ("a", lambda data: (data / "labels.csv").write_text("name,class\nb,green\n"), "a row"),
        (
            "a",
            lambda data: (data / "labels.csv").write_text("name,class\na,pink\nb,green\n"),
            "the model's classes .*pink",
        ),
    ],
    ids=["no mask", "size of mask", "empty mask", "no image", "no label", "unknown class"],
)
@pytest.mark.quick("no mask", "unknown class", "no image")
def test_one_bad_image_is_skipped_or_stops(name, damage, message, common, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    for k, each in enumerate("ab"):
        put(data, each, k, k, np.s_[2:8, 2:8])
    (data / "labels.csv").write_text("name,class\na,red\nb,green\n")
    damage(data)
    arguments = [*common, "--data", f"folder:{data}", *QUICK]
    assert "1 of 2 images kept, 0 misclassified, 1 skipped" in succeed(
        "benchmark", *arguments, "--out", out
    )
    held = records(out)
    assert held[name]["status"] == "skipped"
    assert re.search(message, held[name]["reason"])
    assert re.search(rf"\| {name} \| .*({message})", (out / "report.md").read_text())
    # What is there already does not hide it.
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    for folder in (out, tmp_path / "strict"):
        assert re.search(message, fail("benchmark", *arguments, "--strict", "--out", folder))
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_a_mended_image_is_measured(common, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    put(data, "a", 0, 0, np.s_[2:8, 2:8])
    put(data, "b", 1, 1, np.s_[2:8, 2:8])
    mask = (data / "masks" / "b.png").read_bytes()
    for each in "ab":
        (data / "masks" / f"{each}.png").write_bytes(b"no mask")
    arguments = [*common, "--data", f"folder:{data}", *QUICK, "--out", out]
    message = fail("benchmark", *arguments)
    assert "0 misclassified, 2 skipped" in message
    assert "a.png" in message
    assert not out.exists()
    (data / "masks" / "b.png").write_bytes(mask)
    assert "1 of 2 images kept" in succeed("benchmark", *arguments)
    assert [record["status"] for record in records(out).values()] == ["skipped", "kept"]


def test_no_image_is_classified_right(common, tmp_path):
    data = tmp_path / "data"
    put(data, "a", 0, 0, np.s_[2:8, 2:8])
    (data / "labels.csv").write_text("name,class\na,blue\n")
    arguments = [*common, "--data", f"folder:{data}", *QUICK, "--out", tmp_path / "out"]
    assert "1 misclassified and 0 skipped" in fail("benchmark", *arguments)
    assert not (tmp_path / "out").exists()  # nothing is in the way of the right command
    (data / "labels.csv").write_text("name,class\na,red\n")
    assert "1 of 1 image kept" in succeed("benchmark", *arguments, "--seed", 1)


def test_classes_have_to_be_known(common, tmp_path):
    without = [value for value in common if value not in ("--classes", ",".join(COLOURS))]
    arguments = [*without, *QUICK, "--out", tmp_path]
    assert "pass --classes NAMES, or --keep all" in fail("benchmark", *arguments)
    assert files(tmp_path) == []
    assert "6 of 8 images kept, 0 misclassified" in succeed(
        "benchmark", *arguments, "--keep", "all"
    )


# Settings of each kind.
SOME = ["--methods", "gradient,gradient:postprocess=abs", "--metrics", "ratio,lerf", "--steps", 4]
SOME += ["--figures", 1, "--resamples", 20, "--batch-size", 3, "--chunk", 2, "--limit", 4]


def test_config_file(common, tmp_path):
    given = [*common, *SOME]
    succeed("benchmark", *given, "--out", tmp_path / "one")
    keys = [str(flag).removeprefix("--") for flag in given[::2]]
    entries = dict(zip(keys, given[1::2], strict=True))
    entries |= {key: entries[key].split(",") for key in ("methods", "metrics", "classes")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in entries.items()]
    config = tmp_path / "benchmark.toml"
    config.write_text("\n".join([*lines, f'out = "{tmp_path / "out"}"', "controls = true"]))
    succeed("benchmark", "--config", config)
    assert_same_report(tmp_path / "out", tmp_path / "one")
    # Flags win.
    arguments = ["--config", config, "--out", tmp_path / "two", "--limit", 2, "--no-controls"]
    succeed("benchmark", *arguments, "--methods", "gradient")
    with Store(tmp_path / "two") as store:
        titles = [method["title"] for method in store.protocol["methods"]]
        assert (store.protocol["images"], titles) == (2, ["gradient"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing = 1", "'nothing'"),
        ("config = 'a'", "'config'"),
        ("seed = 1979-05-27", "'seed'"),
        ("limit = {a = 1}", "'limit'"),
        ("methods = [['rap'], {a = 1}]", "'methods'"),
        ("seed = ", "cannot be read"),
        ("seed = 1\nseed = 2", "cannot be read"),
        pytest.param(f"seed = {'9' * 5000}", "cannot be read (Exceeds the limit", id="digits"),
        pytest.param(f"seed = {'[' * 50_000}", "cannot be read (maximum recursion", id="nested"),
        ('"\\u001b[31m" = 1', r"got '\x1b[31m'"),
        ("mean = [1, 'a']", "--mean"),
        ("methods = []", "each method once"),
        ("keep = true", "--keep"),
    ],
)
def test_a_bad_config_file(line, message, common, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(line)
    assert message in fail("benchmark", *common, "--config", config, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line", ["limit = 2.5", "limit = true", "controls = 'perhaps'", "workers = 0", "steps = 'a'"]
)
def test_a_wrong_type_in_a_config_file_is_refused_like_that_flag(line, common, tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(line)
    result = run("benchmark", *common, "--config", config, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_help_imports_nothing_that_takes_long():
    code = "import sys; from rap_keras.cli.app import app\n"
    code += "for line in sys.argv[1:]: app(line.split(), standalone_mode=False)\n"
    heavy = "{'tensorflow', 'keras', 'ray', 'matplotlib', 'sklearn'}"
    code += f"sys.exit(bool({heavy} & set(sys.modules)))"
    typed = {"--help": b"merge", "benchmark --help": b"--percentile", "methods": b"grad_cam"}
    result = subprocess.run([sys.executable, "-c", code, *typed], capture_output=True)
    assert result.returncode == 0, result.stderr
    for text in typed.values():
        assert text in result.stdout


def test_no_name_of_a_class_gives_orders_to_a_terminal(network, tmp_path):
    """Neither what is printed nor the report in Markdown, which is read there."""
    escape = "\x1b[31mred\x1b]0;title\x07\x9b1m\u202e"
    data = make_photos(tmp_path / f"data{escape}")
    table = (data / "labels.csv").read_text().replace("\n", f"{escape}\n").splitlines(keepends=True)
    (data / "labels.csv").write_text("".join(["name,class\n", *table[1:]]), "utf-8")
    classes = ",".join(f"{colour}{escape}" for colour in COLOURS)
    model = ["--model", network, "--preprocess", "unit", "--classes", classes]
    out = tmp_path / escape
    shown = succeed("benchmark", *model, "--data", f"folder:{data}", *QUICK, "--out", out)
    assert sorted(name for name, r in records(out).items() if r["status"] == "kept") == KEPT
    shown += (out / "report.md").read_text("utf-8")
    shown += fail("benchmark", *model, "--data", f"folder:{data}", *MAIN, "--out", out)
    assert "31m" in shown
    assert [sign for sign in escape if not sign.isprintable() and sign in shown] == []


@pytest.mark.drawn
def test_names_of_files_need_not_be_utf_8(common, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    for k, name in enumerate(["a", os.fsdecode(b"caf\xe9 $x$ $y$"), "c"]):
        try:
            put(data, name, k, k, np.s_[2:8, 2:8])
        except OSError:
            pytest.skip("this file system has UTF-8 names only")
    (data / "masks" / "c.png").unlink()
    torn = data / "masks" / os.fsdecode(b"torn\xff.png")
    put(data, os.fsdecode(b"torn\xff"), 3, 0, np.s_[2:8, 2:8])
    torn.write_bytes(b"torn")
    arguments = [*common, "--data", f"folder:{data}", *QUICK[:-4], "--figures", 2, "--out", out]
    assert "2 of 4 images kept, 0 misclassified, 2 skipped" in succeed("benchmark", *arguments)
    assert os.fsdecode(b"caf\xe9 $x$ $y$") in records(out)
    report = (out / "report.md").read_text("utf-8")
    assert "torn\N{REPLACEMENT CHARACTER}" in report
    assert json.loads((out / "summary.json").read_text("utf-8"))["summary"]["kept"] == 2
    assert (out / "figures" / "heatmaps.png").stat().st_size > 1000
    succeed("benchmark", *arguments)  # the same protocol again


def test_a_folder_that_may_not_be_read(common, tmp_path, monkeypatch):
    (tmp_path / "data" / "masks").mkdir(parents=True)
    is_dir = Path.is_dir

    def refused(self):
        if self.name in ("masks", "closed"):
            raise PermissionError(13, "Permission denied", str(self))
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", refused)
    for name in ("data", "closed"):
        arguments = [*common, "--data", f"folder:{tmp_path / name}", *QUICK]
        message = fail("benchmark", *arguments, "--out", tmp_path / "out")
        assert f"{tmp_path / name}' cannot be read (Permission denied)" in message
    assert not (tmp_path / "out").exists()
