"""Layers as a script selects them: names of the compiler's or of ONNX, globs, lists, scopes."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir
from fewbits.graph import constant, is_layer
from fewbits.interfaces import Target
from fewbits.model import Model

from fewbits_hailo.layernames import fused_nodes, layer_names, port_names, scope
from fewbits_hailo.script.syntax import Glob, Text, Value, Word, write_value

#: activations that are bounds of the layer's own range.
_BOUNDS = frozenset({"Relu", "Clip"})


class UnknownLayerError(Exception):
    """A selector selects nothing; `hint` says what may be meant."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Selection:
    """What a selector selects.

    Args:
        nodes: names of ONNX nodes, one for each layer.
        ports: tensors of the network's inputs and outputs.
        everything: whether it selects all there is.
        globbed: whether only globs select, so that layers that do not suit are not meant.
        said: the selector as it was written.
    """

    nodes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    everything: bool = False
    globbed: bool = False
    said: str = ""


class Layers:
    """The layers of a network, found by what a script calls them.

    Without a network (`fewbits hailo check-script FILE` alone) every selector is taken as it is.

    Args:
        model: the network, or None.
        target: the hardware target, or None; it says which precision modes there are.
    """

    def __init__(self, model: Model | None, target: Target | None = None) -> None:
        self.model = model
        self.target = target
        self._nodes: dict[str, str] = {}
        self._ports: dict[str, str] = {}
        self._onnx: dict[str, ir.Node] = {}
        self._fused: dict[str, tuple[str, ...]] = {}
        self._scope = ""
        if model is not None:
            self._nodes = {name: node for node, name in layer_names(model).items()}
            self._ports = port_names(model)
            self._onnx = {str(node.name): node for node in model.graph}
            self._fused = fused_nodes(model)
            self._scope = scope(model)

    def select(self, value: Value) -> Selection:
        """Return what a selector selects, in the order of the network.

        Raises:
            UnknownLayerError: a part of it selects nothing.
        """
        parts = value if isinstance(value, tuple) else (value,)
        globbed = all(isinstance(part, Glob) for part in parts)
        said = write_value(value)
        if self.model is None:
            names = tuple(_spelled(part) for part in parts)
            return Selection(names, (), names == ("*",), globbed, said)
        found = {name for part in parts for name in self._part(part)}
        nodes = tuple(self._nodes.get(n, n) for n in [*self._nodes, *self._onnx] if n in found)
        ports = tuple(tensor for name, tensor in self._ports.items() if name in found)
        everything = len(found) >= len(self._nodes) + len(self._ports)
        return Selection(tuple(dict.fromkeys(nodes)), ports, everything, globbed, said)

    def weighted(self, selection: Selection) -> tuple[str, ...]:
        """Return the selected layers that have weights; all that are left where globs select.

        Raises:
            UnknownLayerError: a layer that is named has none.
        """
        if self.model is None:
            return selection.nodes
        with_weights = tuple(name for name in selection.nodes if is_layer(self._onnx[name]))
        without = [name for name in selection.nodes if name not in with_weights]
        without += selection.ports
        if not with_weights or (without and not selection.globbed):
            first = without[0] if without else selection.said
            raise UnknownLayerError(
                f"'{first}' has no weights", "Name convolutions or fully connected layers."
            )
        return with_weights

    def with_functions(self, selection: Selection) -> tuple[str, ...]:
        """Return the selected nodes, each with the end of the function that is fused into it.

        A Relu or Clip has no bits of its own; what ends a SiLU has.
        """
        ends = (each for name in selection.nodes for each in (name, *self._function(name)))
        return tuple(dict.fromkeys(ends))

    def _function(self, name: str) -> tuple[str, ...]:
        nodes = self._fused.get(name, ())
        return nodes[-1:] if any(self._onnx[n].op_type not in _BOUNDS for n in nodes) else ()

    def outputs_of(self, selection: Selection) -> tuple[str, ...]:
        """Return the network's outputs that selected layers write, activation included."""
        if self.model is None:
            return ()
        nodes = (each for name in selection.nodes for each in (name, *self._fused.get(name, ())))
        written = {value for name in nodes for value in self._onnx[name].outputs}
        return tuple(str(v.name) for v in self.model.graph.outputs if v in written)

    def read_by(self, selection: Selection, index: int) -> tuple[str, ...]:
        """Return what writes input `index` of each selected layer: a node, or a graph input.

        Raises:
            UnknownLayerError: a layer has no such input.
        """
        return tuple(self._writer(name, index) for name in selection.nodes)

    def _writer(self, name: str, index: int) -> str:
        if self.model is None:
            return name
        node = self._onnx[name]
        computed = [v for v in node.inputs if v is not None and constant(v) is None]
        if not 0 <= index < len(computed):
            raise UnknownLayerError(
                f"'{name}' has {len(computed)} inputs, and no number {index}",
                "They are counted from 0.",
            )
        producer = computed[index].producer()
        return str(computed[index].name) if producer is None else str(producer.name)

    def _part(self, part: Value) -> Iterator[str]:
        if isinstance(part, Glob):
            return self._glob(part)
        assert isinstance(part, Word | Text)
        return iter([self._named(part.text)])

    def _glob(self, glob: Glob) -> Iterator[str]:
        pattern = glob.pattern.removeprefix(f"{self._scope}/")
        found = [name for name in (*self._nodes, *self._ports) if fnmatchcase(name, pattern)]
        found = found or [name for name in self._onnx if fnmatchcase(name, glob.pattern)]
        if not found and pattern != "*":
            raise UnknownLayerError(f"no layer matches {{{glob.pattern}}}", self._near(pattern))
        return iter(found)

    def _named(self, text: str) -> str:
        """Return the key of the layer; the compiler's names win over those of ONNX nodes."""
        for name in (text, text.removeprefix(f"{self._scope}/")):
            if name in self._nodes or name in self._ports or name in self._onnx:
                return name
        first, _, rest = text.partition("/")
        if first and (rest in self._nodes or rest in self._ports):
            raise UnknownLayerError(
                f"'{first}' is not the scope of this network, which is '{self._scope}'",
                f"Write {self._scope}/{rest} or {rest}, or parse the network with --name {first}.",
            )
        raise UnknownLayerError(f"there is no layer '{text}'", self._near(rest or text))

    def _near(self, text: str) -> str:
        known = [*self._nodes, *self._ports, *self._onnx]
        close = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
        guess = f"Did you mean '{close[0]}'? " if close else ""
        return f"{guess}`fewbits info FILE --hw-arch hailo8` lists the layers by both names."


def _spelled(part: Value) -> str:
    if isinstance(part, Glob):
        return part.pattern
    return part.text if isinstance(part, Word | Text) else write_value(part)


def short(names: Sequence[str], most: int = 3) -> str:
    """Return names as one says them: the first few, and how many more.

    >>> short(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - most
    said = ", ".join(names[:most])
    return f"{said} and {more} more" if more > 0 else said


def without(names: Iterable[str], taken: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are not taken, in order."""
    gone = set(taken)
    return tuple(name for name in names if name not in gone)
