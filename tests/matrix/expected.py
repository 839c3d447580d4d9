"""What no kernel can be blamed for: the file ``expected.txt`` says which cells cannot pass, and what the error must then say."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("expected.txt")


@dataclass(frozen=True)
class Excuse:
    """Why cells cannot pass.

    Attributes:
        line: Number of the line in the file.
        kernels: Patterns of names of kernels.
        row: Pattern of names of rows.
        reason: Regular expression that what the run says must hold.
    """

    line: int
    kernels: tuple[str, ...]
    row: str
    reason: str

    def covers(self, kernel: str, row: str) -> bool:
        """Tell whether it is about a cell."""
        return any(fnmatch.fnmatchcase(kernel, each) for each in self.kernels) and fnmatch.fnmatchcase(row, self.row)


def read(text: str) -> list[Excuse]:
    """Return what the file says: a line each, columns with two spaces or more between them."""
    excuses = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            kernels, row, reason = re.split(r"\s{2,}", line.strip(), maxsplit=2)
            excuses.append(Excuse(number, tuple(kernels.split(",")), row, reason))
    return excuses


def differences(kernel: str, cells: dict[str, dict[str, object]], rows: list[str], excuses: list[Excuse]) -> list[str]:
    """Return where a kernel's cells differ from what is expected: failures without an excuse, and excuses without a failure.

    Args:
        kernel: The kernel's name.
        cells: Row → cell.
        rows: All rows.
        excuses: What is expected.
    """
    found = []
    for row in rows:
        allowed = [excuse for excuse in excuses if excuse.covers(kernel, row)]
        if row not in cells:
            found.append(f"{row}: it was not run")
        elif reason := str(cells[row].get("reason", "")):
            if not any(re.search(excuse.reason, reason) for excuse in allowed):
                found.append(f"{row}: {reason}")
        else:
            found += [f"{row}: it passes, so line {excuse.line} of {FILE.name} is out of date" for excuse in allowed]
    return found
