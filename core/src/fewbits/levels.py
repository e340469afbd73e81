"""What the levels stand for: recipes, and what each needs. One table, easy to mend.

The names, the numbers and the order of the algorithms follow what users of Hailo's tools know;
their exact content there is second-hand knowledge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fewbits.errors import UsageError
from fewbits.recipe import Recipe, Step

#: step → the distribution that offers it; `quantize` is the core's own.
HOMES: Mapping[str, str] = MappingProxyType(
    {
        "activation_clipping": "fewbits-clipping",
        "adaround": "fewbits-adaround",
        "dead_channels": "fewbits-pruning",
        "equalization": "fewbits-equalization",
        "global_avgpool_reduction": "fewbits-hailo",
        "gptq": "fewbits-gptq",
        "hailo_script": "fewbits-hailo",
        "ibc": "fewbits-ibc",
        "input_conversion": "fewbits-editing",
        "input_layout": "fewbits-editing",
        "logits": "fewbits-editing",
        "mixed_precision": "fewbits-mixed-precision",
        "normalization": "fewbits-editing",
        "output_activation": "fewbits-editing",
        "pruning": "fewbits-pruning",
        "qft": "fewbits-qft",
        "quantize": "fewbits-core",
        "resize": "fewbits-editing",
        "static_channels": "fewbits-pruning",
        "tse": "fewbits-tse",
        "weight_clipping": "fewbits-clipping",
    }
)
#: steps that train with torch.
TRAINING = frozenset({"adaround", "qft"})
#: the step without training that stands in for them where torch is missing.
UNTRAINED = Step("ibc")
#: the option that says how many images a step looks at.
IMAGES = "dataset_size"
#: options that say how many images a step needs.
COUNTS = (IMAGES, "samples")
#: steps that vary the images they have where there are fewer.
VARYING = frozenset({"qft"})

#: optimization level → what it does, from cheap to dear.
OPTIMIZATION: Mapping[int, str] = MappingProxyType(
    {
        -100: "nothing is done: min-max ranges, rounding to nearest, no correction",
        0: "equalization, then ranges and biases by the quantizer's defaults",
        1: "equalization, weights rounded by Hessians (GPTQ), iterative bias correction (IBC)",
        2: "equalization, GPTQ, and every degree of freedom finetuned at once (QFT)",
        3: "equalization, and each weight's rounding learnt (AdaRound), on few images",
        4: "equalization, and each weight's rounding learnt (AdaRound), on many images",
    }
)
#: compression level → share of the weights that get 4 bits; the others have 8.
COMPRESSION: Mapping[int, float] = MappingProxyType(
    {0: 0.0, 1: 0.2, 2: 0.4, 3: 0.6, 4: 0.8, 5: 1.0}
)
#: optimization levels that are tried, in this order, when nobody names one.
DEFAULTS = (2, 1, 0)

_NOTHING = {"activation_range": "minmax", "weight_range": "minmax", "bias_correction": False}


@dataclass(frozen=True)
class Level:
    """An optimization level with a compression level.

    Args:
        optimization: -100, or 0 to 4.
        compression: 0 to 5.
        steps: what they stand for.
    """

    optimization: int
    compression: int
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Such as `optimization level 1, compression level 0`."""
        return f"optimization level {self.optimization}, compression level {self.compression}"

    @property
    def summary(self) -> str:
        """What is done, in words."""
        return f"{OPTIMIZATION[self.optimization]}; {_share(self.compression)}"

    @property
    def recipe(self) -> Recipe:
        """The steps as a recipe that remembers which level it stands for."""
        return Recipe(self.steps, level=self.record())

    @property
    def images(self) -> int:
        """How many calibration images it needs; 1 where any number will do."""
        return max([1, *(int(s.options.get(key, 1)) for s in self.steps for key in COUNTS)])

    @property
    def torch(self) -> bool:
        """Whether a step trains."""
        return any(step.use in TRAINING for step in self.steps)

    @property
    def distributions(self) -> tuple[str, ...]:
        """What must be installed, in the order of the steps."""
        return tuple(dict.fromkeys(HOMES[s.use] for s in self.steps if s.use in HOMES))

    def record(self, **more: Any) -> dict[str, Any]:
        """Return both numbers, JSON-able, for the provenance."""
        return {
            "optimization_level": self.optimization,
            "compression_level": self.compression,
            **more,
        }


def level(optimization: int, compression: int = 0) -> Level:
    """Return what two levels stand for together.

    >>> [str(step) for step in level(1, 5).steps]
    ['equalization', 'quantize:precision=a8_w4', 'gptq', 'ibc']

    Raises:
        UsageError: there is no such level; the hint lists them.
    """
    check(optimization, OPTIMIZATION, "optimization")
    check(compression, COMPRESSION, "compression")
    first = () if optimization < 0 else (Step("equalization"),)
    middle = _quantizer(optimization, compression)
    return Level(optimization, compression, (*first, middle, *_behind(optimization, compression)))


def check(number: int, known: Mapping[int, Any], kind: str) -> None:
    """Raise unless there is such a level.

    Raises:
        UsageError: there is not; the hint lists them.
    """
    if number not in known:
        raise UsageError(
            f"There is no {kind} level {number}.",
            hint=f"Known: {', '.join(map(str, known))}; see `fewbits describe level`.",
        )


def _quantizer(optimization: int, compression: int) -> Step:
    ratio = COMPRESSION[compression]
    options: dict[str, Any] = {"precision": "a8_w4" if ratio == 1 else "a8_w8"}
    if 0 < ratio < 1:
        options["ratio_4bit"] = ratio
    if optimization < 0:
        options |= _NOTHING
    return Step("mixed_precision" if 0 < ratio < 1 else "quantize", options)


def _behind(optimization: int, compression: int) -> tuple[Step, ...]:
    """Return the steps after the quantizer."""
    if optimization == 1:
        return (Step("gptq"), UNTRAINED)
    if optimization == 2:
        return (Step("gptq"), Step("qft", {"epochs": 4, IMAGES: 1024}))
    if optimization > 2:
        images = 256 if optimization == 3 else 1024
        # Where no weights have 4 bits, those of 8 are rounded; otherwise there were nothing to do.
        mode = "train_4bit" if COMPRESSION[compression] > 0 else "train_all"
        learnt = Step("adaround", {"epochs": 320, IMAGES: images, "mode": mode})
        return (learnt, UNTRAINED)
    return ()


def _share(compression: int) -> str:
    ratio = COMPRESSION[compression]
    if ratio in (0, 1):
        return f"all weights in {4 if ratio else 8} bits"
    return f"{ratio:.0%} of the weights in 4 bits, the others in 8".replace("%", " %")
