"""Run the commands that a page shows, and write what they print beneath them.

    python docs/console.py README.md docs/demo.md           # rewrite the outputs
    python docs/console.py --check README.md docs/demo.md   # only see that the commands still run

In blocks fenced as `console`, a line that begins with `$ ` is a command (one that ends with a
backslash goes on in the next line), and what follows it is its output. The commands of a page run
in order, in an empty folder, with the `fewbits` of this interpreter's environment.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass
class Shown:
    """A command as the page shows it, and the output beneath it."""

    command: str
    output: str


def read(block: str) -> list[Shown]:
    """Return the commands of a block.

    Raises:
        ValueError: the block does not begin with a command.
    """
    found: list[Shown] = []
    open_command = False
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Shown(line, ""))
        elif not found:
            raise ValueError(f"a console block begins with '{line}', which is no command")
        elif open_command:
            found[-1].command += f"\n{line}"
        else:
            found[-1].output += f"{line}\n"
        open_command = not found[-1].output and found[-1].command.endswith("\\")
    return found


def run(command: str, folder: Path) -> str:
    """Run a command as shown; return what it prints on stdout, tidied at its ends.

    Raises:
        RuntimeError: it fails.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command.removeprefix("$ "),
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command}\nfails with {done.returncode}:\n{done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def same_beginning(shown: str, printed: str) -> bool:
    r"""Whether both begin with the same line, numbers and widths of columns aside.

    >>> same_beginning("digits  540 images\n1.2", "digits   541 images\n2.5")
    True
    """
    first, second = (
        re.sub(r"[\d.]+", "#", text.strip("\n").partition("\n")[0]).split()
        for text in (shown, printed)
    )
    return first == second


def refresh(page: Path, *, check: bool) -> str:
    """Run a page's commands; return the page with what they print now.

    Raises:
        RuntimeError: a command fails, or with `check` begins otherwise than shown.
    """
    with tempfile.TemporaryDirectory() as folder:

        def fill(match: re.Match[str]) -> str:
            parts = []
            for shown in read(match[1]):
                printed = run(shown.command, Path(folder))
                if check and not same_beginning(shown.output, printed):
                    raise RuntimeError(f"{shown.command}\nnow prints:\n{printed}")
                parts.append(f"{shown.command}\n{printed}")
            return "```console\n" + "\n".join(parts) + "```"

        return BLOCK.sub(fill, page.read_text())


def main() -> None:
    """Refresh or check the pages named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("pages", nargs="+", type=Path)
    arguments = parser.parse_args()
    for page in arguments.pages:
        text = refresh(page, check=arguments.check)
        if not arguments.check:
            page.write_text(text)


if __name__ == "__main__":
    main()
