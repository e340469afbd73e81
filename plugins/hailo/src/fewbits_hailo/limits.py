"""A row of the table as the core understands it: which ops, which integers, which arithmetic."""

from fewbits.interfaces import TargetSpec
from fewbits.model import Precision
from fewbits.targets import Arithmetic, ShiftLimits

from fewbits_hailo.devices import Device

#: ops of several tensors, and those that mix what lies side by side; each has a rule in integers.
QUANTIZED_OPS = frozenset(
    {
        "Add",
        "AveragePool",
        "Concat",
        "GlobalAveragePool",
        "MatMul",
        "Mul",
        "ReduceMean",
        "Resize",
        "Softmax",
        "Sub",
    }
)
#: element-wise functions of one tensor. Hailo lists fewer; a table holds any of them (inferred).
FUNCTIONS = frozenset(
    {
        "Abs",
        "Add",
        "Clip",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Max",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Pow",
        "Reciprocal",
        "Relu",
        "Selu",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Tanh",
        "ThresholdedRelu",
    }
)
MOVES = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)


def spec_of(device: Device) -> TargetSpec:
    """Return a device's limits."""
    return TargetSpec(
        precisions=frozenset(map(Precision.parse, device.precisions.value)),
        weights=device.weights.value,
        quantized_ops=QUANTIZED_OPS,
        unary_ops=FUNCTIONS,
        passthrough_ops=MOVES,
        fused_activations=frozenset({"Relu", "Clip", "Min"}),
        float_ops=False,
        bias_bits=device.bias_bits.value,
        wide_bits=device.activation_bits.value,
        arithmetic=Arithmetic(
            multiplier_bits=device.multiplier_bits.value,
            factor_bits=device.factor_bits.value,
            exponential_bits=device.exponential_bits.value,
            zero_point_first=device.input_rounding.value == "after the zero point",
        ),
        shifts=ShiftLimits(device.left_shift.value, device.shift_spread.value),
    )
