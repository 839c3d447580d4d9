"""What can go wrong between a reference and the bytes behind it."""

from __future__ import annotations

from ecli_schemas.errors import EcliError


class FetchError(EcliError):
    """The bytes behind a reference cannot be had."""


class ReferenceFormatError(FetchError):
    """A text names no place that a package can come from."""


class MissingError(FetchError):
    """There is nothing at that place: the server or the registry says so."""


class UnreachableError(FetchError):
    """Nothing answered, or not for long enough, or the server is in trouble: another try may go better.

    Args:
        message: What happened.
        hint: What to try next.
        retry_after_s: Seconds that the server wants us to wait.
    """

    def __init__(self, message: str, hint: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class DigestError(FetchError):
    """What came is not what was asked for, or not what the server said it would be.

    Args:
        what: What was fetched.
        expected: Digest that it should have: ``sha256:`` and 64 hexadecimal digits.
        actual: Digest that it has.
        hint: What to try next.
    """

    def __init__(self, what: str, expected: str, actual: str, hint: str) -> None:
        super().__init__(f"{what} has the digest {actual}, not {expected}", hint)
        self.expected, self.actual = expected, actual


class CacheError(FetchError):
    """The cache cannot be used."""
