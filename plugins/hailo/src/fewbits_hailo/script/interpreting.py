"""What each line of a script comes to here: steps, lines for the compiler, or faults."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fewbits_hailo.script import after, before, bits, edits
from fewbits_hailo.script.draft import Effect
from fewbits_hailo.script.handling import Handler
from fewbits_hailo.script.rows import Use
from fewbits_hailo.script.said import Fault, Said, UnfitError, understand
from fewbits_hailo.script.selecting import Layers, UnknownLayerError
from fewbits_hailo.script.syntax import Statement, Word, write_statement
from fewbits_hailo.script.table.edits import COLOURS
from fewbits_hailo.script.table.words import CONFIG, POST, PRE

HANDLERS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        ("model_optimization_flavor", ""): bits.flavor,
        ("set_seed", ""): bits.seed,
        (CONFIG, "calibration"): bits.calibration,
        (CONFIG, "compression_params"): bits.compression_params,
        ("quantization_param", ""): bits.quantization_param,
        (PRE, "equalization"): before.step_of("equalization"),
        (PRE, "se_optimization"): before.step_of("tse", before.tse_options),
        (PRE, "activation_clipping"): before.activation_clipping,
        (PRE, "weights_clipping"): before.weights_clipping,
        (PRE, "global_avgpool_reduction"): before.global_avgpool_reduction,
        (PRE, "zero_static_channels"): before.step_of("static_channels", before.static_options),
        (PRE, "dead_layers_removal"): before.step_of("dead_channels"),
        (POST, "bias_correction"): after.bias_correction,
        (POST, "finetune"): after.finetune,
        (POST, "train_encoding"): after.train_encoding,
        (POST, "adaround"): after.adaround,
        (POST, "mix_precision_search"): bits.mix_precision_search,
        ("normalization", ""): edits.normalization,
        ("input_conversion", ""): edits.input_conversion,
        **{(name, ""): edits.colours for name in COLOURS},
        ("resize", ""): edits.resize,
        ("change_output_activation", ""): edits.change_output_activation,
        ("logits_layer", ""): edits.logits_layer,
    }
)


@dataclass(frozen=True)
class Line:
    """What a statement comes to.

    Args:
        said: the statement, held against the table.
        effects: what it does to the recipe.
        kept: what of it the compiler gets; empty for nothing.
        faults: what cannot be done.
    """

    said: Said
    effects: tuple[Effect, ...] = ()
    kept: str = ""
    faults: tuple[Fault, ...] = ()

    @property
    def number(self) -> int:
        """The line's number."""
        return self.said.statement.line

    @property
    def use(self) -> Use:
        """What becomes of the line as a whole."""
        if self.faults or self.said.command is None:
            return Use.REFUSED
        if self.effects:
            return self.said.command.use
        return Use.COMPILER if self.kept else Use.NOTHING

    @property
    def text(self) -> str:
        """What the line does here, as people read it."""
        if self.faults:
            return "; ".join(fault.text for fault in self.faults)
        parts = [effect.text for effect in self.effects]
        if self.kept:
            parts.append(self._why_kept())
        return "; ".join(part for part in parts if part) or self._why_nothing()

    def _why_kept(self) -> str:
        row = self.said.command
        if row is None or row.use is Use.COMPILER:
            return f"kept for the compiler: {row.here}" if row else "kept for the compiler"
        if row.use is Use.REFUSED:
            return "kept for the compiler: it is switched off here, too"
        if row.name == "input_conversion":
            return "kept for the compiler: it is in front of the network"
        told = [row.known[a.key].here for a in self.said.kept if a.key in row.known]
        return f"kept for the compiler: {', '.join(filter(None, told)) or self.kept}"

    def _why_nothing(self) -> str:
        row = self.said.command
        told = {o.here for o in row.options if o.name in self.said.given} if row else set()
        return "; ".join(sorted(filter(None, told))) or "nothing"


def interpret(statements: Iterable[Statement], layers: Layers) -> tuple[Line, ...]:
    """Say of each statement what it comes to; faults are collected, nothing is raised."""
    return tuple(_line(understand(statement), layers) for statement in statements)


def _line(said: Said, layers: Layers) -> Line:
    row = said.command
    if row is None:
        return Line(said, faults=said.faults)
    if row.use is Use.REFUSED:
        return _refused(said)
    if row.name == "remove_node":
        return _removed(said, layers)
    effects, faults = _effects(said, layers)
    return Line(said, effects, _kept(said, layers), (*said.faults, *faults))


def _effects(said: Said, layers: Layers) -> tuple[tuple[Effect, ...], tuple[Fault, ...]]:
    assert said.command is not None
    handler = HANDLERS.get((said.command.name, said.command.feature))
    if handler is None or said.broken:
        return (), ()
    try:
        return tuple(handler(said, layers)), ()
    except UnfitError as error:
        return (), (said.fault(error),)


def _refused(said: Said) -> Line:
    """A command that is not done here asks for nothing where it is switched off."""
    row, statement = said.command, said.statement
    assert row is not None
    if said.values.get("policy") == "disabled":
        return Line(said, kept=write_statement(statement))
    remedy = f"{row.here[:1].upper()}{row.here[1:]}."
    fault = Fault(f"{row.title} is not done here", remedy, statement.line, statement.column)
    return Line(said, faults=(fault, *said.faults))


def _removed(said: Said, layers: Layers) -> Line:
    """The compiler's own nodes go to the compiler; one of the network cannot be removed here."""
    statement = said.statement
    for each in statement.arguments:
        if isinstance(each.value, Word) and layers.model is not None:
            try:
                layers.select(each.value)
            except UnknownLayerError:
                continue
            text = f"'{each.value.text}' is a layer of the network, and is not removed here"
            hint = "Cut the network when it is parsed: --end-node-names."
            return Line(said, faults=(Fault(text, hint, each.line, each.column),))
    return Line(said, kept=write_statement(statement))


def _kept(said: Said, layers: Layers) -> str:
    """Return what of a statement the compiler is to get; empty for nothing."""
    row, statement = said.command, said.statement
    assert row is not None
    if row.open and not said.given:
        return write_statement(statement)
    keys = {argument.key for argument in said.kept} | set(_for_both(said, layers))
    if not keys:
        return ""
    arguments = tuple(a for a in statement.arguments if not a.key or a.key in keys)
    return write_statement(replace(statement, arguments=arguments))


def _for_both(said: Said, layers: Layers) -> Iterator[str]:
    """Yield options that are done here and that the compiler has to know, too.

    It reads the modes of layers off the quantized network, but not those of inputs and outputs.
    What a camera's form becomes outside the network is the compiler's to arrange.
    """
    row, values = said.command, said.values
    if said.broken:
        return
    if row is not None and row.name == "input_conversion" and not edits.is_inside(said):
        yield from values
    if row is not None and row.name == "quantization_param" and "precision_mode" in values:
        try:
            selection = layers.select(values["layers"])
        except UnknownLayerError:
            return
        if selection.ports and not selection.everything:
            yield "precision_mode"


def remaining(line: Line) -> str:
    """Return what leniency keeps of a faulty line for the compiler; empty for nothing."""
    row = line.said.command
    if row is not None and not row.keeps:
        return line.kept
    done = set(line.said.values) if line.effects else set()
    statement = line.said.statement
    arguments = tuple(a for a in statement.arguments if not a.key or a.key not in done)
    return write_statement(replace(statement, arguments=arguments))
