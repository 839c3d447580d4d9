"""Fixtures for tests that need a kernel."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecli_packager
import ecli_py
import ecli_runtime
import ecli_schemas
from tests.cli import Ecli
from tests.machine import NOBODY, python_for_anybody


@pytest.fixture
def ordinary_user() -> Iterator[Ecli]:
    """The command line for somebody who may do nothing, with copies of all that root's directories hide from him."""
    python = python_for_anybody()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for each in (ecli_py, ecli_packager, ecli_runtime, ecli_schemas):
            assert each.__file__
            shutil.copytree(Path(each.__file__).parent, directory / each.__name__)
        directory.chmod(0o755)
        yield Ecli(directory, python=python, environment={"PYTHONPATH": name, "HOME": name}, user=NOBODY)
