"""Rows of `quantization_param`."""

from fewbits_hailo.script.kinds import INTEGER, LAYERS, NUMBER, RANGE, SWITCH, WORD, one_of
from fewbits_hailo.script.rows import ZOO, Command, Option, Use
from fewbits_hailo.script.table.words import for_compiler, refused

_MODES = ("a8_w8", "a8_w4", "a16_w16", "a16_w8", "a16_w4")
PARAMS = (
    Command(
        "quantization_param",
        Use.STEP,
        "options `layers` and `ranges` of the quantizer",
        forms=(("layers",),),
        options=(
            Option("layers", LAYERS),
            Option("precision_mode", one_of(*_MODES), here="`layers`"),
            Option("force_range_out", RANGE, here="`ranges`"),
            Option("force_range_in", RANGE, here="`ranges` of what the layer reads"),
            Option("force_range_index", INTEGER, here="which of the layer's inputs"),
            for_compiler("bias_mode", WORD, "biases have here the width that the target has"),
            for_compiler("max_elementwise_feed_repeat", INTEGER, "of the device's adders"),
            for_compiler("max_bias_feed_repeat", INTEGER, "of the device's adders"),
            for_compiler("activation_fit", SWITCH, "how the device draws a function's curve"),
            for_compiler(
                "null_channels_cutoff_factor",
                NUMBER,
                "channels that are zero go with dead_layers_removal here",
            ),
            refused("quantization_groups", INTEGER, "take weights=per_channel", harmless=(1,)),
        ),
        source=ZOO,
    ),
)
