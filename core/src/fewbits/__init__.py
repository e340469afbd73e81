"""fewbits: quantize trained networks to 4, 8 and 16 bits.

The public names are imported when they are first used, so that `import fewbits` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewbits.analyzing import analyze
    from fewbits.api import compile, evaluate, load, optimize, parse, replay, save
    from fewbits.component import Component
    from fewbits.errors import FewbitsError
    from fewbits.hookspecs import hookimpl
    from fewbits.model import Encoding, Model, Precision, Stage
    from fewbits.options import Options
    from fewbits.preprocess import Preprocess
    from fewbits.recipe import Recipe, Step
    from fewbits.tuner import tune

__version__ = "0.1.0"

__all__ = [
    "Component",
    "Encoding",
    "FewbitsError",
    "Model",
    "Options",
    "Precision",
    "Preprocess",
    "Recipe",
    "Stage",
    "Step",
    "analyze",
    "compile",
    "evaluate",
    "hookimpl",
    "load",
    "optimize",
    "parse",
    "replay",
    "save",
    "tune",
]

_HOMES = {
    "Component": "component",
    "Encoding": "model",
    "FewbitsError": "errors",
    "Model": "model",
    "Options": "options",
    "Precision": "model",
    "Preprocess": "preprocess",
    "Recipe": "recipe",
    "Stage": "model",
    "Step": "recipe",
    "analyze": "analyzing",
    "hookimpl": "hookspecs",
    "tune": "tuner",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fewbits' has no attribute '{name}'")
    home = importlib.import_module(f"fewbits.{_HOMES.get(name, 'api')}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
