"""The quantizer `mixed_precision`: bits for each layer, by what they cost at the outputs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fewbits.atomic import write_bytes
from fewbits.errors import RecipeError
from fewbits.interfaces import Context, Quantizer, Result
from fewbits.model import Model, Precision
from fewbits.modes import need_mode

from fewbits_mixed_precision.bench import Bench, Modes
from fewbits_mixed_precision.choice import Choice, evenly, greedy, pareto, smallest_noise
from fewbits_mixed_precision.floor import Floor, Measured, last_good
from fewbits_mixed_precision.options import MixedPrecisionOptions
from fewbits_mixed_precision.picture import front_svg
from fewbits_mixed_precision.report import Search, report
from fewbits_mixed_precision.sensitivity import Sensitivity
from fewbits_mixed_precision.sizes import LOW, Account, check_reachable, model_bytes

#: choices of a front among which the accuracy floor is looked for.
_FLOOR_STEPS = 64


class MixedPrecision(Quantizer):
    """Quantizes like `uniform`, with 4, 8 or 16 bits for each layer by what they cost."""

    name = "mixed_precision"
    Options = MixedPrecisionOptions

    def apply(self, model: Model, context: Context) -> Result:
        """Return the quantized model.

        Raises:
            DataError: there is no calibration data, or labels are needed and missing.
            RecipeError: a glob matches no layer; size, ratio or floor cannot be reached.
            TargetError: the target lacks a precision mode or a weight granularity.
        """
        need_mode(Precision(Precision.parse(self.options.precision).activation_bits, LOW), context)
        _check_folder(self.options.plot)
        bench = Bench.over(model, self.options, context)
        modes, gains = bench.with_wide_layers()
        found = bench.sensitivities(bench.lowerable(modes))
        search = self._search(bench, modes, gains, found)
        check_reachable(search.account, self.options, sum(each.elements for each in found))
        choice = self._choice(bench, modes, search)
        quantized = bench.quantized(bench.lowered(modes, search.lowered(choice)))
        measured = bench.measured(quantized)
        if self.options.plot:
            self._draw(model.name, search, choice, measured)
        plain = bench.calibrated.report(quantized.precisions)
        return Result(quantized, report(plain, search, choice, measured))

    def _search(
        self, bench: Bench, modes: Modes, gains: Mapping[str, float], found: list[Sensitivity]
    ) -> Search:
        high = bench.quantized(modes)
        account = Account(bench.weights, high.precisions, model_bytes(high), bench.high.weight_bits)
        costs = np.array([each.cost(self.options.metric) for each in found])
        sizes = np.array([each.elements for each in found], np.int64)
        front = {"pareto": pareto, "greedy": greedy}[self.options.optimizer](sizes, costs)
        return Search(found, gains, front, account, bench.measured(high).noise)

    def _choice(self, bench: Bench, modes: Modes, search: Search) -> Choice:
        """Return the choice that the goal asks for, held to the floor if there is one."""
        options = self.options
        wanted = smallest_noise(list(search.front), search.account.lowered(options))
        floor = Floor(options.min_snr, options.max_drop)
        if not floor:
            return wanted
        full = bench.on_all_data()

        def fault(choice: Choice) -> str:
            modes_of = bench.lowered(modes, search.lowered(choice))
            return floor.fault(full.measured(full.quantized(modes_of)))

        bound = any(v is not None for v in (options.ratio_4bit, options.size, options.bits))
        said = fault(wanted) if bound else ""
        if bound and not said:
            return wanted
        steps = evenly(list(search.front), _FLOOR_STEPS)
        within = last_good(steps, lambda choice: not fault(choice))
        if within is None:
            raise RecipeError(
                f"mixed_precision: with no layer at {LOW} bits there is {fault(steps[0])}.",
                hint="Lower the floor, give ratio_16bit, or a higher precision.",
            )
        if not bound:
            return within
        best = search.row(within)
        raise RecipeError(
            f"mixed_precision: what is asked for has {said}.",
            hint=f"Within the floor are ratio_4bit={best['ratio_4bit']}, bits={best['bits']},"
            f" size={best['bytes']}.",
        )

    def _draw(self, name: str, search: Search, choice: Choice, measured: Measured) -> None:
        rows = [(row["bytes"] / 1e6, row["predicted_snr_db"]) for row in search.table()]
        chosen = (search.account.bytes(choice.elements) / 1e6, measured.snr)
        title = f"{name}: bits for each layer, before any recovery of accuracy"
        write_bytes(Path(self.options.plot), front_svg(rows, chosen, title).encode())


def _check_folder(plot: str) -> None:
    """Raise RecipeError where a picture's folder is missing: before the search, not behind it."""
    folder = Path(plot).absolute().parent
    if plot and not folder.is_dir():
        raise RecipeError(
            f"mixed_precision: plot={plot} lies in a folder that does not exist.",
            hint=f"Create {folder}, or choose another path.",
        )
