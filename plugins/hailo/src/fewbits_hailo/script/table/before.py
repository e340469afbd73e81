"""Rows of `pre_quantization_optimization`."""

from fewbits_hailo.script.kinds import INTEGER, LAYERS, NUMBER, POLICY, RANGE, SIZES, SWITCH, one_of
from fewbits_hailo.script.rows import GUIDE, ZOO, Command, Option, Use
from fewbits_hailo.script.table.words import POLICED, PRE, nothing, refused

_CLIPPING = (
    Option("layers", LAYERS, here="layers to clip; all by default"),
    Option("clipping_values", RANGE, here="`clipping_values`"),
)
BEFORE = (
    Command(
        PRE,
        Use.STEP,
        "step `equalization`",
        feature="equalization",
        options=(
            POLICED,
            refused("layers", LAYERS, "equalization is for all layers here; leave `layers` out"),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        PRE,
        Use.STEP,
        "step `tse`; a block that tiling would hurt stays as it is, and the report says so",
        feature="se_optimization",
        options=(
            POLICED,
            Option("method", one_of("tse"), here="the only one"),
            Option("mode", one_of("sequential"), here="the blocks nearest the input"),
            Option("count", INTEGER, here="`count`; 6 by default"),
            Option("tile_height", INTEGER, here="`tile_height`; 8 by default"),
            refused("layers", LAYERS, "take `count` blocks from the input on"),
        ),
        keeps=False,
    ),
    Command(
        PRE,
        Use.STEP,
        "step `activation_clipping`; of several lines the last holds for each layer",
        feature="activation_clipping",
        options=(
            Option(
                "mode",
                one_of("disabled", "manual", "percentile", "percentile_force"),
                here="`mode`; percentile by default",
            ),
            *_CLIPPING,
            nothing("recollect_stats", SWITCH, "statistics are always taken after clipping"),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        PRE,
        Use.STEP,
        "step `weight_clipping`; mmse is the quantizer's `weight_range=mse`, its default",
        feature="weights_clipping",
        options=(
            Option(
                "mode",
                one_of("disabled", "manual", "percentile", "mmse", "mmse_if4b"),
                here="`mode`; mmse_if4b by default",
            ),
            *_CLIPPING,
        ),
        keeps=False,
    ),
    Command(
        PRE,
        Use.STEP,
        "step `static_channels`",
        feature="zero_static_channels",
        options=(POLICED, Option("eps", NUMBER, here="`tolerance`", second_hand=True)),
        second_hand=True,
        keeps=False,
    ),
    Command(
        PRE,
        Use.STEP,
        "step `dead_channels`",
        feature="dead_layers_removal",
        options=(POLICED,),
        second_hand=True,
        keeps=False,
    ),
    Command(
        PRE,
        Use.COMPILER,
        "whether the device adds inside the layer before; here sums are requantized as they stand",
        feature="ew_add_fusing",
        open=True,
        source=ZOO,
        second_hand=True,
    ),
    Command(
        PRE,
        Use.COMPILER,
        "lets the compiler's own optimization work on smaller pictures, which makes it faster",
        feature="resolution_reduction",
        open=True,
        second_hand=True,
    ),
    Command(
        PRE,
        Use.STEP,
        "step `global_avgpool_reduction`",
        feature="global_avgpool_reduction",
        options=(
            POLICED,
            Option("layers", LAYERS, here="`layers`; all by default"),
            Option("division_factors", SIZES, here="`division_factors`", second_hand=True),
        ),
        keeps=False,
    ),
    *(
        Command(
            PRE,
            Use.REFUSED,
            remedy,
            feature=feature,
            options=(Option("policy", POLICY, here="disabled asks for what is done here anyway"),),
            open=True,
            source=source,
            second_hand=True,
        )
        for feature, remedy, source in (
            ("layer_norm_decomposition", "give the layers around it 16 bits", ZOO),
            ("matmul_equalization", "give the product 16 bits, or leave the line out", ZOO),
            ("matmul_correction", "give the product 16 bits, or leave the line out", ZOO),
            ("layer_decomposition", "give the layer 16 bits", GUIDE),
        )
    ),
)
