"""Slow versions of the rules: loops over single connections, in NumPy and double precision.

Nothing here comes from the package. A kernel layer becomes matrices W of shape (inputs, outputs),
over the flat indices of one sample; a rule is a loop over the pairs (i, j) with w_ij != 0.
"""

import itertools
import math

import numpy as np

# --- Layers as matrices --------------------------------------------------------------------------


def connections(layer, input_shape):
    """The matrices that a kernel layer multiplies one sample with, one after the other.

    `input_shape` has no batch axis. Returns matrices (n_in, n_out), and the shapes between them,
    the input's and the output's included.
    """
    kind = type(layer).__name__
    kernel = layer.get_weights()[0].astype(np.float64)
    if kind == "Dense":
        matrix, shape = _dense(kernel, input_shape)
        return [matrix], [input_shape, shape]
    if kind == "EinsumDense":
        matrix, shape = _einsum(layer.equation, kernel, input_shape)
        return [matrix], [input_shape, shape]
    if kind.endswith("Transpose"):
        matrix, shape = _transposed_convolution(layer, kernel, input_shape)
        return [matrix], [input_shape, shape]
    if kind.startswith("Depthwise"):
        matrix, shape = _depthwise(layer, kernel, input_shape)
        return [matrix], [input_shape, shape]
    if kind.startswith("Separable"):
        first, between = _depthwise(layer, kernel, input_shape)
        pointwise = layer.get_weights()[1].astype(np.float64)
        second, shape = _pointwise(layer, pointwise, between)
        return [first, second], [input_shape, between, shape]
    assert kind in ("Conv1D", "Conv2D", "Conv3D"), kind
    matrix, shape = _convolution(layer, kernel, input_shape)
    return [matrix], [input_shape, shape]


def bias_of(layer, output_shape):
    """The bias of every output of one sample, in the output's shape."""
    bias = np.zeros(output_shape)
    if layer.bias is None:
        return bias
    values = layer.get_weights()[-1].astype(np.float64)
    if type(layer).__name__ == "EinsumDense":
        return bias + values
    axis = 0 if getattr(layer, "data_format", None) == "channels_first" else len(output_shape) - 1
    for index in np.ndindex(*output_shape):
        bias[index] = values[index[axis]]
    return bias


def _flat(shape, index):
    position = 0
    for size, i in zip(shape, index, strict=True):
        assert 0 <= i < size
        position = position * size + i
    return position


def _dense(kernel, input_shape):
    features, units = kernel.shape
    output_shape = (*input_shape[:-1], units)
    matrix = np.zeros((math.prod(input_shape), math.prod(output_shape)))
    for place in np.ndindex(*input_shape[:-1]):
        for f in range(features):
            for u in range(units):
                i, j = _flat(input_shape, (*place, f)), _flat(output_shape, (*place, u))
                matrix[i, j] = kernel[f, u]
    return matrix, output_shape


def _einsum(equation, kernel, input_shape):
    terms, out = equation.split("->")
    data, weights = terms.split(",")
    if data.startswith("..."):  # The dots stand for the batch and all that the letters leave over.
        extra = len(input_shape) + 1 - len(data[3:])
        dots = "ABCDEFG"[:extra]
        data, out = data.replace("...", dots), out.replace("...", dots)
    data, out = data[1:], out[1:]  # The batch.
    size = dict(zip(data, input_shape, strict=True)) | dict(zip(weights, kernel.shape, strict=True))
    output_shape = tuple(size[letter] for letter in out)
    matrix = np.zeros((math.prod(input_shape), math.prod(output_shape)))
    letters = sorted(size)
    for values in itertools.product(*(range(size[letter]) for letter in letters)):
        at = dict(zip(letters, values, strict=True))
        i = _flat(input_shape, [at[letter] for letter in data])
        j = _flat(output_shape, [at[letter] for letter in out])
        matrix[i, j] += kernel[tuple(at[letter] for letter in weights)]
    return matrix, output_shape


def taps(size, k, stride, dilation, padding):
    """A convolution along one axis: its length, and every (input, output, tap) inside the input."""
    reach = dilation * (k - 1) + 1
    if padding == "valid":
        left, length = 0, (size - reach) // stride + 1
    elif padding == "same":
        length = math.ceil(size / stride)
        left = max((length - 1) * stride + reach - size, 0) // 2  # The odd one is on the right.
    else:
        assert padding == "causal"
        left, length = reach - 1, (size - 1) // stride + 1
    inside = []
    for o in range(length):
        for t in range(k):
            i = o * stride + t * dilation - left
            if 0 <= i < size:
                inside.append((i, o, t))
    return length, inside


def transposed_taps(size, k, stride, dilation, padding, output_padding):
    """A transposed convolution along one axis: the taps of the convolution that goes back."""
    reach = dilation * (k - 1) + 1
    if output_padding is None:
        length = size * stride + (max(reach - stride, 0) if padding == "valid" else 0)
    else:
        cut = reach // 2 if padding == "same" else 0
        length = (size - 1) * stride + reach - 2 * cut + output_padding
    back, inside = taps(length, k, stride, dilation, padding)
    assert back == size, (back, size)
    return length, [(o, i, t) for i, o, t in inside]


def _spatial(layer, input_shape):
    """Channels last or first: the spatial sizes, the channels, and how to put an index together."""
    if layer.data_format == "channels_first":
        return input_shape[1:], input_shape[0], lambda places, c: (c, *places)
    return input_shape[:-1], input_shape[-1], lambda places, c: (*places, c)


def _one_per_axis(value, rank):
    return (value,) * rank if value is None or isinstance(value, int) else tuple(value)


def _axes(layer, sizes):
    """For each axis the length and the taps of the layer's convolution."""
    rank = len(sizes)
    settings = zip(
        sizes,
        _one_per_axis(layer.kernel_size, rank),
        _one_per_axis(layer.strides, rank),
        _one_per_axis(layer.dilation_rate, rank),
        strict=True,
    )
    return [taps(*setting, layer.padding) for setting in settings]


def _convolution(layer, kernel, input_shape):
    sizes, channels, at = _spatial(layer, input_shape)
    axes = _axes(layer, sizes)
    filters = kernel.shape[-1]
    output_shape = at(tuple(length for length, _ in axes), filters)
    per_group, filters_per_group = channels // layer.groups, filters // layer.groups
    assert kernel.shape[-2] == per_group
    matrix = np.zeros((math.prod(input_shape), math.prod(output_shape)))
    for steps in itertools.product(*(inside for _, inside in axes)):
        place_in, place_out, tap = zip(*steps, strict=True)
        for f in range(filters):
            group = f // filters_per_group
            for c in range(per_group):
                i = _flat(input_shape, at(place_in, group * per_group + c))
                j = _flat(output_shape, at(place_out, f))
                matrix[i, j] = kernel[(*tap, c, f)]
    return matrix, output_shape


def _depthwise(layer, kernel, input_shape):
    sizes, channels, at = _spatial(layer, input_shape)
    axes = _axes(layer, sizes)
    multiplier = kernel.shape[-1]
    output_shape = at(tuple(length for length, _ in axes), channels * multiplier)
    matrix = np.zeros((math.prod(input_shape), math.prod(output_shape)))
    for steps in itertools.product(*(inside for _, inside in axes)):
        place_in, place_out, tap = zip(*steps, strict=True)
        for c in range(channels):
            for m in range(multiplier):
                i = _flat(input_shape, at(place_in, c))
                j = _flat(output_shape, at(place_out, c * multiplier + m))
                matrix[i, j] = kernel[(*tap, c, m)]
    return matrix, output_shape


def _pointwise(layer, kernel, input_shape):
    sizes, channels, at = _spatial(layer, input_shape)
    filters = kernel.shape[-1]
    output_shape = at(tuple(sizes), filters)
    matrix = np.zeros((math.prod(input_shape), math.prod(output_shape)))
    for place in np.ndindex(*sizes):
        for c in range(channels):
            for f in range(filters):
                i, j = _flat(input_shape, at(place, c)), _flat(output_shape, at(place, f))
                matrix[i, j] = kernel[(*(0,) * len(sizes), c, f)]
    return matrix, output_shape


def _transposed_convolution(layer, kernel, input_shape):
    sizes, channels, at = _spatial(layer, input_shape)
    rank = len(sizes)
    settings = zip(
        sizes,
        _one_per_axis(layer.kernel_size, rank),
        _one_per_axis(layer.strides, rank),
        _one_per_axis(layer.dilation_rate, rank),
        (layer.padding,) * rank,
        _one_per_axis(layer.output_padding, rank),
        strict=True,
    )
    axes = [transposed_taps(*setting) for setting in settings]
    filters = kernel.shape[-2]
    output_shape = at(tuple(length for length, _ in axes), filters)
    matrix = np.zeros((math.prod(input_shape), math.prod(output_shape)))
    for steps in itertools.product(*(inside for _, inside in axes)):
        place_in, place_out, tap = zip(*steps, strict=True)
        for f in range(filters):
            for c in range(channels):
                i, j = _flat(input_shape, at(place_in, c)), _flat(output_shape, at(place_out, f))
                matrix[i, j] = kernel[(*tap, f, c)]
    return matrix, output_shape


# --- The rules for one sample: x (n_in,), W and what each neuron sees (n_in, n_out), R (n_out,) --


def ratio(a, b):
    """a / b, and 0 where b = 0."""
    return a / b if b != 0 else 0.0


def _pairs(matrix):
    """Every connection (i, j, w_ij)."""
    rows, columns = np.nonzero(matrix)
    return list(zip(rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), strict=True))


def evenly(seen, relevance):
    """Relevance in equal parts over what each neuron sees, over all where it sees nothing."""
    share = np.zeros(len(seen))
    for j in np.flatnonzero(relevance):
        places = np.flatnonzero(seen[:, j])
        places = places if len(places) else np.arange(len(seen))
        share[places] += relevance[j] / len(places)
    return share


def without(sums, relevance):
    """The relevance of the neurons whose sums are 0."""
    return np.where(np.array(sums) == 0, relevance, 0.0)


def inner(x, matrix, relevance, seen=None, local=0.0):
    """Eqs. 7-9; with `local`, a part of each neuron's excess is taken from its own contributions."""
    x, relevance = x.tolist(), relevance.tolist()
    pairs = _pairs(matrix)
    positive = [0.0] * matrix.shape[1]
    negative = [0.0] * matrix.shape[1]
    for i, j, w in pairs:
        z = x[i] * w
        if z > 0:
            positive[j] += z
        else:
            negative[j] += -z
    share = [0.0] * len(x)
    for i, j, w in pairs:
        z = x[i] * w
        if z > 0:
            share[i] += relevance[j] * ratio(z, positive[j])
        else:
            share[i] += relevance[j] * ratio(-z, positive[j] + negative[j])
        if local and positive[j] > 0:
            size = positive[j] + negative[j]
            share[i] -= local * relevance[j] * negative[j] / size * abs(z) / size
    if local:
        sizes = [p + n for p, n in zip(positive, negative, strict=True)]
        share = (np.array(share) + evenly(seen, without(sizes, np.array(relevance)))).tolist()
    activated = [i for i, value in enumerate(x) if value != 0] or range(len(x))
    excess = math.fsum(share) - math.fsum(relevance)
    for i in activated:
        share[i] -= excess / len(activated)
    return np.array(share)


def head(x, matrix, relevance, seen):
    """Eqs. 5-6."""
    x, relevance = x.tolist(), relevance.tolist()
    pairs = _pairs(matrix)
    size = [0.0] * matrix.shape[1]
    for i, j, w in pairs:
        size[j] += abs(x[i] * w)
    share = [0.0] * len(x)
    for i, j, w in pairs:
        share[i] += relevance[j] * ratio(abs(x[i] * w), size[j])
    return np.array(share) + evenly(seen, without(size, relevance))


def first(x, matrix, relevance, seen, low, high):
    """Eq. 10 with an input between the arrays low and high."""
    x, relevance, low, high = (a.tolist() for a in (x, relevance, low, high))
    pairs = _pairs(matrix)

    def part(i, w):
        return (x[i] - low[i]) * w if w > 0 else (x[i] - high[i]) * w

    size = [0.0] * matrix.shape[1]
    for i, j, w in pairs:
        size[j] += part(i, w)
    share = [0.0] * len(x)
    for i, j, w in pairs:
        share[i] += relevance[j] * ratio(part(i, w), size[j])
    return np.array(share) + evenly(seen, without(size, relevance))


def released(x, matrix, relevance, seen, convolution):
    """The released code: x+ and |x-| separately, each as if it were the whole input."""
    return sum(
        _released_part(part, matrix, relevance, convolution)
        for part in (np.maximum(x, 0), np.maximum(-x, 0))
    )


def _released_part(x, matrix, relevance, convolution):
    x, relevance = x.tolist(), relevance.tolist()
    pairs = _pairs(matrix)
    a = [0.0] * matrix.shape[1]
    b = [0.0] * matrix.shape[1]
    for i, j, w in pairs:
        if w > 0:
            a[j] += x[i] * w
        else:
            b[j] += x[i] * -w
    share = [0.0] * len(x)
    for i, j, w in pairs:
        to_positive, to_negative = relevance[j], 0.0
        if convolution and relevance[j] < 0:
            to_positive, to_negative = 0.0, relevance[j]
        if w > 0:
            share[i] += x[i] * w * ratio(to_positive, a[j])
        else:
            share[i] += x[i] * -w * (ratio(to_negative, b[j]) + ratio(relevance[j], a[j] + b[j]))
    moved = [i for i, value in enumerate(share) if value != 0]
    excess = math.fsum(share) - math.fsum(relevance)
    for i in moved:
        share[i] -= excess / len(moved)
    return np.array(share)


# --- The rules for a batch and a layer of one or more matrices -----------------------------------


def layer_rule(rules, matrices, x, relevance, seen=None):
    """Applies rules[k] to the k-th matrix, last first, to each sample of x separately.

    `seen` are the matrices if all weights were 1; None where none of them is 0.
    """
    result = np.zeros(x.shape)
    for n in range(len(x)):
        values = [x[n].astype(np.float64).ravel()]
        for matrix in matrices[:-1]:
            values.append(values[-1] @ matrix)
        r = relevance[n].astype(np.float64).ravel()
        steps = zip(rules, values, matrices, seen or matrices, strict=True)
        for rule, value, matrix, mask in reversed(list(steps)):
            r = rule(value, matrix, r, mask)
        result[n] = r.reshape(x.shape[1:])
    return result


# --- Pooling and resizing as matrices of weights -------------------------------------------------


def windows(shape, pool, strides, padding):
    """The places of each window of a pooling, channels last: {output index: [input index, ...]}."""
    axes = [
        taps(size, k, stride, 1, padding)
        for size, k, stride in zip(shape[:-1], pool, strides, strict=True)
    ]
    output_shape = (*(length for length, _ in axes), shape[-1])
    result = {index: [] for index in np.ndindex(*output_shape)}
    for steps in itertools.product(*(inside for _, inside in axes)):
        place_in, place_out, _ = zip(*steps, strict=True)
        for c in range(shape[-1]):
            result[(*place_out, c)].append((*place_in, c))
    return output_shape, result


def averages(shape, output_shape, inputs_of):
    """The matrix a_ij of an average over {output index: [input index, ...]}."""
    matrix = np.zeros((math.prod(shape), math.prod(output_shape)))
    for out, places in inputs_of.items():
        for place in places:
            matrix[_flat(shape, place), _flat(output_shape, out)] += 1 / len(places)
    return matrix


def nearest(shape, factors):
    """The matrix of an upsampling by repetition, channels last."""
    output_shape = (*(n * f for n, f in zip(shape[:-1], factors, strict=True)), shape[-1])
    matrix = np.zeros((math.prod(shape), math.prod(output_shape)))
    for out in np.ndindex(*output_shape):
        place = (*(o // f for o, f in zip(out[:-1], factors, strict=True)), out[-1])
        matrix[_flat(shape, place), _flat(output_shape, out)] = 1.0
    return matrix, output_shape


def bilinear(shape, factors):
    """The matrix of a bilinear upsampling of images: values lie in the middles of the pixels."""
    output_shape = (shape[0] * factors[0], shape[1] * factors[1], shape[2])
    matrix = np.zeros((math.prod(shape), math.prod(output_shape)))
    for out in np.ndindex(*output_shape):
        ends = []
        for o, factor, size in zip(out[:2], factors, shape[:2], strict=True):
            middle = (o + 0.5) / factor - 0.5
            low, rest = math.floor(middle), middle - math.floor(middle)
            ends.append(
                [(min(max(low, 0), size - 1), 1 - rest), (min(max(low + 1, 0), size - 1), rest)]
            )
        for (row, a), (column, b) in itertools.product(*ends):
            matrix[_flat(shape, (row, column, out[2])), _flat(output_shape, out)] += a * b
    return matrix, output_shape


def in_proportion(x, matrix, relevance):
    """R_i = sum_j R_j a_ij |x_i| / sum_k a_kj |x_k|, or a_ij / sum_k a_kj where that sum is 0."""
    share = np.zeros(len(x))
    for j in range(matrix.shape[1]):
        parts = [a * abs(v) for a, v in zip(matrix[:, j], x, strict=True)]
        if sum(parts) == 0:
            parts = list(matrix[:, j])
        for i, part in enumerate(parts):
            share[i] += relevance[j] * part / sum(parts)
    return share


def signed_proportion(x, matrix, relevance):
    """R_i = sum_j R_j a_ij x_i / sum_k a_kj x_k, and 0 where that sum is 0."""
    share = np.zeros(len(x))
    for j in range(matrix.shape[1]):
        parts = [a * v for a, v in zip(matrix[:, j], x, strict=True)]
        for i, part in enumerate(parts):
            share[i] += relevance[j] * ratio(part, sum(parts))
    return share


def winners(x, inputs_of, relevance):
    """The largest element of each window takes all; x and relevance in their shapes, one sample."""
    share = np.zeros(x.shape)
    for out, places in inputs_of.items():
        share[max(places, key=lambda place: x[place])] += relevance[out]
    return share


# --- LRP for one sample and one matrix: R_i = sum_j (what i contributes to j) R_j / (the total) --


def _shared(parts, totals, relevance):
    """R_i = sum_j parts_ij R_j / totals_j, and 0 where totals_j = 0."""
    quotients = map(ratio, relevance.tolist(), totals.tolist())
    return parts @ np.array(list(quotients))


def lrp_epsilon(x, matrix, relevance, seen, b, epsilon=0.0, bias=True):
    z = x[:, None] * matrix
    totals = z.sum(0) + (b if bias else 0)
    share = _shared(z, totals + np.where(totals >= 0, epsilon, -epsilon), relevance)
    return share if epsilon else share + evenly(seen, without(totals, relevance))


def lrp_alpha_beta(
    x,
    matrix,
    relevance,
    seen,
    b,
    alpha=1.0,
    beta=0.0,
    bias="split",
    positive_inputs=False,
    one_sided=False,
):
    z = (np.maximum(x, 0) if positive_inputs else x)[:, None] * matrix
    up, down = np.maximum(z, 0), np.minimum(z, 0)
    to_up, to_down = {
        "split": (np.maximum(b, 0), np.minimum(b, 0)),
        "none": (0, 0),
        "whole": (b, b),
    }[bias]
    positive, negative = up.sum(0) + to_up, down.sum(0) + to_down
    share = alpha * _shared(up, positive, relevance)
    if one_sided:
        share += _shared(down, negative, np.where(positive == 0, relevance, 0))
    none = (positive == 0) & (negative == 0) & (one_sided or beta != 0)
    share += evenly(seen, np.where(none, relevance, 0))
    return share - beta * _shared(down, negative, relevance)


def lrp_gamma(x, matrix, relevance, seen, b, gamma=0.25, signed=False):
    z = x[:, None] * matrix
    sign = np.where(z.sum(0) + b < 0, -1, 1) if signed else 1
    z, b = z * sign, b * sign
    parts = z + gamma * np.maximum(z, 0)
    totals = parts.sum(0) + b + gamma * np.maximum(b, 0)
    return _shared(parts, totals, relevance) + evenly(seen, without(totals, relevance))


def lrp_z_plus(x, matrix, relevance, seen, b):
    z = x[:, None] * np.maximum(matrix, 0)
    return _shared(z, z.sum(0), relevance)


def lrp_w_square(x, matrix, relevance, seen, b):
    totals = (matrix**2).sum(0)
    return _shared(matrix**2, totals, relevance) + evenly(seen, without(totals, relevance))


def lrp_flat(x, matrix, relevance, seen, b):
    return _shared(matrix, matrix.sum(0), relevance)


def lrp_box(x, matrix, relevance, seen, b, low, high):
    w_up, w_down = np.maximum(matrix, 0), np.minimum(matrix, 0)
    z = x[:, None] * matrix - low[:, None] * w_up - high[:, None] * w_down
    return _shared(z, z.sum(0), relevance) + evenly(seen, without(z.sum(0), relevance))
