"""The whole flow on the embedded network: parse, measure, quantize twice, measure, compile."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fewbits import api
from fewbits.atomic import write_bytes
from fewbits.cost import cost
from fewbits.data import Dataset
from fewbits.errors import DataError
from fewbits.evaluation import Evaluation
from fewbits.model import Model
from fewbits.noise import layer_snr

from fewbits_demo.digits import Digits

if TYPE_CHECKING:
    from fewbits.plugins import Registry

CALIBRATION_IMAGES = 256
PRECISIONS = ("a8_w8", "a8_w4")
TARGET = "cpu"


@dataclass(frozen=True)
class Row:
    """What one version of the network reaches.

    Args:
        precision: `float`, or the precision mode.
        top1: accuracy in percent.
        agreement: how often the float network says the same, in percent; None for itself.
        snr_db: mean SNR of the outputs against the float network's; None for itself.
        weight_bytes: the weights at their bits, as a device stores them.
        file: what ONNX Runtime loads.
        file_bytes: its size; four-bit weights travel as eight-bit integers in it.
        archive: the archive that later commands go on from; None for the float file.
        layers: layer → SNR in dB, in the order of the network; empty for the float network.
    """

    precision: str
    top1: float
    agreement: float | None
    snr_db: float | None
    weight_bytes: int
    file: Path
    file_bytes: int
    archive: Path | None
    layers: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """All rows, and on how many images they were measured."""

    rows: tuple[Row, ...]
    calibration_images: int
    evaluation_images: int
    seed: int

    def worst_layers(self, count: int) -> list[str]:
        """Return the layers with the lowest SNR in the last row, worst first."""
        layers = self.rows[-1].layers
        return sorted(layers, key=lambda name: layers[name])[:count]


def run(folder: Path, *, registry: "Registry", seed: int = 0) -> Outcome:
    """Take the digits network through the flow; write it, its data, archives, compiled files.

    Args:
        folder: where the files go; made if need be.
        registry: the installed plugins.
        seed: seed of everything random.

    Raises:
        FewbitsError: as the steps raise it; a file or the folder cannot be written.
    """
    digits = Digits()
    _make(folder)
    network = folder / digits.network().name
    write_bytes(network, digits.network().read_bytes())
    model = api.parse(network, preprocess=digits.preprocess(), registry=registry)
    calibration = api.open_data(
        _copy(digits.calibration(), folder), model, registry, CALIBRATION_IMAGES
    )
    pictures = api.open_data(_copy(digits.evaluation(), folder), model, registry)
    rows = [_float_row(model, network, pictures, registry)]
    for precision in PRECISIONS:
        quantized = api.optimize(
            model,
            calibration=calibration,
            recipe=[f"quantize:precision={precision}"],
            target=TARGET,
            seed=seed,
            registry=registry,
        )
        rows.append(_quantized_row(quantized, precision, folder, pictures, registry))
    return Outcome(tuple(rows), len(calibration), len(pictures), seed)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{folder} is not a folder.", hint="Choose another --output.") from error
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            hint="Choose another --output.",
        ) from error


def _copy(data: str, folder: Path) -> str:
    """Copy `FILE#key` into `folder`, so that the user can go on from there; return the copy."""
    source, _, key = data.partition("#")
    copy = folder / Path(source).name
    write_bytes(copy, Path(source).read_bytes())
    return f"{copy}#{key}"


def _float_row(model: Model, file: Path, pictures: Dataset, registry: "Registry") -> Row:
    measured = api.evaluate(
        model, pictures, target="native", evaluators=["classification"], registry=registry
    )
    return Row(
        precision="float",
        top1=measured.metrics["classification"]["top1"],
        agreement=None,
        snr_db=None,
        weight_bytes=cost(model).bytes_float,
        file=file,
        file_bytes=file.stat().st_size,
        archive=None,
        layers={},
    )


def _quantized_row(
    model: Model, precision: str, folder: Path, pictures: Dataset, registry: "Registry"
) -> Row:
    measured: Evaluation = api.evaluate(
        model,
        pictures,
        target="emulator",
        evaluators=["classification", "fidelity"],
        registry=registry,
    )
    noise = layer_snr(model, pictures, batch_size=32, progress=registry.progress)
    archive = folder / f"digits-{precision}.fewbits"
    api.save(model, archive)
    file = api.compile(model, folder / f"digits-{precision}.onnx", target=TARGET, registry=registry)
    return Row(
        precision=precision,
        top1=measured.metrics["classification"]["top1"],
        agreement=measured.metrics["fidelity"]["agreement"],
        snr_db=measured.metrics["fidelity"]["snr_db"],
        weight_bytes=cost(model).bytes_quantized,
        file=file,
        file_bytes=file.stat().st_size,
        archive=archive,
        layers={each.layer: each.snr_db for each in noise},
    )
