"""What a run answers when it is asked (docs/control.md has the protocol)."""

from __future__ import annotations

import os
import sys
import time

from ecli_py.report import printable
from ecli_runtime.usage import peak_memory_bytes
from ecli_schemas.errors import EcliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ecli_py.tool import Tool

PROTOCOL = 1
_LOOK_S = 1.0


class Answers:
    """Answers what is asked of a run.

    Args:
        tool: The run.
        name: Name of its package.
    """

    def __init__(self, tool: Tool, name: str) -> None:
        self._tool, self._name = tool, name
        self._looked, self._events, self._cpu_s = time.monotonic(), 0, time.process_time()
        self._events_per_s = self._cpu = 0.0
        self._paused_at = 0.0

    def look(self) -> None:
        """Take note of how many events the last second had, and what it cost; to be called more often than that."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._take_note(now)

    def _take_note(self, now: float) -> None:
        events, cpu_s, seconds = self._tool.stats.events, time.process_time(), now - self._looked
        self._events_per_s = (events - self._events) / seconds
        self._cpu = (cpu_s - self._cpu_s) / seconds
        self._looked, self._events, self._cpu_s = now, events, cpu_s

    def answer(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Do what a request says and return what came of it.

        Args:
            request: The request.
            who: Who asks, for the user who watches the run.

        Raises:
            EcliError: It cannot be done, or is no request.
        """
        kind = request.get("do")
        wanted = {"do", "values"} if kind == "set" else {"do"}
        if request.keys() - wanted:
            raise EcliError(f"a request has no {min(request.keys() - wanted)!r}")
        if kind == "status":
            return self.status()
        if kind == "stats":
            return self.stats()
        if kind == "variables":
            return {"variables": self._variables()}
        if kind == "set":
            return {"set": self._set(request.get("values"), who)}
        if kind == "pause":
            return self._pause(who)
        if kind == "resume":
            return self._resume(who)
        if kind == "stop":
            _say(f"stopped by {who}")
            self._tool.stop()
            return {}
        raise EcliError("a request has `do`: status, stats, variables, set, pause, resume or stop")

    def status(self) -> dict[str, Any]:
        """Return the run in short."""
        stats = self._tool.stats
        return {
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "name": self._name,
            "state": "paused" if self._tool.paused else "running",
            "age_s": round(stats.seconds, 3),
            "events": stats.events,
            "lost": stats.lost,
            "events_per_s": round(self._events_per_s, 1),
            "cpu": round(self._cpu, 4),
        }

    def stats(self) -> dict[str, Any]:
        """Return all numbers of the run, also when it is over but for its programs, which are gone then."""
        stats = self._tool.stats
        maps = [
            {
                "name": each.name,
                "received": each.received,
                "filtered": each.filtered,
                "lost": each.lost,
                "undecoded": each.undecoded,
                "reasons": dict(each.reasons),
                "occupancy": round(each.occupancy, 4),
                "size_bytes": each.size_bytes,
            }
            for each in stats.maps
        ]
        return {
            **self.status(),
            "received": stats.received,
            "filtered": stats.filtered,
            "undecoded": stats.undecoded,
            "maps": maps,
            "programs": self._programs(),
            "cpu_s": round(time.process_time(), 3),
            "memory_bytes": peak_memory_bytes(),
        }

    def summary(self) -> dict[str, Any]:
        """Return what a run that is over has done."""
        stats = self._tool.stats
        return {
            "name": self._name,
            "seconds": round(stats.seconds, 3),
            "events": stats.events,
            "lost": stats.lost,
            "undecoded": stats.undecoded,
        }

    def _programs(self) -> list[dict[str, Any]]:
        measured = self._tool.is_measured
        return [
            {
                "name": each.name,
                "runs": each.runs if measured else None,
                "time_ns": each.time_ns if measured else None,
                "missed": each.missed if measured else None,
            }
            for each in self._tool.programs()
        ]

    def _variables(self) -> list[dict[str, Any]]:
        names = ("name", "type", "value", "range", "fixed")
        return [{name: getattr(each, name) for name in names} for each in self._tool.variables()]

    def _set(self, values: object, who: str) -> dict[str, list[Any]]:
        if not isinstance(values, dict) or not values or not all(isinstance(each, str) for each in values.values()):
            raise EcliError("a request to set has `values`: an object of names and texts")
        done = self._tool.set_texts(values)
        for name, (before, after) in done.items():
            _say(f"{name} = {_shown(after)} (was {_shown(before)}), by {who}")
        return {name: [before, after] for name, (before, after) in done.items()}

    def _pause(self, who: str) -> dict[str, Any]:
        before = self._tool.paused
        if not before:
            self._tool.pause()
            self._paused_at = time.monotonic()
            _say(f"paused by {who}")
        return {"was": "paused" if before else "running"}

    def _resume(self, who: str) -> dict[str, Any]:
        before = self._tool.paused
        if before:
            self._tool.resume()
            _say(f"resumed after {time.monotonic() - self._paused_at:.1f} s by {who}")
        return {"was": "paused" if before else "running"}


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)


def _say(text: str) -> None:
    """Tell whoever watches the run, on stderr."""
    sys.stderr.write(printable(f"control: {text}\n"))
