"""What a run says of hooks that several alternatives can serve: which one does, and why the others do not."""

from __future__ import annotations

import sys

from ecli_py.report import printable, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ecli_runtime.attach.alternatives import Refusal, Served


class HookReport:
    """Warns at once of hooks that nothing serves, and of what was tried in vain; says at the end what served.

    Args:
        hooks: What came of each hook.
        as_json: Whether the stream is of JSON lines.
        verbose: Also say at once why alternatives do not serve.
    """

    def __init__(self, hooks: Sequence[Served], as_json: bool, verbose: bool) -> None:
        self._hooks, self._as_json = hooks, as_json
        for served in hooks:
            nothing = not served.alternative and not served.left_out
            for each in served.refusals:
                if each.tried or nothing:
                    warn(f"hook {served.hook}: {_why(each)}")
                elif verbose:
                    sys.stderr.write(printable(f"hook {served.hook}: {_why(each)}\n"))
            if nothing:
                warn(f"hook {served.hook}: nothing serves it here, and the package does without")

    def look(self) -> bytes:
        """There is nothing new while it runs."""
        return b""

    def end(self) -> bytes:
        """Say what served, and return the marks."""
        sys.stderr.write(printable("".join(f"hook {each.hook}: {_what_served(each)}\n" for each in self._hooks)))
        return b"".join(self._marks()) if self._as_json else b""

    def _marks(self) -> Iterator[bytes]:
        from ecli_py.render.jsonlines import to_json

        for each in self._hooks:
            yield (to_json(hook_mark(each)) + "\n").encode("utf-8", "backslashreplace")


def hook_mark(served: Served) -> dict[str, Any]:
    """Return what stands in a stream of JSON lines, as ``marks.py`` describes it."""
    refused = [
        {"alternative": each.alternative, "program": each.program or None, "at": each.where or None, "why": each.absence.reason}
        for each in served.refusals
    ]
    programs = [{"name": name, "at": where} for name, where in served.programs.items()]
    alternative = served.alternative or None
    return {"@hook": {"hook": served.hook, "alternative": alternative, "programs": programs, "refused": refused}}


def _what_served(served: Served) -> str:
    programs = ", ".join(f"{name} ({where})" for name, where in served.programs.items())
    if served.left_out:
        return "left out"
    alternative = "" if list(served.programs) == [served.alternative] else f"{served.alternative}: "
    return f"{alternative}{programs}" if programs else "nothing"


def _why(refusal: Refusal) -> str:
    who = f"{refusal.program} ({refusal.where})" if refusal.program else refusal.alternative
    return f"{who} is passed over: {refusal.absence.reason}"
