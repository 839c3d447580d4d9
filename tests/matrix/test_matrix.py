"""Each package of the matrix on each kernel, in guests; `make matrix` runs all of them, `make test` fewer."""

from __future__ import annotations

import pytest

from tests.corpus_programs import CORPUS
from tests.guest import kernels
from tests.matrix import expected
from tests.matrix.build_packages import sources
from tests.matrix.conftest import TIMEOUT_S, Matrix, wanted
from tests.matrix.rows import ROWS

pytestmark = [pytest.mark.kernel, pytest.mark.compiler, pytest.mark.slow, pytest.mark.timeout(4 * TIMEOUT_S)]
EXCUSES = expected.read(expected.FILE.read_text())
NAMES = [row.name for row in ROWS]


@pytest.mark.parametrize("kernel", wanted())
def test_kernel(matrix: Matrix, kernel: str) -> None:
    column = matrix[kernel]
    assert not column.trouble, column.trouble
    name = str(kernels.kernel(kernel))
    found = expected.differences(name, column.cells, NAMES, EXCUSES)
    assert not found, "\n".join([f"{len(found)} cells of {name} are not as expected:", *found])


def test_all_kernels_are_given_the_same_packages(matrix: Matrix) -> None:
    assert len({matrix[kernel].head.get("digest") for kernel in wanted()}) == 1


def test_each_package_is_in_the_matrix() -> None:
    assert sources().keys() == {row.package for row in ROWS}
    assert sources().keys() >= CORPUS.keys()
    assert len(set(NAMES)) == len(NAMES)


def test_each_excuse_is_about_a_cell() -> None:
    all_kernels = [str(kernels.kernel(name)) for name in kernels.names()]
    for excuse in EXCUSES:
        assert any(excuse.covers(kernel, row) for kernel in all_kernels for row in NAMES), f"line {excuse.line}"
