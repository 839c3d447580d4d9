"""Programs that user space runs (``SEC("syscall")``): once, when everything before them is attached."""

from __future__ import annotations

import errno
import os

from ecli_runtime.errors import AttachError, LibbpfError, describe_errno
from ecli_runtime.libbpf._ffi import lib
from ecli_runtime.libbpf.options import TestRunOpts, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator

    from ecli_runtime.attach import Attacher
    from ecli_runtime.attach.target import Request
    from ecli_runtime.libbpf.object import Link, LoadedObject, LoadedProgram
else:
    import ctypes

# The kernel wants at least what the program may read (max_ctx_offset in bpf_prog_test_run_syscall) and takes up to 65535.
_CONTEXT_SIZE_BYTES = 4096


def prepare(request: Request) -> Attacher:
    """There is nothing to be found: it is run."""
    if request.text is not None:
        raise request.wrong('SEC("syscall") is run once and attached to nothing', f"leave out --attach {request.program.name}")
    return _run


def _run(program: LoadedProgram, _loaded: LoadedObject) -> Iterator[Link]:
    context = bytes(_CONTEXT_SIZE_BYTES)  # zeros for whatever arguments it takes
    run = options(TestRunOpts, ctx_in=context, ctx_size_in=len(context))
    try:
        lib.bpf_prog_test_run_opts(program.fd, ctypes.byref(run))
    except LibbpfError as error:
        hints = {errno.EINVAL: f"it may take more than {_CONTEXT_SIZE_BYTES} bytes of arguments"}
        message = f"{program.name}: cannot run it: {describe_errno(error.errno)}"
        raise AttachError(error.function, error.errno, error.log, message, hints.get(error.errno, "")) from error
    result = ctypes.c_int32(run.retval).value
    if result:
        why = f" ({os.strerror(-result)})" if -4096 < result < 0 else ""  # MAX_ERRNO
        message = f"{program.name}: it was run, and returned {result}{why}"
        hint = f'a program of SEC("syscall") returns 0 when all is well; --disable {program.name} leaves it out'
        raise AttachError("bpf_prog_test_run_opts", max(-result, 0), "", message, hint)
    yield from ()
