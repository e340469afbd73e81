"""Rows of levels, the seed, and settings of the optimization."""

from fewbits_hailo.script.kinds import INTEGER, NUMBER, SWITCH
from fewbits_hailo.script.rows import ZOO, Command, Option, Use
from fewbits_hailo.script.table.words import CONFIG, MEMORY, nothing, refused

LEVELS = (
    Command(
        "model_optimization_flavor",
        Use.LEVEL,
        "sets the levels, as --optimization-level and --compression-level do",
        options=(
            Option("optimization_level", INTEGER, Use.LEVEL, "the level", second_hand=True),
            Option("compression_level", INTEGER, Use.LEVEL, "the level", second_hand=True),
            nothing("batch_size", INTEGER, MEMORY),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        "set_seed",
        Use.LEVEL,
        "sets the run's seed, as --seed does",
        forms=((), ("seed",)),
        options=(Option("seed", INTEGER, Use.LEVEL, "the seed"),),
        keeps=False,
    ),
)

CONFIGS = (
    Command(
        CONFIG,
        Use.STEP,
        "option `samples` of the quantizer",
        feature="calibration",
        options=(
            Option("calibset_size", INTEGER, here="statistics of so many samples"),
            nothing("batch_size", INTEGER, MEMORY),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        CONFIG,
        Use.STEP,
        "shares of the weights in 4 and in 16 bits, of quantizer `mixed_precision`",
        feature="compression_params",
        options=(
            Option("auto_4bit_weights_ratio", NUMBER, here="`ratio_4bit`"),
            Option("auto_16bit_weights_ratio", NUMBER, here="`ratio_16bit`"),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        CONFIG,
        Use.COMPILER,
        "noise analysis; here: `fewbits analyze`",
        feature="checker_cfg",
        open=True,
        source=ZOO,
    ),
    Command(
        CONFIG,
        Use.COMPILER,
        "how the compiler itself runs",
        feature="globals",
        options=(
            refused(
                "output_encoding_vector",
                SWITCH,
                "outputs have one scale here; leave it out, or add --lenient",
                harmless=(False,),
            ),
        ),
        source=ZOO,
        open=True,
    ),
    Command(
        CONFIG,
        Use.COMPILER,
        "how the device represents a shift that is too large; the numbers here are the same",
        feature="negative_exponent",
        open=True,
        source=ZOO,
        second_hand=True,
    ),
)
