"""Ed25519 keys and signatures as minisign writes them (https://jedisct1.github.io/minisign/, "Signature format" and below).

All files are lines of text: a comment that nothing protects, and base64. A signature has two: one of the data, or of its BLAKE2b
hash ("prehashed", which minisign makes too), and one of the first together with a *trusted comment*. All input is untrusted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ecli_py.trust.places import TrustError
from ecli_schemas.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LEGACY, PREHASHED = b"Ed", b"ED"
_COMMENT, _TRUSTED = "untrusted comment: ", "trusted comment: "
_SCRYPT, _NO_KDF, _BLAKE2B = b"Sc", b"\0\0", b"B2"
_SECRET = struct.Struct("<2s2s2s32sQQ104s")  # algorithm, derivation, checksum, salt, operations, memory; id, key and checksum
# crypto_pwhash_scryptsalsa208sha256_OPSLIMIT_SENSITIVE and MEMLIMIT_SENSITIVE of libsodium, as in minisign. A key that asks
# for more is refused: it would only take our memory.
_OPERATIONS, _MEMORY_BYTES = 1 << 25, 1 << 30
_MAX_FILE_SIZE_BYTES = 16 << 10
_MAX_COMMENT_LENGTH = 8000  # minisign's TRUSTEDCOMMENTMAXBYTES is 8192


class SignatureError(TrustError):
    """A signature does not hold, or is none."""


class KeyFormatError(TrustError):
    """What should be a key is none, or its password is wrong."""


class PublicKey(Record):
    """What signatures are verified with.

    Attributes:
        id: 8 bytes that tell keys apart; nothing more depends on them.
        key: The Ed25519 key, 32 bytes.
    """

    id: bytes
    key: bytes

    def __str__(self) -> str:
        return base64.b64encode(LEGACY + self.id + self.key).decode()

    @property
    def name(self) -> str:
        """Its id as minisign shows it."""
        return self.id[::-1].hex().upper()

    def file(self) -> bytes:
        """Return the contents of its file."""
        return f"{_COMMENT}minisign public key {self.name}\n{self}\n".encode()


class SecretKey(Record):
    """What signatures are made with.

    Attributes:
        id: As in the public key.
        seed: The Ed25519 seed, 32 bytes.
    """

    id: bytes
    seed: bytes

    def public(self) -> PublicKey:
        """Return the key that verifies what this one signs."""
        return PublicKey(self.id, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def file(self, password: bytes | None) -> bytes:
        """Return the contents of its file.

        Args:
            password: What encrypts it, which takes a second and 1 GiB of memory; ``None``: it is not encrypted.

        Raises:
            KeyFormatError: There is too little memory.
        """
        secret = self.seed + self.public().key
        checksum = hashlib.blake2b(LEGACY + self.id + secret, digest_size=32).digest()
        box, salt = self.id + secret + checksum, bytes(32)
        derivation, operations, memory_bytes, kind = _NO_KDF, 0, 0, "unencrypted"
        if password is not None:
            derivation, salt, operations, memory_bytes, kind = _SCRYPT, os.urandom(32), _OPERATIONS, _MEMORY_BYTES, "encrypted"
            box = _mask(box, password, salt, operations, memory_bytes)
        packed = _SECRET.pack(LEGACY, derivation, _BLAKE2B, salt, operations, memory_bytes, box)
        return f"{_COMMENT}minisign {kind} secret key\n{base64.b64encode(packed).decode()}\n".encode()

    def sign(self, data: bytes, trusted_comment: str, comment: str = "", *, legacy: bool = False) -> bytes:
        """Return the contents of a signature file.

        Args:
            data: What is signed.
            trusted_comment: What is signed with it: one line.
            comment: What is not: one line.
            legacy: Sign the data itself and not its hash, as minisign did before 0.10.

        Raises:
            SignatureError: A comment is too long, or more than a line.
        """
        comment = comment or f"signature of key {self.public().name}"
        for text in (trusted_comment, comment):
            if len(text.encode()) > _MAX_COMMENT_LENGTH or not text.replace("\t", " ").isprintable():
                raise SignatureError(
                    f"a comment must be one line of at most {_MAX_COMMENT_LENGTH} bytes of text", "choose another comment"
                )
        key = Ed25519PrivateKey.from_private_bytes(self.seed)
        signature = key.sign(data if legacy else hashlib.blake2b(data).digest())
        overall = key.sign(signature + trusted_comment.encode())
        first = base64.b64encode((LEGACY if legacy else PREHASHED) + self.id + signature).decode()
        return f"{_COMMENT}{comment}\n{first}\n{_TRUSTED}{trusted_comment}\n{base64.b64encode(overall).decode()}\n".encode()


class Signature(Record):
    """A signature file.

    Attributes:
        prehashed: The hash of the data is signed, and not the data.
        key_id: Id of the key that it claims to be of.
        signature: Of the data, 64 bytes.
        trusted_comment: True once :meth:`verify` has returned.
        overall: Signature of the first one and the trusted comment, 64 bytes.
    """

    prehashed: bool
    key_id: bytes
    signature: bytes
    trusted_comment: str
    overall: bytes

    def verify(self, data: bytes, key: PublicKey) -> None:
        """Return if this is a signature of the data by a key.

        Raises:
            SignatureError: It is not.
        """
        if not hmac.compare_digest(self.key_id, key.id):
            name = PublicKey(self.key_id, b"").name
            raise SignatureError(f"it is signed with the key {name}, not with {key.name}", "use the key of whoever signed it")
        try:
            public = Ed25519PublicKey.from_public_bytes(key.key)
            public.verify(self.signature, hashlib.blake2b(data).digest() if self.prehashed else data)
        except (InvalidSignature, ValueError) as error:
            raise SignatureError(
                f"the signature by the key {key.name} does not hold: the content is not what was signed", _TAMPERED
            ) from error
        try:
            public.verify(self.overall, self.signature + self.trusted_comment.encode())
        except InvalidSignature as error:
            raise SignatureError("the trusted comment of the signature is not what was signed", _TAMPERED) from error


_TAMPERED = "do not use it; fetch it again from where it was published, and ask its author if that fails, too"


def generate() -> SecretKey:
    """Return a new key."""
    return SecretKey(os.urandom(8), os.urandom(32))


def parse_public_key(data: bytes) -> PublicKey:
    """Return a public key: the contents of its file, or just the line ``RW…``.

    Raises:
        KeyFormatError: It is none.
    """
    lines = _lines(data)
    if len(lines) == 2 and lines[0].startswith(_COMMENT.strip()):
        del lines[0]
    raw = _decoded(lines[0]) if len(lines) == 1 else b""
    if len(raw) != 42 or raw[:2] != LEGACY:
        raise KeyFormatError("this is no public key of minisign's", "a public key is a line that begins with RW")
    return PublicKey(raw[2:10], raw[10:])


def parse_secret_key(data: bytes, ask: Callable[[], bytes]) -> SecretKey:
    """Return the secret key that the contents of its file are.

    Args:
        data: The contents.
        ask: Returns the password, if there is one.

    Raises:
        KeyFormatError: It is none, the password is wrong, or there is too little memory for it.
    """
    lines = _lines(data)
    raw = _decoded(lines[1]) if len(lines) == 2 and lines[0].startswith(_COMMENT.strip()) else b""
    problem = KeyFormatError("this is no secret key of minisign's", "`ecli-py keygen` makes one; NAME.pub is the public key")
    if len(raw) != _SECRET.size:
        raise problem
    algorithm, derivation, checksum_kind, salt, operations, memory_bytes, box = _SECRET.unpack(raw)
    if algorithm != LEGACY or checksum_kind != _BLAKE2B or derivation not in (_SCRYPT, _NO_KDF):
        raise problem
    if derivation == _SCRYPT:
        if operations > _OPERATIONS or memory_bytes > _MEMORY_BYTES:
            raise KeyFormatError("the secret key asks for more than 1 GiB of memory", "make a new one with `ecli-py keygen`")
        box = _mask(box, ask(), salt, operations, memory_bytes)
    key_id, secret, checksum = box[:8], box[8:72], box[72:]
    if not hmac.compare_digest(checksum, hashlib.blake2b(LEGACY + key_id + secret, digest_size=32).digest()):
        if derivation == _SCRYPT:
            raise KeyFormatError("the password of the secret key is wrong", "try again")
        raise KeyFormatError("the secret key is damaged", "take it from a copy")
    key = SecretKey(key_id, secret[:32])
    if key.public().key != secret[32:]:
        raise KeyFormatError("the secret key is damaged", "take it from a copy")
    return key


def parse_signature(data: bytes) -> Signature:
    """Return what the contents of a signature file are.

    Raises:
        SignatureError: They are none.
    """
    problem = SignatureError("this is no signature of minisign's", "a signature file has four lines")
    lines = _lines(data)
    if len(lines) != 4 or not lines[0].startswith(_COMMENT.strip()) or not lines[2].startswith(_TRUSTED):
        raise problem
    first, overall = _decoded(lines[1]), _decoded(lines[3])
    if len(first) != 74 or len(overall) != 64 or first[:2] not in (LEGACY, PREHASHED):
        raise problem
    return Signature(first[:2] == PREHASHED, first[2:10], first[10:], lines[2][len(_TRUSTED) :], overall)


def parse_signatures(data: bytes) -> list[Signature]:
    """Return what the contents of a signature file are that may have several signatures, one after another.

    Raises:
        SignatureError: Not one of them is a signature.
    """
    lines = data.removesuffix(b"\n").split(b"\n")
    found, problem = [], None
    for at in range(0, len(lines), 4):
        try:
            found.append(parse_signature(b"\n".join(lines[at : at + 4])))
        except SignatureError as error:
            problem = error
    if problem is not None and not found:
        raise problem
    return found


def _lines(data: bytes) -> list[str]:
    """Return the lines of a file; none if it cannot be one of ours."""
    if len(data) > _MAX_FILE_SIZE_BYTES:
        return []
    try:
        # Not splitlines: a comment may hold what that takes for the end of a line.
        return [line.removesuffix("\r") for line in data.decode().removesuffix("\n").split("\n")]
    except UnicodeDecodeError:
        return []


def _decoded(line: str) -> bytes:
    try:
        return base64.b64decode(line.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _mask(box: bytes, password: bytes, salt: bytes, operations: int, memory_bytes: int) -> bytes:
    """Encrypt or decrypt: the key stream is what scrypt makes of the password."""
    block_size, parallel, log2_cost = 8, 1, 0
    operations = max(operations, 32768)
    # pickparams, crypto_pwhash/scryptsalsa208sha256/pwhash_scryptsalsa208sha256.c of libsodium
    if operations < memory_bytes // 32:
        log2_cost = _log2(operations // (block_size * 4))
    else:
        log2_cost = _log2(memory_bytes // (block_size * 128))
        parallel = min((operations // 4) >> log2_cost, 0x3FFFFFFF) // block_size
    try:
        stream = hashlib.scrypt(
            password,
            salt=salt,
            n=1 << log2_cost,
            r=block_size,
            p=max(parallel, 1),
            maxmem=_MEMORY_BYTES + (64 << 20),
            dklen=len(box),
        )
    except (ValueError, MemoryError) as error:
        raise KeyFormatError(
            "there is too little memory for the password of the secret key: it takes 1 GiB", "use a machine that has more"
        ) from error
    return bytes(left ^ right for left, right in zip(box, stream, strict=True))


def _log2(limit: int) -> int:
    """Return the first n with 2ⁿ > limit / 2, at least 1."""
    return max((limit // 2).bit_length(), 1)
