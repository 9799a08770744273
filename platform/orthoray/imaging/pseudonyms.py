"""Pseudonyms: keyed HMACs of identifiers (HMAC-SHA256), so that nothing leads back without the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from orthoray.errors import InputError

KEY_VARIABLE = "ORTHORAY_HMAC_KEY"
KEY_FILE_VARIABLE = "ORTHORAY_KEY_FILE"
DEFAULT_KEY_FILE = "~/.orthoray/key"
PUBLIC_KEY = b"orthoray: this source is public already; its pseudonyms protect nobody"
"""Key for sources whose card says ``phi_source: false``: the same everywhere, so that public datasets have equal ids.
It hides nothing and is not meant to: whoever has the public source can find an image of it again."""

FARTHEST_SHIFT_DAYS, NEAREST_SHIFT_DAYS = -4015, -365
"""Dates move back by one to eleven years."""

HOW_TO = (
    f"Make a key once and keep it safe:  mkdir -p ~/.orthoray && (umask 077; openssl rand -hex 32 > {DEFAULT_KEY_FILE})"
)


@dataclass(frozen=True, repr=False)
class Pseudonyms:
    """Makes ids. ``key_id`` tells two keys apart without revealing them."""

    key: bytes
    source: str

    @property
    def key_id(self) -> str:
        """Eight hexadecimal digits that name the key."""
        return hmac.new(self.key, b"orthoray key id", hashlib.sha256).hexdigest()[:8]

    def make(self, kind: str, value: str) -> str:
        """Pseudonym of ``value``: the kind's first letter and 20 hexadecimal digits. Empty stays empty."""
        return kind[0] + self._digest(kind, value).hex()[:20] if value else ""

    def uid(self, value: str) -> str:
        """Pseudonym of a DICOM unique identifier: ``2.25.`` and a number of 128 bits (PS3.5 B.2). Empty stays empty."""
        return f"2.25.{int.from_bytes(self._digest('dicom uid', value)[:16], 'big')}" if value else ""

    def shift_days(self, patient: str) -> int:
        """Whole days to add to every date of a patient: −4015 … −365, the same for all files of the patient."""
        spread = NEAREST_SHIFT_DAYS - FARTHEST_SHIFT_DAYS + 1
        return FARTHEST_SHIFT_DAYS + int.from_bytes(self._digest("date shift", patient), "big") % spread

    def seal(self, content: str) -> str:
        """Message authentication code of ``content``, 16 hexadecimal digits: only the key's holder can make it."""
        return self._digest("seal", content).hex()[:16]

    def _digest(self, domain: str, value: str) -> bytes:
        """HMAC-SHA256; a value in two domains, or of two sources, has two digests that nothing links."""
        message = "\x1f".join((domain, self.source, value)).encode(errors="surrogatepass")
        return hmac.new(self.key, message, hashlib.sha256).digest()


def pseudonyms(source: str, *, phi: bool) -> Pseudonyms:
    """The pseudonym maker of a source.

    Args:
        source: name of the source; equal identifiers of different sources get different ids.
        phi: False for images that are public already; a fixed key is then used.

    Raises:
        InputError: no key, a key that others may read, or one of fewer than 16 characters.
    """
    return Pseudonyms(_key() if phi else PUBLIC_KEY, source)


def _key() -> bytes:
    given = os.environ.get(KEY_VARIABLE)
    if given is None:
        given = _from_file(Path(os.environ.get(KEY_FILE_VARIABLE, DEFAULT_KEY_FILE)).expanduser())
    key = given.strip().encode()
    if len(key) < 16:
        raise InputError(f"the pseudonym key has {len(key)} characters; at least 16 are needed. {HOW_TO}")
    return key


def _from_file(file: Path) -> str:
    if not file.is_file():
        raise InputError(
            f"this card reads images of patients, and there is no pseudonym key (neither ${KEY_VARIABLE} nor {file}). "
            f"{HOW_TO}"
        )
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{file}: others may read this key. Run: chmod 600 {file}")
    return file.read_text(encoding="utf-8")
