"""Start-up is a feature: what a command imports before it does anything is counted here (``make bench`` measures the time).

A module that is missing here may be added for a reason that is worth its milliseconds: ``python -X importtime`` tells them.
"""

from __future__ import annotations

from tests.imports import imported_by, others, ours

# re is argparse's, and so are enum, functools and collections.
OTHERS_OF_HELP = {
    *("argparse", "collections", "copyreg", "enum", "errno", "functools", "gc", "gettext", "itertools", "keyword", "locale"),
    *("operator", "re", "reprlib", "textwrap", "types", "warnings"),
}


def test_help_imports_the_parser_and_nothing_else() -> None:
    modules = imported_by("--help")
    assert ours(modules) == {"ecli_py", "ecli_py.cli", "ecli_py.parser", "ecli_py.report", "ecli_schemas", "ecli_schemas.errors"}
    assert others(modules) <= OTHERS_OF_HELP
