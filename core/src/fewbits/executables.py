"""From a model to the file that a device runs, or to what another machine makes it of."""

from pathlib import Path

from fewbits.atomic import atomic_folder, write_bytes
from fewbits.compiling import FILE_DIGEST, compile_model, quantized
from fewbits.container import sha256
from fewbits.data import Dataset, input_specs_of
from fewbits.datasource import reopen
from fewbits.errors import DataError, TargetError
from fewbits.interfaces import Finding, Runnable, Target
from fewbits.model import Model, Stage
from fewbits.opening import Data, open_data
from fewbits.plugins import Registry, from_environment
from fewbits.targets import need_fit

DEFAULT_TARGET = "cpu"


def compile(
    model: Model,
    path: str | Path,
    *,
    target: Target | str = DEFAULT_TARGET,
    calibration: Data | None = None,
    registry: Registry | None = None,
) -> Path:
    """Compile a quantized model for a target and write the executable, atomically.

    Args:
        model: at stage `quantized` or `compiled`.
        path: the file to write.
        target: the target or its name.
        calibration: unlabelled samples, for a device whose own compiler calibrates again; those
            that the model was quantized with by default.
        registry: the plugins.

    Raises:
        ModelError: the model is not quantized.
        DataError: samples are needed, and those of the history cannot be opened again.
        TargetError: the target cannot run it; names the layer, the limit and the remedy.
        FewbitsError: the file cannot be written.
    """
    _, data = compiled(model, target=target, calibration=calibration, registry=registry)
    write_bytes(Path(path), data)
    return Path(path)


def compiled(
    model: Model,
    *,
    target: Target | str = DEFAULT_TARGET,
    calibration: Data | None = None,
    registry: Registry | None = None,
) -> tuple[Model, bytes]:
    """Compile, and return the model at stage `compiled` with the executable's bytes.

    Raises:
        ModelError, DataError, TargetError: as `compile`.
    """
    plugins = registry or from_environment()
    device = _device(target, plugins)
    origin = plugins.get("target", device.name).record
    source = quantized(model)
    device.need_compiler()
    return compile_model(
        model,
        device,
        calibration=_samples(source, device, calibration, plugins),
        distribution=origin.distribution,
        version=origin.version,
    )


def bundle(
    model: Model,
    folder: str | Path,
    *,
    target: Target | str,
    calibration: Data | None = None,
    registry: Registry | None = None,
) -> list[Path]:
    """Write what another machine needs to compile a model, whole or not at all.

    Args:
        model: at stage `quantized` or `compiled`.
        folder: absent or empty; its parent exists.
        target: the target or its name.
        calibration: as for `compile`.
        registry: the plugins.

    Returns:
        The files.

    Raises:
        ModelError: the model is not quantized.
        DataError: samples are needed, and those of the history cannot be opened again.
        TargetError: the target compiles here, or cannot run the model.
        FewbitsError: the folder holds something or cannot be written.
    """
    plugins = registry or from_environment()
    device = _device(target, plugins)
    source = quantized(model)
    need_fit(source, device)
    samples = _samples(source, device, calibration, plugins)
    with atomic_folder(Path(folder)) as made:
        files = [file.relative_to(made) for file in device.bundle(source, made, samples)]
    return [Path(folder) / file for file in files]


def check(
    model: Model, *, target: Target | str = DEFAULT_TARGET, registry: Registry | None = None
) -> list[Finding]:
    """Return everything that keeps a target from running a model, or makes it slow.

    Args:
        model: at any stage; what is compiled of it is checked, or the network in float.
        target: the target or its name.
        registry: the plugins.
    """
    device = _device(target, registry or from_environment())
    return list(device.check(model.at(Stage.QUANTIZED)))


def on_device(
    model: Model, executable: Path | None = None, *, registry: Registry | None = None
) -> Runnable:
    """Return the device that a model was quantized for, running the compiled model.

    Args:
        model: at stage `quantized` or `compiled`.
        executable: the compiled file.
        registry: the plugins.

    Raises:
        ModelError: the model is not quantized.
        TargetError: there is no such device, or what is needed for it is missing.
    """
    plugins = registry or from_environment()
    return _device(made_for(model), plugins).device(quantized(model), executable)


def made_for(model: Model) -> str:
    """Return the name of the target that a model was quantized for.

    Raises:
        ModelError: it is not quantized.
    """
    history = quantized(model).history
    return history[-1].target if history else DEFAULT_TARGET


def need_same(model: Model, executable: Path) -> None:
    """See that a file is what a compiled model was compiled to.

    Raises:
        TargetError: the model was compiled to another one, so that the file is old.
    """
    compiled_to = [
        record.report.metrics[FILE_DIGEST]
        for record in model.history
        if FILE_DIGEST in record.report.metrics
    ]
    if compiled_to and sha256(executable.read_bytes()) not in compiled_to:
        raise TargetError(
            f"{executable} is not what {model.name} was compiled to.",
            hint="Compile it again, or name the file that is meant.",
        )


def _device(target: Target | str, registry: Registry) -> Target:
    if isinstance(target, Target):
        return target
    made: Target = registry.create("target", target, {})
    return made


def _samples(
    model: Model, device: Target, given: Data | None, registry: Registry
) -> Dataset | None:
    """Return what was given, or, for a device that needs samples, those of the history."""
    if given is not None:
        return open_data(given, model, registry, labelled=False)
    if not device.needs_calibration:
        return None
    start = len(model.at(Stage.PARSED).history)
    used = [record.data for record in model.history[start:] if record.data and not record.edits]
    hint = "Add --calib-path with a folder of images or an npy/npz file."
    if not used:
        raise DataError(
            f"{device.name}'s compiler needs samples, and {model.name} was made without.", hint=hint
        )
    try:
        return reopen(used[-1], input_specs_of(model), registry=registry, labelled=False)
    except DataError as error:
        raise DataError(
            f"{device.name}'s compiler needs samples, and those that {model.name} was quantized "
            f"with cannot be had again. {error.message}",
            hint=hint,
        ) from error
