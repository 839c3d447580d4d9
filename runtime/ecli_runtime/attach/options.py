"""What a user says of where programs are attached: ``--attach``, ``--disable`` and the shortcuts."""

from __future__ import annotations

from ecli_runtime.attach.target import listing
from ecli_runtime.errors import TargetError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ecli_runtime.libbpf.object import OpenObject

_PROG_TYPE_STRUCT_OPS = 27
# Shortcut → what its programs are attached to.
_SHORTCUTS = {
    "iface": "a network interface",
    "cgroup": "a control group",
    "pid": "a process",
    "binary": "a function of a binary",
}


class AttachOptions(Record):
    """Where programs are attached, as far as the user says it.

    Attributes:
        targets: Name of a program → target, in words that depend on its type (README, "Where programs are attached"). Empty:
            where its section says. Programs that are optional are loaded.
        disabled: Names of programs that are not loaded, and of struct_ops maps that are not attached.
        iface: Network interface of the programs that want one and have none.
        cgroup: Path of the control group, likewise.
        pid: Process of uprobes, USDT probes, perf events and iterators over tasks, likewise.
        binary: Binary of uprobes and USDT probes, likewise.
    """

    targets: Mapping[str, str] = {}
    disabled: tuple[str, ...] = ()
    iface: str | None = None
    cgroup: str | None = None
    pid: int | None = None
    binary: str | None = None

    def check_names(self, opened: OpenObject) -> Mapping[str, str]:
        """Return the targets; all programs that are named are there.

        Raises:
            TargetError: One is not, or cannot be named there.
        """
        callbacks = [program.name for program in opened.programs if program.type == _PROG_TYPE_STRUCT_OPS]
        programs = [program.name for program in opened.programs if program.name not in callbacks]
        maps = [each.name for each in opened.maps if each.is_struct_ops]
        for name in (*self.targets, *self.disabled):
            if name in callbacks:
                raise TargetError(
                    f"{name} is a callback, in force while its map is attached", f"--disable names the map: {listing(maps)}"
                )
        for option, names, known in (("attach", self.targets, programs), ("disable", self.disabled, programs + maps)):
            for name in names:
                if name not in known:
                    raise TargetError(f"--{option}: there is no program {name!r}", nearest(name, known, "programs"))
        for name in self.targets:
            if name in self.disabled:
                raise TargetError(f"program {name!r} is both attached and disabled", "leave out --attach or --disable")
        return self.targets

    def check_used(self, taken: Collection[str], empty: bool) -> None:
        """Raise a :class:`TargetError` if a shortcut serves no program, or if nothing is left to run."""
        if empty and self.disabled:
            raise TargetError("nothing is left to attach", "leave out --disable for one of the programs")
        for name, what in _SHORTCUTS.items():
            if getattr(self, name) is not None and name not in taken:
                message = f"--{name}: no program of this package needs it: none wants {what}, or each has one"
                raise TargetError(message, "--attach PROG=TARGET says where a program goes; `ecli-py inspect` lists them")


def nearest(name: str, known: Collection[str], what: str) -> str:
    """Return a hint: what was meant, or what there is."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"{what}: {', '.join(known) or 'none'}"


def parse_targets(words: list[str]) -> dict[str, str]:
    """Return the targets of words such as ``on_egress=eth0:egress`` by the names of their programs.

    A name alone has an empty target: the program is loaded, also where it is optional, and attached where its section says.

    Raises:
        TargetError: A word is none such, or two are for one program.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, target = word.partition("=")
        if not name or (equals and not target):
            raise TargetError(f"--attach: expected PROG=TARGET, got {word!r}", "for example --attach on_egress=eth0:egress")
        if name in found:
            raise TargetError(f"--attach: program {name!r} is named twice", "name each program once")
        found[name] = target
    return found


def parse_pid(text: str) -> int:
    """Return a process id.

    Raises:
        TargetError: It is none.
    """
    if text.isascii() and text.isdigit() and 0 < int(text[:12]) < 1 << 22:  # PID_MAX_LIMIT
        return int(text)
    raise TargetError(f"--pid: expected the id of a process, got {text!r}", "`ps` lists them")
