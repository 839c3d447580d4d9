"""CO-RE relocations against the types of one kernel (``bpf_core_calc_relo_insn`` and what it calls, relo_core.c)."""

from __future__ import annotations

from ecli_runtime.btf import (
    KIND_ENUM,
    KIND_ENUM64,
    KIND_FWD,
    KIND_INT,
    KIND_STRUCT,
    KIND_TYPEDEF,
    KIND_UNION,
    Array,
    Btf,
    Composite,
    Enum,
    Forward,
    Int,
    Pointer,
    Typedef,
)
from ecli_runtime.core.compat import essential, fields_fit, types_fit, types_match
from ecli_runtime.core.records import ENUMERATOR_KINDS, EXISTENCE_KINDS, FIELD_KINDS
from ecli_runtime.errors import BtfError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ecli_runtime.core.records import Relocation

_MAX_DEPTH = 32
_NAMED_KINDS = (KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_ENUM64, KIND_TYPEDEF, KIND_INT, KIND_FWD)


class Step(Record):
    """One step into a type.

    Attributes:
        type_id: The struct or union that has the member; of an element the element's own type.
        index: Of the member or element.
        name: Of the member; empty for an element.
    """

    type_id: int
    index: int
    name: str = ""


class Path(Record):
    """Where a relocation leads in some types.

    Attributes:
        root: The type that it begins at.
        steps: Elements and named members, the first one being the element that a pointer to the root refers to. Of an enumerator:
            that alone.
        bit_offset: Of what it leads to, from the start of the root.
        through: (struct, member) of the members without a name that were passed on the way.
    """

    root: int
    steps: tuple[Step, ...] = ()
    bit_offset: int = 0
    through: tuple[tuple[int, int], ...] = ()


class Answer(Record):
    """What a kernel's types say to a relocation.

    Attributes:
        paths: Where it leads; several where the kernel has several types of that name. Empty: nothing fits.
        value: What the instruction gets: an offset, a size, whether there is such; ``None``: it is made an invalid instruction,
            which is fatal only where it can be reached.
        size_bytes: Of the field that an offset is of, else 0.
        fits_loads: A load or store may use the offset; not where the field has another size, and would read as something else.
        problem: Why it can never be loaded, whether the instruction can be reached or not; else empty.
    """

    paths: tuple[Path, ...] = ()
    value: int | None = None
    size_bytes: int = 0
    fits_loads: bool = True
    problem: str = ""


class Resolver:
    """Resolves the relocations of an object against the types of a kernel.

    Args:
        local: The types of the object.
        target: The types of the kernel. Names are looked up once, so keep it for all objects.
    """

    def __init__(self, local: Btf, target: KernelTypes) -> None:
        self._local = local
        self._types = target
        self._target = target.btf

    def resolve(self, relocation: Relocation) -> Answer:
        """Return what a relocation comes to.

        Raises:
            BtfError: The object's own types do not fit the relocation.
        """
        local, kind = self._local, relocation.kind
        path = _own_path(local, relocation)
        if kind == "local_type_id":
            return Answer(value=relocation.type_id)
        name = getattr(local.type(relocation.type_id), "name", "")
        if not name:
            return Answer(problem="it asks for a type without a name")
        candidates = self._types.named(essential(name))
        root = local.type(relocation.type_id)
        answers = []
        for candidate in candidates:
            if _same_root(root, self._target.type(candidate)):
                found = self._match(path, relocation, candidate)
                if found is not None:
                    answers.append(Answer((found,), *self._value(relocation, path, found)))
        if not answers:
            absent = 0 if kind in EXISTENCE_KINDS or kind in ("target_type_id", "type_size") else None
            return Answer(value=absent)
        paths = tuple(each.paths[0] for each in answers)
        if len({(each.paths[0].bit_offset, each.value) for each in answers}) > 1:
            return Answer(paths, problem=f"this kernel has several types {name} that differ")
        return answers[0].replace(paths=paths)

    def _match(self, path: Path, relocation: Relocation, candidate: int) -> Path | None:
        local, target = self._local, self._target
        if relocation.kind in ENUMERATOR_KINDS:
            bare_id, bare = target.resolve(candidate)
            wanted = essential(path.steps[0].name)
            for index, (name, _value) in enumerate(bare.enumerators if isinstance(bare, Enum) else ()):
                if essential(name) == wanted:
                    return Path(candidate, (Step(bare_id, index, name),))
            return None
        if relocation.kind not in FIELD_KINDS:
            fits = types_match if relocation.kind == "type_matches" else types_fit
            return Path(candidate) if fits(local, path.root, target, candidate) else None
        found = Path(candidate)
        at = candidate
        for index, step in enumerate(path.steps):
            at, bare = target.resolve(at)
            if step.name:
                owner = local.resolve(step.type_id)[1]
                assert isinstance(owner, Composite)
                member = _find_member(target, at, step.name, _MAX_DEPTH)
                if member is None:
                    return None
                through, place, bit_offset, at_member = member
                if not fields_fit(local, owner.members[step.index].type_id, target, at_member):
                    return None
                at = at_member
                found = found.replace(
                    steps=(*found.steps, place), through=(*found.through, *through), bit_offset=found.bit_offset + bit_offset
                )
                continue
            if index:
                if not isinstance(bare, Array):
                    return None
                if step.index >= bare.count and not _is_flexible(target, found.steps[-1], bare):
                    return None
                at = target.resolve(bare.element)[0]
            moved = step.index * target.size_bytes(at) * 8 if step.index else 0
            found = found.replace(steps=(*found.steps, Step(at, step.index)), bit_offset=found.bit_offset + moved)
        return found

    def _value(self, relocation: Relocation, own: Path, found: Path) -> tuple[int, int, bool]:
        """Return what the instruction gets, of an offset the size of its field, and whether loads may use it."""
        target, kind = self._target, relocation.kind
        if kind in EXISTENCE_KINDS:
            return 1, 0, True
        if kind == "target_type_id":
            return found.root, 0, True
        if kind == "type_size":
            return target.size_bytes(found.root), 0, True
        if kind == "enumval_value":
            (step,) = found.steps
            bare = target.type(step.type_id)
            assert isinstance(bare, Enum)
            return bare.enumerators[step.index][1], 0, True
        field = _Field(target, found)
        fits = kind != "byte_off" or field.is_bitfield or not _changes_meaning(self._local, own, target, found)
        return field.value(kind), field.size_bytes if kind == "byte_off" else 0, fits


class KernelTypes:
    """The types of a kernel, by name.

    Args:
        btf: All of them.
    """

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self._by_name: dict[str, list[int]] | None = None

    def named(self, name: str) -> list[int]:
        """Return the ids of the types of a name, whatever their flavour."""
        if self._by_name is None:
            self._by_name = {}
            for type_id, text in self.btf.named(*_NAMED_KINDS):
                self._by_name.setdefault(essential(text), []).append(type_id)
        return self._by_name.get(name, [])


class _Field:
    """A field that a path leads to, as an instruction reads it (``bpf_core_calc_field_relo``)."""

    def __init__(self, btf: Btf, path: Path) -> None:
        step = path.steps[-1]
        self._btf, self._bit_offset = btf, path.bit_offset
        self._type_id, self.bit_size = step.type_id, 0
        if step.name:
            owner = btf.type(step.type_id)
            assert isinstance(owner, Composite)
            member = owner.members[step.index]
            self._type_id, self.bit_size = btf.resolve(member.type_id)[0], member.bit_size
        self.is_bitfield = bool(self.bit_size)
        self.size_bytes = btf.size_bytes(self._type_id)
        self.byte_offset = self._bit_offset // 8
        if self.is_bitfield:
            self._widen()
        else:
            self.bit_size = self.size_bytes * 8

    def _widen(self) -> None:
        self.byte_offset = self._bit_offset // 8 // self.size_bytes * self.size_bytes
        while self._bit_offset + self.bit_size - self.byte_offset * 8 > self.size_bytes * 8:
            if self.size_bytes >= 8:
                raise BtfError("a bitfield cannot be read with one load")
            self.size_bytes *= 2
            self.byte_offset = self._bit_offset // 8 // self.size_bytes * self.size_bytes

    def bare(self) -> object:
        return self._btf.resolve(self._type_id)[1]

    def value(self, kind: str) -> int:
        within = self._bit_offset - self.byte_offset * 8
        if kind == "byte_off":
            return self.byte_offset
        if kind == "byte_sz":
            return self.size_bytes
        if kind == "rshift_u64":
            return 64 - self.bit_size
        if kind == "lshift_u64":
            return 64 - within - self.bit_size if self._btf.byteorder == "little" else (8 - self.size_bytes) * 8 + within
        bare = self.bare()
        return int(isinstance(bare, (Int, Enum)) and bare.signed)


def _same_root(local: object, target: object) -> bool:
    """Tell whether a type of the kernel may stand for one of the object by its kind."""
    if isinstance(local, Composite):
        return isinstance(target, Composite) and local.keyword == target.keyword
    if isinstance(local, Enum):
        return isinstance(target, Enum)
    if isinstance(local, Forward):
        return isinstance(target, Forward)
    return type(local) is type(target) and isinstance(local, (Typedef, Int))


def _own_path(btf: Btf, relocation: Relocation) -> Path:
    """Return where a relocation leads in the object's own types (``bpf_core_parse_spec``)."""
    first, *rest = relocation.steps
    if relocation.kind in ENUMERATOR_KINDS:
        bare_id, bare = btf.resolve(relocation.type_id)
        if not isinstance(bare, Enum) or rest or first >= len(bare.enumerators):
            raise _misfit(relocation)
        return Path(relocation.type_id, (Step(bare_id, first, bare.enumerators[first][0]),))
    if relocation.kind not in FIELD_KINDS:
        return Path(relocation.type_id)
    at, _bare = btf.resolve(relocation.type_id)
    steps, bit_offset = [Step(at, first)], first * btf.size_bytes(at) * 8
    for index in rest:
        at, bare = btf.resolve(at)
        if isinstance(bare, Composite) and index < len(bare.members):
            member = bare.members[index]
            if member.name:
                steps.append(Step(at, index, member.name))
            at, bit_offset = member.type_id, bit_offset + member.bit_offset
        elif isinstance(bare, Array):
            at = btf.resolve(bare.element)[0]
            steps.append(Step(at, index))
            bit_offset += index * btf.size_bytes(at) * 8
        else:
            raise _misfit(relocation)
    return Path(relocation.type_id, tuple(steps), bit_offset)


def _misfit(relocation: Relocation) -> BtfError:
    steps = ":".join(map(str, relocation.steps))
    return BtfError(
        f"relocation {steps} of {relocation.section} does not fit type {relocation.type_id}", "build the package again"
    )


def _find_member(btf: Btf, owner: int, name: str, depth: int) -> tuple[list[tuple[int, int]], Step, int, int] | None:
    """Return the members without a name that lead to a member, the member, its offset in bits, and its type."""
    owner, bare = btf.resolve(owner)
    if not isinstance(bare, Composite) or not depth:
        return None
    for index, member in enumerate(bare.members):
        if member.name == name:
            return [], Step(owner, index, name), member.bit_offset, member.type_id
        if not member.name:
            found = _find_member(btf, member.type_id, name, depth - 1)
            if found is not None:
                through, step, bit_offset, type_id = found
                return [(owner, index), *through], step, bit_offset + member.bit_offset, type_id
    return None


def _is_flexible(btf: Btf, step: Step, array: Array) -> bool:
    owner = btf.type(step.type_id)
    return bool(step.name) and not array.count and isinstance(owner, Composite) and step.index == len(owner.members) - 1


def _changes_meaning(local: Btf, own: Path, target: Btf, found: Path) -> bool:
    """Tell whether reading the field with the kernel's size would give something else; not of unsigned integers and pointers."""
    try:
        mine, theirs = _Field(local, own), _Field(target, found)
    except BtfError:
        return False
    if mine.size_bytes == theirs.size_bytes or mine.is_bitfield:
        return False
    one, other = mine.bare(), theirs.bare()
    if isinstance(one, Pointer) and isinstance(other, Pointer):
        return False
    return not (isinstance(one, Int) and isinstance(other, Int) and not one.signed and not other.signed)
