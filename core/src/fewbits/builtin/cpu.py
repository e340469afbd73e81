"""The `cpu` target: QDQ ONNX that plain ONNX Runtime runs on its integer kernels."""

from collections.abc import Sequence

import onnx_ir as ir

from fewbits.data import Dataset
from fewbits.emulate import to_qdq
from fewbits.errors import TargetError
from fewbits.interfaces import Finding, Runnable, Target, TargetSpec
from fewbits.model import Model, Precision, Stage
from fewbits.placement import place
from fewbits.runtime import Session
from fewbits.saturation import products_saturate

_PRECISIONS = ("a8_w8", "a8_w4", "a16_w8", "a16_w16", "a16_w4")
_UNARY = (
    "Abs Add Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Max Min Mish Mul Neg "
    "PRelu Pow Reciprocal Relu Selu Sigmoid Softplus Softsign Sqrt Sub Tanh ThresholdedRelu"
)
_PASSTHROUGH = (
    "DepthToSpace Flatten Gather Identity MaxPool Reshape Slice SpaceToDepth Split Squeeze "
    "Transpose Unsqueeze Expand Tile"
)


class CpuTarget(Target):
    """Per-channel int8 on any CPU that ONNX Runtime supports."""

    name = "cpu"
    suffix = ".onnx"
    spec = TargetSpec(
        precisions=frozenset(Precision.parse(text) for text in _PRECISIONS),
        quantized_ops=frozenset({"Add", "AveragePool", "Concat", "GlobalAveragePool", "Mul"}),
        unary_ops=frozenset(_UNARY.split()),
        passthrough_ops=frozenset(_PASSTHROUGH.split()),
        fused_activations=frozenset({"Relu", "Clip", "Min"}),
        float_outputs=frozenset({"Gemm"}),
    )

    def check(self, model: Model) -> Sequence[Finding]:
        """Name the ops that will run in float; nothing is impossible on this target."""
        return [
            Finding(
                str(node.name),
                f"{node.op_type} has no integer kernel and runs in float",
                "nothing to do, unless it takes much of the time",
                fatal=False,
            )
            for node in place(model.graph, self.spec).float_nodes
        ]

    def emulator(self, model: Model, threads: int | None = None) -> Runnable:
        """Run the very file that `compile` writes, in memory."""
        return Session(self._network(model), threads=threads)

    def compile(self, model: Model, calibration: Dataset | None = None) -> bytes:
        """Return the QDQ network as a serialized ONNX file."""
        proto = ir.to_proto(self._network(model))
        return bytes(proto.SerializeToString(deterministic=True))

    def _network(self, model: Model) -> ir.Model:
        if model.stage.rank < Stage.QUANTIZED.rank:
            raise TargetError(
                f"{model.name} is {model.stage}; only a quantized model can be compiled for cpu.",
                hint="Run `fewbits optimize` first, with calibration data.",
            )
        return to_qdq(model, unsigned_weights=products_saturate())
