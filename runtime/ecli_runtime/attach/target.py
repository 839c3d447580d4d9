"""What one program's target is made of, and the words that all families have in common."""

from __future__ import annotations

import os

from ecli_runtime.errors import TargetError
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.object import LoadedProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ecli_runtime.attach import Plan
    from ecli_runtime.attach.options import AttachOptions
    from ecli_runtime.btf import Btf
    from ecli_runtime.libbpf.object import LoadedMap, LoadedObject, OpenMap, OpenObject, Program
    from ecli_schemas.model import Json

_NAMES_SHOWN = 12


class Request:
    """A program whose target is wanted.

    Attributes:
        program: The program, not loaded yet, unless somebody drives it who attaches when it is.
        text: What ``--attach`` says of it; ``None``: nothing.
        said: What the package says of it (``ProgramSpec.attach``).
        upstream: The package is one of upstream's, whose defaults hold.
        plan: What it becomes a part of.
    """

    def __init__(
        self,
        opened: OpenObject | LoadedObject,
        program: Program,
        text: str | None,
        said: Mapping[str, Json],
        upstream: bool,
        options: AttachOptions,
        taken: set[str],
        plan: Plan,
    ) -> None:
        self._opened, self._options, self._taken = opened, options, taken
        self.program, self.text, self.said, self.upstream, self.plan = program, text, said, upstream, plan

    @property
    def kind(self) -> str:
        """First part of the section: ``kprobe.multi``, ``uprobe``, ``tc``; a sleepable one is like the others."""
        return self.program.section.partition("/")[0].removesuffix(".s")

    @property
    def rest(self) -> str:
        """What the section says behind that, or nothing."""
        return self.program.section.partition("/")[2]

    @property
    def btf(self) -> Btf:
        """The object's types."""
        return self._opened.btf

    # Shortcuts. Asking for one makes it count as used.

    @property
    def iface(self) -> str | None:
        """``--iface``."""
        return self._take("iface", self._options.iface)

    @property
    def cgroup(self) -> str | None:
        """``--cgroup``."""
        return self._take("cgroup", self._options.cgroup)

    @property
    def pid(self) -> int | None:
        """``--pid``; there is such a process.

        Raises:
            TargetError: There is none.
        """
        pid = self._options.pid
        self._taken.add("pid")
        return None if pid is None else self.checked_pid(pid)

    @property
    def binary(self) -> str | None:
        """``--binary``."""
        return self._take("binary", self._options.binary)

    def _take(self, name: str, value: str | None) -> str | None:
        self._taken.add(name)
        return value

    def checked_pid(self, pid: int) -> int:
        """Return the id of a process that is there.

        Raises:
            TargetError: It is not.
        """
        if not os.path.isdir(f"/proc/{pid}"):
            raise self.wrong(f"there is no process {pid}", "`ps` lists them")
        return pid

    @property
    def maps(self) -> Sequence[OpenMap | LoadedMap]:
        """Maps of the object."""
        return self._opened.maps

    def set_attach_type(self, number: int) -> None:
        """Say for which ``enum bpf_attach_type`` the kernel shall check the program, if it is not loaded yet.

        For links that say theirs it does without: programs of traffic control.
        """
        if not isinstance(self.program, LoadedProgram):
            self.program.set_expected_attach_type(number)

    # Errors.

    def missing(self, what: str, *ways: str) -> TargetError:
        """Return the error of a program with no target.

        Args:
            what: What it needs.
            ways: Options that say it; ``PROG`` in them stands for the program.
        """
        hint = " or ".join(way.replace("PROG", self.program.name) for way in ways)
        message = f'{self.program.name}: SEC("{self.program.section}") needs {what}'
        return TargetError(message, f"{hint}; --disable {self.program.name} leaves it out")

    def wrong(self, problem: str, hint: str) -> TargetError:
        """Return the error of a target that cannot be one."""
        where = f" {self.text!r}" if self.text is not None else ""
        return TargetError(f"{self.program.name}: target{where}: {problem}", hint)

    def unattachable(self) -> TargetError:
        """Return the error of a program of a type that is not attached to anything from outside."""
        hint = f"--disable {self.program.name} leaves it out"
        if not self.program.type:
            message = f'{self.program.name}: libbpf {lib.version} does not know SEC("{self.program.section}")'
            return TargetError(message, f"a newer libbpf may, as the bundled one; {hint}")
        message = f'{self.program.name}: SEC("{self.program.section}"): nothing to attach such a program to from here'
        return TargetError(message, f"it serves whoever puts it into a socket, a route or a map; {hint}")


def listing(names: list[str]) -> str:
    """Return names as a hint shows them: some of them, if there are many."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return (", ".join(names[:_NAMES_SHOWN]) or "none") + more


def split_offset(text: str) -> tuple[str, int]:
    """Return a function and the offset behind its ``+``.

    Raises:
        ValueError: The offset is no number.
    """
    name, plus, offset = text.partition("+")
    return name, int(offset, 0) if plus else 0
