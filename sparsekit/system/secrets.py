"""What nobody else may read: keys and passwords, masked before anything is stored or shown.

They are recognised by the name of a setting, and in texts by the name before them or by the form
that a service gives its keys. That is a function of the text alone, because descriptions of
results go through it too: a password decides no result. What is a key only by its looks (`token`,
`key`) leaves six digits of its SHA-256, so that two settings remain two.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "<masked>"
MASKED = re.compile(r"<masked(?: [0-9a-f]{6})?>")
SURE = (
    r"[a-z]*pass(?:word|wd|phrase|code)s?|secrets?|credentials?|bearer|authorization|webhook"
    r"|(?:api|access|private|secret|account|storage|encryption|signing|license|wandb|ssh|auth)_?key"
    r"|(?:access|auth|api|bearer|refresh|session|security|hf|hub|github|gitlab|git|bot)_?token"
)
LIKELY = r"token|auth|signature|sig|pat|key"
NAMES = rf"(?:[\w.-]*[_.-])?(?:{SURE}|{LIKELY})(?:_[a-z]+)?"
VALUE = r"(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\"&,;)}\]]+)"
SURE_NAME = re.compile(rf"(?:^|_)(?:{SURE})(?:_|$)")
LIKELY_NAME = re.compile(rf"(?:^|_)(?:{LIKELY})$")
EXPORT_NAME = re.compile(r"(?:^|_)export$")
WORD_IN_CAPITALS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
DRAWN = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z])(?!/)[\w+/=~-]{8,}")
DRAWN_KEY = re.compile(r"(?=(?:\D*\d){3})(?=[^A-Za-z]*[A-Za-z])(?!/)[\w+/=~-]{16,}")
OF_A_STAGE = re.compile(r"[a-z_]+-[0-9a-f]{20}")
FORMS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bgh[a-z]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bsk-[\w-]{20,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[a-z]-[\w-]{10,}|\bAIza[\w-]{35}"
    r"|\blocal-[0-9a-f]{40}\b|\bwandb_v\d_\w{20,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=hooks\.slack\.com/)[\w/]+|(?<=/api/webhooks/)[\w/-]+"
)
AFTER = re.compile(
    r"(\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s/@'\"]+(?=@)"
    r"|(authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\n]+"
    r"|(\bbearer\s+)(?=[^\s\d]*\d)[\w+/=~.-]{16,}"
    r"|(\bwandb login(?:\s+--\S+)*\s+)(?!-)[^\s'\"]+"
    r"|(--export[= ])[^\s'\"]*=[^\s'\"]*"
    r"|(\bexport['\"]?:\s*)(?:'[^']*=[^']*'|\"[^\"]*=[^\"]*\"|[^\s'\"}]*=[^\s'\"}]*)",
    re.IGNORECASE,
)
ASSIGNED = re.compile(rf"(?i)(?<![\w.-])(?P<name>{NAMES})(?P<is>['\"]?\s*[=:]\s*){VALUE}")
FLAGGED = re.compile(rf"(?i)(?<![\w-])(?P<name>--{NAMES})(?P<is>\s+)(?!-){VALUE}")
LEAST_CHARACTERS = 8


def masked(value: Any, name: str = "") -> Any:
    """Return plain data in which keys and passwords are masked; `name` is that of the value.

    >>> masked({"project": "a", "api_key": "2f1c", "url": "https://me:pw@host/a?n=1"})
    {'project': 'a', 'api_key': '<masked>', 'url': 'https://me:<masked>@host/a?n=1'}
    """
    if isinstance(value, Mapping):
        is_secret = SURE_NAME.search(_spelled(name))
        return {k: masked(one, f"{name}.{k}" if is_secret else str(k)) for k, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked(one, name) for one in value]
    if not isinstance(value, str) or not value:
        return value
    return _in_its_place(name, value) or masked_text(value)


def masked_text(text: str) -> str:
    """Return a text in which keys and passwords are masked, as far as it shows what they are.

    >>> masked_text("wandb.init(api_key='2f1c') with WANDB_API_KEY=2f1c")
    "wandb.init(api_key='<masked>') with WANDB_API_KEY=<masked>"
    """
    text = FORMS.sub(MASK, text)
    text = AFTER.sub(lambda found: "".join(filter(None, found.groups())) + MASK, text)
    return FLAGGED.sub(_named, ASSIGNED.sub(_named, text))


def masked_here(text: str) -> str:
    """Return a text for people, such as a traceback, also without the keys in this environment."""
    for value in sorted(secret_variables().values(), key=len, reverse=True):
        text = text.replace(value, MASK)
    return masked_text(text)


def secret_variables() -> dict[str, str]:
    """Return the environment variables whose names say that they hold a key or a password."""
    return {
        name: value
        for name, value in os.environ.items()
        if len(value) >= LEAST_CHARACTERS and value[0] != "/" and _in_its_place(name, value)
    }


def _named(found: re.Match[str]) -> str:
    value = found["value"]
    quote = value[0] if value[0] in "'\"" else ""
    mask = _in_its_place(found["name"], value.strip(quote) if quote else value)
    return found[0] if mask is None else f"{found['name']}{found['is']}{quote}{mask}{quote}"


@functools.lru_cache(maxsize=4096)
def _in_its_place(name: str, value: str) -> str | None:
    """Return what stands in the place of a value of this name; None if that may be read."""
    if not value or MASKED.fullmatch(value):
        return value or None
    name = _spelled(name)
    if SURE_NAME.search(name) or (EXPORT_NAME.search(name) and "=" in value):
        return MASK
    drawn = DRAWN_KEY if name.endswith("key") else DRAWN
    if LIKELY_NAME.search(name) and drawn.fullmatch(value) and not OF_A_STAGE.fullmatch(value):
        return f"<masked {hashlib.sha256(value.encode(errors='surrogateescape')).hexdigest()[:6]}>"
    return None


def _spelled(name: str) -> str:
    """Return a name in one spelling: words in small letters, with underscores between them."""
    return re.sub(r"[.-]", "_", WORD_IN_CAPITALS.sub("_", name).lower())
