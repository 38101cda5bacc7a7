"""The rules for names, pure: those of `names` in Runfeed's contract."""

from __future__ import annotations

import re
from typing import Any

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@|:+-]{0,127}")
TYPE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
KEY = re.compile(r"[!-~]{1,255}")

RULES = {
    RUN_ID: "must be 1 to 128 characters: a letter or digit, then letters, digits and . _ : @ -",
    USERNAME: "must be 1 to 128 characters: a letter or digit, then letters, digits and . _ @ | : + -",
    TYPE: "must be 1 to 64 characters: a small letter, then small letters, digits and _ . -",
    KEY: "must be 1 to 255 visible ASCII characters",
}


def name(pattern: re.Pattern[str], value: Any, field: str) -> str:
    """Returns value when it is text of that pattern. Raises ValueError that names the field and states the rule."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{field} {RULES[pattern]}")
    return value
