"""Values of options, put where a run puts them: constants decide what of a program can be reached."""

from __future__ import annotations

from ecli_runtime.errors import OptionError
from ecli_runtime.globals import KCONFIG, find_globals, is_settable, pack_value, parse_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ecli_runtime.globals import Global
    from ecli_runtime.libbpf.object import OpenObject
    from ecli_schemas.model import Package


def set_options(opened: OpenObject, package: Package, values: Mapping[str, str]) -> None:
    """Give an object the package's defaults, and what the user says.

    Args:
        opened: The object.
        package: What it is from.
        values: Name of a variable → value, as text.

    Raises:
        OptionError: There is no such variable, or a value does not fit its type.
    """
    btf = opened.btf
    known = {each.name: each for each in find_globals(btf) if each.section != KCONFIG and is_settable(btf, each.type_id)}
    for option in package.options:
        if option.name in known and option.default is not None:
            _store(opened, known[option.name], pack_value(btf, known[option.name].type_id, option.default))
    for name, text in values.items():
        if name not in known:
            raise OptionError(f"there is no option {name!r}", f"options: {', '.join(sorted(known)) or 'none'}")
        try:
            data = pack_value(btf, known[name].type_id, parse_value(btf, known[name].type_id, text))
        except OptionError as error:
            raise OptionError(f"option {name}: {error}", error.hint) from error
        _store(opened, known[name], data)


def _store(opened: OpenObject, variable: Global, data: bytes) -> None:
    for each in opened.maps:
        whole = each.initial_value() if each.data_section == variable.section else None
        if whole is not None and variable.byte_offset + len(data) <= len(whole):
            whole[variable.byte_offset : variable.byte_offset + len(data)] = data
