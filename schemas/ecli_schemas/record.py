"""Immutable records: what frozen dataclasses give, at a fraction of their import time.

``import dataclasses`` costs about as much as half a bare interpreter start (it pulls in ``inspect``, ``ast`` and
``tokenize``), and each decorated class compiles its methods with ``exec``. A run from package to first event cannot
afford that.
Type checkers see these classes as frozen dataclasses.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the name that type checkers treat as true, without importing typing
if TYPE_CHECKING:
    from typing import Any, ClassVar, NoReturn

    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_options):
        """Mark a base class for type checkers; does nothing at run time."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """Base of immutable values: fields are the annotated names, defaults the values given to them.

    Two records are equal when they are of one class and all fields are equal; they hash if their fields do.
    """

    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Collect the fields of the class and of the records it derives from, in order."""
        inherited = cls._fields
        own = (name for name in cls.__annotations__ if name not in inherited and not name.startswith("_"))
        cls._fields = (*inherited, *own)

    if not TYPE_CHECKING:

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            fields = self._fields
            if len(args) > len(fields):
                raise TypeError(f"{type(self).__name__} takes {len(fields)} fields, got {len(args)}")
            values = dict(zip(fields, args, strict=False))
            for name in kwargs:
                if name in values or name not in fields:
                    raise TypeError(f"{type(self).__name__}: unexpected field {name!r}")
            values.update(kwargs)
            for name in fields:
                if name not in values:
                    if not hasattr(self, name):
                        raise TypeError(f"{type(self).__name__}: missing field {name!r}")
                    values[name] = getattr(self, name)
            self.__dict__.update(values)

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AttributeError(f"{type(self).__name__} is immutable")

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._fields)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Record) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"
