"""What Wasm modules ask for, and whether they may have it: what policies say, and the word of whoever runs them.

A module of another machine that no trusted key has signed asks once: the answer is kept by the digest of what was fetched.
"""

from __future__ import annotations

import os
import sys

from ecli_py.render.plain import one_line, size_text
from ecli_py.trust import user_directory
from ecli_py.trust.places import TrustError, read_setting, write_whole
from ecli_py.trust.policy import matches_any
from ecli_runtime.wasm.handler.module import DEFAULT_EMITTED_SIZE_BYTES
from ecli_runtime.wasm.limits import HANDLER_LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ecli_py.trust.guard import Guard
    from ecli_py.trust.policy import WasmRights
    from ecli_schemas.model import WasmLimits, WasmModule

CONFIRMED_FILE = "confirmed-wasm"
_MAX_LINE_COUNT = 24
_NONE, _HANDLERS = "none", "handlers"


def admit_controller(name: str, data: bytes, rights: Iterable[WasmRights]) -> int | None:
    """Return the bytes of memory that a module which drives eBPF itself may have, ``None`` if no policy says it.

    Args:
        name: What it is called, for messages.
        data: The module.
        rights: What policies say.

    Raises:
        TrustError: It may not run.
        EcliError: It is no module.
    """
    from ecli_runtime.wasm.kinds import Kind, kind_of

    most = [each.memory_bytes for each in rights if each.memory_bytes is not None]
    for each in rights:
        if each.run in (_NONE, _HANDLERS) and kind_of(data) is not Kind.HANDLER:
            raise TrustError(
                f"{name} is a Wasm module that loads eBPF programs itself, and {each.path} allows {_ALLOWED[each.run]}",
                f'run = "controllers" in [wasm] of {each.path} would allow it',
            )
    return min(most) if most else None


_ALLOWED = {_NONE: "no Wasm", _HANDLERS: "event handlers only"}


def limit_handler(name: str, asked: WasmLimits, rights: Iterable[WasmRights]) -> WasmLimits:
    """Return what an event handler may use; where nothing is asked for, a policy may give less than the default.

    Args:
        name: What it is called, for messages.
        asked: What it or the user asks for.
        rights: What policies say.

    Raises:
        TrustError: It asks for more than a policy allows, or may not run at all.
    """
    limits = asked
    for each in rights:
        _refuse(name, each, ["it is Wasm (run)"] if each.run == _NONE else [*_beyond(asked, each)])
        for part in ("memory_bytes", "batch_ms"):
            most, now = getattr(each, part), getattr(limits, part)
            if most is not None and most < (now or getattr(HANDLER_LIMITS, part)):
                limits = limits.replace(**{part: most})
    return limits


def check_handler(name: str, writes: Iterable[str], wasi: bool, rights: Iterable[WasmRights]) -> None:
    """Return if an event handler may have what it imports.

    Args:
        name: What it is called, for messages.
        writes: Names of the maps that it changes.
        wasi: It uses WASI.
        rights: What policies say.

    Raises:
        TrustError: It may not.
    """
    names = tuple(writes)
    for each in rights:
        allowed = ("*",) if each.writable_maps is None else each.writable_maps
        problems = [f"it changes map {map_} (writable_maps)" for map_ in names if not matches_any(map_, allowed)]
        _refuse(name, each, [*problems, *(["it uses WASI (wasi)"] if wasi and not each.wasi else [])])


def _refuse(name: str, rights: WasmRights, problems: Sequence[str]) -> None:
    """Raise if there are problems."""
    if problems:
        lines = "".join(f"\n  {one_line(line)}" for line in problems[:_MAX_LINE_COUNT])
        raise TrustError(
            f"handler {name} is beyond what {rights.path} allows of Wasm:{lines}",
            f"[wasm] of {rights.path} says what is allowed; a run without it: --no-wasm for those of the package",
        )


def _beyond(limits: WasmLimits, rights: WasmRights) -> Iterator[str]:
    memory, time_ms = limits.memory_bytes, limits.batch_ms
    if memory is not None and rights.memory_bytes is not None and memory > rights.memory_bytes:
        yield f"it may take {size_text(memory)} of memory, and {size_text(rights.memory_bytes)} are allowed (memory)"
    if time_ms is not None and rights.batch_ms is not None and time_ms > rights.batch_ms:
        yield f"a batch may take it {time_ms} ms, and {rights.batch_ms} ms are allowed (time)"


# --- asking ---


def confirm_controller(name: str, data: bytes, guard: Guard, *, allowed: bool, ask: bool) -> None:
    """Return if a module that drives eBPF itself may do so: arguments and errors as :func:`confirm_handlers`."""
    if not _must_confirm(guard, allowed):
        return
    from ecli_py.module_inspection import inspect_module
    from ecli_py.module_objects import objects_text

    document = inspect_module(data)
    if document["kind"] == "handler":
        return  # which is an error of its own
    lines = [line.removeprefix("  ") for line in objects_text(document["objects"]) if line]
    if not lines:
        lines = ["no eBPF object in it can be seen before it runs"]
    _confirm(f"{name} is a Wasm module that loads eBPF programs itself, and says where they are attached", lines, guard, ask)


def confirm_handlers(name: str, modules: Sequence[WasmModule], guard: Guard, *, allowed: bool, ask: bool) -> None:
    """Return if the event handlers of a package may have what they ask for, which is more than what each may have.

    Args:
        name: What the package is called, for messages.
        modules: Its handlers.
        guard: What was fetched, and who has signed it.
        allowed: The user has said so.
        ask: Ask on a terminal, if there is one.

    Raises:
        TrustError: Nobody has said so.
    """
    lines = [f"{each.name}: {line}" for each in modules for line in _asked_for(each)]
    if lines and _must_confirm(guard, allowed):
        _confirm(f"{name} has Wasm event handlers, which ask for more than each has", lines, guard, ask)


def _asked_for(module: WasmModule) -> Iterator[str]:
    if module.writes:
        yield f"to change maps {', '.join(module.writes)}"
    if module.wasi:
        yield "for WASI: clocks, random numbers and lines for a log"
    said, usual = module.limits, HANDLER_LIMITS
    for value, most, text in (
        (said.memory_bytes, usual.memory_bytes, f"for memory of {size_text(said.memory_bytes or 0)}"),
        (said.stack_bytes, usual.stack_bytes, f"for a stack of {size_text(said.stack_bytes or 0)}"),
        (said.batch_ms, usual.batch_ms or 0, f"for {said.batch_ms} ms for a batch of events"),
        (said.emitted_bytes, DEFAULT_EMITTED_SIZE_BYTES, f"to emit {size_text(said.emitted_bytes or 0)} in a batch"),
    ):
        if value is not None and value > most:
            yield text


def _must_confirm(guard: Guard, allowed: bool) -> bool:
    return guard.terms.remote and guard.signer is None and not allowed and not _is_confirmed(guard.fetched.digest)


def _confirm(what: str, lines: Sequence[str], guard: Guard, ask: bool) -> None:
    """Ask, and keep a yes; raise for a no, or where there is nobody to ask."""
    more = [f"and {len(lines) - _MAX_LINE_COUNT} more"] if len(lines) > _MAX_LINE_COUNT else []
    told = "".join(f"\n  {one_line(line)}" for line in (*lines[:_MAX_LINE_COUNT], *more))
    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"{one_line(what)}:{told}\nAllow it, from now on? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            _keep(guard.fetched.digest, str(guard.fetched.reference))
            return
        told = ""
    raise TrustError(
        one_line(what) + (f":{told}" if told else ""), "--allow-wasm before the package allows it, if you trust whoever made it"
    )


def _path() -> str:
    return os.path.join(user_directory(), CONFIRMED_FILE)


def _confirmed() -> bytes:
    try:
        return read_setting(_path())
    except FileNotFoundError:
        return b""


def _is_confirmed(digest: str) -> bool:
    return any(line.split(b" ")[0] == digest.encode() for line in _confirmed().split(b"\n"))


def _keep(digest: str, reference: str) -> None:
    write_whole(_path(), _confirmed() + f"{digest} {one_line(reference)}\n".encode(), mode=0o600, directory_mode=0o700)
