"""Rows of `post_quantization_optimization`."""

from fewbits_hailo.script.kinds import (
    ANY,
    INTEGER,
    LAYERS,
    NUMBER,
    NUMBERS,
    POLICY,
    RANGE,
    SWITCH,
    WORDS,
    one_of,
)
from fewbits_hailo.script.rows import ZOO, Command, Option, Use
from fewbits_hailo.script.table.words import MEMORY, POLICED, POST, nothing, refused

#: learning rates that the compiler starts from. Ours are counted in steps of the grids, so that a
#: script's rate cannot be taken as it stands: twice its default becomes twice ours (second-hand).
FINETUNE_RATE = 2e-4
ADAROUND_RATE = 1e-3

_LOSSES = (
    Option("def_loss_type", one_of("l2rel", "l2", "cosine"), here="`loss_type`"),
    Option("loss_layer_names", WORDS, here="`loss_layer_names`"),
    Option("loss_types", WORDS, here="`loss_type`; all must be the same"),
    Option("loss_factors", NUMBERS, here="`loss_factors`"),
)
_RATE = "`learning_rate`, as many times ours as it is the compiler's default"
_TRAINED = (
    Option("policy", POLICY, here="enabled adds the step, disabled takes it out"),
    Option("dataset_size", INTEGER, here="`dataset_size`"),
    Option("epochs", INTEGER, here="`epochs`"),
    Option("batch_size", INTEGER, here="`batch_size`"),
    Option("learning_rate", NUMBER, here=_RATE, second_hand=True),
    nothing("shuffle", SWITCH, "samples are always drawn in an order that the seed gives"),
)
_TUNED = (
    *_TRAINED,
    *_LOSSES,
    Option("warmup_epochs", NUMBER, here="`warmup_epochs`"),
    Option("val_images", INTEGER, here="`val_images`"),
    Option("layers_to_freeze", LAYERS, here="`layers`: all others", second_hand=True),
    nothing("val_batch_size", INTEGER, MEMORY),
    nothing("force_pruning", SWITCH, "pruned weights always stay zero"),
    nothing("optimizer", one_of("adam"), "Adam is what trains here"),
    nothing("warmup_strategy", ANY, "steps grow from zero"),
    refused("native_layers", LAYERS, "all layers are in whole numbers while they train"),
    refused(
        "native_activations",
        SWITCH,
        "activations are in whole numbers while they train",
        harmless=(False,),
    ),
    refused("stop_gradient_at_loss", SWITCH, "losses add up here", harmless=(False,)),
    refused("meta_arch", ANY, "name the outputs with loss_layer_names"),
)
AFTER = (
    Command(
        POST,
        Use.STEP,
        "step `ibc`",
        feature="bias_correction",
        options=(
            POLICED,
            Option("layers", LAYERS, here="`layers`, or `exclude` where disabled"),
            nothing("cache_compression", ANY, "how much memory is taken"),
            nothing("batch_size", INTEGER, MEMORY),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        POST,
        Use.STEP,
        "step `qft`",
        feature="finetune",
        options=(
            *_TUNED,
            Option("train_scales", SWITCH, here="`train`", second_hand=True),
            Option("bias_only", SWITCH, here="`train=[biases]`", second_hand=True),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        POST,
        Use.STEP,
        "step `qft` that trains scales alone",
        feature="train_encoding",
        options=_TUNED,
        second_hand=True,
        keeps=False,
    ),
    Command(
        POST,
        Use.STEP,
        "step `adaround`",
        feature="adaround",
        options=(
            *_TRAINED,
            Option("layers", LAYERS, here="`layers`", second_hand=True),
            Option("warmup", NUMBER, here="`warmup`"),
            Option("weight", NUMBER, here="`weight`"),
            Option("train_bias", SWITCH, here="`train_bias`"),
            Option("b_range", RANGE, here="`b_range`"),
            Option("mode", one_of("train_4bit", "train_all"), here="`mode`"),
            refused(
                "bias_correction_count",
                INTEGER,
                "biases are corrected by a bias_correction line, on all samples",
                harmless=(64,),
            ),
            refused("decay_start", NUMBER, "`warmup` says when decay begins", harmless=(0.0,)),
            nothing("cache_compression", ANY, "how much memory is taken"),
        ),
        source=ZOO,
        keeps=False,
    ),
    Command(
        POST,
        Use.STEP,
        "quantizer `mixed_precision`",
        feature="mix_precision_search",
        options=(
            POLICED,
            Option("dataset_size", INTEGER, here="`dataset_size`; 16 by default"),
            Option(
                "optimizer",
                one_of("linear", "pareto"),
                here="`optimizer`; linear is greedy",
                second_hand=True,
            ),
            nothing("batch_size", INTEGER, MEMORY),
            refused("snr_cap", NUMBER, "leave it out", harmless=(140.0,)),
            refused("compresion_metric", ANY, "shares are of weights here"),
            refused("comprecision_metric", ANY, "shares are of weights here"),
            refused("output_regulizer", ANY, "leave it out"),
        ),
        second_hand=True,
        keeps=False,
    ),
)
