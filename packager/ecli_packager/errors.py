"""Errors of the packager."""

from __future__ import annotations

from ecli_schemas.errors import EcliError


class ToolchainError(EcliError):
    """A tool that building needs is missing, or too old."""


class CompileError(EcliError):
    """clang refused the source.

    Attributes:
        diagnostics: What clang wrote, with file, line and caret.
    """

    def __init__(self, message: str, diagnostics: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.diagnostics = diagnostics


class ExportError(EcliError):
    """The type of a map's events cannot be told."""


class AnnotationError(EcliError):
    """An annotation in a comment cannot be understood; the message begins with file, line and column."""
