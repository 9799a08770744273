"""Names of files as text that tables can hold.

A name on a local disk is bytes. Where they are no UTF-8, as GBK is not, Python writes each odd byte as a lone surrogate
(PEP 383), which neither Arrow nor JSON takes. Here such a byte is a character of a private area instead.
"""

from __future__ import annotations

SURROGATES, PRIVATE = 0xDC00, 0x10FE00
ODD_BYTES = range(0x80, 0x100)
_TEXT = {SURROGATES + byte: PRIVATE + byte for byte in ODD_BYTES}
_NAME = {private: surrogate for surrogate, private in _TEXT.items()}


def as_text(name: str) -> str:
    """A file's name, as the system gives it, in valid Unicode."""
    return name.translate(_TEXT)


def as_name(text: str) -> str:
    """The name that `as_text` wrote."""
    return text.translate(_NAME)
