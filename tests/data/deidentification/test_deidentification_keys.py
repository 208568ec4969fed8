"""Keys: what follows from them is fixed, differs between keys and labels, and shows nothing of them."""

import copy
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamedica.data.deidentification.keys import MOST_DAYS, VARIABLE, Key
from metamedica.errors import InputError

SECRET = b"0123456789abcdef"


def test_a_uid_is_the_hmac_of_the_old_one() -> None:
    expected = hmac.new(SECRET, b"uid\x001.2.3", hashlib.sha256).digest()[:16]
    assert Key(SECRET).uid("1.2.3") == f"2.25.{int.from_bytes(expected, 'big')}"


@given(st.text(min_size=1), st.binary(min_size=16, max_size=40).filter(lambda secret: len(set(secret)) > 1))
def test_pseudonyms_are_legal_and_differ_between_keys(original: str, secret: bytes) -> None:
    pytest.importorskip("pydicom")
    from pydicom.uid import UID

    key, other = Key(secret), Key(secret + b"x")
    assert UID(key.uid(original)).is_valid
    assert len(key.pseudonym(original)) == 17
    assert 1 <= key.days(original) <= MOST_DAYS
    assert key.uid(original) != other.uid(original)
    assert key.pseudonym(original) != other.pseudonym(original)
    assert key.digest("a", original.encode()) != key.digest("b", original.encode())


def test_a_key_is_never_shown_nor_copied_into_a_file() -> None:
    key = Key(SECRET)
    assert SECRET.decode() not in repr(key) + str(key) + str(vars(type(key)))
    with pytest.raises(TypeError, match="a key is not copied"):
        copy.copy(key)


@pytest.mark.parametrize("secret", [b"", b"short", b"123456789012345", b"a" * 64])
def test_a_weak_key_is_refused_without_showing_it(secret: bytes) -> None:
    with pytest.raises(InputError, match=r"16 random ones or more are wanted: make one with 'openssl") as caught:
        Key(secret)
    assert not secret or secret.decode() not in str(caught.value)


def test_keys_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(SECRET + b"\r\n")
    monkeypatch.setenv(VARIABLE, SECRET.decode())
    assert Key.from_file(tmp_path / "key").uid("1") == Key.from_environment().uid("1") == Key(SECRET).uid("1")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(InputError, match=f"give a key file, or set {VARIABLE}"):
        Key.from_environment()
    with pytest.raises(InputError, match="no such key file"):
        Key.from_file(tmp_path / "none")
