"""Each diagnosis: beyond its limit it speaks and names a remedy, within it is silent."""

from dataclasses import replace

import pytest
from fewbits.analysis import Alone, Channels, Limits, Range, Row, Weight, rules
from fewbits.analysis.advice import Advice, first_of
from fewbits.builtin.cpu import CpuTarget
from fewbits.model import Precision
from fewbits.recipe import parse_step

LIMITS = Limits()
PRECISIONS = CpuTarget.spec.precisions
ADVICE = Advice("quantize", {}, frozenset({"uniform"}), PRECISIONS, CpuTarget.spec.granularities)
RANGE = Range(
    low=-1.0,
    high=3.0,
    seen_low=-1.0,
    seen_high=3.0,
    clipped=0.0,
    bits=8,
    bits_used=7.5,
    step=4.0 / 255,
    snr_db=40.0,
)
ROW = Row(
    layer="/conv",
    op_type="Conv",
    tensor="x",
    precision="a8_w4",
    traits=frozenset(),
    snr_db=15.0,
    input_snr_db=20.0,
    shift_share=0.0,
    range=RANGE,
    channels=Channels(8, 0, 2.0),
    weight=Weight(4, True, 18.0, 2.0),
    input_ranges={},
)


def row(**changes):
    parts = {"range": RANGE, "channels": ROW.channels, "weight": ROW.weight}
    for name, part in parts.items():
        held = {k[len(name) + 1 :]: v for k, v in changes.items() if k.startswith(f"{name}_")}
        changes = {k: v for k, v in changes.items() if not k.startswith(f"{name}_")}
        changes = {name: replace(part, **held), **changes}
    if "traits" in changes:
        changes["traits"] = frozenset(changes["traits"].split())
    return replace(ROW, **changes)


def alone(share, own=15.0):
    return Alone(output_snr_db=12.0, share=share, own_snr_db=own, weights_snr_db=16.0)


#: rule, a row beyond the limit, a row within, words of the remedy.
CASES = {
    "snr": (rules.low_snr, {"snr_db": 9.9}, {"snr_db": 10.1}, "a8_w8"),
    "inherited": (
        rules.inherited,
        {"snr_db": 9.0, "input_snr_db": 9.5},
        {"snr_db": 9.0, "input_snr_db": 15.0},
        "layers before",
    ),
    "drop": (rules.arises, {"input_snr_db": 25.1}, {"input_snr_db": 24.9}, "a8_w8"),
    "share": (rules.dominant, {"alone": alone(0.11)}, {"alone": alone(0.09)}, "a8_w8"),
    "unused_bits": (
        rules.outliers,
        {"range_bits_used": 5.9},
        {"range_bits_used": 6.1},
        "activation_clipping",
    ),
    "clipped": (rules.clips, {"range_clipped": 0.006}, {"range_clipped": 0.005}, "minmax"),
    "clipped_output": (
        rules.clips,
        {"range_clipped": 0.002, "traits": "ends"},
        {"range_clipped": 0.002},
        "minmax",
    ),
    "spread": (
        rules.channels_apart,
        {"channels_spread": 17.0},
        {"channels_spread": 15.0},
        "equalization",
    ),
    "weights": (
        rules.weights_apart,
        {"weight_per_channel": False, "weight_spread": 17.0},
        {"weight_spread": 17.0},
        "weights=per_channel",
    ),
    "swish_steps": (
        rules.swish,
        {"traits": "swish", "range_low": -0.24},
        {"traits": "swish", "range_low": -0.26},
        "a16",
    ),
    "depthwise": (
        rules.depthwise,
        {"traits": "depthwise"},
        {"traits": "depthwise", "input_snr_db": 17.0},
        "a8_w8",
    ),
    "dead": (rules.still_channels, {"channels_still": 1}, {"channels_still": 0}, "dead_channels"),
    "ends": (
        rules.ends_in_4_bits,
        {"traits": "first"},
        {"traits": "first", "weight_bits": 8},
        "a8_w8",
    ),
    "shift": (rules.shifted, {"shift_share": 0.26}, {"shift_share": 0.24}, "ibc"),
    "logit_step": (
        rules.coarse_logits,
        {"traits": "softmax", "range_step": 0.11},
        {"traits": "softmax", "range_step": 0.09},
        "a16",
    ),
    "concat": (
        rules.concat_apart,
        {"traits": "concat", "input_ranges": {"a": 1.0, "b": 4.1}},
        {"traits": "concat", "input_ranges": {"a": 1.0, "b": 3.9}},
        "a16",
    ),
    "concat_output": (
        rules.concat_at_the_end,
        {"traits": "concat ends", "feeds": ("a", "b")},
        {"traits": "concat", "feeds": ("a", "b")},
        "--end-node-names a,b",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_speaks_beyond_its_limit_alone(name):
    rule, beyond, within, remedy = CASES[name]
    found = rule(row(**beyond), LIMITS, ADVICE)
    assert found.layer == "/conv"
    assert found.what
    assert remedy in found.remedy
    assert rule(row(**within), LIMITS, ADVICE) is None


def test_every_rule_is_tried_and_has_a_case():
    assert set(rules.RULES) == {case[0] for case in CASES.values()}


@pytest.mark.parametrize("name", CASES)
def test_steps_in_a_remedy_can_be_typed(name):
    rule, beyond, _, _ = CASES[name]
    remedy = rule(row(**beyond), LIMITS, ADVICE).remedy
    for part in remedy.split(", or "):
        if part.startswith("-p '"):
            parse_step(part.split("'")[1])
        elif part.startswith("-p "):
            parse_step(part.split()[1])


def test_limits_can_be_moved():
    assert rules.low_snr(row(snr_db=15.0), Limits(snr=16.0), ADVICE)
    assert not rules.depthwise(row(traits="depthwise"), Limits(watch=14.0), ADVICE)


def test_bits_go_where_they_lack():
    found = rules.low_snr(row(snr_db=5.0, range_snr_db=12.0), LIMITS, ADVICE)
    assert "a16_w4" in found.remedy
    in_floats = rules.dominant(row(range=None, alone=alone(0.5)), LIMITS, ADVICE)
    assert "a8_w8" in in_floats.remedy


def test_what_has_been_done_is_not_advised():
    done = replace(ADVICE, steps=frozenset({"equalization", "gptq", "activation_clipping"}))
    assert (
        "equalization" not in rules.channels_apart(row(channels_spread=99.0), LIMITS, done).remedy
    )
    assert "gptq" not in rules.low_snr(row(snr_db=5.0), LIMITS, done).remedy
    assert "clipping" not in rules.outliers(row(range_bits_used=1.0), LIMITS, done).remedy


def test_nothing_is_advised_that_the_target_lacks():
    narrow = replace(ADVICE, precisions=frozenset({Precision(8, 8), Precision(8, 4)}))
    assert (
        "a16"
        not in rules.coarse_logits(row(traits="sigmoid", range_step=1.0), LIMITS, narrow).remedy
    )
    wide_only = replace(ADVICE, precisions=frozenset({Precision(8, 8), Precision(16, 16)}))
    assert (
        "a16_w16"
        in rules.coarse_logits(row(traits="sigmoid", range_step=1.0), LIMITS, wide_only).remedy
    )


def test_remedies_are_joined():
    assert first_of("", "") == ""
    assert first_of("a", "", "b") == "a, or b"
