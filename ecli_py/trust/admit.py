"""Between fetching and running: whose package it is, and whether it may do what it can do."""

from __future__ import annotations

import sys

from ecli_py.report import printable
from ecli_py.trust.allowances import ALL, OBSERVE, allowed_facts, word_for
from ecli_py.trust.places import TrustError
from ecli_py.trust.policy import Limits, load_policies, matches_any
from ecli_runtime.evidence import Evidence, find_evidence, map_memory
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ecli_py.fetch import Fetched
    from ecli_py.trust.keys import TrustedKey
    from ecli_py.trust.policy import Policy, Rule, WasmRights
    from ecli_runtime.evidence import Findings
    from ecli_schemas.model import MapBehaviour

_MAX_LINE_COUNT = 10  # of a refusal


class Terms(Record):
    """What holds of a package from somewhere.

    Attributes:
        rules: What policies say of its source.
        limits: What they say of all packages.
        remote: It is from another machine.
        wasm: What they say of Wasm modules.
    """

    rules: tuple[Rule, ...]
    limits: tuple[Limits, ...]
    remote: bool
    wasm: tuple[WasmRights, ...] = ()

    @property
    def allow(self) -> frozenset[str]:
        """Facts of a behaviour that are allowed if the command line does not say it."""
        said = [allowed_facts(rule.allow) for rule in self.rules if rule.allow is not None]
        return frozenset.intersection(*said) if said else allowed_facts((OBSERVE if self.remote else ALL,))

    @property
    def unsigned(self) -> tuple[str, str]:
        """What happens to a package that nobody here trusts has signed: ``ask``, ``refuse`` or ``run``, and who says so."""
        said = {rule.unsigned: rule.line for rule in self.rules if rule.unsigned is not None}
        for each in ("refuse", "ask", "run"):
            if each in said:
                return each, said[each]
        return ("ask" if self.remote else "run"), ""


def terms_for(source: str, *, remote: bool, policies: Iterable[Policy] | None = None) -> Terms:
    """Return what holds of packages from a source.

    Args:
        source: As :attr:`ecli_py.fetch.Fetched.source` has it.
        remote: It is another machine.
        policies: The policies; ``None``: those of this machine and user.

    Raises:
        TrustError: A policy cannot be read.
    """
    policies = load_policies() if policies is None else list(policies)
    rules = [policy.rule_for(source, remote=remote) for policy in policies]
    return Terms(
        rules=tuple([rule for rule in rules if rule]),
        limits=tuple([policy.limits for policy in policies]),
        remote=remote,
        wasm=tuple([policy.wasm for policy in policies]),
    )


def admit_signer(fetched: Fetched, terms: Terms, *, allow_unsigned: bool = False, ask: bool = True) -> TrustedKey | None:
    """Return whose package it is, ``None`` if nobody needs to have signed it. Nothing of it has been looked into yet.

    Args:
        fetched: What was fetched.
        terms: What holds of it.
        allow_unsigned: The user takes it unsigned.
        ask: Ask on a terminal, if there is one.

    Raises:
        FetchError: Its signature cannot be fetched.
        SignatureError: It has one that does not hold.
        TrustError: It must be signed, and is not, or by a key that does not count.
    """
    needed = [rule for rule in terms.rules if rule.keys]
    answer, said_by = terms.unsigned
    if not needed and answer == "run" and not terms.remote:
        return None
    signature = fetched.signature()
    signers, problem, hint = _signers(fetched, signature)
    names = [each.name for each in signers]
    for rule in needed:
        if not {*names} & {*rule.keys}:
            has = f"it is signed by {' and '.join(names)}" if names else problem
            raise TrustError(
                f"{fetched.reference} must be signed by {' or '.join(rule.keys)} ({rule.line}): {has}",
                "ask who publishes it for a signature, or change the policy" if names or signature is None else hint,
            )
    if signers or answer == "run":
        return signers[0] if signers else None
    if answer == "refuse":
        raise TrustError(f"{fetched.reference} must be signed ({said_by}): {problem}", hint)
    if not allow_unsigned and not (ask and _asked(fetched, problem)):
        raise TrustError(f"{fetched.reference}: {problem}", f"{hint}; or run it all the same with --allow-unsigned")
    return None


def _signers(fetched: Fetched, signature: bytes | None) -> tuple[list[TrustedKey], str, str]:
    """Return who has signed, or else what is missing and what can be done; raises where a signature does not hold."""
    if signature is None:
        return [], "it is not signed", f"ecli-py inspect {fetched.reference} tells what it can do"
    from ecli_py.trust.keys import trusted_keys
    from ecli_py.trust.minisign import SignatureError
    from ecli_py.trust.signers import UnknownSignerError, verify_signature

    try:
        return [each.trusted for each in verify_signature(fetched.content, signature, trusted_keys())], "", ""
    except UnknownSignerError as error:
        return [], str(error), error.hint
    except SignatureError as error:
        raise SignatureError(f"{fetched.reference}: {error}", error.hint) from error


def _asked(fetched: Fetched, problem: str) -> bool:
    """Ask whether to run it; False where there is nobody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(printable(f"{fetched.reference}: {problem}\n  {fetched.digest}\nRun it? [y/N] "))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def admit_behaviour(
    name: str,
    elf: bytes,
    object_name: str,
    terms: Terms,
    allow: tuple[str, ...] | None = None,
    maps: Iterable[MapBehaviour] | None = None,
) -> None:
    """Return if an object may do what it can do.

    Args:
        name: What the package is called, for messages.
        elf: The object.
        object_name: As the package has it.
        terms: What holds of it.
        allow: What the command line allows, instead of what is said for its source.
        maps: Its maps as they will be made, whatever sizes the user wants; ``None``: as they are in the object.

    Raises:
        TrustError: It may not; the message names instructions and lines, and the hint the option that would allow it.
        EcliError: The object is broken.
    """
    permitted = terms.allow if allow is None else allowed_facts(allow)
    limits = [each for each in terms.limits if each != Limits(each.path)]
    if permitted >= allowed_facts((ALL,)) and not limits:
        return
    findings = find_evidence(elf, object_name)
    for each in limits:
        _check_limits(name, findings, each, findings.behaviour.maps if maps is None else tuple(maps))
    refused = {fact: shown for fact, shown in findings.facts.items() if fact not in permitted}
    if not refused:
        return
    words = dict.fromkeys(word_for(fact) for fact in refused)
    already = [] if allow is None else [word for word in allow if word != OBSERVE]
    option = f"--allow {','.join([*already, *words])}"
    raise TrustError(
        f"{name} may not do all that it can do:\n" + _lines(_told(refused)),
        f"{option} lets it run, if you trust whoever made it; `ecli-py inspect {name}` tells more",
    )


def _told(refused: dict[str, tuple[Evidence, ...]]) -> Iterator[str]:
    from ecli_py.render.inspection import FACT_WORDS

    for fact, shown in refused.items():
        for evidence in shown:
            yield f"it {FACT_WORDS[fact]} (--allow {word_for(fact)}): {evidence}"


def _lines(texts: Iterable[str]) -> str:
    """Return lines of a message, each of which a package has a part in."""
    lines = [printable(text.replace("\n", " ")) for text in texts]
    more = [f"and {len(lines) - _MAX_LINE_COUNT} more"] if len(lines) > _MAX_LINE_COUNT else []
    return "\n".join(f"  {line}" for line in (*lines[:_MAX_LINE_COUNT], *more))


def _check_limits(name: str, findings: Findings, limits: Limits, maps: tuple[MapBehaviour, ...]) -> None:
    """Raise where an object is beyond the limits of a policy."""
    problems = [*_beyond(findings, limits), *_memory_beyond(maps, limits.map_memory_bytes)]
    if problems:
        raise TrustError(
            f"{name} is beyond the limits of {limits.path}:\n" + _lines(problems),
            f"[limits] of {limits.path} says what is allowed",
        )


def _beyond(findings: Findings, limits: Limits) -> Iterator[str]:
    behaviour = findings.behaviour
    if limits.allow is not None:
        allowed = allowed_facts(limits.allow)
        for fact, shown in findings.facts.items():
            if fact not in allowed:
                for line in _told({fact: shown[:1]}):
                    yield line.replace(f"--allow {word_for(fact)}", f'allow = ["{word_for(fact)}"]')
    for program in behaviour.programs:
        section = program.section.removeprefix("?")
        if limits.program_types is not None and not matches_any(program.type, limits.program_types):
            yield f"{program.name} is of type {program.type} (program_types)"
        if limits.attach is not None and not matches_any(section, limits.attach):
            yield f"{program.name} is attached at {section} (attach)"
        elif matches_any(section, limits.deny_attach):
            yield f"{program.name} is attached at {section} (deny_attach)"
    for called, evidence in findings.calls.items():
        if limits.helpers is not None and not matches_any(called, limits.helpers):
            yield f"{evidence} (helpers)"
        elif matches_any(called, limits.deny_helpers):
            yield f"{evidence} (deny_helpers)"


def _memory_beyond(maps: tuple[MapBehaviour, ...], limit: int | None) -> Iterator[str]:
    if limit is None:
        return
    from ecli_py.render.plain import size_text

    total = 0
    for name, memory in map_memory(maps):
        if memory is None:
            yield f"the memory of map {name} has no bound (map_memory)"
        else:
            total += memory
    if total > limit:
        yield f"its maps can take {size_text(total)}, and {size_text(limit)} are allowed (map_memory)"
