"""Keys and signatures, against Debian's minisign in both directions."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from ecli_py.trust.minisign import (
    KeyFormatError,
    SecretKey,
    SignatureError,
    generate,
    parse_public_key,
    parse_secret_key,
    parse_signature,
)
from tests.machine import missing

DATA = b'{"ecli": "a package"}'


def no_password() -> bytes:
    raise AssertionError("nobody should ask for a password")


@pytest.fixture
def key() -> SecretKey:
    return generate()


def minisign(directory: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    program = shutil.which("minisign")
    if program is None:
        missing("minisign")
    return subprocess.run([program, *words], cwd=directory, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def test_a_signature_holds(key: SecretKey) -> None:
    signature = parse_signature(key.sign(DATA, "made for a test"))
    signature.verify(DATA, key.public())
    assert (signature.prehashed, signature.trusted_comment) == (True, "made for a test")


@pytest.mark.parametrize("legacy", [False, True])
def test_every_altered_byte_is_noticed(key: SecretKey, legacy: bool) -> None:
    file = key.sign(DATA, "comment", legacy=legacy)
    signature = parse_signature(file)
    for index in range(len(DATA)):
        altered = DATA[:index] + bytes([DATA[index] ^ 1]) + DATA[index + 1 :]
        with pytest.raises(SignatureError, match="not what was signed"):
            signature.verify(altered, key.public())
    lines = file.decode().split("\n")
    for line in (1, 3):
        raw = base64.b64decode(lines[line])
        for index in range(len(raw)):
            changed = [*lines]
            changed[line] = base64.b64encode(raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]).decode()
            with pytest.raises(SignatureError):
                parse_signature("\n".join(changed).encode()).verify(DATA, key.public())
    with pytest.raises(SignatureError, match="trusted comment"):
        parse_signature(file.replace(b"trusted comment: comment", b"trusted comment: other")).verify(DATA, key.public())


def test_the_signature_of_another_package_is_refused(key: SecretKey) -> None:
    with pytest.raises(SignatureError, match="not what was signed"):
        parse_signature(key.sign(b"another package", "comment")).verify(DATA, key.public())


def test_another_key_is_refused(key: SecretKey) -> None:
    signature = parse_signature(key.sign(DATA, "comment"))
    with pytest.raises(SignatureError, match="not with"):
        signature.verify(DATA, generate().public())
    forged = generate()
    with pytest.raises(SignatureError, match="does not hold"):  # whoever takes the id of a key does not have the key
        signature.verify(DATA, SecretKey(key.id, forged.seed).public())


def test_keys_are_read_as_they_are_written(key: SecretKey) -> None:
    assert parse_secret_key(key.file(None), no_password) == key
    public = key.public()
    assert parse_public_key(public.file()) == parse_public_key(str(public).encode()) == public
    assert str(public).startswith("RW")


def test_an_encrypted_key_and_a_wrong_password(key: SecretKey) -> None:
    file = key.file(b"secret")
    assert key.seed.hex() not in file.hex()
    assert parse_secret_key(file, lambda: b"secret") == key
    with pytest.raises(KeyFormatError, match="password of the secret key is wrong"):
        parse_secret_key(file, lambda: b"Secret")


def test_a_key_that_asks_for_much_memory_is_refused(key: SecretKey) -> None:
    raw = bytearray(base64.b64decode(key.file(None).splitlines()[1]))
    raw[2:4] = b"Sc"
    raw[38:54] = b"\xff" * 16
    with pytest.raises(KeyFormatError, match="more than 1 GiB"):
        parse_secret_key(b"untrusted comment: x\n" + base64.b64encode(raw), no_password)


def test_what_is_no_key_and_no_signature(key: SecretKey) -> None:
    for data in (b"", b"RW", b"\xff\xfe", b"untrusted comment: x\nRWQ=\n", key.file(None), b"A" * 20000):
        with pytest.raises(KeyFormatError, match="no public key"):
            parse_public_key(data)
    for data in (b"", key.public().file(), b"untrusted comment: x\n!!\n"):
        with pytest.raises(KeyFormatError, match="no secret key"):
            parse_secret_key(data, no_password)
    signature = key.sign(DATA, "comment")
    for data in (b"", key.file(None), signature[:-30], signature + signature, signature.replace(b"trusted comment: ", b"x: ")):
        with pytest.raises(SignatureError, match="no signature"):
            parse_signature(data)
    with pytest.raises(SignatureError, match="one line"):
        key.sign(DATA, "two\nlines")


@pytest.mark.parametrize("legacy", [False, True])
def test_minisign_verifies_ours(key: SecretKey, tmp_path: Path, legacy: bool) -> None:
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "data.minisig").write_bytes(key.sign(DATA, "made by us", legacy=legacy))
    (tmp_path / "key.pub").write_bytes(key.public().file())
    done = minisign(tmp_path, "-Vm", "data", "-p", "key.pub")
    assert done.returncode == 0, done.stderr
    assert "Trusted comment: made by us" in done.stdout
    (tmp_path / "data").write_bytes(DATA + b" ")
    assert minisign(tmp_path, "-Vm", "data", "-p", "key.pub").returncode == 1


@pytest.mark.parametrize("options", [(), ("-l",)])
def test_we_verify_what_minisign_signs_with_our_key(key: SecretKey, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "key").write_bytes(key.file(None))
    done = minisign(tmp_path, "-Sm", "data", "-s", "key", "-t", "made by minisign", *options)
    assert done.returncode == 0, done.stderr
    signature = parse_signature((tmp_path / "data.minisig").read_bytes())
    signature.verify(DATA, key.public())
    assert (signature.prehashed, signature.trusted_comment) == (not options, "made by minisign")


def test_encrypted_keys_are_the_same_to_minisign(key: SecretKey, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    (tmp_path / "ours").write_bytes(key.file(b"ours"))
    done = minisign(tmp_path, "-Sm", "data", "-s", "ours", stdin="ours\n")
    assert done.returncode == 0, done.stderr
    parse_signature((tmp_path / "data.minisig").read_bytes()).verify(DATA, key.public())
    done = minisign(tmp_path, "-G", "-s", "theirs", "-p", "theirs.pub", stdin="theirs\ntheirs\n")
    assert done.returncode == 0, done.stderr
    theirs = parse_secret_key((tmp_path / "theirs").read_bytes(), lambda: b"theirs")
    assert theirs.public() == parse_public_key((tmp_path / "theirs.pub").read_bytes())
