"""The commands of model scripts and their options: ONE table, easy to mend.

A row says what becomes of a command here and where it is known from. Hailo's guide is not public;
a row marked second-hand rests on what users quote. Who knows better mends the row, and checks,
recipes, `fewbits hailo check-script` and docs follow.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fewbits_hailo.script.rows import Command
from fewbits_hailo.script.table.after import AFTER
from fewbits_hailo.script.table.before import BEFORE
from fewbits_hailo.script.table.compiler import COMPILER
from fewbits_hailo.script.table.edits import EDITS
from fewbits_hailo.script.table.levels import CONFIGS, LEVELS
from fewbits_hailo.script.table.params import PARAMS

#: every row, in the order of the docs.
COMMANDS: tuple[Command, ...] = (
    *LEVELS,
    *EDITS,
    *BEFORE,
    *CONFIGS,
    *PARAMS,
    *AFTER,
    *COMPILER,
)


def _by_name() -> Mapping[str, Mapping[str, Command]]:
    found: dict[str, dict[str, Command]] = {}
    for row in COMMANDS:
        found.setdefault(row.name, {})[row.feature] = row
    return MappingProxyType(found)


#: command → feature → row; a command without features has the one named "".
BY_NAME = _by_name()
