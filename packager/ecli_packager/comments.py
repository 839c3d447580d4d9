"""Comments that belong to a declaration, as text."""

from __future__ import annotations

import re


def comment_at(lines: list[str], line: int) -> str:
    """Return the comment of the declaration on a line: behind it, else the block that ends right above it; or empty text.

    Args:
        lines: The source, a line each.
        line: Number of the line, from 1.
    """
    if not 0 < line <= len(lines):
        return ""
    behind = re.search(r";\s*(?://+[!<]*\s*(.*)|/\*+[!<]*\s*(.*?)\s*\*/)\s*$", lines[line - 1])
    if behind:
        return (behind[1] or behind[2] or "").strip()
    block: list[str] = []
    at = line - 2
    if at >= 0 and lines[at].rstrip().endswith("*/"):
        while at >= 0:
            block.insert(0, lines[at])
            if "/*" in lines[at]:
                break
            at -= 1
        if not block[0].lstrip().startswith("/*"):  # it is behind another declaration
            return ""
    else:
        while at >= 0 and lines[at].lstrip().startswith("//"):
            block.insert(0, lines[at])
            at -= 1
    return " ".join(filter(None, (_strip(text) for text in block)))


def _strip(line: str) -> str:
    text = re.sub(r"^\s*(/\*+[!<]*|//+[!<]*|\*(?!/))", "", line)
    return re.sub(r"\*+/\s*$", "", text).strip()
