"""Print which backbones of KerasHub RAP explains, as a Markdown table.

    python benchmarks/hub_backbones.py [NAME ...]

Each kind of backbone in a small configuration, random weights (seed 0), 64 px, 10 logits. The head is
KerasHub's image classifier if it has one for the backbone, or else a Dense layer on the pooled features
or the first token. The last rows are models with outputs in space, explained at one position. The images
are those of `applications.py`, in -1..1.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_hub
from applications import measured, photographs, print_table

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


def _submodule(name: str) -> Any:
    """A module of KerasHub that it does not export."""
    return importlib.import_module(f"keras_hub.src.models.{name}")


def _encoder(module: str, name: str) -> Any:
    return getattr(_submodule(module), name)(16, 32, 2, 2, 64, image_shape=IMAGE)


def _blip() -> Any:
    return _submodule("blip2.blip2_vision_encoder").BLIP2VisionEncoder(
        image_size=SIZE,
        patch_size=16,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        use_patch_bias=True,
        use_class_token=True,
        use_mha_bias=True,
        use_mlp_bias=True,
        dropout_rate=0.0,
        layer_norm_epsilon=1e-6,
        initializer_range=0.02,
    )


def _gemma() -> Any:
    inputs = keras.Input(IMAGE)
    encoder = H.Gemma3VisionEncoder(SIZE, 8, 2, 32, 2, 64, 24, pool_size=4)
    return keras.Model(inputs, encoder(keras.layers.Reshape((1, *IMAGE))(inputs)))


def _video() -> Any:
    inputs = keras.Input(IMAGE)
    model = H.VideoPrismBackbone(1, 16, 32, 64, 2, 2, 1, 0, image_shape=IMAGE)
    tokens = model(keras.layers.Reshape((1, *IMAGE))(inputs))
    return keras.Model(inputs, keras.layers.Reshape((-1, 32))(tokens))


def _sam() -> Any:
    inputs = keras.Input(IMAGE)
    encoder = keras_hub.layers.SAM3VisionEncoder(
        image_shape=IMAGE,
        patch_size=8,
        num_layers=2,
        hidden_dim=32,
        intermediate_dim=64,
        num_heads=2,
        fpn_hidden_dim=16,
        fpn_scale_factors=[2.0, 1.0],
        pretrain_image_shape=IMAGE,
        window_size=2,
        global_attn_indexes=[1],
    )
    return keras.Model(inputs, encoder(inputs)[0][-1])


def _depth_anything() -> Any:
    encoder = H.DINOV2Backbone(
        patch_size=8,
        num_layers=4,
        hidden_dim=32,
        num_heads=2,
        intermediate_dim=64,
        image_shape=IMAGE,
        position_embedding_shape=(SIZE, SIZE),
    )
    return H.DepthAnythingBackbone(
        image_encoder=encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[8, 16, 24, 32],
        fusion_hidden_dim=32,
        head_hidden_dim=16,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )


def _four_stages(block: str, **options: Any) -> Any:
    return H.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=block,
        **options,
    )


def _basnet() -> Any:
    return H.BASNetBackbone(_four_stages("basic_block"), num_classes=1, image_shape=IMAGE)


def _vae() -> Any:
    model = _submodule("vae.vae_backbone").VAEBackbone(
        [32, 32], [1, 1], [32, 32], [1, 1], sampler_method="mode", sample_channels=4
    )
    inputs = keras.Input(IMAGE)  # the model itself takes images of any size
    return keras.Model(inputs, model(inputs))


def _d_fine() -> Any:
    encoder = H.HGNetV2Backbone(
        depths=[1, 1, 1, 1],
        embedding_size=16,
        hidden_sizes=[32, 64, 96, 128],
        stem_channels=[3, 16, 16],
        hidden_act="relu",
        use_learnable_affine_block=True,
        stackwise_stage_filters=[
            (16, 16, 32, 1, 2, 3),
            (32, 16, 64, 1, 2, 3),
            (64, 16, 96, 1, 2, 3),
            (96, 16, 128, 1, 2, 3),
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        image_shape=IMAGE,
        out_features=["stage3", "stage4"],
    )
    return H.DFineBackbone(
        backbone=encoder,
        decoder_in_channels=[32, 32],
        encoder_hidden_dim=32,
        num_denoising=0,
        num_labels=10,
        hidden_dim=32,
        learn_initial_query=False,
        num_queries=10,
        anchor_image_size=(SIZE, SIZE),
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[96, 128],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=64,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=64,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=16,
        num_lqe_layers=2,
        out_features=["stage3", "stage4"],
        image_shape=IMAGE,
        seed=0,
    )


def _d_fine_encoder() -> Any:
    model = _d_fine()
    return keras.Model(model.input, model.output["enc_outputs_class"])


def _has_no_class_token(backbone: Any) -> bool:
    return not getattr(backbone, "use_class_token", True)


# Arguments of small classifiers in addition to the backbone.
HEADS = {
    "VGGImageClassifier": {"pooling_hidden_dim": 32},
    "MobileNetImageClassifier": {"num_features": 32},
    "MobileNetV5ImageClassifier": {"head_hidden_size": 32},
}
# Which of several outputs is explained, if it is not the last.
FEATURES = {"DFineBackbone": "intermediate_logits", "BASNetBackbone": "refine_out"}
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
    "CLIP": lambda: _encoder("clip.clip_vision_encoder", "CLIPVisionEncoder"),
    "SigLIP": lambda: _encoder("siglip.siglip_vision_encoder", "SigLIPVisionEncoder"),
    "MetaCLIP 2": lambda: _encoder(
        "metaclip_2.metaclip_2_vision_encoder", "MetaCLIP2VisionEncoder"
    ),
    "PaliGemma": lambda: _submodule("pali_gemma.pali_gemma_vit").PaliGemmaVit(
        SIZE, 16, 2, 32, 2, 64, 10
    ),
    "Gemma 3": _gemma,
    "BLIP-2": _blip,
    "VideoPrism, one frame": _video,
    "SAM 3": _sam,
    "VAE": _vae,
    "RetinaNet": lambda: H.RetinaNetBackbone(
        _four_stages("bottleneck_block"), 3, 6, use_p5=False, image_shape=IMAGE
    ),
    "D-FINE": _d_fine,
    "D-FINE, its encoder's classes": _d_fine_encoder,
    "DepthAnything": _depth_anything,
    "BASNet": _basnet,
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


def _detector() -> Any:
    module = _submodule("retinanet.retinanet_object_detector")
    anchors = module.AnchorGenerator("xyxy", 3, 6, 3, [0.5, 1, 2], 4)
    encoder = module.RetinaNetLabelEncoder(anchors, "xyxy")
    return H.RetinaNetObjectDetector(BACKBONES["RetinaNet"](), 10, "xyxy", label_encoder=encoder)


# Models with outputs in space: the explained output and position.
SPATIAL: dict[str, tuple[Callable[[], Any], str | None, tuple[int, ...]]] = {
    "RetinaNet's detector, a box's class": (_detector, "cls_logits", (37, 4)),
    "RetinaNet's detector, a coordinate": (_detector, "bbox_regression", (5, 2)),
    "SegFormer's segmenter, a pixel": (
        lambda: H.SegFormerImageSegmenter(BACKBONES["SegFormer"](), 4, preprocessor=None),
        None,
        (10, 20, 2),
    ),
    "DeepLabV3's segmenter, a pixel": (
        lambda: H.DeepLabV3ImageSegmenter(BACKBONES["DeepLabV3"](), 4, preprocessor=None),
        None,
        (10, 20, 2),
    ),
    "BASNet's segmenter, a pixel": (
        lambda: H.BASNetImageSegmenter(BACKBONES["BASNet"](), preprocessor=None),
        None,
        (10, 20, 0),
    ),
}


def classifier(backbone: Any) -> keras.Model:
    """The backbone with ten logits."""
    kind = type(backbone).__name__.replace("Backbone", "ImageClassifier")
    if kind.endswith("Classifier") and hasattr(H, kind):
        head = HEADS.get(kind, {}) | ({"pooling": "gap"} if _has_no_class_token(backbone) else {})
        return getattr(H, kind)(backbone=backbone, num_classes=10, preprocessor=None, **head)
    features = backbone.output
    if isinstance(features, dict):
        features = features.get(FEATURES.get(type(backbone).__name__), list(features.values())[-1])
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    elif len(features.shape) == 3:
        features = features[:, 0]
    return keras.Model(backbone.input, keras.layers.Dense(10, name="logits")(features))


def explained(name: str) -> tuple[list[str], str]:
    """The columns of one backbone or one model with outputs in space, and why it is rejected."""
    x = photographs(SIZE, lambda images: images / 127.5 - 1)
    if name in SPATIAL:
        build, output, index = SPATIAL[name]
        return measured(build(), x, index, output=output)
    model = classifier(BACKBONES[name]())
    return measured(model, x)


if __name__ == "__main__":
    print_table("backbone", sys.argv[1:] or [*BACKBONES, *SPATIAL], explained)
