"""`make golden`: write anew what the samples are known to give. Look at the difference before you commit it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.golden.golden import HERE, NAMES, build_sample, decode, describe


def main() -> None:
    """Rewrite the descriptions and the events; the recorded samples stay."""
    for name in NAMES:
        directory = HERE / name
        directory.mkdir(exist_ok=True)
        package = build_sample(name)
        (directory / "package.json").write_text(describe(package))
        samples = directory / "samples.txt"
        if samples.exists():
            (directory / "events.jsonl").write_text(decode(package, samples.read_text()))


if __name__ == "__main__":
    main()
