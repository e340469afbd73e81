"""The embedded network and its data: handwritten digits of 8×8 pixels."""

from pathlib import Path

from fewbits.interfaces import ModelInfo, NamedModel, Progress, silent
from fewbits.preprocess import Preprocess

ASSETS = Path(__file__).parent / "assets"


class Digits(NamedModel):
    """A CNN of five thousand parameters for the UCI handwritten digits; trained by this project.

    Depthwise convolutions, residual adds, squeeze-and-excite blocks, ReLU6 and batch
    normalization stand in the file, so that every pass has something to do.
    """

    name = "digits"

    def network(self, progress: Progress = silent) -> Path:
        """Return the path of the float ONNX file."""
        return ASSETS / "digits.onnx"

    def preprocess(self) -> Preprocess:
        """Return how grey pixels in 0..240 become the input."""
        return Preprocess(mean=(73.0,), std=(90.0,), channels="GRAY")

    def calibration(self) -> str:
        """Return the pictures the network was trained on: uint8 `(1257, 8, 8, 1)`."""
        return f"{ASSETS / 'train.npz'}#images"

    def evaluation(self) -> str:
        """Return pictures it has never seen, with labels: uint8 `(540, 8, 8, 1)`."""
        return f"{ASSETS / 'test.npz'}#images"

    def info(self) -> ModelInfo:
        """Return what is known of it; the accuracy is that of `evaluation`, 538 of 540."""
        return ModelInfo(
            task="classification of handwritten digits, ten classes",
            framework="PyTorch",
            data="UCI handwritten digits: 1,257 pictures to train and calibrate, 540 to test",
            metric="top-1",
            full_precision=99.63,
            source="trained by this project: plugins/demo/train; pictures by E. Alpaydin and"
            " C. Kaynak, 1998",
            licence="Apache-2.0; pictures CC-BY-4.0",
        )
