"""Packages in registries: what their artifacts look like, how one is pulled, and how it is pushed.

============  =========================================================  ====================================================
              of ours                                                    of WebAssembly modules, as upstream pushes them
============  =========================================================  ====================================================
artifactType  ``application/vnd.ecli.package.v1+json``                   none
config        ``application/vnd.oci.empty.v1+json``, ``{}``              ``application/vnd.wasm.config.v1+json``, ``{}``
layer         ``application/vnd.ecli.package.layer.v1+json``, or         ``application/vnd.wasm.content.layer.v1+wasm``
              ``….v1.tar`` for an archive with types of kernels
============  =========================================================  ====================================================

Packages for one machine each are manifests in an index, with the machine as ``platform``. A signature is an artifact of its own
(``application/vnd.ecli.signature.v1``) whose ``subject`` is the manifest. Nothing has a time in it: the same package pushed again
is the same artifact.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ecli_py.fetch.cache import Entry
from ecli_py.fetch.contents import JSON, TAR, WASM, check_digest, check_signature, kind_of
from ecli_py.fetch.download import Partial, retry, too_large
from ecli_py.fetch.errors import FetchError, MissingError, UnreachableError
from ecli_py.fetch.kept import denied, keep_absence, key_of, signature_key, usable, warn_of_age, warn_of_waiting
from ecli_py.fetch.options import MAX_SIGNATURE_SIZE_BYTES
from ecli_py.fetch.references import is_digest
from ecli_py.fetch.registry import INDEX, MANIFEST, Manifest, Registry, fallback_tag

if TYPE_CHECKING:
    from ecli_py.fetch.cache import Cache
    from ecli_py.fetch.options import FetchOptions
    from ecli_py.fetch.references import Reference

PACKAGE_TYPE = "application/vnd.ecli.package.v1+json"
PACKAGE_LAYER = "application/vnd.ecli.package.layer.v1+json"
ARCHIVE_LAYER = "application/vnd.ecli.package.layer.v1.tar"
SIGNATURE_TYPE = "application/vnd.ecli.signature.v1"
SIGNATURE_LAYER = "application/vnd.ecli.signature.layer.v1.minisig"
WASM_CONFIG = "application/vnd.wasm.config.v1+json"
WASM_LAYER = "application/vnd.wasm.content.layer.v1+wasm"
_EMPTY = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"

# How registries call machines: GOARCH.
ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "riscv64": "riscv64",
    "s390x": "s390x",
    "ppc64le": "ppc64le",
    "loongarch64": "loong64",
    "armv7l": "arm",
    "i686": "386",
    "mips64": "mips64",
}
_MAX_SIGNATURES = 16  # the last that were pushed count
REVALIDATION_S = 5.0  # how long a registry may keep somebody waiting who has a copy; a login takes several requests


@dataclass(frozen=True)
class Part:
    """A package to push.

    Attributes:
        content: Its bytes.
        title: Name of its file.
        annotations: What the manifest says of it.
        machine: The one machine that it is for, as ``uname -m`` names it; empty: all, or several.
        signature: Its signature, if it has one.
    """

    content: bytes
    title: str
    annotations: Mapping[str, str]
    machine: str = ""
    signature: bytes | None = None


# --- pulling ---


def fetch_artifact(place: Reference, cache: Cache, options: FetchOptions) -> tuple[Entry, bytes, bool]:
    """Return what a place in a registry stands for, its bytes, and whether the registry has just said so.

    Raises:
        FetchError: It cannot be had.
    """
    name, key = str(place), key_of(place)
    kept = usable(cache, key, place.pin)
    registry = Registry(place, options.insecure, options.patience_s)
    try:
        if kept is None:
            manifest = retry(lambda: registry.in_time(lambda: _resolve(registry, place)), options.patience_s)
        else:
            try:
                manifest = registry.in_time(lambda: _resolve(registry, place), min(REVALIDATION_S, options.patience_s))
            except UnreachableError as error:
                warn_of_age(name, kept[0], error, options)
                return *kept, False
            except FetchError as error:
                raise denied(error, kept[0]) from error
            if manifest.digest == kept[0].manifest:
                cache.confirm(key, kept[0])
                return *kept, True
        content = _pull(registry, manifest, name, cache, options)
    finally:
        registry.close()
    check_digest(name, content, place.pin)
    options.check(name, content)
    now = time.time()
    digest = cache.keep(content)
    entry = Entry(name, digest, len(content), manifest=manifest.digest, fetched_at=now, checked_at=now)
    cache.put(key, entry)
    return entry, content, True


def fetch_artifact_signature(place: Reference, manifest_digest: str, cache: Cache, options: FetchOptions) -> bytes | None:
    """Return the signatures that refer to a manifest, the last one first, one after another; ``None`` if there is none.

    Args:
        place: The repository.
        manifest_digest: Of what is signed; empty: what the place stands for now.
        cache: Where it is kept; that there is none is kept, too.
        options: How to fetch.

    Raises:
        FetchError: It cannot be had.
    """
    key = signature_key(place, manifest_digest)
    registry = Registry(place, options.insecure, options.patience_s)

    def find() -> bytes | None:
        found = registry.referrers(manifest_digest or _resolve(registry, place).digest, SIGNATURE_TYPE)
        with cache.lock(key, lambda: warn_of_waiting(str(place), options)):
            return b"".join(_signatures(registry, place, [each.get("digest") for each in reversed(found)], key, cache)) or None

    try:
        content = retry(lambda: registry.in_time(find), options.patience_s)
    finally:
        registry.close()
    if content is None:
        keep_absence(cache, key)
        return None
    now = time.time()
    cache.put(key, Entry(key, cache.keep(content), len(content), fetched_at=now, checked_at=now))
    return content


def _signatures(registry: Registry, place: Reference, digests: list[object], key: str, cache: Cache) -> Iterator[bytes]:
    """Yield the signatures in some artifacts; what is none is passed over, unless there is nothing else.

    Whoever may push to the repository could add one, which must not keep the others from counting.
    """
    name, problem, found = f"the signature of {place}", None, 0
    for digest in digests[:_MAX_SIGNATURES]:
        if not is_digest(digest):
            problem = FetchError(f"{place}: the registry's list of signatures cannot be read", "ask who runs the registry")
            continue
        try:
            layer = _choose_layer(registry.manifest(str(digest)), str(place), MAX_SIGNATURE_SIZE_BYTES)
            partial = Partial(cache.partial(f"{key} {digest}"))
            content = registry.blob(layer["digest"], layer["size"], partial, name, MAX_SIGNATURE_SIZE_BYTES).strip(b"\n")
            check_signature(name, content)
            whole = content.count(b"\n") % 4 == 3
        except UnreachableError:
            raise
        except FetchError as error:
            problem = error
            continue
        if not whole:
            problem = FetchError(f"{name} is no signature", "ask who published it")
            continue
        found += 1
        yield content + b"\n"
    if problem is not None and not found:
        raise problem


def _resolve(registry: Registry, place: Reference) -> Manifest:
    """Return the manifest that a place stands for on this machine."""
    found = registry.manifest(place.digest or place.tag)
    if "manifests" not in found.document:
        return found
    descriptor = _choose_manifest(found, str(place))
    manifest = registry.manifest(descriptor["digest"], descriptor["size"])
    if "manifests" in manifest.document:
        raise FetchError(f"{place} is an index of indexes", "name one of its manifests: oci://HOST/REPO@sha256:…")
    return manifest


def _choose_manifest(index: Manifest, name: str) -> dict[str, Any]:
    """Return the descriptor of the manifest for this machine."""
    here = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    every = index.document["manifests"]
    found = [each for each in every if _is_descriptor(each)] if isinstance(every, list) else []
    platforms = [each.get("platform") if isinstance(each.get("platform"), dict) else {} for each in found]
    for descriptor, platform in zip(found, platforms, strict=True):
        if platform.get("os", "linux") == "linux" and platform.get("architecture") == here:
            return dict(descriptor)
    there = sorted({str(each["architecture"]) for each in platforms if "architecture" in each})
    raise FetchError(f"{name} has no package for {here}", f"it has one for {', '.join(there) or 'no machine'}")


def _choose_layer(manifest: Manifest, name: str, max_size_bytes: int) -> dict[str, Any]:
    """Return the descriptor of the layer that is the package: of our types or upstream's, or the only one there is."""
    every = manifest.document.get("layers")
    found = [each for each in every if _is_descriptor(each)] if isinstance(every, list) else []
    ours = [each for each in found if each.get("mediaType") in (PACKAGE_LAYER, ARCHIVE_LAYER, WASM_LAYER, SIGNATURE_LAYER)]
    if not ours and any("image.layer" in str(each.get("mediaType")) or "rootfs" in str(each.get("mediaType")) for each in found):
        raise FetchError(f"{name} is a container image, not a package", "docker or podman runs it")
    if not ours and len(found) != 1:
        raise FetchError(f"{name} has {len(found)} layers, and none is a package", "`ecli-py push` makes artifacts that are")
    layer = dict((ours or found)[0])
    if layer["size"] > max_size_bytes:
        raise too_large(name, max_size_bytes)
    return layer


def _is_descriptor(value: object) -> bool:
    return (
        isinstance(value, dict)
        and is_digest(value.get("digest"))
        and isinstance(value.get("size"), int)
        and 0 <= value["size"] < 1 << 50
    )


def _pull(registry: Registry, manifest: Manifest, name: str, cache: Cache, options: FetchOptions) -> bytes:
    layer = _choose_layer(manifest, name, options.max_size_bytes)
    digest: str = layer["digest"]
    content = cache.blob(digest)
    if content is None:
        with cache.lock(digest, lambda: warn_of_waiting(name, options)):
            content = cache.blob(digest)  # whoever had the lock before may have fetched just this
            if content is None:
                content = registry.blob(digest, layer["size"], Partial(cache.partial(digest)), name, options.max_size_bytes)
    return content


# --- pushing ---


def push(
    place: Reference, parts: Sequence[Part], insecure: bool, patience_s: float, said: Callable[[str], object]
) -> tuple[str, int]:
    """Push a package, or one for each of several machines.

    Args:
        place: Where to, by a tag.
        parts: The packages; if there are several, each names its machine.
        insecure: The registry is asked over plain HTTP, though it is not on this machine.
        patience_s: Seconds that the registry may be silent.
        said: Called with a line of what has been done.

    Returns:
        Digest of the manifest, or of the index, and how many signatures were pushed.

    Raises:
        FetchError: The registry does not take it.
    """
    registry = Registry(place, insecure, patience_s)
    signatures = 0
    try:
        pushed = []
        for part in parts:
            manifest = _push_manifest(registry, part, place.tag if len(parts) == 1 else "")
            said(f"{part.title}: {len(part.content)} bytes, manifest {manifest.digest}")
            pushed.append(manifest)
            if part.signature is not None:
                _push_signature(registry, manifest, part.signature)
                signatures += 1
        if len(parts) == 1:
            return pushed[0].digest, signatures
        platforms = [{"os": "linux", "architecture": ARCHITECTURES.get(each.machine, each.machine)} for each in parts]
        manifests = [
            {**manifest.descriptor(), "platform": platform} for manifest, platform in zip(pushed, platforms, strict=True)
        ]
        index = {"schemaVersion": 2, "mediaType": INDEX, "artifactType": PACKAGE_TYPE, "manifests": manifests}
        annotations = _common([part.annotations for part in parts])
        return registry.put_manifest({**index, "annotations": annotations}, place.tag)[0].digest, signatures
    finally:
        registry.close()


def push_signature(place: Reference, signature: bytes, insecure: bool, patience_s: float) -> str:
    """Push the signature of what a place stands for on this machine; return the digest of the manifest that is signed.

    Raises:
        FetchError: The registry does not take it.
    """
    registry = Registry(place, insecure, patience_s)
    try:
        manifest = _resolve(registry, place)
        _push_signature(registry, manifest, signature)
        return manifest.digest
    finally:
        registry.close()


def _push_manifest(registry: Registry, part: Part, tag: str) -> Manifest:
    kind = kind_of(part.content)
    if kind == WASM:
        config, layer_type, artifact_type = WASM_CONFIG, WASM_LAYER, {}
    elif kind in (JSON, TAR):
        config, layer_type = _EMPTY, PACKAGE_LAYER if kind == JSON else ARCHIVE_LAYER
        artifact_type = {"artifactType": PACKAGE_TYPE}
    else:
        raise FetchError(f"{part.title} is no package", "only packages, WebAssembly modules and upstream's archives are pushed")
    layer = {**registry.upload(part.content, layer_type), "annotations": {TITLE: part.title}}
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        **artifact_type,
        "config": registry.upload(b"{}", config),
        "layers": [layer],
        "annotations": {TITLE: part.title, **part.annotations},
    }
    return registry.put_manifest(document, tag)[0]


def _push_signature(registry: Registry, subject: Manifest, signature: bytes) -> None:
    """Push a signature; a registry that keeps no list of what refers to a manifest gets an index that does."""
    check_signature("the signature", signature)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SIGNATURE_TYPE,
        "config": registry.upload(b"{}", _EMPTY),
        "layers": [registry.upload(signature, SIGNATURE_LAYER)],
        "subject": subject.descriptor(),
    }
    manifest, response = registry.put_manifest(document)
    if response.headers.get("OCI-Subject"):
        return
    tag = fallback_tag(subject.digest)
    try:
        every = registry.manifest(tag).document.get("manifests")
        before = [each for each in every if isinstance(each, dict)] if isinstance(every, list) else []
    except MissingError:
        before = []
    descriptor = {**manifest.descriptor(), "artifactType": SIGNATURE_TYPE}
    others = [each for each in before if each.get("digest") != manifest.digest]
    registry.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, descriptor]}, tag)


def _common(annotations: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what all parts say of themselves."""
    first, *others = annotations
    return {key: value for key, value in first.items() if all(each.get(key) == value for each in others)}
