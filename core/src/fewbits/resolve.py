"""Brings in the object behind a component and holds it against the interface of its kind."""

import inspect
import re
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from fewbits.component import Component
from fewbits.discovery import CORE, canonical, one_line
from fewbits.errors import FewbitsError

_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ComponentError(Exception):
    """A component cannot be used.

    Args:
        message: what is wrong with it, without the component's name.
        hint: the remedy; may be empty.
        missing: whether only an optional library is missing, which is no fault of the plugin's.
    """

    def __init__(self, message: str, *, hint: str = "", missing: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.missing = missing


def resolve(component: Component, distribution: str) -> Any:
    """Import a component's target and check what it is.

    Args:
        component: what to import.
        distribution: the distribution it came in, asked for the extra when a library is missing.

    Raises:
        ComponentError: whatever the import raised, or why the object is not of its kind.
    """
    try:
        found = component.load()
    except KeyboardInterrupt:
        raise
    except FewbitsError as error:
        raise ComponentError(error.message, hint=error.hint, missing=bool(error.hint)) from error
    except ModuleNotFoundError as error:
        raise _not_installed(component, error, distribution) from error
    except BaseException as error:
        raise ComponentError(f"importing '{component.target}' raised {one_line(error)}") from error
    fault = _fault(component, found)
    if fault:
        raise ComponentError(fault)
    return found


def _not_installed(
    component: Component, error: ModuleNotFoundError, distribution: str
) -> ComponentError:
    extra = _extra_for((error.name or "").partition(".")[0], distribution)
    if extra:
        message = f"it needs '{error.name}', which is not installed"
        return ComponentError(message, hint=f"pip install '{extra}'", missing=True)
    return ComponentError(f"importing '{component.target}' raised {one_line(error)}")


def _extra_for(module: str, distribution: str) -> str:
    """Return `distribution[extra]` that brings `module`; of fewbits itself before the plugin's."""
    for name in ("fewbits", distribution, CORE):
        try:
            lines = requires(name) or []
        except (PackageNotFoundError, ValueError):
            continue
        for line in lines:
            extra, required = _EXTRA.search(line), _NAME.match(line)
            if extra and required and canonical(required.group()) == canonical(module):
                return f"{name}[{extra.group(1)}]"
    return ""


def _fault(component: Component, found: Any) -> str:
    """Return what keeps `found` from being a component of its kind; empty when nothing does."""
    if component.kind == "command":
        from typer import Typer

        return "" if isinstance(found, Typer) else f"'{component.target}' is no Typer app"
    interface = _interface(component.kind)
    if not (isinstance(found, type) and issubclass(found, interface)):
        return f"'{component.target}' is not a subclass of fewbits.interfaces.{interface.__name__}"
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        return f"'{component.target}' does not define {missing}"
    name = getattr(found, "name", None)
    if name != component.name:
        return f"'{component.target}' has the name {name!r}, the hook says '{component.name}'"
    return _fault_of_class(component, found)


def _fault_of_class(component: Component, found: Any) -> str:
    from fewbits.interfaces import Configurable, Quantizer
    from fewbits.options import Options

    if component.kind == "algorithm" and issubclass(found, Quantizer):
        return f"'{component.target}' is a Quantizer: offer it through the hook 'quantizers'"
    options = getattr(found, "Options", None)
    is_options = isinstance(options, type) and issubclass(options, Options)
    if issubclass(found, Configurable) and not is_options:
        return f"'{component.target}.Options' is not a subclass of fewbits.options.Options"
    return ""


def _interface(kind: str) -> type:
    from fewbits import interfaces

    return {
        "frontend": interfaces.Frontend,
        "algorithm": interfaces.Algorithm,
        "quantizer": interfaces.Quantizer,
        "evaluator": interfaces.Evaluator,
        "target": interfaces.Target,
        "dataset": interfaces.DatasetReader,
        "model": interfaces.NamedModel,
        "script": interfaces.ScriptReader,
    }[kind]
