"""Why programs and maps of an object cannot be loaded into a kernel."""

from __future__ import annotations

import struct

from ecli_runtime.attach.since import OPTION, SINCE
from ecli_runtime.btf import Composite, DataSection, Enum, Func
from ecli_runtime.code import code_sections, instruction_layout, section_names
from ecli_runtime.core.records import Relocation, relocations
from ecli_runtime.core.resolve import Resolver
from ecli_runtime.errors import BtfError
from ecli_runtime.helpers import helper_name, helper_since
from ecli_runtime.line_info import SourceLines
from ecli_runtime.map_errors import SINCE as MAP_TYPE_SINCE
from ecli_runtime.portability import facts
from ecli_runtime.portability.externs import Externs
from ecli_runtime.portability.problem import Problem
from ecli_runtime.portability.reach import Patch, Reached, Walk
from ecli_runtime.portability.values import Data, Pointer
from ecli_runtime.relocations import difference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ecli_runtime.btf import Btf
    from ecli_runtime.code import Target
    from ecli_runtime.core.resolve import KernelTypes
    from ecli_runtime.libbpf.object import OpenMap, OpenObject, Program
    from ecli_runtime.portability.kernel import KernelView
    from ecli_runtime.portability.reach import Place
    from ecli_runtime.portability.values import Value

_LOADS_AND_STORES = frozenset((1, 2, 3))  # classes of instructions
_TRACING, _STRUCT_OPS, _LSM, _SYSCALL = 26, 27, 29, 31
_ATOMIC_STORE = 0xC3  # of 4 and 8 bytes
_MAP_STRUCT_OPS, _MAP_BLOOM_FILTER = 26, 30
_SPIN_LOCK, _MAP_PEEK, _D_PATH = 93, 89, 147
# libbpf makes bpf_probe_read of these where the kernel has not yet what tells user's memory from the kernel's (sanitize_prog).
_OLD_READS = frozenset((112, 113, 114, 115))
# What helpers a program may call depends on more than its type here, which trying does not show.
_HELPERS_BY_ATTACH_TYPE = frozenset((8, 9, 13, 18, 25))
# What else there is to a type of programs than its number.
_ON_FUNCTIONS = frozenset(("fentry", "fexit", "fmod_ret"))


class Judge:
    """Judges the programs of one object on one kernel.

    Args:
        opened: The object.
        data: Its bytes.
        local: Its types, as they are in the file.
        view: The kernel.
        types: What relocations are resolved against: the kernel's types, or what the package brings of them.

    Attributes:
        needs_types: It has relocations, so there must be such types.
        externs: What the object expects to find by name.
    """

    def __init__(self, opened: OpenObject, data: bytes, local: Btf, view: KernelView, types: KernelTypes | None) -> None:
        self._opened, self._data, self._local, self._view, self._types = opened, data, local, view, types
        self._sections, self._layout = code_sections(data), instruction_layout(data)
        self._names = section_names(data)
        self._constants = {
            each.data_section: bytes(memory)
            for each in opened.maps
            if each.data_section.startswith(".rodata") and (memory := each.initial_value()) is not None
        }
        self.externs = Externs(data, local, view)
        self._lines = SourceLines(data)
        self._patches = self._resolve()
        self._global_functions = self._find_global_functions()

    # Relocations.

    def _resolve(self) -> dict[Place, Patch]:
        sections = {each.name: each for each in self._sections.values()}
        patches: dict[Place, Patch] = {}
        wanted = relocations(self._data, self._local)
        self.needs_types = bool(wanted)
        if self._types is None:
            return patches
        resolver = Resolver(self._local, self._types)
        for each in wanted:
            section = sections.get(each.section)
            if section is None or each.byte_offset + 8 > len(section.code):
                continue
            answer = resolver.resolve(each)
            is_access = section.code[each.byte_offset] & 7 in _LOADS_AND_STORES
            place = (section.index, each.byte_offset // 8)
            if answer.problem or answer.value is None or (is_access and not answer.fits_loads):
                patches[place] = Patch(None, answer.problem or each)
            elif not is_access:
                patches[place] = Patch(answer.value)
        return patches

    def _find_global_functions(self) -> frozenset[Place]:
        names = {each.name for _id, each in self._local.types() if isinstance(each, Func) and each.linkage == 1}
        return frozenset(
            (section.index, function.byte_offset // 8)
            for section in self._sections.values()
            for function in section.functions
            if function.name in names
        )

    def _value_of(self, target: Target, immediate: int) -> Value:
        if not target.section:
            return self.externs.value(target.name)
        name = self._names[target.section] if target.section < len(self._names) else ""
        data = self._constants.get(name)
        return Pointer() if data is None else Data(data, target.byte_offset + immediate)

    def problems_of_types(self) -> Iterator[Problem]:
        """Return whether types of the kernel are wanted, and there are none."""
        if self.needs_types and self._types is None:
            hint = "`ecli-py build --btf-archive` puts what it needs of such kernels' types into the package"
            yield Problem("types", "it reads the kernel's types, and this kernel has no BTF", hint)

    # Programs.

    def problems_of_code(self, program: Program) -> list[Problem]:
        """Return why a program cannot be loaded, whatever it is attached to."""
        found = list(self._of_type(program))
        reached = Reached()
        walk = Walk(self._sections, self._layout, self._patches, self._value_of, reached, self._global_functions)
        for section in self._sections.values():
            for function in section.functions:
                if function.name == program.name and section.name.removeprefix("?") == program.section:
                    walk.follow(section.index, function.byte_offset // 8)
        parts = self._parts(program)
        self._note_atomics(parts, reached)
        found += self._of_relocations(frozenset(parts), reached)
        found += self._of_helpers(program, reached)
        found += self._of_verifier(program, reached)
        found += self._of_kfuncs(program, reached)
        for feature, place in reached.features.items():
            fact = facts.CODE[feature]
            if not self._view.has(fact):
                found.append(Problem("byte code", f"it {fact.what}{self._at(place)}, which needs Linux {fact.since}"))
        return found

    def _at(self, place: Place) -> str:
        line = self._lines.at((place[0], place[1] * 8))
        return f" at {line}" if line is not None else ""

    def _of_type(self, program: Program) -> Iterator[Problem]:
        kind = program.section.partition("/")[0]
        if not program.type:
            yield Problem("program type", f'libbpf does not know SEC("{program.section}")')
            return
        if self._is_refused(program, kind.removesuffix(".s")):
            option = OPTION.get(kind.removesuffix(".s"), "")
            hint = f"it may be built without {option}, or locked down" if option else ""
            yield Problem("program type", f"this kernel refuses programs of {kind}, as trying showed", hint)
        elif self._is_unknown(program, kind.removesuffix(".s")):
            since = SINCE.get(program.section) or SINCE.get(kind.removesuffix(".s"))
            text = f"this kernel has no programs of {kind}"
            yield Problem("program type", text, f"they need Linux {since}" if since else "")
        if kind.endswith(".s"):
            yield from self._of_sleepable(program, kind.removesuffix(".s"))

    def _is_refused(self, program: Program, kind: str) -> bool:
        if program.type == _TRACING and kind not in _ON_FUNCTIONS:
            return False  # others of that type are taken where these are refused, which are what is tried
        return self._view.takes_program_type(program.type) is False

    def _is_unknown(self, program: Program, kind: str) -> bool:
        view, since, attach_type = self._view, SINCE.get(program.section) or SINCE.get(kind), program.expected_attach_type
        if not view.has_number("bpf_prog_type", program.type, since):
            return True
        if kind == "xdp.frags" and since is not None:  # a flag, which no enum shows
            return not view.is_at_least(since)
        return attach_type in facts.ATTACH_TYPES and not view.has_number(
            "bpf_attach_type", attach_type, facts.ATTACH_TYPES[attach_type]
        )

    def _of_sleepable(self, program: Program, kind: str) -> Iterator[Problem]:
        fact, hook = facts.SLEEPABLE.get(kind), program.section.partition("/")[2]
        if fact is not None and not self._view.has(fact):
            yield Problem("program type", f"it {fact.what}, which needs Linux {fact.since}")
        elif program.type == _LSM and hook not in facts.SLEEPABLE_LSM_HOOKS_OF_5_10:
            fact = facts.SLEEPABLE_LSM_HOOKS
            if not self._view.has(fact):
                yield Problem("program type", f"it {fact.what}, which needs Linux {fact.since}")

    def _of_relocations(self, parts: Collection[Place], reached: Reached) -> Iterator[Problem]:
        said = set()
        for place, patch in self._fatal(parts, reached):
            wanted = patch.problem
            if isinstance(wanted, Relocation):
                problem = self._of_relocation(place, wanted)
            else:
                problem = Problem("types", f"{wanted}{self._at(place)}")
            if problem.text not in said:
                said.add(problem.text)
                yield problem

    def _fatal(self, parts: Collection[Place], reached: Reached) -> Iterator[tuple[Place, Patch]]:
        """Yield relocations that keep a program from being loaded: some do wherever they are, others if they are reached."""
        yield from reached.invalid.items()
        for place, patch in self._patches.items():
            is_fatal = isinstance(patch.problem, str) or (patch.problem is not None and not reached.complete)
            if is_fatal and place in parts and place not in reached.invalid:
                yield place, patch

    def _parts(self, program: Program) -> list[Place]:
        """Return the instructions that libbpf makes a program of, functions that are only called where nothing leads included."""
        lines = self._lines.of_program(program.section, program.name)
        return [(section, byte_offset // 8) for section, byte_offset in lines.places] if lines is not None else []

    def _note_atomics(self, parts: Collection[Place], reached: Reached) -> None:
        """Note atomic operations wherever they are: kernels without them look at each instruction for what is reserved."""
        unpack = struct.Struct(self._layout).unpack_from
        for section, index in parts:
            opcode, _registers, _offset, immediate = unpack(self._sections[section].code, index * 8)
            if opcode & 0xE7 == _ATOMIC_STORE and immediate:
                reached.features.setdefault("atomics", (section, index))

    def _of_relocation(self, place: Place, relocation: Relocation) -> Problem:
        keyword, owner, path = self._described(relocation)
        types = self._types
        assert types is not None  # without, nothing is resolved
        problem, near = difference(types.btf, keyword, owner, path)
        line = self._lines.at((place[0], place[1] * 8))
        return Problem("types", problem + (f", which {line} wants" if line is not None else ""), near)

    def _described(self, relocation: Relocation) -> tuple[str, str, list[str]]:
        """Return what a relocation asks for: keyword, type, and names of members or of an enumerator."""
        local = self._local
        root = local.type(relocation.type_id)
        _, bare = local.resolve(relocation.type_id)
        owner = getattr(root, "name", "") or getattr(bare, "name", "")
        keyword = root.keyword if isinstance(root, Composite) else "enum" if isinstance(root, Enum) else "typedef"
        path: list[str] = []
        if isinstance(bare, Enum):
            if relocation.kind.startswith("enumval") and relocation.steps[0] < len(bare.enumerators):
                path = [bare.enumerators[relocation.steps[0]][0]]
        else:
            at = relocation.type_id
            for step in relocation.steps[1:]:
                at, bare = local.resolve(at)
                if isinstance(bare, Composite) and step < len(bare.members):
                    if bare.members[step].name:
                        path.append(bare.members[step].name)
                    at = bare.members[step].type_id
                else:
                    at = getattr(bare, "element", 0)
        return keyword, owner.partition("___")[0], path

    def _of_helpers(self, program: Program, reached: Reached) -> Iterator[Problem]:
        view = self._view
        tried = (view.snapshot.helpers or {}).get(program.type)
        for number, place in reached.helpers.items():
            name = helper_name(number)
            if not view.has_helper(number):
                if number in _OLD_READS:
                    continue
                since = helper_since(number)
                yield Problem(
                    "helper",
                    f"this kernel has no {name}, which it calls{self._at(place)}",
                    f"Linux {since} has it" if since else "",
                )
            elif program.type not in facts.HELPER_TYPES.get(number, (program.type,)) or (
                tried is not None and number not in tried and program.type not in _HELPERS_BY_ATTACH_TYPE
            ):
                yield Problem(
                    "helper", f"programs of type {program.type_name} may not call {name} there, as it does{self._at(place)}"
                )
        if program.type == _SYSCALL or program.section.partition("/")[0].endswith(".s"):
            yield from self._of_sleep(reached)

    def _of_sleep(self, reached: Reached) -> Iterator[Problem]:
        """Return what a program does that kernels once did not let programs do that may sleep."""
        view, fact = self._view, facts.SPIN_LOCK_IN_SLEEPABLE
        if _SPIN_LOCK in reached.helpers and not view.has(fact):
            yield Problem("helper", f"it {fact.what}{self._at(reached.helpers[_SPIN_LOCK])}, which needs Linux {fact.since}")
        for each in self._opened.maps:
            since = facts.SLEEPABLE_MAPS.get(each.type, "")
            if each.name in reached.symbols and not (since and view.is_at_least(since)):
                text = f"a program that may sleep may not use maps of type {each.type_name}, as {each.name} is"
                yield Problem("map", text, f"Linux {since} allows it" if since else "a hash or an array may serve")

    def _of_kfuncs(self, program: Program, reached: Reached) -> Iterator[Problem]:
        for name, place in reached.kfuncs.items():
            if name in self.externs.absent:
                yield Problem("kfunc", f"this kernel has no kfunc {name}, which it calls{self._at(place)}")
            elif name.startswith(facts.TRACING_KFUNCS):
                since = facts.TRACING_KFUNC_TYPES.get(program.type)
                if since is not None and not (since and self._view.is_at_least(since)):
                    text = f"programs of type {program.type_name} may not call {name}, as it does{self._at(place)}"
                    yield Problem("kfunc", text, f"Linux {since} allows it" if since else "those of tp_btf and fentry may")

    def _of_verifier(self, program: Program, reached: Reached) -> Iterator[Problem]:
        """Return what verifiers of some versions are known to refuse, though others take it."""
        view, hook = self._view, program.section.partition("/")[2]
        first, fixed = facts.LSM_RESULTS
        if program.type == _LSM and view.is_at_least(first) and not view.is_at_least(fixed):
            fits = [isinstance(each, int) and (each == 0 or each > (1 << 64) - 4096) for each in reached.results]
            if not all(fits) and view.returns_something(f"bpf_lsm_{hook}"):
                text = f"Linux {first} wants to see that what it returns is from -4095 to 0, as 64 bits"
                yield Problem("verifier", text, "return constants, or check the range of a long before it is returned")
        uses_filters = any(each.type == _MAP_BLOOM_FILTER for each in self._opened.maps)
        if uses_filters and _MAP_PEEK in reached.helpers and view.is_at_least(facts.BLOOM_FILTER_BROKEN):
            text = f"Linux {facts.BLOOM_FILTER_BROKEN} does not let it look into a Bloom filter with a key on its stack"
            yield Problem("verifier", text + self._at(reached.helpers[_MAP_PEEK]), "keep the key in a map, or use a hash")

        kind, _, function = program.section.partition("/")
        is_at_function = kind.removesuffix(".s") in _ON_FUNCTIONS
        if _D_PATH in reached.helpers and is_at_function and function not in facts.D_PATH_FUNCTIONS:
            text = f"bpf_d_path may not be called at {function or 'any function'}, as it does{self._at(reached.helpers[_D_PATH])}"
            yield Problem("helper", text, f"kernels allow it at {', '.join(sorted(facts.D_PATH_FUNCTIONS))}")

    # Maps.

    def problems_of_maps(self) -> Iterator[Problem]:
        """Return why maps cannot be made."""
        for each in self._opened.maps:
            if not each.autocreate:
                continue
            since = MAP_TYPE_SINCE.get(each.type)
            tried = (self._view.snapshot.map_types or {}).get(each.type)
            if tried is False or (tried is None and not self._view.has_number("bpf_map_type", each.type, since)):
                hint = f"maps of that type need Linux {since}" if since else ""
                yield Problem("map", f"this kernel has no maps of type {each.type_name}, as {each.name} is", hint)
            elif each.type == _MAP_STRUCT_OPS:
                yield from self._of_callbacks(each)

    def _of_callbacks(self, each: OpenMap) -> Iterator[Problem]:
        """Return why a struct of callbacks is none that the kernel takes (``bpf_map__init_kern_struct_ops``)."""
        local, types = self._local, self._view.types
        name = next((found for found in self._types_of_variable(each.name)), "")
        if types is None:
            yield Problem("target", f"{each.name}: callbacks take a kernel with BTF")
            return
        if not self._view.has_struct(f"bpf_struct_ops_{name}"):
            yield Problem("target", f"this kernel takes no callbacks of struct {name}, as {each.name} is")
            return
        mine = next((t for _id, t in local.types() if isinstance(t, Composite) and t.name == name), None)
        theirs = next((types.btf.type(i) for i in types.named(name) if isinstance(types.btf.type(i), Composite)), None)
        if isinstance(mine, Composite) and isinstance(theirs, Composite):
            known = {member.name for member in theirs.members}
            memory = each.initial_value()
            value = bytes(memory) if memory is not None else b""
            for member in mine.members:
                start = member.bit_offset // 8
                try:
                    is_set = any(value[start : start + local.size_bytes(member.type_id)])
                except BtfError:
                    continue
                if member.name and member.name not in known and is_set:
                    yield Problem("target", f"this kernel's struct {name} has no {member.name}, which {each.name} sets")

    def _types_of_variable(self, name: str) -> Iterator[str]:
        for section in self._local.data_sections():
            if isinstance(section, DataSection) and section.name.startswith((".struct_ops", "?.struct_ops")):
                for variable in section.variables:
                    found = self._local.type(variable.type_id)
                    if getattr(found, "name", "") == name:
                        bare = self._local.resolve(getattr(found, "type_id", 0))[1]
                        if isinstance(bare, Composite):
                            yield bare.name
