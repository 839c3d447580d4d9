"""Network addresses as text, from their bytes in network order."""

from __future__ import annotations

_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4-mapped addresses (RFC 4291, section 2.5.5.2)


def ipv4_text(raw: bytes) -> str:
    """Return ``10.0.0.1`` for 4 bytes."""
    return ".".join([str(byte) for byte in raw])


def ipv6_text(raw: bytes) -> str:
    """Return the text of 16 bytes as RFC 5952 has it: lower case, the longest run of zero groups as ``::``, the first of equals.

    IPv4-mapped addresses end in dotted decimal (its section 5); no other prefix is known to do so.
    """
    if raw[:12] == _MAPPED:
        return "::ffff:" + ipv4_text(raw[12:])
    groups = [raw[at] << 8 | raw[at + 1] for at in range(0, 16, 2)]
    start, length = _longest_zeros(groups)
    texts = [f"{group:x}" for group in groups]
    if length < 2:  # a single group is not shortened (section 4.2.2)
        return ":".join(texts)
    return ":".join(texts[:start]) + "::" + ":".join(texts[start + length :])


def _longest_zeros(groups: list[int]) -> tuple[int, int]:
    best, length = 0, 0
    run = 0
    for at, group in enumerate(groups):
        run = 0 if group else run + 1
        if run > length:
            best, length = at + 1 - run, run
    return best, length


def mac_text(raw: bytes) -> str:
    """Return ``aa:bb:cc:dd:ee:ff`` for 6 bytes."""
    return raw.hex(":")
