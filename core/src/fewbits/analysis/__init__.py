"""Noise analysis: where a quantized model loses accuracy, and what helps.

found = analyze(model, dataset, target)
for row in found.rows:
print(row.layer, row.snr_db)
for each in found.diagnoses:
print(each.layer, each.what, each.remedy)
"""

from fewbits.analysis.analyze import MODES, analyze
from fewbits.analysis.limits import Limits
from fewbits.analysis.result import Alone, Analysis, Channels, Diagnosis, Range, Row, Weight

__all__ = [
    "MODES",
    "Alone",
    "Analysis",
    "Channels",
    "Diagnosis",
    "Limits",
    "Range",
    "Row",
    "Weight",
    "analyze",
]
