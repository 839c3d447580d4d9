"""Calls into Wasm and back without what wasmtime's public calls cost: 1 us instead of 30, by the C functions under them.

These are not promised to stay, so the first use tries them once in a store of its own; where they are missing or do not work,
the public ones serve, slower, and behave the same.
"""

from __future__ import annotations

import ctypes
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from ecli_runtime.wasm.sections import Signature

    # Takes and returns whole numbers, signed as Wasm's are; ``None``: the function returns nothing.
    Call: TypeAlias = Callable[..., int | None]

_VALUE_SIZE_BYTES = 16  # wasmtime_val_raw_t, whose first four or eight bytes are a number
_MASKS = {"i32": (0xFFFF_FFFF, 1 << 31), "i64": (0xFFFF_FFFF_FFFF_FFFF, 1 << 63)}
_NAMES = ("wasmtime_func_call_unchecked", "wasmtime_func_new_unchecked", "wasmtime_trap_new")

# The test of the raw calls: from Python into Wasm, back into Python, and the same with an error.
_TEST = """
(module
  (import "test" "back" (func $back (param i32 i64) (result i64)))
  (func (export "forth") (param i32 i64) (result i64)
    (call $back (local.get 0) (local.get 1)))
  (func (export "trap") unreachable))
"""

# wasmtime_func_unchecked_callback_t: environment, caller, values, how many; returns a trap or NULL
_import_type = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

_lock = allocate_lock()
_tried: bool | None = None


class Pending:
    """The error of a Python function that Wasm called, kept until the call into Wasm has ended: one for each store.

    wasmtime's own place for it is one for the whole process, where threads take each other's errors.
    """

    __slots__ = ("error",)

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def take(self) -> BaseException | None:
        """Return the error, and forget it."""
        error, self.error = self.error, None
        return error


def raw_works() -> bool:
    """Tell whether the raw calls of this wasmtime work; tried once."""
    global _tried
    with _lock:
        if _tried is None:
            _tried = _try()
        return _tried


def _try() -> bool:
    from wasmtime import Engine, Instance, Module, Store, Trap, WasmtimeError, _bindings, _ffi

    try:
        fits = ctypes.sizeof(_bindings.wasmtime_val_raw_t) == _VALUE_SIZE_BYTES
        symbols = all(hasattr(_ffi.dll, name) for name in _NAMES)
    except AttributeError:
        return False
    if not (fits and symbols):
        return False
    engine = Engine()
    store, pending = Store(engine), Pending()
    module = Module(engine, _TEST)

    def back(small: int, large: int) -> int:
        if small == -2:
            raise LookupError
        return small + large

    try:
        imported = _raw_import(store, module.imports[0].type, back, pending)
        exports: Any = Instance(store, module, [imported]).exports(store)
        forth = _raw_export(store, exports["forth"], pending)
        if (forth(-1, 1 << 40), forth(3, -5)) != ((1 << 40) - 1, -2):
            return False
        try:
            forth(-2, 0)
            return False
        except LookupError:
            pass
        try:
            _raw_export(store, exports["trap"], pending)()
            return False
        except Trap:
            return True
    except (AttributeError, TypeError, ctypes.ArgumentError, WasmtimeError, Trap):
        return False


def export(store: Any, function: Any, pending: Pending | None = None, raw: bool | None = None) -> Call:
    """Return what calls an exported function, which takes whole numbers and returns one, or nothing.

    It also serves while Wasm of the same store waits for a Python function. For one thread at a time.

    Args:
        store: ``wasmtime.Store``.
        function: ``wasmtime.Func`` of it.
        pending: Of the store's imports; an error in it is raised by the call.
        raw: Whether to use the raw calls; ``None``: if they work.

    The calls raise ``wasmtime.Trap`` or ``wasmtime.WasmtimeError``, or what a Python function that was called meanwhile raised.
    """
    pending = Pending() if pending is None else pending
    if raw_works() if raw is None else raw:
        return _raw_export(store, function, pending)

    def call(*arguments: int) -> int | None:
        from wasmtime import Trap, WasmtimeError

        try:
            result: int | None = function(store, *arguments)
        except (Trap, WasmtimeError, RaisedInImportError):
            error = pending.take()
            if error is not None:
                raise error from None
            raise
        return result

    return call


def import_(store: Any, type_: Any, function: Call, pending: Pending, raw: bool | None = None) -> Any:
    """Return a ``wasmtime.Func`` that calls a Python function, with whole numbers.

    What it raises ends the call into Wasm that it was called from, and is raised by that.

    Args:
        store: ``wasmtime.Store``, which keeps it alive.
        type_: ``wasmtime.FuncType`` as the module that imports it declares it; of i32 and i64 only, with at most one result.
        function: Takes the parameters; returns the result, of which the lower bits are taken.
        pending: Where its error is kept.
        raw: Whether to use the raw calls; ``None``: if they work.
    """
    if raw_works() if raw is None else raw:
        return _raw_import(store, type_, function, pending)
    from wasmtime import Func

    results = [str(each) for each in type_.results]

    def called(*arguments: int) -> int | None:
        try:
            found = function(*arguments)
        except BaseException as error:  # noqa: BLE001  kept, and raised by the call
            pending.error = error
            raise RaisedInImportError from None
        return _signed(found or 0, results[0]) if results else None

    return Func(store, type_, called)


class RaisedInImportError(Exception):
    """Stands for an error that is pending, in wasmtime's own place for it; it may come out in another thread than it went in."""


def is_numeric(signature: Signature) -> bool:
    """Tell whether a function is of whole numbers only, with at most one result."""
    parameters, results = signature
    return len(results) <= 1 and all(each in _MASKS for each in (*parameters, *results))


def _signed(number: int, kind: str) -> int:
    mask, sign = _MASKS[kind]
    return ((number & mask) ^ sign) - sign


def _slots(kinds: Sequence[str]) -> list[tuple[int, int]]:
    return [_MASKS[kind] for kind in kinds]


def _raw_export(store: Any, function: Any, pending: Pending) -> Call:
    from wasmtime import Trap, WasmtimeError, _bindings, _ffi

    type_ = function.type(store)
    count = len(type_.params)
    results = [str(each) for each in type_.results]
    mask, sign = _MASKS[results[0]] if results else (0, 0)
    values = (ctypes.c_int64 * (2 * max(count, 1)))()
    trap = ctypes.c_void_p()
    c_function = _ffi.dll["wasmtime_func_call_unchecked"]  # one of our own: addresses are passed as they are
    c_function.restype = ctypes.c_void_p
    c_function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    context = ctypes.cast(store._context(), ctypes.c_void_p).value  # lives as long as the store, which `call` keeps
    place, values_at, trap_at = ctypes.addressof(function._func), ctypes.addressof(values), ctypes.addressof(trap)
    size = max(count, len(results))
    kept = (store, function)

    def call(*arguments: int) -> int | None:
        for index in range(count):
            values[2 * index] = arguments[index]
        error = c_function(context, place, values_at, size, trap_at)
        if error or trap.value:
            raised = trap.value
            trap.value = None
            found: Any
            if error:
                found = WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(_bindings.wasmtime_error_t)))
            else:
                found = Trap._from_ptr(ctypes.cast(raised or 0, ctypes.POINTER(_bindings.wasm_trap_t)))
            raise pending.take() or found
        return ((values[0] & mask) ^ sign) - sign if mask else None

    call.kept = kept  # type: ignore[attr-defined]
    return call


def _raw_import(store: Any, type_: Any, function: Call, pending: Pending) -> Any:
    from wasmtime import Func, _bindings, _ffi

    masks = _slots([str(each) for each in type_.params])
    has_result = bool(type_.results)
    message = b"raised in Python"
    slots_type = ctypes.c_int64 * (2 * max(len(masks), 1))

    def called(_environment: int, _caller: int, values: int, _count: int) -> int:
        try:
            slots = slots_type.from_address(values)  # wasmtime's, valid during the call
            result = function(*[((slots[2 * index] & mask) ^ sign) - sign for index, (mask, sign) in enumerate(masks)])
            if has_result:
                slots[0] = result or 0
        except BaseException as error:  # noqa: BLE001  kept, and raised by the call
            pending.error = error
            trap = _bindings.wasmtime_trap_new(ctypes.create_string_buffer(message), len(message))  # wasmtime's from now on
            return ctypes.cast(trap, ctypes.c_void_p).value or 0
        return 0

    callback = _import_type(called)
    made = _bindings.wasmtime_func_t()
    c_function = _ffi.dll["wasmtime_func_new_unchecked"]
    c_function.restype = None
    c_function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, _import_type, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    c_function(store._context(), type_.ptr(), callback, None, None, ctypes.byref(made))
    # The store calls it for as long as it lives, so it keeps it.
    store.__dict__.setdefault("_ecli_callbacks", []).append(callback)
    return Func._from_raw(made)
