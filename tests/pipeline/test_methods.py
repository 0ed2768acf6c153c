"""Methods with their options, as they are written."""

import pytest

from rap_keras import InputError
from rap_keras.pipeline.methods import (
    MethodSpec,
    check_early,
    check_given,
    read_spec,
    with_contrast,
    with_patterns,
)


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("rap", "rap", {}),
        (" rap : variant = released ", "rap", {"variant": "released"}),
        (
            "smoothgrad:augment_by_n=8:noise_scale=0.5",
            "smoothgrad",
            {"augment_by_n": 8, "noise_scale": 0.5},
        ),
        ("grad_cam:relu=false:layer=null", "grad_cam", {"relu": False, "layer": None}),
        ("own.py:f:size=4", "own.py:f", {"size": 4}),
    ],
)
def test_options_are_read(text, name, options):
    assert read_spec(text) == MethodSpec(text.strip(), name, options)


@pytest.mark.parametrize("text", ["rap:", "rap:add", "rap:add=", "rap:=1", "rap:add=1:add=2"])
def test_texts_that_are_no_method(text):
    with pytest.raises(InputError, match="Expected a method as NAME:OPTION=VALUE"):
        read_spec(text)


def test_an_option_of_its_own_has_precedence():
    asked = read_spec("rap:contrast=uniform")
    assert with_contrast(asked, "softmax", "contrast") == asked
    assert with_contrast(read_spec("rap"), [3], "against").options == {"contrast": [3]}
    assert with_patterns(read_spec("pattern.net:patterns=a.npz"), "b.npz").options == {
        "patterns": "a.npz"
    }
    assert with_patterns(read_spec("pattern.net"), "b.npz").options == {"patterns": "b.npz"}


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: with_contrast(read_spec("smoothgrad"), [3], "against"), "Expected no against for"),
        (lambda: with_patterns(read_spec("pattern.net"), None), "needs patterns=FILE.npz"),
        (
            lambda: check_given(read_spec("rap:batch_size=2"), "command"),
            "because the command sets it",
        ),
        (lambda: check_early(read_spec("rap:varient=paper")), "did you mean 'variant'"),
        (lambda: check_early(read_spec("rapp")), "did you mean 'rap'"),
    ],
)
def test_what_a_method_cannot_be_given(check, message):
    with pytest.raises(InputError, match=message):
        check()
