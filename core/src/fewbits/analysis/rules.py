"""What costs accuracy at one place, each a function of its figures."""

from collections.abc import Callable, Sequence

from fewbits.analysis.advice import Advice, first_of
from fewbits.analysis.limits import Limits
from fewbits.analysis.result import Diagnosis, Row

Rule = Callable[[Row, Limits, Advice], Diagnosis | None]

#: a fall of the SNR in dB that is no more than what inputs' noises add up to.
_INHERITED = 3.0


def low_snr(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """SNR below `snr` at a place's output, everything quantized, much of it made there."""
    if row.snr_db is None or row.snr_db >= limits.snr or _inherits(row):
        return None
    what = f"SNR {row.snr_db:.1f} dB, below {limits.snr:g}"
    if row.drop_db is not None:
        what += f"; {row.drop_db:.1f} dB of it lost here"
    return Diagnosis("snr", row.layer, f"{what}; {_source(row)}", more_bits(row, advice))


def inherited(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """SNR below `snr` that a place's inputs bring already."""
    if row.snr_db is None or row.snr_db >= limits.snr or not _inherits(row):
        return None
    what = f"SNR {row.snr_db:.1f} dB, below {limits.snr:g}; its inputs bring {row.input_snr_db:.1f}"
    return Diagnosis("inherited", row.layer, what, "mend the layers before it that lose most")


def arises(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """SNR that falls by more than `drop` from a place's inputs to its output."""
    if row.drop_db is None or row.snr_db is None or row.drop_db < limits.drop:
        return None
    if not weak(row, limits) or row.snr_db < limits.snr:  # `low_snr` says it
        return None
    what = f"SNR falls from {row.input_snr_db:.1f} to {row.snr_db:.1f} dB here; {_source(row)}"
    return Diagnosis("drop", row.layer, what, more_bits(row, advice))


def dominant(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """A place that makes more than `share` of the noise at the outputs, by itself."""
    if row.alone is None or row.alone.share < limits.share:
        return None
    what = f"makes {row.alone.share:.0%} of the noise at the outputs; {_source(row)}"
    return Diagnosis("share", row.layer, what, more_bits(row, advice))


def outliers(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """A range so much wider than most values that more than `unused_bits` bits stay unused."""
    fit = row.range
    if fit is None or fit.bits - fit.bits_used < limits.unused_bits or not weak(row, limits):
        return None
    what = f"99.9 % of the values use {fit.bits_used:.1f} of {fit.bits} bits: outliers"
    clip = f"-p 'activation_clipping:layers={row.layer}' before the quantizer"
    known = "activation_clipping" in advice.steps or row.weight is None
    cut = advice.option("activation_range=percentile")
    remedy = first_of("" if known else clip, cut, advice.wide_activations(row))
    return Diagnosis("unused_bits", row.layer, what, remedy)


def clips(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """More than `clipped` of the values are cut off, `clipped_output` at the outputs."""
    leaves = "ends" in row.traits
    limit = limits.clipped_output if leaves else limits.clipped
    if row.range is None or row.range.clipped <= limit:
        return None
    fit, where = row.range, "an output of the network saturates: " if leaves else ""
    what = (
        f"{where}{fit.clipped:.2%} of the values lie outside of {fit.low:.3g} … {fit.high:.3g},"
        f" seen {fit.seen_low:.3g} … {fit.seen_high:.3g}"
    )
    remedy = first_of(
        "calibrate on more samples like these",
        advice.option("activation_range=minmax"),
        advice.wide_activations(row),
    )
    return Diagnosis("clipped_output" if leaves else "clipped", row.layer, what, remedy)


def channels_apart(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """Channels of an activation that differ by more than `spread`, as without batch norm."""
    if row.channels.spread < limits.spread or row.range is None or not weak(row, limits):
        return None
    what = (
        f"channels of what it writes are far apart, the largest {row.channels.spread:.0f} × the"
        " median, as in networks without batch normalization"
    )
    remedy = first_of(advice.equalize(), advice.wide_activations(row))
    return Diagnosis("spread", row.layer, what, remedy)


def weights_apart(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """Output channels of a weight with one scale in all that differ by more than `spread`."""
    weight = row.weight
    if weight is None or weight.per_channel or weight.spread < limits.spread:
        return None
    what = f"one scale for weights whose largest channel is {weight.spread:.0f} × the median"
    each = advice.option("weights=per_channel") if "per_channel" in advice.granularities else ""
    remedy = first_of(advice.equalize(), each, more_bits(row, advice))
    return Diagnosis("spread", row.layer, what, remedy)


def swish(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """A swish whose small negative part gets fewer than `swish_steps` integers."""
    fit = row.range
    if "swish" not in row.traits or fit is None or -fit.low / fit.step >= limits.swish_steps:
        return None
    what = (
        f"the negative part of a swish, {fit.seen_low:.2g}, gets {-fit.low / fit.step:.0f} of"
        f" {2**fit.bits} integers; the positive part reaches {fit.seen_high:.3g}"
    )
    remedy = first_of(
        advice.option("activation_range=percentile"),
        advice.wide_activations(row),
        "train with ReLU6 in its place",
    )
    return Diagnosis("swish_steps", row.layer, what, remedy)


def depthwise(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """A depthwise layer that loses much: few products to average its noise over."""
    if "depthwise" not in row.traits or not weak(row, limits):
        return None
    if row.drop_db is None or row.drop_db < _INHERITED:
        return None
    what = f"a depthwise layer, few taps to average noise over: {row.drop_db:.1f} dB lost"
    one_scale = row.weight is not None and not row.weight.per_channel
    remedy = first_of(advice.equalize() if one_scale else "", more_bits(row, advice))
    return Diagnosis("depthwise", row.layer, what, remedy)


def still_channels(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """More than `dead` of a layer's channels never change on the samples."""
    held = row.channels
    if row.weight is None or held.count < 2 or held.still / held.count < limits.dead:
        return None
    what = f"{held.still} of {held.count} channels never change"
    steps = "-p static_channels -p dead_channels:calibrated=true before the quantizer"
    return Diagnosis("dead", row.layer, what, steps)


def ends_in_4_bits(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """The first or last layer with 4-bit weights."""
    ends = row.traits & {"first", "last"}
    if not ends or row.weight is None or row.weight.bits > 4 or not weak(row, limits):
        return None
    what = (
        f"the {'first' if 'first' in ends else 'last'} layer has weights of {row.weight.bits} bits"
    )
    return Diagnosis("ends", row.layer, what, advice.wide_weights(row))


def shifted(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """More than `shift` of the noise is a shift of channels' means: bias correction is missing."""
    if row.shift_share is None or row.shift_share < limits.shift or not weak(row, limits):
        return None
    if row.weight is None:
        return None
    what = f"{row.shift_share:.0%} of its noise is a shift of its channels' means"
    off = advice.options.get("bias_correction") is False
    remedy = first_of(
        advice.option("bias_correction=true") if off else "",
        "" if "ibc" in advice.steps else "-p ibc behind the quantizer",
        "-p 'ibc' again as the last step" if "ibc" in advice.steps else "",
    )
    return Diagnosis("shift", row.layer, what, remedy)


def coarse_logits(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """A Sigmoid or Softmax that reads values in steps of more than `logit_step`."""
    reader = row.traits & {"sigmoid", "softmax"}
    if not reader or row.range is None or row.range.step <= limits.logit_step:
        return None
    name = sorted(reader)[0]
    what = f"a {name} reads it in steps of {row.range.step:.2g}"
    cut = f"--end-node-names {row.layer}, and the {name} outside"
    return Diagnosis("logit_step", row.layer, what, first_of(advice.wide_activations(row), cut))


def concat_apart(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """A Concat of ranges that differ by more than `concat`: one grid has to do for all."""
    widths = row.input_ranges
    if "concat" not in row.traits or len(widths) < 2:
        return None
    narrow, wide = min(widths, key=widths.__getitem__), max(widths, key=widths.__getitem__)
    ratio = widths[wide] / max(widths[narrow], 1e-30)
    if ratio < limits.concat:
        return None
    parts = ", ".join(f"'{name}' {widths[name]:.3g} wide" for name in (narrow, wide))
    what = f"joins ranges {ratio:.0f} × apart: {parts}"
    remedy = first_of(advice.wide_activations(row), advice.equalize())
    return Diagnosis("concat", row.layer, what, remedy)


def concat_at_the_end(row: Row, limits: Limits, advice: Advice) -> Diagnosis | None:
    """A Concat before an output: its parts would each keep a range of their own without it."""
    if not {"concat", "ends"} <= row.traits or not row.feeds:
        return None
    return Diagnosis(
        "concat_output",
        row.layer,
        "nothing but this Concat lies before an output; its parts share one range",
        f"end before it, each part an output: --end-node-names {','.join(row.feeds)}",
    )


#: worst first.
RULES: Sequence[Rule] = (
    low_snr,
    dominant,
    arises,
    clips,
    coarse_logits,
    concat_at_the_end,
    concat_apart,
    shifted,
    weights_apart,
    channels_apart,
    outliers,
    swish,
    depthwise,
    ends_in_4_bits,
    still_channels,
    inherited,
)


def weak(row: Row, limits: Limits) -> bool:
    """Whether a place's SNR is below `watch`: at its output, or alone there in mode advanced."""
    if row.snr_db is not None:
        return row.snr_db < limits.watch
    return row.alone is not None and row.alone.own_snr_db < limits.watch


def _inherits(row: Row) -> bool:
    return row.drop_db is not None and row.drop_db < _INHERITED


def more_bits(row: Row, advice: Advice) -> str:
    """Return how a place gets the bits that it lacks most."""
    if _weights_are_worse(row):
        return first_of(advice.wide_weights(row), advice.better_rounding())
    return first_of(advice.wide_activations(row), advice.better_rounding() if row.weight else "")


def _source(row: Row) -> str:
    """Say which of weights and activations is the coarser."""
    parts = []
    if row.weight is not None:
        parts.append(f"weights {row.weight.snr_db:.1f} dB at {row.weight.bits} bits")
    if row.range is not None:
        parts.append(f"activations {row.range.snr_db:.1f} dB at {row.range.bits} bits")
    return ", ".join(parts) or "computed in float"


def _weights_are_worse(row: Row) -> bool:
    if row.weight is None:
        return False
    measured = row.alone.weights_snr_db if row.alone else None
    weights = row.weight.snr_db if measured is None else measured
    return row.range is None or weights < row.range.snr_db
