"""Every method is one record, which all parts of the package use."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.networks import plain

import rap_keras
from rap_keras import InputError, create_analyzer
from rap_keras.analyzers import method as methods
from rap_keras.analyzers import registry
from rap_keras.analyzers.gradient import GradientAnalyzer
from rap_keras.analyzers.registry import METHODS, Method, find_method, read_method
from rap_keras.benchmark.rows import read_row
from rap_keras.benchmark.settings import Settings

# As they were before the methods had one table.
POSITIVE = {
    *("lrp.alpha_1_beta_0", "lrp.alpha_1_beta_0_IB", "lrp.z_plus"),
    *("lrp.w_square", "lrp.flat", "deep_taylor", "deep_taylor.bounded"),
    *("attention.rollout", "grad_cam", "grad_cam_plus_plus", "layer_cam", "rise"),
    *("score_cam", "generic_attention", "transformer_attribution", "legrad"),
}
OPTIONS = {
    "lrp.epsilon": ["epsilon", "bias"],
    "lrp.alpha_beta": ["alpha", "beta", "bias"],
    "lrp.sequential_preset_a": ["epsilon"],
    "lrp.sequential_preset_b": ["epsilon"],
    "lrp.sequential_preset_a_flat": ["epsilon"],
    "lrp.sequential_preset_b_flat": ["epsilon"],
    "lrp.epsilon_plus": ["epsilon"],
    "lrp.epsilon_gamma_box": ["epsilon", "gamma"],
    "lrp.attnlrp": ["epsilon", "gamma", "dense_gamma"],
}
SHARED = ["neuron_selection_mode", "batch_size", "check_finite", "jit_compile"]


class ToyAnalyzer(GradientAnalyzer):
    def __init__(self, model: keras.Model, seed: int = 0, **options) -> None:
        super().__init__(model, **options)
        self.seed = seed


def test_a_new_method_is_one_line(monkeypatch):
    line = Method("toy", f"{__name__}:ToyAnalyzer", signs=lambda options: False, seeded=True)
    monkeypatch.setattr(registry, "METHODS", [*METHODS, line])
    assert rap_keras.analyzer_names()[-1] == "toy"
    x = np.ones((1, 12, 12, 3), "float32")
    toy = create_analyzer("toy", plain(), seed=4, postprocess="abs")
    assert (toy.name, toy.seed) == ("toy", 4)
    assert toy.explain(x).method == "toy"
    with pytest.raises(InputError, match="got 'sede': did you mean 'seed'"):
        create_analyzer("toy", plain(), sede=4)
    settings = Settings(methods=("toy",), seed=9)
    (row, *_) = settings.rows()
    assert row.options == {"seed": 9}
    assert row.threshold == "mean"


def test_a_new_preset_is_one_line(monkeypatch, tmp_path):
    line = registry._preset(
        "lrp.toy", "alpha_beta", options={"alpha": None}, signs=False, beta=0, bias=False
    )
    monkeypatch.setattr(registry, "METHODS", [*METHODS, line])
    assert rap_keras.analyzer_names()[-1] == "lrp.toy"
    x = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
    model = plain()
    toy = create_analyzer("lrp.toy", model, alpha=1)
    same = create_analyzer("lrp.z_plus", model).analyze(x)
    np.testing.assert_allclose(toy.analyze(x), same, atol=1e-6 * abs(same).max())
    assert toy.name == "lrp.toy"
    assert list(line.preset.options) == ["alpha"]
    toy.save(tmp_path)
    assert rap_keras.load_analyzer(tmp_path).options() == toy.options()
    assert read_row("lrp.toy").threshold == "mean"


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_the_records_agree_with_the_methods(method):
    assert method.signed({}) == (method.name not in POSITIVE)
    assert method.needs_patterns == ("patterns" in method.option_names())
    assert method.seeded == ("seed" in method.option_names())
    assert set(SHARED) <= set(method.option_names())
    assert list(method.preset.options if method.preset else ()) == OPTIONS.get(method.name, [])
    first = next(other for other in METHODS if other.home == method.home)
    assert registry.name_of(method.load()) == first.name


@pytest.mark.parametrize(
    ("name", "options", "signed"),
    [
        ("gradient", {"postprocess": "abs"}, False),
        ("smoothgrad", {"postprocess": "square"}, False),
        ("smoothgrad", {"postprocess": None}, True),
        # Its gradients are multiplied by the difference to the reference, which has signs.
        ("integrated_gradients", {"postprocess": "abs"}, True),
        ("grad_cam", {"relu": False}, True),
        ("grad_cam", {"contrast": "softmax"}, False),
        ("hires_cam", {"relu": True}, False),
        ("legrad", {"contrast": "softmax"}, False),
        ("rise", {"score": "logit"}, True),
        ("rise", {"score": "sigmoid"}, False),
        ("lrp.alpha_beta", {"alpha": 1}, False),
        ("lrp.alpha_beta", {"beta": 0}, False),
        ("lrp.alpha_beta", {"alpha": 2}, True),
    ],
)
def test_maps_are_signed_by_their_options(name, options, signed):
    assert read_method(name).signed(options) == signed
    if "postprocess" in options:
        short = {"smoothgrad": {"augment_by_n": 2}, "integrated_gradients": {"steps": 2}}
        x = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
        maps = create_analyzer(name, plain(), **short.get(name, {}), **options).analyze(x)
        assert (maps.min() < 0 < maps.max()) == signed


def test_unknown_names_are_refused():
    assert find_method("deep_lift.wrapper") is None
    for wrong in ("RAP", "Rap"):
        with pytest.raises(InputError, match=r"did you mean 'rap'\? \(rap-keras methods"):
            read_method(wrong)
    with pytest.raises(InputError, match=r"did you mean 'lrp\.alpha_1_beta_0_IB'\? "):
        read_method("LRP.alpha_1_beta_0_ib")


def test_a_class_without_a_record_is_called_by_its_name_or_by_its_base():
    assert registry.name_of(ToyAnalyzer) == "gradient"
    assert registry.name_of(rap_keras.analyzers.base.Analyzer) == "Analyzer"


@pytest.mark.slow
def test_the_table_needs_no_tensorflow():
    code = (
        "import sys\n"
        "from rap_keras.analyzers.registry import read_method\n"
        "from rap_keras.benchmark.settings import Settings\n"
        "import rap_keras\n"
        "settings = Settings(methods=('smoothgrad', 'lrp.z_plus', 'pattern.net:patterns=a.npz'))\n"
        "assert [row.threshold for row in settings.rows()][:3] == ['zero', 'mean', 'zero']\n"
        "assert read_method('pattern.net').needs_patterns\n"
        "assert 'rap' in rap_keras.analyzer_names()\n"
        "loaded = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("row", "meaning"),
    [
        ("rap", methods.LESS),
        ("rap:head=positive", methods.LESS),
        ("rap:contrast=softmax", methods.OTHERS),
        ("lrp.alpha_1_beta_0", ""),
        ("lrp.alpha_1_beta_0:contrast=3", methods.OTHERS),
        ("lrp.epsilon", methods.AGAINST),
        ("deep_lift", methods.AGAINST),
        ("gradient", methods.SLOPE),
        ("gradient:postprocess=abs", ""),
        ("gradient:contrast=softmax", methods.SLOPE),
        ("grad_cam", ""),
        ("grad_cam:relu=false", methods.AGAINST),
        ("grad_cam:relu=false:contrast=softmax", methods.OTHERS),
        ("hires_cam", methods.AGAINST),
        ("guided_backprop", ""),
    ],
)
def test_the_meaning_of_negative_relevance_depends_on_the_method(row, meaning):
    method = read_row(row)
    assert read_method(method.name).negative_means(method.options) == meaning


def test_of_a_method_of_ones_own_nothing_is_claimed():
    own = registry._custom("mine", lambda model, x, neurons: x, signed=True)
    assert own.negative_means({}) == ""


def test_options_are_known_without_loading_the_method():
    for method in METHODS:
        taken = set(method.load().option_names()) - {"method"}
        if method.home.startswith(".lrp:"):
            taken -= {"bounds"}  # its names are low and high
            taken |= set(method.preset.options) if method.preset else {"composite"}
        assert set(method.option_names()) == taken, method.name
        method.check_options(method.option_names())
        with pytest.raises(InputError, match=f"Expected options of '{method.name}' among .*seede"):
            method.check_options(["seede"])
    for name, fixed in (("lrp.alpha_2_beta_1", "alpha"), ("rap", "model"), ("rap", "composite")):
        with pytest.raises(InputError, match=f"got '{fixed}'"):
            read_method(name).check_options([fixed])
