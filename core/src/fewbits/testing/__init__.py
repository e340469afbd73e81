"""The contract kit for plugin authors: subclass a contract, give one fixture, inherit its tests.

::

    class TestClipWeights(AlgorithmContract):
        @pytest.fixture
        def algorithm(self):
            return ClipWeights()
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "algorithm",
            "component",
            "dataset",
            "evaluator",
            "frontend",
            "inspection",
            "named",
            "plugin",
            "quantizer",
            "target",
        )
    )
)

from fewbits.testing import toys  # noqa: E402
from fewbits.testing.algorithm import AlgorithmContract, Outcome  # noqa: E402
from fewbits.testing.component import ComponentContract  # noqa: E402
from fewbits.testing.dataset import DatasetReaderContract  # noqa: E402
from fewbits.testing.evaluator import EvaluatorContract, Predictions  # noqa: E402
from fewbits.testing.frontend import FrontendContract  # noqa: E402
from fewbits.testing.named import NamedModelContract  # noqa: E402
from fewbits.testing.net import Net  # noqa: E402
from fewbits.testing.plugin import PluginContract  # noqa: E402
from fewbits.testing.quantizer import QuantizerContract  # noqa: E402
from fewbits.testing.target import TargetContract  # noqa: E402

__all__ = [
    "AlgorithmContract",
    "ComponentContract",
    "DatasetReaderContract",
    "EvaluatorContract",
    "FrontendContract",
    "NamedModelContract",
    "Net",
    "Outcome",
    "PluginContract",
    "Predictions",
    "QuantizerContract",
    "TargetContract",
    "toys",
]
