"""What the colours of maps mean: for the pages of methods and `rap-keras methods NAME`."""

from rap_keras.analyzers import method as records
from rap_keras.analyzers.registry import read_method

RED = {
    records.LESS: "what has more influence than the rest",
    records.AGAINST: "what speaks for the class",
    records.LESS_OR_AGAINST: "what speaks for the class",
    records.SLOPE: "where a larger value would raise the score",
}
# The colours of methods whose blue has no meaning or is absent.
COLOURS = {
    "attention.rollout": "Red is where the network looks, whatever the class. There is no blue.",
    "generic_attention": "Red is where attention supports the class. There is no blue.",
    "transformer_attribution": "Red is where attention supports the class. There is no blue.",
    "legrad": "Red is where more attention would raise the score. There is no blue.",
    "score_cam": "Red is what the feature maps with the largest scores show. There is no blue.",
    "rise": "Red is the mean score of the masks that show a pixel. Blue is possible only with "
    '`score="logit"`.',
    "input": "The colours are those of the input: red is above zero, blue below.",
    "random": "The colours mean nothing.",
    "lrp": "The meaning of the colours depends on your rules.",
    "lrp.flat": "The sign is that of the logit. Strong colours mark pixels that many neurons see.",
    "lrp.w_square": "The sign is that of the logit. Strong colours mark pixels with large weights.",
}


def colours(name: str) -> str:
    """Returns what the colours of a method's maps mean.

    Example:
        >>> colours("rap").split(".")[0]
        'Red is what has more influence than the rest, blue what has less influence than the rest'
    """
    record = read_method(name)
    options = record.option_names()
    if name in COLOURS:
        return COLOURS[name]
    if not record.negative:
        return "Neither colour has a clear meaning."
    red, blue = RED[record.negative], record.negative_means({})
    sentence = f"Red is {red}, blue {blue}" if blue else f"Red is {red}"
    sentence += (
        ", compared with the reference." if {"reference_inputs", "background"} & {*options} else "."
    )
    if not blue:
        sentence += " There is no blue if the logit is positive."
    if not blue and "relu" in options:
        sentence += f" With `relu=False`, blue is {record.negative_means({'relu': False})}."
    contrasted = record.negative_means({"contrast": "softmax"}) if "contrast" in options else ""
    if contrasted == records.OTHERS:
        red = (
            f"red is {RED[records.AGAINST]} and blue"
            if record.negative == records.LESS
            else "blue is"
        )
        sentence += f" With `contrast`, {red} {contrasted}."
    return sentence
