"""Rows of commands that edit the network's ends."""

from fewbits_hailo.script.kinds import ANY, INTEGER, LAYERS, NUMBERS, SIZES, SWITCH, one_of
from fewbits_hailo.script.rows import ZOO, Command, Option, Use
from fewbits_hailo.script.table.words import nothing

#: conversions of colours, which the network computes, and of forms that cameras give.
COLOURS = ("bgr_to_rgb", "rgb_to_bgr", "yuv_to_rgb", "yuv_to_bgr")
_CONVERSIONS = (
    *COLOURS,
    "nv12_to_rgb",
    "nv12_to_hailo_yuv",
    "nv21_to_rgb",
    "nv21_to_hailo_yuv",
    "i420_to_rgb",
    "i420_to_hailo_yuv",
    "yuy2_to_rgb",
    "yuy2_to_hailo_yuv",
    "tf_rgbx_to_hailo_rgb",
)
_ACTIVATIONS = (
    "linear",
    "relu",
    "relu6",
    "leaky",
    "elu",
    "sigmoid",
    "hardsigmoid",
    "tanh",
    "softplus",
    "swish",
    "silu",
    "hardswish",
    "gelu",
    "mish",
    "softmax",
)
_LAYER = Option("layer", LAYERS, Use.EDIT, "which input or output; all by default")
EDITS = (
    Command(
        "normalization",
        Use.EDIT,
        "step `normalization`",
        forms=(("mean", "std"), ("mean", "std", "layer")),
        options=(
            Option("mean", NUMBERS, Use.EDIT, "`mean`"),
            Option("std", NUMBERS, Use.EDIT, "`std`"),
            _LAYER,
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        "input_conversion",
        Use.EDIT,
        "step `input_conversion`",
        forms=(("conversion",), ("layer", "conversion")),
        options=(
            Option("conversion", one_of(*_CONVERSIONS), Use.EDIT, "`kind`"),
            _LAYER,
            Option("emulator_support", SWITCH, Use.EDIT, "`emulator_support`"),
        ),
        source=ZOO,
        keeps=False,
    ),
    *(
        Command(
            name,
            Use.EDIT,
            f"step `input_conversion`, as input_conversion({name})",
            forms=((), ("layer",)),
            options=(_LAYER, Option("emulator_support", SWITCH, Use.EDIT, "`emulator_support`")),
            source=ZOO,
            keeps=False,
        )
        for name in ("yuv_to_rgb", "yuv_to_bgr", "bgr_to_rgb")
    ),
    Command(
        "resize",
        Use.EDIT,
        "step `resize` of an input",
        forms=((), ("layer",)),
        options=(
            _LAYER,
            Option("resize_shapes", SIZES, Use.EDIT, "`height`, `width`"),
            Option("resize_method", one_of("bilinear", "nearest_neighbor"), Use.EDIT, "`method`"),
            Option(
                "pixels_mode",
                one_of("disabled", "align_corners", "half_pixels"),
                Use.EDIT,
                "`pixels`",
                second_hand=True,
            ),
            nothing("engine", ANY, "where the device computes it"),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        "change_output_activation",
        Use.EDIT,
        "step `output_activation`",
        forms=(("activation",), ("layer", "activation")),
        options=(
            Option("activation", one_of(*_ACTIVATIONS), Use.EDIT, "`activation`"),
            _LAYER,
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        "logits_layer",
        Use.EDIT,
        "step `logits`",
        forms=(
            ("layer", "kind"),
            ("layer", "kind", "axis"),
            ("layer", "kind", "axis", "engine"),
        ),
        options=(
            _LAYER,
            Option("kind", one_of("softmax", "argmax"), Use.EDIT, "`kind`"),
            Option("axis", INTEGER, Use.EDIT, "`axis`, counted with the channels last"),
            nothing("engine", ANY, "where the device computes it"),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        "transpose",
        Use.REFUSED,
        "give the network pictures as they are, or turn rows and columns around in it",
        forms=((), ("layer",)),
        options=(_LAYER,),
    ),
    Command(
        "nms_postprocess",
        Use.COMPILER,
        "joins boxes behind the outputs; here the outputs are those in front of it",
        open=True,
        source=ZOO,
    ),
    Command(
        "remove_node",
        Use.COMPILER,
        "the compiler's own layers; a layer of the network is not removed here",
        open=True,
        source=ZOO,
    ),
)
