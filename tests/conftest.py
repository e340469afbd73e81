"""Fresh virtual environments for the tests that install."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest


class Environment:
    """A fresh virtual environment: this one's libraries, and nothing of fewbits.

    Args:
        folder: an empty folder; commands run in it.
    """

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder / "venv", with_pip=False)
        self.bin = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
        for place in ("purelib", "platlib"):
            self._borrow(Path(sysconfig.get_path(place)))

    def _borrow(self, site):
        """Link every library into the new environment, so that no network is needed."""
        libraries = self.folder / "libraries"
        libraries.mkdir(exist_ok=True)
        for found in site.iterdir():
            here = libraries / found.name
            own = found.name.lower().lstrip("_").startswith(("fewbits", "editable"))
            if not own and found.suffix != ".pth" and not here.exists():
                here.symlink_to(found)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = self.folder / "venv" / "lib" / version / "site-packages"
        (packages / "borrowed.pth").write_text(f"{libraries}\n")

    def pip(self, *arguments):
        """Run this environment's pip on the fresh one."""
        python = str(self.bin / "python")
        return self.run(sys.executable, "-m", "pip", "--python", python, *arguments)

    def fewbits(self, *arguments, check=True):
        """Run the installed command."""
        return self.run(str(self.bin / "fewbits"), *arguments, check=check)

    def run(self, *command, check=True):
        """Run a command in the folder; fail with its output if it fails."""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture
def environment(tmp_path):
    """Return a fresh environment in a folder of its own."""
    return Environment(tmp_path)
