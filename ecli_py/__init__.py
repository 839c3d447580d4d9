"""ecli-py: kernel-only eBPF C in, live decoded events out.

>>> with ecli_py.open("execsnoop.json") as tool:  # doctest: +SKIP
...     for event in tool.events(count=10):
...         print(event["comm"], event["pid"])
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from ecli_py.replay import Replay
    from ecli_py.tool import Tool
    from ecli_runtime.globals import Value

__all__ = ["__version__", "open", "open_recording"]


def open(  # noqa: A001  the module's one verb, named as files are opened
    package: str | os.PathLike[str],
    options: Mapping[str, Value] | None = None,
    *,
    attach: Mapping[str, str] | None = None,
    disable: Sequence[str] = (),
    iface: str | None = None,
    cgroup: str | None = None,
    pid: int | None = None,
    binary: str | None = None,
    kernel_btf: str | None = None,
    latency_ms: float = 2.0,
    raw: bool = False,
    ring_size: int | Mapping[str, int] | None = None,
    measure: bool = False,
    token: str | os.PathLike[str] | None = None,
    pin: str | os.PathLike[str] | None = None,
    handlers: Sequence[str | os.PathLike[str]] = (),
    wasm: bool = True,
    on_trap: Literal["stop", "pass", "drop"] = "stop",
    handler_options: Mapping[str, str] | None = None,
    grants: Sequence[str] = (),
    allow: Sequence[str] | None = None,
    allow_unsigned: bool = False,
    allow_wasm: bool = False,
    offline: bool = False,
    insecure: bool = False,
) -> Tool:
    """Open a package, load it into the kernel and attach it.

    Args:
        package: Path of a package; ``-`` reads standard input; or a URL, or ``HOST/REPO:TAG`` of a registry.
        options: Values for the package's options, by the names of their C variables.
        attach: Where programs are attached, by their names, in the words of ``ecli-py run --attach``.
        disable: Names of programs to leave out.
        iface: Network interface, by name or index, of the programs that want one and have none.
        cgroup: Path of the control group, likewise.
        pid: Process of uprobes, USDT probes, perf events and iterators over tasks, likewise.
        binary: Binary or library of uprobes and USDT probes, likewise.
        kernel_btf: File to take the kernel's BTF from, for a kernel that has none of its own.
        latency_ms: How late an event may come while others keep coming; a lone one comes at once. 0 saves no work.
        raw: Addresses stay numbers, and ports in network order.
        ring_size: Bytes of ring buffers, and of each CPU's ring of perf buffers: of all, or by name of the map. Rounded up to a
            power of two of whole pages; ``None``: as the package says.
        measure: The kernel measures programs, for :meth:`Tool.usage() <ecli_py.tool.Tool.usage>`: two looks at a clock a run.
        token: BPF file system that gives the right to load, in a user namespace.
        pin: New or empty directory of a BPF file system, to pin links and maps in: they outlive the tool, until
            ``ecli-py unpin``.
        handlers: Wasm modules that events pass through, after the event handlers of the package.
        wasm: The package's own event handlers are used.
        on_trap: When a handler traps: end with an error, or go on with the event as it is, or without it.
        handler_options: What handlers are given, by name.
        grants: Maps that those in ``handlers`` may change, and ``wasi``.
        allow: What the package may do, in the words of ``ecli-py run --allow``; ``None``: what policies say, or else anything if
            it is a file, and only observe if it is from another machine.
        allow_unsigned: Run a package of another machine that no trusted key has signed.
        allow_wasm: Give the event handlers of such a package what they ask for, though nobody has confirmed it.
        offline: Take a package that is not local from the cache, and ask nobody.
        insecure: Ask a registry over plain HTTP, though it is on another machine.

    Returns:
        The tool at work. Close it, or use it in a ``with`` statement, to detach it. Capabilities are kept: they are the caller's.
        :meth:`Tool.give_up_privileges() <ecli_py.tool.Tool.give_up_privileges>` gives them up.

    Raises:
        EcliError: Anything that is wrong with the package, an option, or the machine; ``hint`` says what to try.
    """
    import os

    from ecli_py.source import Admitting
    from ecli_py.tool import open_tool

    targets = None
    if attach or disable or (iface, cgroup, pid, binary) != (None,) * 4:
        from ecli_runtime.attach.options import AttachOptions

        targets = AttachOptions(attach or {}, tuple(disable), iface, cgroup, pid, binary)
    sizes = {"": ring_size} if isinstance(ring_size, int) else ring_size or {}
    choice = None
    if handlers or not wasm or on_trap != "stop" or handler_options:
        from ecli_py.handlers import Choice

        choice = Choice(tuple(handlers), wasm, on_trap, handler_options or {}, frozenset(grants))
    token_path, pin_path = (None if each is None else os.fspath(each) for each in (token, pin))
    return open_tool(
        package,
        options or {},
        targets,
        kernel_btf,
        latency_ms,
        raw,
        sizes,
        measure,
        token_path,
        pin_path,
        choice,
        allow,
        Admitting(offline=offline, insecure=insecure, allow_unsigned=allow_unsigned, allow_wasm=allow_wasm),
    )


def open_recording(path: str | os.PathLike[str], *, raw: bool = False) -> Replay:
    """Open what ``ecli-py run --record`` has written, on any machine, without privileges.

    Args:
        path: The recording; ``-`` reads standard input.
        raw: Values are given as they are, whatever they mean.

    Returns:
        The recording, whose events come as those of a tool at work do. Close it, or use it in a ``with`` statement.

    Raises:
        EcliError: It cannot be read, or is no recording; ``hint`` says what to try.
    """
    from ecli_py.replay import Replay

    return Replay(path, raw=raw)
