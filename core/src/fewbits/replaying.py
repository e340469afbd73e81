"""Runs a model's history again from the parsed network and compares the digests."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fewbits.compiling import FILE_DIGEST, compile_model
from fewbits.data import Dataset, input_specs_of
from fewbits.datasource import reopen
from fewbits.edits import is_edited
from fewbits.errors import DataError, FewbitsError, PluginError, RecipeError
from fewbits.execution import Setting, perform
from fewbits.model import Model, Stage
from fewbits.planning import create
from fewbits.provenance import StepRecord

if TYPE_CHECKING:
    from fewbits.plugins import Registry


@dataclass(frozen=True)
class Replayed:
    """What became of one step that was run again.

    Args:
        use: the component's name.
        expected: digest written down; of the file, for a compilation.
        actual: digest obtained now; empty if the step could not be run.
        same: whether the two are equal.
        note: what may explain a difference: another version, other input, a missing plugin.
    """

    use: str
    expected: str
    actual: str
    same: bool
    note: str = ""


class Samples:
    """The samples of a history: those given, or opened again from where they were.

    Args:
        records: the history.
        registry: where the readers are.
        given: the samples; None to open them again.

    Raises:
        DataError: the steps were not all made with the same samples.
    """

    def __init__(
        self, records: Iterable[StepRecord], registry: "Registry", given: Dataset | None
    ) -> None:
        self._digests = {record.data.get("digest") for record in records if record.data}
        self._registry = registry
        self._given = given
        self._checked: Dataset | None = None
        if len(self._digests) > 1:
            raise _other_samples()

    def of(self, record: StepRecord, model: Model) -> Dataset | None:
        """Return what a step used; None for one that had none, or edits the network's ends.

        Raises:
            DataError: they cannot be opened again, or are not those written down.
        """
        if not record.data or record.edits:
            return None
        if self._checked is None:
            specs = input_specs_of(model)
            dataset = self._given or reopen(
                record.data, specs, registry=self._registry, labelled=False
            )
            if {dataset.describe().get("digest")} != self._digests:
                raise _other_samples()
            self._checked = dataset
        return self._checked

    def for_compiler(self, model: Model) -> Dataset | None:
        """Return the samples as a model takes them that is compiled; None if there are none."""
        held = self._checked or self._given
        if held is None or not is_edited(model):
            return held
        return held.fitted(input_specs_of(model), model.preprocess)


def _other_samples() -> DataError:
    return DataError(
        "The calibration data is not what the model was made with: digests differ.",
        hint="Give the same data in the same order and number.",
    )


@dataclass(frozen=True)
class Setup:
    """What every step that is run again gets.

    Args:
        registry: where the components are.
        calibration: the samples, opened when a step first asks for them.
        threads: how many threads to use; None lets the runtime choose.
    """

    registry: "Registry"
    calibration: Samples
    threads: int | None


def replay(
    model: Model,
    *,
    registry: "Registry",
    calibration: Dataset | None = None,
    threads: int | None = None,
) -> list[Replayed]:
    """Run every step since parsing again, with the options, seed and data written down.

    Args:
        model: its history and its parsed stage are used.
        registry: where the components are.
        calibration: the samples; opened again from where they were by default.
        threads: how many threads to use; None lets the runtime choose.

    Returns:
        One entry a step, in order. After a step that cannot be run, none of the later ones is.

    Raises:
        DataError: the samples cannot be opened again, or are not those written down.
        FewbitsError: whatever a step raises on purpose.
    """
    held = model.at(Stage.PARSED)
    start, compiled = len(held.history), _first_compilation(model)
    samples = Samples(model.history[start:], registry, calibration)
    results: list[Replayed] = []
    for index, record in enumerate(model.history[start:], start):
        stopped = next((r.use for r in results if not r.actual), "")
        if stopped:
            note = f"not run, because '{stopped}' could not be"
            results.append(Replayed(record.use, record.output_digest, "", False, note))
            continue
        again = _compile_again if index >= compiled else _again
        held, result = again(held, record, Setup(registry, samples, threads))
        results.append(result)
    return results


def _first_compilation(model: Model) -> int:
    """Return the index of the first record that is a compilation."""
    if model.stage is Stage.COMPILED:
        return len(model.at(Stage.QUANTIZED).history)
    return len(model.history)


def _again(model: Model, record: StepRecord, setup: Setup) -> tuple[Model, Replayed]:
    try:
        planned = create(record.use, record.options, setup.registry)
        target = setup.registry.create("target", record.target, {})
    except (PluginError, RecipeError) as error:
        return model, _impossible(record, error)
    setting = Setting(
        setup.registry,
        target,
        setup.calibration.of(record, model),
        record.seed,
        setup.threads,
        int(record.data.get("batch_size", 8)),
        holds_out=int(record.data.get("held_out", 0)),
    )
    out = perform(model, planned, setting)
    return out, _compared(record, out.history[-1])


def _compile_again(model: Model, record: StepRecord, setup: Setup) -> tuple[Model, Replayed]:
    try:
        origin = setup.registry.get("target", record.target).record
        target = setup.registry.create("target", record.target, record.options)
    except (PluginError, RecipeError) as error:
        return model, _impossible(record, error)
    out, _ = compile_model(
        model,
        target,
        calibration=setup.calibration.for_compiler(model),
        distribution=origin.distribution,
        version=origin.version,
    )
    return out, _compared(record, out.history[-1])


def _impossible(record: StepRecord, error: FewbitsError) -> Replayed:
    note = f"{error.message} {error.hint}".strip()
    return Replayed(record.use, record.output_digest, "", False, note)


def _compared(old: StepRecord, new: StepRecord) -> Replayed:
    """Compare what was made; of a compilation, the file."""
    expected = str(old.report.metrics.get(FILE_DIGEST, old.output_digest))
    actual = str(new.report.metrics.get(FILE_DIGEST, new.output_digest))
    notes = []
    if (old.distribution, old.version) != (new.distribution, new.version):
        was, now = f"{old.distribution} {old.version}", f"{new.distribution} {new.version}"
        notes.append(f"it was {was}, and now it is {now}")
    if old.input_digest != new.input_digest:
        notes.append("it got another input than then")
    return Replayed(old.use, expected, actual, expected == actual, "; ".join(notes))
