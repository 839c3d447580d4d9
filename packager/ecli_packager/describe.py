"""What a package says about its object: read from the object itself and from the comments of its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from elftools.elf.elffile import ELFFile

from ecli_packager import unheeded
from ecli_packager.comments import Comment, comment_at, head_comment
from ecli_packager.ctypes_text import member_text, type_text
from ecli_packager.dwarf import Declarations
from ecli_packager.errors import CompileError
from ecli_packager.hooks import hooks_of
from ecli_packager.layout import layout
from ecli_packager.meanings import Meanings
from ecli_packager.names import find_type
from ecli_packager.sampling import STACK_TRACE_MAP_TYPE, is_histogram, kind_of_result, results, sampled_maps, stack_members
from ecli_packager.tags import Said
from ecli_runtime.btf import Array, Btf, Composite, Enum, Qualifier, Typedef
from ecli_runtime.decode.plan import make_plan
from ecli_runtime.decode.python import make_decoder
from ecli_runtime.errors import OptionError
from ecli_runtime.globals import KCONFIG, Global, find_globals, is_settable, pack_value
from ecli_runtime.libbpf.object import OpenMap, OpenObject, Program
from ecli_runtime.opening import LOST_SUFFIX
from ecli_schemas.annotations import ANNOTATIONS
from ecli_schemas.checks import Mismatch
from ecli_schemas.dialects import ATTACH_NUMBERS, ATTACH_OBJECTS
from ecli_schemas.model import Doc, EventType, Export, Hook, MapSpec, Member, Option, Package, ProgramSpec, Sample, StackTrace

if TYPE_CHECKING:
    from typing import Any

DEFAULT_INTERVAL_MS = 1000

_NOT_OFFERED = ("LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER")  # libbpf's own, in .kconfig
_ATTACH_WORDS = (*ATTACH_NUMBERS, *ATTACH_OBJECTS)


class Sources:
    """The author's files, for the comments in them.

    Args:
        texts: Path → text of each source; headers are read when a declaration turns out to be in one.
    """

    def __init__(self, texts: Mapping[Path, str]) -> None:
        self.texts = dict(texts)
        self._lines: dict[Path, list[str]] = {}
        self._says_meanings: dict[str, bool] = {}

    def comment(self, declared: Declarations, name: str) -> Comment:
        """Return the comment of a variable or function; an empty one if it has none.

        Raises:
            AnnotationError: An annotation in it cannot be understood.
        """
        place = declared.lines.get(name)
        return Comment() if place is None else self._comment(*place)

    def member_comment(self, name: str, file: str, line: int) -> Comment:
        """Return the comment of a member of a struct; an empty one if the file says no meanings.

        Raises:
            AnnotationError: An annotation in it cannot be understood.
        """
        if file not in self._says_meanings:
            self._says_meanings[file] = any("@mean" in each for each in self._lines_of(file))
        return self._comment(file, line, name) if self._says_meanings[file] else Comment()

    def _comment(self, file: str, line: int, member: str = "") -> Comment:
        return comment_at(file.removeprefix("./"), self._lines_of(file), line, member)

    def _lines_of(self, file: str) -> list[str]:
        """Return the lines of a file as an object names it, none if it cannot be read."""
        return next((lines for source in self.texts if (lines := self._read(source.parent / file))), [])

    def files(self, declared: Declarations) -> dict[str, list[str]]:
        """Return the lines of the author's files, those that he includes among them, by their names in comments."""
        included = {file for file, _line in declared.lines.values()} | {struct.file for struct in declared.structs}
        names = dict.fromkeys([path.name for path in self.texts])
        names.update(dict.fromkeys(sorted(each.removeprefix("./") for each in included if each)))
        return {name: self._lines_of(name) for name in names}

    def head(self) -> str:
        """Return how the first source describes itself."""
        return head_comment(self._read(next(iter(self.texts))))

    def _read(self, path: Path) -> list[str]:
        if path not in self._lines:
            text = self.texts.get(path)
            if text is None:
                try:
                    text = path.read_text(encoding="utf-8", errors="replace")
                except OSError:
                    text = ""
            self._lines[path] = text.splitlines()
        return self._lines[path]


def exports_of(maps: list[str], declared: Declarations, sources: Sources) -> dict[str, list[Said]]:
    """Return the types that ``@export`` annotations name for maps."""
    found = {}
    for name in maps:
        comment = sources.comment(declared, name)
        if comment.text_of("export"):
            where = f"{comment.written['export'].place()}: @export"
            found[name] = [Said.parse(each, where) for each in comment.text_of("export").split(",")]
    return found


def describe(
    name: str,
    object_name: str,
    data: bytes,
    types: Mapping[str, list[str]],
    declared: Declarations,
    sources: Sources,
    emptied: Callable[[], frozenset[str]] = frozenset,
    written: Callable[[], frozenset[str]] = frozenset,
) -> tuple[Package, str]:
    """Return the package of a linked object, and warnings of annotations that have no effect, a line each.

    Args:
        name: What people call it.
        object_name: Name given to libbpf.
        data: The object.
        types: Event map → C types of its events, which are in the object's BTF.
        declared: What the author's files declare.
        sources: The author's files.
        emptied: Returns the maps that programs delete entries of.
        written: Returns the global variables that programs write to.

    Raises:
        AnnotationError: An annotation cannot be understood.
        EcliError: The object cannot be described.
    """
    with OpenObject.open(data, object_name) as opened:
        btf = opened.btf
        comments = {each.name: sources.comment(declared, each.name) for each in opened.maps}
        found = _results(opened, declared, sources, written)
        samples = sampled_maps(opened, emptied, bool(found))
        stacks = any(each.type == STACK_TRACE_MAP_TYPE for each in opened.maps)
        specs = tuple(_map_spec(each, btf, comments[each.name], samples, stacks) for each in opened.maps)
        meanings = Meanings(declared, sources)
        program_comments = {each.name: sources.comment(declared, each.name) for each in opened.programs}
        hooks = hooks_of(opened.programs, program_comments, declared)
        options = tuple(option for option in _options(opened, declared, sources) if option.name not in found)
        package = Package(
            name=name,
            object_name=object_name,
            object=data,
            doc=_doc(btf, data, declared, sources),
            options=options,
            maps=specs,
            programs=tuple(_program_specs(opened.programs, program_comments, hooks)),
            exports=tuple(
                Export(map_name, tuple(_event_type(btf, each, meanings) for each in names)) for map_name, names in types.items()
            ),
            meanings=dict(_of_sampled(opened.maps, specs, btf, meanings)),
            results=found,
            hooks=hooks,
            format=1,
        )
        tunable = [sources.comment(declared, option.name) for option in options if option.section != KCONFIG]
        heeded = (
            (unheeded.OPTION_WORDS, tunable),
            (unheeded.RESULT_WORDS, [sources.comment(declared, each) for each in found]),
            (unheeded.MAP_WORDS, comments.values()),
            (unheeded.EVENT_MAP_WORDS, [comments[each] for each in types]),
            (unheeded.PROGRAM_WORDS, program_comments.values()),
            (unheeded.MEMBER_WORDS, meanings.heeded),
        )
    return package, "".join(unheeded.unheeded(sources.files(declared), heeded))


def _doc(btf: Btf, data: bytes, declared: Declarations, sources: Sources) -> Doc:
    section = next((each for each in btf.data_sections() if each.name == "license"), None)
    variable = getattr(btf.type(section.variables[0].type_id), "name", "") if section and section.variables else ""
    comment = sources.comment(declared, variable)
    elf_section = ELFFile(BytesIO(data)).get_section_by_name("license")
    spdx = elf_section.data().partition(b"\0")[0].decode("ascii", "replace") if elf_section else ""
    return Doc(
        brief=comment.text_of("brief") or sources.head(),
        details=comment.text_of("details"),
        version=comment.text_of("version"),
        description=comment.text_of("description"),
        license=comment.text_of("license") or spdx,
        homepage=comment.text_of("homepage"),
    )


def _options(opened: OpenObject, declared: Declarations, sources: Sources) -> list[Option]:
    btf = opened.btf
    sections = {each.data_section: each.initial_value() for each in opened.maps if each.data_section}
    counters = {each.name + LOST_SUFFIX for each in opened.maps}
    found = []
    owner: dict[tuple[str, str], tuple[str, Comment]] = {}  # long or short, and name → the variable that has it
    for variable in find_globals(btf):
        initial = sections.get(variable.section)
        if not is_settable(btf, variable.type_id) or variable.name in _NOT_OFFERED:
            continue
        if variable.name.startswith("__") or variable.name in counters or _is_folded(btf, variable):
            continue
        comment = sources.comment(declared, variable.name)
        if variable.section == KCONFIG:  # to be shown, not to be set
            text, c_type = comment.text_of("description") or comment.text, type_text(btf, variable.type_id)
            found.append(Option(variable.name, variable.section, c_type, long=variable.name, help=text))
            continue
        if initial is None:
            continue
        value = bytes(initial[variable.byte_offset : variable.byte_offset + variable.size_bytes])
        option = _option(btf, variable, value, comment)
        for key, flag in (("long", option.long), ("short", option.short)):
            other, its_comment = owner.setdefault((key, flag), (variable.name, comment))
            if flag and other != variable.name:
                said = comment if "cmdarg" in comment.annotations else its_comment
                message = f"{other} and {variable.name} cannot both be the option {flag}"
                raise said.error("cmdarg", message, "choose another name for one of them", key)
        found.append(option)
    return found


def _option(btf: Btf, variable: Global, value: bytes, comment: Comment) -> Option:
    said = _annotation(comment, "cmdarg") or {}
    _, bare = btf.resolve(variable.type_id)
    default = make_decoder(make_plan(btf, variable.type_id))(value)
    for word, key, annotated in (("value", "", comment.annotations.get("value")), ("cmdarg", "default", said.get("default"))):
        if annotated is not None:
            try:
                pack_value(btf, variable.type_id, annotated)
            except OptionError as error:
                raise comment.error(
                    word, str(error), f"{variable.name} has type {type_text(btf, variable.type_id)}", key
                ) from error
            default = annotated
    return Option(
        name=variable.name,
        section=variable.section,
        type=type_text(btf, variable.type_id),
        long=said.get("long") or variable.name,
        short=said.get("short") or "",
        help=said.get("help") or comment.text_of("description") or comment.text,
        default=default,
        choices=tuple(label for label, _ in bare.enumerators) if isinstance(bare, Enum) else (),
    )


def _is_folded(btf: Btf, variable: Global) -> bool:
    """Tell whether the compiler may have used the value of a constant instead of the variable: ``const`` without ``volatile``."""
    if not variable.section.startswith(".rodata"):
        return False
    found = btf.type(variable.type_id)
    while isinstance(found, (Typedef, Qualifier, Array)):
        if isinstance(found, Qualifier) and found.keyword == "volatile":
            return False
        found = btf.type(found.element if isinstance(found, Array) else found.target)
    return True


def _annotation(comment: Comment, word: str) -> Any:
    """Return what an annotation says, as the model has it; ``None`` where there is none."""
    if word not in comment.annotations:
        return None
    check, example = ANNOTATIONS[word]
    try:
        return check(comment.annotations[word])
    except Mismatch as mismatch:
        key = mismatch.path.rpartition(".")[2]
        raise comment.error(word, mismatch.message, f"for example: @{word} {example}", key) from None


def _results(
    opened: OpenObject, declared: Declarations, sources: Sources, written: Callable[[], frozenset[str]]
) -> dict[str, Sample]:
    """Return the global variables that are read periodically: those with results, and those of which ``@sample`` says it."""
    inferred = {each.name for each in results(opened, written)}
    found = {}
    for variable in find_globals(opened.btf):
        sample = _annotation(sources.comment(declared, variable.name), "sample")
        if sample is None and variable.name in inferred:
            sample = Sample(DEFAULT_INTERVAL_MS, kind_of_result(opened.btf, variable))
        if sample is not None:
            found[variable.name] = sample
    return found


def _map_spec(each: OpenMap, btf: Btf, comment: Comment, samples: frozenset[str], stacks: bool) -> MapSpec:
    sample = _annotation(comment, "sample")
    if sample is None and each.name in samples:
        histogram = is_histogram(btf, each.btf_value_type_id)
        sample = Sample(DEFAULT_INTERVAL_MS, "log2_hist" if histogram else "default_kv")
    stack_trace = _annotation(comment, "intepreter")
    # Without a map of stack traces, a member of that name is something else: how long a stack is that the key holds itself.
    if sample is not None and stack_trace is None and stacks and (members := stack_members(btf, each.btf_key_type_id)):
        stack_trace = StackTrace().replace(**members)
    return MapSpec(each.name, each.ident, mmaped=bool(each.data_section), sample=sample, stack_trace=stack_trace)


def _program_specs(programs: Sequence[Program], comments: Mapping[str, Comment], hooks: Sequence[Hook]) -> Iterator[ProgramSpec]:
    """Yield the programs; of those that are alternatives only the last choice: upstream attaches all that there are."""
    spared = {program.name for hook in hooks for each in hook.alternatives[:-1] for program in each.programs}
    for program in programs:
        comment = comments[program.name]
        attach = {word: _annotation(comment, word) for word in _ATTACH_WORDS if word in comment.annotations}
        if attach or program.name not in spared:
            yield ProgramSpec(program.name, program.section, attach=attach)


def _of_sampled(
    maps: Sequence[OpenMap], specs: Sequence[MapSpec], btf: Btf, meanings: Meanings
) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Yield what members of keys and values of sampled maps stand for, where the author says it."""
    for each, spec in zip(maps, specs, strict=True):
        roles = {"key": each.btf_key_type_id, "value": each.btf_value_type_id} if spec.sample else {}
        said = {role: found for role, type_id in roles.items() if (found := meanings.of(btf, type_id))}
        if said:
            yield each.name, said


def _event_type(btf: Btf, c_name: str, meanings: Meanings) -> EventType:
    type_id = find_type(btf, c_name)
    if type_id is None:
        raise CompileError(f"{c_name} did not get into the object's BTF", "", "compile with clang 14 or newer")
    _, bare = btf.resolve(type_id)
    members = bare.members if isinstance(bare, Composite) else ()
    return EventType(
        name=c_name.removeprefix("struct ").removeprefix("union "),
        size_bytes=btf.size_bytes(type_id),
        btf_id=type_id,
        members=tuple(Member(member.name, member_text(btf, member.type_id)) for member in members),
        layout=layout(btf, type_id),
        meanings=meanings.of(btf, type_id),
    )
