"""The whole flow on the embedded network: parse, measure, quantize, recover, measure, compile."""

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
TARGET = "cpu"


@dataclass(frozen=True)
class Version:
    """A way to quantize the network.

    Args:
        name: how its files are called.
        precision: the precision mode of all layers.
        behind: the steps behind the quantizer.
    """

    name: str
    precision: str
    behind: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """The recipe, as it is typed behind `-p`."""
        return (f"quantize:precision={self.precision}", *self.behind)


#: 8 bits; 4-bit weights rounded to nearest; and 4-bit weights whose errors are taken back, first by
#: the weights behind them, then by the biases.
VERSIONS = (
    Version("a8_w8", "a8_w8"),
    Version("a8_w4", "a8_w4"),
    Version("a8_w4-recovered", "a8_w4", ("gptq", "ibc")),
)


@dataclass(frozen=True)
class Row:
    """What one version of the network reaches.

    Args:
        name: `float`, or how its files are called.
        precision: `float`, or the precision mode.
        steps: the recipe, as it is typed behind `-p`; empty for the float network.
        top1: accuracy in percent.
        agreement: how often the float network says the same, in percent; None for itself.
        snr_db: mean SNR of the outputs against the float network's; None for itself.
        weight_bytes: the weights at their bits, as a device stores them.
        file: what ONNX Runtime loads.
        file_bytes: its size; four-bit weights travel as eight-bit integers in it.
        archive: the archive that later commands go on from; None for the float file.
        layers: layer → SNR in dB, in the order of the network; empty for the float network.
    """

    name: str
    precision: str
    steps: tuple[str, ...]
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
    """All rows, on how many images they were measured, and what could not be shown.

    Args:
        rows: the float network, then each version.
        missing: versions that were left out, each with the reason.
        calibration_images: how many pictures were calibrated on.
        evaluation_images: how many others were measured on.
        seed: seed of everything random.
    """

    rows: tuple[Row, ...]
    missing: tuple[str, ...]
    calibration_images: int
    evaluation_images: int
    seed: int

    def worst_layers(self, count: int) -> list[str]:
        """Return the layers with the lowest SNR at 4-bit weights by rounding, worst first."""
        layers = next(row for row in self.rows if row.name == "a8_w4").layers
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
    missing = []
    for version in VERSIONS:
        absent = _absent(version, registry)
        if absent:
            missing.append(
                f"{version.name} is left out, because {' and '.join(absent)} cannot be used here."
            )
            continue
        quantized = api.optimize(
            model,
            calibration=calibration,
            recipe=version.steps,
            target=TARGET,
            seed=seed,
            registry=registry,
        )
        rows.append(_quantized_row(quantized, version, folder, pictures, registry))
    return Outcome(tuple(rows), tuple(missing), len(calibration), len(pictures), seed)


def _absent(version: Version, registry: "Registry") -> list[str]:
    """Return the steps of other distributions that are not there; the demo needs the core alone."""
    known = {found.component.name for found in registry.components("algorithm")}
    return [step for step in version.behind if step not in known]


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
        name="float",
        precision="float",
        steps=(),
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
    model: Model, version: Version, folder: Path, pictures: Dataset, registry: "Registry"
) -> Row:
    measured: Evaluation = api.evaluate(
        model,
        pictures,
        target="emulator",
        evaluators=["classification", "fidelity"],
        registry=registry,
    )
    noise = layer_snr(model, pictures, batch_size=32, progress=registry.progress)
    archive = folder / f"digits-{version.name}.fewbits"
    api.save(model, archive)
    path = folder / f"digits-{version.name}.onnx"
    file = api.compile(model, path, target=TARGET, registry=registry)
    return Row(
        name=version.name,
        precision=version.precision,
        steps=version.steps,
        top1=measured.metrics["classification"]["top1"],
        agreement=measured.metrics["fidelity"]["agreement"],
        snr_db=measured.metrics["fidelity"]["snr_db"],
        weight_bytes=cost(model).bytes_quantized,
        file=file,
        file_bytes=file.stat().st_size,
        archive=archive,
        layers={each.layer: each.snr_db for each in noise},
    )
