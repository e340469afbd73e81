"""The quantizer `uniform`: uniform affine encodings from calibration statistics."""

from fewbits.interfaces import Context, Quantizer, Result
from fewbits.model import Model
from fewbits.quantizing import GridOptions, calibrate


class UniformOptions(GridOptions):
    """Options of the quantizer `uniform`."""


class UniformQuantizer(Quantizer):
    """Asymmetric activations, symmetric narrow-range weights, int32 biases at `s_w · s_a`."""

    name = "uniform"
    Options = UniformOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the model with an encoding for every tensor that the target runs in integers.

        Raises:
            DataError: there is no calibration data.
            RecipeError: a glob matches no layer.
            TargetError: the target lacks a precision mode or a weight granularity.
        """
        calibrated = calibrate(model, self.options, context)
        quantized = calibrated.quantized(calibrated.modes, context)
        return Result(quantized, calibrated.report(quantized.precisions))
