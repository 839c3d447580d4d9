"""Random C types, and C programs that show their values: what they say owes nothing to BTF."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

from hypothesis import strategies as st


@dataclass(frozen=True)
class Enumeration:
    name: str
    enumerators: dict[str, int]
    signed: bool = False
    flags: bool = False
    packed: bool = False

    def declaration(self) -> str:
        values = ", ".join(f"{name} = {value}{'LL' if self.signed else 'ULL'}" for name, value in self.enumerators.items())
        return f"enum {'__attribute__((packed)) ' if self.packed else ''}{self.name} {{ {values} }};"

    def named(self, value: int) -> str | int:
        """Return what is shown of a value."""
        for name, number in self.enumerators.items():
            if number == value:
                return name
        bits = {name: number for name, number in self.enumerators.items() if number.bit_count() == 1}
        if not self.flags or not value or value & ~sum(bits.values()):
            return value
        return "|".join(name for name, number in bits.items() if value & number)

    def shower(self) -> str:
        """Return the C function that prints a value: its first name, names of its bits, or the number."""
        first = {value: name for name, value in reversed(self.enumerators.items())}
        number = "long long" if self.signed else "unsigned long long"
        lines = [f"static void show_{self.name}({number} value)", "{"]
        lines += [f'\tif (value == {name}) {{ printf("\\"{name}\\""); return; }}' for name in first.values()]
        if self.flags:
            bits = [(value, name) for value, name in sorted(first.items()) if value.bit_count() == 1]
            every = sum(value for value, _name in bits)
            lines += [f"\tif (value && !(value & ~{every}ULL)) {{", '\t\tconst char *before = "\\"";']
            lines += [f'\t\tif (value & {name}) {{ printf("%s{name}", before); before = "|"; }}' for _value, name in bits]
            lines += ['\t\tprintf("\\""); return;', "\t}"]
        return "\n".join([*lines, f'\tprintf("%{"lld" if self.signed else "llu"}", value);', "}"])


ENUMERATIONS = {
    each.name: each
    for each in (
        Enumeration("counting", {"C_A": 0, "C_B": 1, "C_C": 2, "C_D": 3, "C_E": 4}),
        Enumeration("negative", {"N_A": -1, "N_B": 5}, signed=True),
        Enumeration("flags", {"F_R": 1, "F_W": 2, "F_X": 4, "F_RWX": 7, "F_TOP": 0x80}, flags=True),
        Enumeration("tiny", {"T_A": 3, "T_B": 200}, packed=True),
        Enumeration("twice", {"D_A": 7, "D_B": 7, "D_C": 0}),
        Enumeration("wide", {"W_A": 1, "W_B": 0x100000005}),
        Enumeration("wide_flags", {"G_A": 1, "G_B": 2, "G_C": 1 << 40}, flags=True),
        Enumeration("wide_negative", {"M_A": -2, "M_B": 1 << 40}, signed=True),
    )
}


@dataclass(frozen=True)
class Scalar:
    """A type of one value: how it is declared, how many bits a bitfield of it may have (0: none), and what prints it."""

    declared: str
    bits: int
    show: str
    signed: bool = False


@dataclass(frozen=True)
class Text:
    size: int


@dataclass(frozen=True)
class Array:
    element: Type
    count: int


@dataclass(frozen=True)
class Member:
    """A member; one without a type is a bitfield that only pads, or with no bits one that aligns what follows."""

    type: Type | None
    bits: int = 0
    name: str = ""


@dataclass(frozen=True)
class Composite:
    keyword: str
    members: tuple[Member, ...]
    packed: bool = False

    def body(self) -> str:
        inside = " ".join(declare(member.type, member.name, member.bits) for member in self.members)
        return f"{{ {inside} }}{' __attribute__((packed))' if self.packed else ''}"


Type: TypeAlias = "Scalar | Text | Array | Composite"

PRELUDE = "\n".join(
    [
        "typedef unsigned int u32_type;",
        "typedef const volatile u32_type seen_type;",
        *(each.declaration() for each in ENUMERATIONS.values()),
        "",
    ]
)
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show_signed(long long value) { printf("%lld", value); }
static void show_unsigned(unsigned long long value) { printf("%llu", value); }
static void show_bool(int value) { printf(value ? "true" : "false"); }
static void show_pointer(const volatile void *value) { printf("\\"0x%lx\\"", (unsigned long)value); }
static void show_float(double value)
{
	if (value != value || value - value != 0)
		printf("null");
	else
		printf("%.17g", value);
}
static void show_unsigned128(unsigned __int128 value)
{
	if (value / 10)
		show_unsigned128(value / 10);
	putchar('0' + (int)(value % 10));
}
static void show_signed128(__int128 value)
{
	if (value < 0)
		putchar('-');
	show_unsigned128(value < 0 ? -(unsigned __int128)value : value);
}
static void show_text(const char *text, size_t size)
{
	printf("{\\"text\\":\\"");
	for (size_t i = 0; i < size && text[i]; i++)
		printf("%02x", (unsigned char)text[i]);
	printf("\\"}");
}
"""
INTEGERS = [
    Scalar(f"{c} {{}}", bits, "signed" if signed else "unsigned", signed)
    for c, bits, signed in (
        ("char", 8, True),
        ("signed char", 8, True),
        ("unsigned char", 8, False),
        ("short", 16, True),
        ("unsigned short", 16, False),
        ("int", 32, True),
        ("unsigned int", 32, False),
        ("const u32_type", 32, False),
        ("seen_type", 32, False),
        ("long", 64, True),
        ("unsigned long long", 64, False),
    )
]
ENUMS = [
    Scalar(f"enum {each.name} {{}}", 8 if each.packed else 64 if "wide" in each.name else 32, each.name, each.signed)
    for each in ENUMERATIONS.values()
]
OTHERS = [
    Scalar("_Bool {}", 1, "bool"),
    Scalar("__int128 {}", 0, "signed128", signed=True),
    Scalar("unsigned __int128 {}", 0, "unsigned128"),
    Scalar("float {}", 0, "float"),
    Scalar("double {}", 0, "float"),
    Scalar("void *{}", 0, "pointer"),
    Scalar("struct never_defined *const {}", 0, "pointer"),
    Scalar("int (*{})(int)", 0, "pointer"),
]

scalars = st.sampled_from([*INTEGERS, *ENUMS, *OTHERS])
bit_types = [each for each in (*INTEGERS, *ENUMS, *OTHERS) if each.bits]
bitfields = st.sampled_from(bit_types).flatmap(lambda each: st.builds(Member, st.just(each), st.integers(1, each.bits)))
paddings = st.builds(Member, st.none(), st.integers(0, 31))
simple = scalars | st.builds(Text, st.integers(1, 9))


def _array(element: Type, count: int) -> Type:
    return Text(count) if element == INTEGERS[0] else Array(element, count)


def _composites(members: st.SearchStrategy[Member]) -> st.SearchStrategy[Composite]:
    several = st.lists(members, max_size=5).map(tuple)
    return st.builds(Composite, st.sampled_from(["struct", "struct", "union"]), several, st.booleans())


types: st.SearchStrategy[Type] = st.recursive(
    simple,
    lambda inner: st.builds(_array, inner, st.integers(1, 3)) | _composites(st.builds(Member, inner) | bitfields | paddings),
    max_leaves=8,
)


@st.composite
def events(draw: st.DrawFn, flexible: bool = True) -> Composite:
    """Draw a struct with named members: any type, also anonymous structs and unions, markers and, if wanted, a flexible tail."""
    members: list[Member] = []
    for member in draw(st.lists(st.builds(Member, types) | bitfields | paddings, max_size=5)):
        if draw(st.integers(0, 9)) == 9:
            members.append(Member(_array(draw(simple), 0)))  # something always follows: it marks a place, and is no tail
            members.append(Member(INTEGERS[0]))
        members.append(member)
    packed = draw(st.booleans())
    if flexible and draw(st.booleans()):
        tail = draw(simple | _composites(st.builds(Member, scalars)).filter(lambda each: any(m.type for m in each.members)))
        members += [Member(INTEGERS[5]), Member(_array(tail, 0))]
    anonymous = draw(st.booleans())
    return _named(Composite("struct", tuple(members), packed), iter(range(10_000)), anonymous)


def _named(composite: Composite, numbers: Any, anonymous: bool) -> Composite:
    """Give names to members, different ones everywhere: those of anonymous members are one object's."""
    members = []
    for member in composite.members:
        kind = _inside(member.type, numbers, anonymous)
        hidden = kind is None or (anonymous and isinstance(kind, Composite))
        members.append(Member(kind, member.bits, "" if hidden else f"m{next(numbers)}"))
    return Composite(composite.keyword, tuple(members), composite.packed)


def _inside(kind: Type | None, numbers: Any, anonymous: bool) -> Type | None:
    if isinstance(kind, Array):
        element = _inside(kind.element, numbers, anonymous)
        assert element is not None
        return Array(element, kind.count)
    return _named(kind, numbers, anonymous) if isinstance(kind, Composite) else kind


def declare(kind: Type | None, name: str, bits: int = 0) -> str:
    """Return the declaration of a member or variable."""
    if kind is None:
        return f"int : {bits};"
    if isinstance(kind, Array):
        return declare(kind.element, f"{name}[{kind.count}]")
    if isinstance(kind, Text):
        return f"char {name}[{kind.size}];"
    if isinstance(kind, Composite):
        return f"{kind.keyword} {kind.body()} {name};"
    return kind.declared.format(name) + (f" : {bits};" if bits else ";")


def declarations(composites: list[Composite]) -> str:
    """Return the declarations of ``struct type0`` and so on."""
    return "\n".join(f"struct type{index} {each.body()};" for index, each in enumerate(composites))


def program(composites: list[Composite]) -> str:
    """Return a program that reads records (u32 number of the type, u32 length, bytes) and prints each as a line of JSON.

    A flexible array goes to the end of the record. Text is an object with its bytes in hexadecimal.
    The first line lists the sizes of the types.
    """
    showers = "\n".join(
        f"static void show{index}(const struct type{index} *event, size_t length)\n{{\n{_show(each, '(*event)')}\n}}"
        for index, each in enumerate(composites)
    )
    sizes = "".join(f'printf("{"," if index else ""}%zu", sizeof(struct type{index}));' for index in range(len(composites)))
    cases = "".join(f"case {index}: show{index}(data, length); break;" for index in range(len(composites)))
    return f"""{PRELUDE}{MAIN}
{"".join(each.shower() + chr(10) for each in ENUMERATIONS.values())}
{declarations(composites)}
{showers}
int main(void)
{{
	unsigned int head[2];
	printf("["); {sizes} printf("]\\n");
	while (fread(head, sizeof(head), 1, stdin)) {{
		size_t length = head[1];
		void *data = calloc(1, length + 64);
		if (length && !fread(data, length, 1, stdin))
			return 1;
		switch (head[0]) {{ {cases} }}
		putchar('\\n');
		free(data);
	}}
	return 0;
}}
"""


def _show(kind: Type, place: str, bits: int = 0, depth: int = 0) -> str:
    """Return statements that print what is at a place, an lvalue."""
    if isinstance(kind, Scalar):
        # Any byte but 0 is true, while to a compiler all but 0 and 1 are undefined.
        return f"show_{kind.show}({f'*(unsigned char *)&{place}' if kind.show == 'bool' and not bits else place});"
    left = f"(length - (size_t)((char *){place} - (char *)event))"
    if isinstance(kind, Text):
        return f"show_text((const char *){place}, {kind.size or left});"
    if isinstance(kind, Array):
        i, count = f"i{depth}", kind.count or f"{left} / sizeof({place}[0])"
        inner = _show(kind.element, f"{place}[{i}]", depth=depth + 1)
        return f"putchar('['); for (size_t {i} = 0; {i} < {count}; {i}++) {{ if ({i}) putchar(','); {inner} }} putchar(']');"
    shown: list[str] = []
    for member in shown_members(kind):
        if member.type:
            value = _show(member.type, f"{place}.{member.name}", member.bits, depth)
            shown.append(f'printf("{"," if shown else ""}\\"{member.name}\\":"); {value}')
    return f"putchar('{{'); {' '.join(shown)} putchar('}}');"


def shown_members(composite: Composite) -> list[Member]:
    """Return the members that are shown, those of anonymous members included."""
    found: list[Member] = []
    for index, member in enumerate(composite.members):
        is_empty = member.type == Text(0) or (isinstance(member.type, Array) and not member.type.count)
        is_marker = is_empty and index < len(composite.members) - 1
        if isinstance(member.type, Composite) and not member.name:
            found += shown_members(member.type)
        elif member.type and not is_marker:
            found.append(member)
    return found


def bytes_of(size: int, random: Random) -> bytes:
    """Return bytes such as memory has: any, mostly small numbers, or mostly 0."""
    choices = random.choice([range(256), [0, 0, 0, 1, 2, 3, 4, 5, 7, 0x80, 200, 255], [*[0] * 10, 1, 65, 0xC3, 0xA9]])
    return bytes(random.choices(choices, k=size))


def constant(kind: Type, random: Random, bits: int = 0) -> tuple[str, Any]:
    """Return an initialiser in C for a type, and the value that it stands for; of a union, that of one member."""
    if isinstance(kind, Scalar):
        return _scalar(kind, random, bits)
    if isinstance(kind, Text):
        raw = bytes_of(kind.size, random)
        return f"{{ {', '.join(f'(char){byte}' for byte in raw)} }}", raw.partition(b"\0")[0].decode("utf-8", "replace")
    if isinstance(kind, Array):
        elements = [constant(kind.element, random) for _ in range(kind.count)]
        return f"{{ {', '.join(text for text, _value in elements)} }}", [value for _text, value in elements]
    texts, values = [], {}
    for member in initialised(kind):
        assert member.type
        text, values[member.name] = constant(member.type, random, member.bits)
        texts.append(f".{member.name} = {text}")
    return f"{{ {', '.join(texts)} }}", values


def initialised(composite: Composite) -> list[Member]:
    """Return the members that an initialiser gives values to: those that are shown, of a union the first."""
    found: list[Member] = []
    for member in composite.members:
        if isinstance(member.type, Composite) and not member.name:
            found += initialised(member.type)
        elif member in shown_members(composite):
            found.append(member)
        if found and composite.keyword == "union":
            break
    return found


def _scalar(kind: Scalar, random: Random, bits: int) -> tuple[str, Any]:
    if kind.show == "bool":
        flag = random.random() < 0.5
        return str(int(flag)), flag
    if kind.show == "float":
        number = random.randrange(-9999, 9999) / 8
        return str(number), number
    width = bits or kind.bits or (64 if kind.show == "pointer" else 128)
    value = random.choice([random.getrandbits(width), random.getrandbits(width) & 7, (1 << width) - 1, 1 << width - 1])
    if kind.show == "pointer":
        return f"(void *){value}UL", hex(value)
    if kind.signed and value >> width - 1:
        value -= 1 << width
    high, low = value >> 64, value & (1 << 64) - 1
    text = f"(__int128)((unsigned __int128)({high}LL) << 64 | {low}ULL)" if width > 64 else f"(long long){low}ULL"
    return text, ENUMERATIONS[kind.show].named(value) if kind.show in ENUMERATIONS else value
