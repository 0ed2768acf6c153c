"""The marker `core`: tests that say most in the least time, which `make test` runs on JAX and PyTorch.

Whole files that belong to it have the mark themselves, such as tests/tensors.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]

RULE = "test_rule_equals_its_definition"
# By file, how the names of tests begin.
CORE = {
    "tests/rules/test_kernel_rules.py": [
        f"{RULE}[conv2d_same_stride-",  # every rule
        *(
            f"{RULE}[{layer}-rap.inner]"
            for layer in (
                *("dense", "einsum_heads", "conv1d_causal_stride", "conv2d_groups_stride"),
                *("depthwise2d", "transpose2d_same"),
            )
        ),
        f"{RULE}[conv2d_image-rap.first]",
        "test_a_dead_sample[dense-",
    ],
    "tests/rules/test_rap.py": ["test_inner_by_hand"],
    "tests/rules/test_lrp.py": ["test_dead_outputs_by_hand"],
    "tests/rules/test_routing.py": [
        "test_follow_max_pooling[2-shape3-pool3-strides3-same-",
        "test_follow_max_pooling[1-shape0-pool0-strides0-valid-negative",
        "test_winner_of_volumes[3-1-same]",
        "test_equal_inputs_of_a_maximum",
        "test_after_padding_the_largest_real_element_wins",
        "test_in_proportion_global_average_pooling[shape1-False]",
        "test_in_proportion_leaves_masked_steps_out",
        "test_share_sum[Add-absolute-broadcast-False]",
        "test_share_sum[Average-signed-three-False]",
    ],
    "tests/rules/test_gradient.py": ["test_gradient_is_the_slope"],
    "tests/rules/test_contraction.py": [
        "test_the_values_take_all_by_the_rule_of_linear_layers",
        "test_softmax_is_proposition_3_1",
    ],
    "tests/network/test_folding.py": [
        "test_normalizations_on_both_sides_of_every_layer[conv2d_same_stride]",
    ],
    "tests/network/test_normalization.py": ["test_the_map_is_the_layer"],
    "tests/network/test_opening.py": [
        "test_numbers_among_the_arguments_of_an_inner_layer",
    ],
    "tests/network/test_random_networks.py": ["test_random_networks_are_explained_or_refused[2]"],
    "tests/analyzers/test_official.py": [
        "test_released_variant_equals_the_released_code_at_every_layer[float64-gray_signed_s0]",
    ],
    "tests/analyzers/test_attention_methods.py": [
        "test_maps_are_those_of_the_definition[legrad-True]",
    ],
    "tests/analyzers/test_every_method.py": [
        "test_every_method[rise]",
    ],
    "tests/analyzers/test_training.py": [
        "test_maps_are_of_the_weights_after_a_step_of_training[gradient]",
        "test_few_programs_serve_every_number_of_samples",
        "test_two_hundred_maps_keep_nothing",
    ],
    "tests/backends/test_guards.py": [
        "test_unknown_tokens_are_refused_in_one_sentence[slice-embedding]",
        "test_a_row_that_is_looked_up_by_another_row",
    ],
    "tests/patterns/test_patterns.py": ["test_dense_equals_the_definition[relu]"],
}


def _chosen(path: Path) -> tuple[str, ...]:
    known = CORE.get(path.relative_to(ROOT).as_posix()) if path.is_relative_to(ROOT) else None
    return tuple(known or ())


def is_core(path: Path, name: str) -> bool:
    """Whether a test is marked here."""
    return name.startswith(_chosen(path)) if _chosen(path) else False


def has_core(path: Path) -> bool:
    """Whether a file has such tests, or is no file of tests."""
    is_test = path.name.startswith("test_") and path.suffix == ".py"
    return not is_test or bool(_chosen(path)) or "mark.core" in path.read_text("utf-8")
