"""Which modules a command imports."""

from __future__ import annotations

import subprocess
import sys
from os import PathLike

# Modules that were there before ours began (the interpreter's and those of site) do not count.
_SCRIPT = """
import sys
before = set(sys.modules)
from ecli_py.cli import main
status = main()
print("imported:", *sorted(set(sys.modules) - before), file=sys.stderr)
sys.exit(status)
"""


def imported_by(*words: str | PathLike[str]) -> set[str]:
    """Run a command of ecli-py and return the names of the modules that it has imported when it ends."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT, *words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


def ours(modules: set[str]) -> set[str]:
    """Return those that are part of this project."""
    return {name for name in modules if name.startswith("ecli_")}


def others(modules: set[str]) -> set[str]:
    """Return the names of packages and single modules that are not part of this project, CPython's private ones left out."""
    roots = {name.partition(".")[0] for name in modules - ours(modules)}
    return {name for name in roots if not (name.startswith(("_", "sre_")) and name in sys.stdlib_module_names)}
