"""The built-in components, offered through the same hooks as everyone's."""

from fewbits.component import Component
from fewbits.hookspecs import hookimpl


@hookimpl
def frontends() -> list[Component]:
    """Offer the ONNX reader."""
    return [
        Component(
            "frontend",
            "onnx",
            "Reads ONNX files, opset 7 and later, and brings them to one form",
            "fewbits.builtin.onnx_frontend:OnnxFrontend",
        )
    ]


@hookimpl
def quantizers() -> list[Component]:
    """Offer the quantizer that every other method starts from."""
    return [
        Component(
            "quantizer",
            "uniform",
            "Uniform 4, 8 and 16-bit grids, ranges from calibration statistics",
            "fewbits.builtin.uniform:UniformQuantizer",
        )
    ]


@hookimpl
def evaluators() -> list[Component]:
    """Offer what needs no labels and what does."""
    return [
        Component(
            "evaluator",
            "fidelity",
            "Closeness to the float model: SNR, cosine, top-1 agreement; needs no labels",
            "fewbits.builtin.evaluators:Fidelity",
        ),
        Component(
            "evaluator",
            "classification",
            "Top-1 and top-5 accuracy against labels",
            "fewbits.builtin.evaluators:Classification",
        ),
    ]


@hookimpl
def datasets() -> list[Component]:
    """Offer folders of images and arrays on disk."""
    return [
        Component(
            "dataset",
            "images",
            "Folder of images: labels.csv, one folder per class, or unlabelled",
            "fewbits.builtin.images:ImageReader",
        ),
        Component(
            "dataset",
            "arrays",
            "npy and npz files, FILE.npz#key for one array of several",
            "fewbits.builtin.arrays:ArrayReader",
        ),
    ]


@hookimpl
def targets() -> list[Component]:
    """Offer this machine's processor."""
    return [
        Component(
            "target",
            "cpu",
            "ONNX Runtime's integer kernels on this kind of machine; compiles to QDQ ONNX",
            "fewbits.builtin.cpu:CpuTarget",
        )
    ]
