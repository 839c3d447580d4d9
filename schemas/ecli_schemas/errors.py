"""The root of the error tree and the errors of the package format."""

from __future__ import annotations


class EcliError(Exception):
    """Something the user can understand and act on.

    Args:
        message: One sentence saying what is wrong, without a final full stop.
        hint: What to try next; empty if there is nothing sensible to say.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PackageError(EcliError):
    """A document is not a package that can be used.

    Args:
        message: What was expected and what was found.
        path: Where, as a JSON path: ``$.meta.bpf_skel.maps[2].sample.interval``; ``$`` is the whole document.
        hint: What to try next.
    """

    def __init__(self, message: str, path: str = "$", hint: str = "") -> None:
        super().__init__(message if path == "$" else f"{path}: {message}", hint)
        self.path = path


class PackageVersionError(PackageError):
    """The package has a format that this version of ecli-py cannot read: newer, or one of upstream's legacy forms."""
