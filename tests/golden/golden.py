"""What the samples are known to give: the description of each package, and the events that recorded bytes decode to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ecli_packager.build import Request, build
from ecli_py.render.jsonlines import to_json
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.opening import OpenSession
from ecli_schemas.model import Package
from ecli_schemas.write import write_package

HERE = Path(__file__).parent
SAMPLES = HERE.parent.parent / "samples"
NAMES = sorted(path.name for path in SAMPLES.iterdir() if (path / f"{path.name}.bpf.c").exists())


def build_sample(name: str) -> Package:
    """Return the package of a sample."""
    return build(Request((SAMPLES / name / f"{name}.bpf.c",))).package


def describe(package: Package) -> str:
    """Return all that a package says, but for its object, what depends on the kernel's types, and what made it."""
    document: dict[str, Any] = json.loads(write_package(package))
    ecli = {key: value for key, value in document["ecli"].items() if key not in ("build", "behaviour")}
    for export in ecli.get("exports", []):
        for event_type in export["types"]:
            del event_type["type_id"]
    return json.dumps({"ecli": ecli, "bpf_skel": document["meta"]["bpf_skel"]}, indent=1, ensure_ascii=False) + "\n"


def decode(package: Package, samples: str) -> str:
    """Return the events of recorded samples as JSON lines.

    Args:
        package: The package.
        samples: A line each: name of the map and the bytes in hexadecimal; of a sampled map those of key and value.
    """
    lines = []
    with OpenSession(package) as opened:
        sources = {source.name: source for source in opened.sources()}
        for line in samples.splitlines():
            name, *parts = line.split()
            plans = sources[name].plans
            values = [make_decoder(plan)(bytes.fromhex(part)) for plan, part in zip(plans, parts, strict=True)]
            event = dict(zip(("key", "value"), values, strict=True)) if len(values) == 2 else values[0]
            lines.append(to_json(event) + "\n")
    return "".join(lines)
