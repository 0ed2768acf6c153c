"""What a data set calls the classes of a model."""

from collections.abc import Sequence

from rap_keras.models.loading import LoadedModel


def named_classes(loaded: LoadedModel, given: Sequence[str] | None) -> tuple[str, ...] | None:
    """What a data set calls the model's classes.

    Args:
        loaded: The model.
        given: Their names, where the user gives them.

    Returns:
        A name for each neuron, or for both classes of one output with a sigmoid: the given names;
        WordNet's ids for an application with ImageNet's weights; else the model's own labels, if any.

    Raises:
        InputError: There are more or fewer names than neurons.
    """
    if given is not None:
        return loaded.with_labels(given).labels
    return loaded.synsets or loaded.labels
