"""A test that needs what is missing is skipped and says why, or fails where nothing may be missing."""

from __future__ import annotations

import pytest

from tests.machine import missing


def test_a_skip_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECLI_REQUIRE_KERNEL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs wheel"):
        missing("wheel")


def test_a_skip_becomes_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECLI_REQUIRE_KERNEL", "1")
    with pytest.raises(pytest.fail.Exception, match="this machine has no wheel"):
        missing("wheel")
