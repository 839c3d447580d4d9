"""Flame graphs as SVG: a file of its own, with no script and nothing from elsewhere, whatever the names in it are."""

from __future__ import annotations

from zlib import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Stack = tuple[str, ...]

_WIDTH, _ROW, _MARGIN, _TOP = 1200, 17, 10, 40
_CHARACTER = 7.2  # of the font below
_MIN_WIDTH = 0.3  # what is narrower is not seen; this also bounds the size of the file
_KERNEL = "_[k]"
_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#000}"
    "rect{stroke:#fff;stroke-width:.5}g:hover>rect{stroke:#000;stroke-width:1.5}"
)


class _Node:
    __slots__ = ("children", "count", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.children: dict[str, _Node] = {}


def flamegraph(stacks: Mapping[Stack, int], title: str, unit: str = "samples") -> str:
    """Return a flame graph: the width of a function is its share, what it calls stands on it.

    Args:
        stacks: Names of functions, the outermost first, and how often such a stack was found. The kernel's end in ``_[k]``.
        title: What stands above it.
        unit: Of the counts.
    """
    root = _Node("all")
    for stack, count in stacks.items():
        node = root
        node.count += count
        for name in stack:
            child = node.children.get(name)
            if child is None:
                child = node.children[name] = _Node(name)
            node = child
            node.count += count
    scale = (_WIDTH - 2 * _MARGIN) / root.count if root.count else 0.0
    boxes = list(_boxes(root, scale))
    depth = 1 + max((level for _node, level, _x in boxes), default=0)
    height = _TOP + depth * _ROW + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}">\n'
        f'<style>{_STYLE}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{_WIDTH // 2}" y="24" text-anchor="middle">{_escape(_fitting(title, _WIDTH - 2 * _MARGIN))}</text>\n'
    )
    body = "".join(_box(node, height - _MARGIN - (level + 1) * _ROW, x, scale, root.count, unit) for node, level, x in boxes)
    return f"{head}{body}</svg>\n"


def _boxes(root: _Node, scale: float) -> Iterator[tuple[_Node, int, float]]:
    """Yield what is wide enough to be seen, with its level and where it begins."""
    waiting = [(root, 0, float(_MARGIN))]
    while waiting:
        node, level, x = waiting.pop()
        yield node, level, x
        for name in sorted(node.children):
            child = node.children[name]
            if child.count * scale >= _MIN_WIDTH:
                waiting.append((child, level + 1, x))
            x += child.count * scale


def _box(node: _Node, y: int, x: float, scale: float, total: int, unit: str) -> str:
    width = node.count * scale
    share = f"{node.count / total:.2%}" if total else ""
    label = _fitting(node.name, width - 6)
    text = f'<text x="{x + 3:.1f}" y="{y + 12}">{_escape(label)}</text>' if label else ""
    return (
        f"<g><title>{_escape(node.name)} ({node.count} {unit}, {share})</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.1):.1f}" height="{_ROW - 1}" rx="1" fill="{_colour(node.name)}"/>'
        f"{text}</g>\n"
    )


def _fitting(text: str, width: float) -> str:
    """Return as much of a text as fits; nothing if that would be less than three characters."""
    room = int(width / _CHARACTER)
    if len(text) <= room:
        return text
    return text[: room - 1] + "…" if room >= 3 else ""


def _colour(name: str) -> str:
    """Return a colour that a name always has: warm ones, and for the kernel cold ones."""
    number = crc32(name.encode("utf-8", "replace"))
    first, second = number & 63, number >> 8 & 63
    if name.endswith(_KERNEL):
        return f"rgb({110 + second},{170 + first},{220 + (first >> 1)})"
    return f"rgb({205 + (first >> 1)},{90 + first + second},{50 + second})"


def _escape(text: str) -> str:
    """Return text that XML takes: of its own characters none, and none that it has no place for."""
    safe = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
