"""Folds BatchNormalization into the kernels of adjacent linear layers; the output stays the same."""

import dataclasses

from rap_keras.network import kernels
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import BATCH_NORMALIZATION, activation_name, is_a


def fold(graph: Graph) -> Graph:
    """The graph with each BatchNormalization folded where that is exact.

    It is folded into the linear layer before it, if that has no activation and feeds nothing else;
    otherwise into the linear layer after it, if it feeds nothing else. A folded pair is one node with
    the name of its linear layer. Other BatchNormalizations, as in ReLU-BN-ReLU or after a
    concatenation, stay. Layers are not changed.
    """
    nodes = {node.name: node for node in graph.nodes}
    for norm in graph.nodes:
        if not is_a(norm.layer, BATCH_NORMALIZATION) or norm.masks:
            continue
        (taken,), (given,) = norm.inputs, norm.outputs
        rank = len(graph.shapes[taken])
        producer = graph.producers.get(taken)
        maker = nodes.get(producer.name) if producer else None
        users = graph.consumers.get(given, [])
        if (
            maker is not None
            and maker.after is None
            and graph.consumers[taken] == [norm]
            and taken != graph.output
            and activation_name(maker.layer) is None
            and _matches(maker, norm, rank)
        ):
            nodes[maker.name] = dataclasses.replace(maker, outputs=norm.outputs, after=norm.layer)
        elif (
            len(users) == 1
            and given != graph.output
            and (user := nodes[users[0].name]).before is None
            and _matches(user, norm, rank)
        ):
            nodes[user.name] = dataclasses.replace(user, inputs=norm.inputs, before=norm.layer)
        else:
            continue
        del nodes[norm.name]
    return dataclasses.replace(graph, nodes=tuple(nodes.values()))


def _matches(node: Node, norm: Node, rank: int) -> bool:
    """Whether a layer is linear and has its channels on the axis of the normalization."""
    return kernels.can_fold(node.layer) and kernels.channel_axis(
        node.layer, rank
    ) == kernels.channel_axis(norm.layer, rank)
