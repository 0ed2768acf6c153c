"""Which backbones of KerasHub RAP explains, as a Markdown table.

    python benchmarks/hub_backbones.py [NAME ...]

Each kind of backbone in a small configuration of its own, random weights (seed 0), a Dense layer with 10
logits on its pooled features. The images are those of `applications.py`, in -1..1.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_hub
from applications import measured, pictures, print_table

H = keras_hub.models
SIZE = 64
IMAGE = (SIZE, SIZE, 3)


def _resnet(block: str, **options: Any) -> Any:
    return H.ResNetBackbone(
        **{"input_conv_filters": [64], "input_conv_kernel_sizes": [7]} | options,
        stackwise_num_filters=[64, 64, 96],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type=block,
        image_shape=IMAGE,
    )


def _efficientnet(blocks: str, excite: float, **options: Any) -> Any:
    return H.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 3,
        stackwise_depth_coefficients=[1.0] * 3,
        stackwise_kernel_sizes=[3, 3, 5],
        stackwise_num_repeats=[1, 2, 2],
        stackwise_input_filters=[16, 8, 16],
        stackwise_output_filters=[8, 16, 24],
        stackwise_expansion_ratios=[1, 4, 4],
        stackwise_squeeze_and_excite_ratios=[excite] * 3,
        stackwise_strides=[1, 2, 2],
        stackwise_block_types=[blocks] * 3,
        stackwise_force_input_filters=[0] * 3,
        stackwise_nores_option=[False] * 3,
        input_shape=IMAGE,
        num_features=32,
        **options,
    )


def _csp(block: str, stem_strides: int = 2, **options: Any) -> Any:
    return H.CSPNetBackbone(
        stem_filters=16,
        stem_kernel_size=3,
        stem_strides=stem_strides,
        stackwise_depth=[1, 2],
        stackwise_strides=[2, 2],
        stackwise_num_filters=[32, 64],
        block_type=block,
        stage_type="csp",
        bottle_ratio=[0.5, 1.0],
        block_ratio=[1.0, 0.5],
        expand_ratio=[2.0, 1.0],
        image_shape=IMAGE,
        **options,
    )


def _mit() -> Any:
    return H.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[4, 2],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        hidden_dims=[16, 32],
        image_shape=IMAGE,
    )


def _mobilenet(excite: float | None, **options: Any) -> Any:
    return H.MobileNetBackbone(
        stackwise_expansion=[[16, 24], [32, 40]],
        stackwise_num_blocks=[2, 2],
        stackwise_num_filters=[[16, 16], [24, 24]],
        stackwise_kernel_size=[[3, 3], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1]],
        stackwise_se_ratio=[[None, None], [excite, excite]],
        stackwise_activation=[["relu", "relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1, 1], [2, 2]],
        output_num_filters=48,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=48,
        squeeze_and_excite=excite,
        image_shape=IMAGE,
        **options,
    )


def _mobilenet_v5(blocks: list[str], heads: int) -> Any:
    def each(value: Any) -> list[list[Any]]:
        return [[value], [value, value]]

    return H.MobileNetV5Backbone(
        stackwise_block_types=[["er"], blocks],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[24], [48, 48]],
        stackwise_strides=[[2], [2, 1]],
        stackwise_act_layers=each("relu"),
        stackwise_exp_ratios=each(4.0),
        stackwise_se_ratios=each(0.0),
        stackwise_dw_kernel_sizes=[[0], [5, 5]],
        stackwise_dw_start_kernel_sizes=each(0),
        stackwise_dw_end_kernel_sizes=each(0),
        stackwise_exp_kernel_sizes=[[3], [0, 0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0]],
        stackwise_num_heads=[[0], [0, heads]],
        stackwise_key_dims=[[0], [0, 8 * bool(heads)]],
        stackwise_value_dims=[[0], [0, 8 * bool(heads)]],
        stackwise_kv_strides=[[0], [0, 1 * bool(heads)]],
        stackwise_use_cpe=each(False),
        use_msfa=False,
        image_shape=IMAGE,
    )


def _hgnet(affine: bool, light: bool) -> Any:
    return H.HGNetV2Backbone(
        depths=[1, 2],
        embedding_size=16,
        hidden_sizes=[32, 64],
        stem_channels=[3, 8, 16],
        hidden_act="relu",
        use_learnable_affine_block=affine,
        stackwise_stage_filters=[(16, 8, 32, 1, 2, 3), (32, 16, 64, 2, 2, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, light],
        image_shape=IMAGE,
    )


def _transformer(cls: Any, **options: Any) -> Any:
    return cls(
        image_shape=IMAGE, patch_size=16, num_layers=2, num_heads=2, hidden_dim=32, **options
    )


BACKBONES: dict[str, Callable[[], Any]] = {
    "VGG": lambda: H.VGGBackbone([1, 1, 2], [8, 16, 32], image_shape=IMAGE),
    "ResNet": lambda: _resnet("bottleneck_block"),
    "ResNet, basic blocks": lambda: _resnet("basic_block"),
    "ResNetV2": lambda: _resnet("bottleneck_block", use_pre_activation=True),
    "ResNet-vd": lambda: _resnet(
        "bottleneck_block_vd",
        input_conv_filters=[16, 16, 64],
        input_conv_kernel_sizes=[3, 3, 3],
    ),
    "DenseNet": lambda: H.DenseNetBackbone([2, 2, 2], IMAGE, growth_rate=8),
    "Xception": lambda: H.XceptionBackbone([[16, 32], [32, 48]], [True, False], image_shape=IMAGE),
    "EfficientNet": lambda: _efficientnet("v1", 0.25),
    "EfficientNetV2": lambda: _efficientnet("fused", 0.0),
    "EfficientNet-Lite": lambda: _efficientnet("v1", 0.0, activation="relu6"),
    "MobileNetV3": lambda: _mobilenet(0.25),
    "MobileNetV2-like": lambda: _mobilenet(None),
    "MobileNetV5": lambda: _mobilenet_v5(["uir", "uir"], 0),
    "MobileNetV5 with attention": lambda: _mobilenet_v5(["uir", "mqa"], 2),
    "HGNetV2": lambda: _hgnet(False, False),
    "HGNetV2, affine and light": lambda: _hgnet(True, True),
    "CSPDarkNet": lambda: _csp("dark_block", down_growth=True),
    "CSPResNet": lambda: _csp("bottleneck_block", stem_pooling="max", stem_strides=4),
    "CSPResNeXt": lambda: _csp("bottleneck_block", groups=8),
    "ViT": lambda: _transformer(H.ViTBackbone, mlp_dim=64),
    "ViT without class token": lambda: _transformer(
        H.ViTBackbone, mlp_dim=64, use_class_token=False
    ),
    "DeiT": lambda: _transformer(H.DeiTBackbone, intermediate_dim=64),
    "DINOV2": lambda: _transformer(H.DINOV2Backbone, intermediate_dim=64),
    "DINOV2 with registers": lambda: _transformer(
        H.DINOV2Backbone, intermediate_dim=64, num_register_tokens=4, use_swiglu_ffn=True
    ),
    "DINOV3": lambda: _transformer(H.DINOV3Backbone, intermediate_dim=64),
    "SwinTransformer": lambda: H.SwinTransformerBackbone(IMAGE, 16, [2, 2], [2, 4], 4),
    "MiT": _mit,
    "ViTDet": lambda: H.ViTDetBackbone(
        hidden_size=32,
        num_layers=2,
        intermediate_dim=64,
        num_heads=2,
        global_attention_layer_indices=[1],
        image_shape=IMAGE,
        num_output_channels=16,
        window_size=2,
    ),
    "SegFormer": lambda: H.SegFormerBackbone(_mit(), 16),
    "DeepLabV3": lambda: H.DeepLabV3Backbone(
        image_encoder=_resnet("bottleneck_block"),
        spatial_pyramid_pooling_key="P4",
        low_level_feature_key="P2",
        upsampling_size=4,
        dilation_rates=[2, 4],
        projection_filters=8,
        image_shape=IMAGE,
    ),
}


def classifier(backbone: Any) -> keras.Model:
    """The backbone with ten logits on its pooled features; on its class token where that comes first."""
    features = backbone.output
    if isinstance(features, dict):
        features = list(features.values())[-1]
    pool = keras.layers.GlobalAveragePooling2D() if len(features.shape) == 4 else None
    pooled = pool(features) if pool else features[:, 0]
    return keras.Model(backbone.input, keras.layers.Dense(10, name="logits")(pooled))


def explained(name: str) -> list[str]:
    """The columns of one backbone."""
    model = classifier(BACKBONES[name]())
    return measured(model, pictures(SIZE, lambda images: images / 127.5 - 1))


if __name__ == "__main__":
    print_table("backbone", sys.argv[1:] or list(BACKBONES), explained)
