"""Wheel tags: a wheel that carries the bundled libbpf is for one platform, any other wheel is for all."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlatformTagHook(BuildHookInterface):  # type: ignore[type-arg]
    """Set ``py3-none-<platform>`` when ``tools/build-libbpf`` has run in this tree."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill in the tag. An editable install only points at the tree, so it stays pure."""
        bundle = Path(self.root, "runtime/ecli_runtime/libbpf/_bundle/libbpf.so.1")
        if version == "editable" or not bundle.is_file():
            return
        # The library has nothing to do with Python's version. It is linked against this machine's libc and libelf,
        # so the platform is the plain one (linux_x86_64), which promises no manylinux baseline.
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
