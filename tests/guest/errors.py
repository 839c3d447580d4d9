"""What can go wrong before a guest runs."""

from __future__ import annotations


class GuestError(Exception):
    """A guest cannot be started; the hint says what to try."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class MissingError(GuestError):
    """This machine lacks a program or a right that guests need."""
