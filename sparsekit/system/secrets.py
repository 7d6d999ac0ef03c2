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
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MASK = "<masked>"
MASKED = re.compile(r"<masked(?: [0-9a-f]{6})?>")
SURE = (
    r"[a-z]*pass(?:word|wd|phrase|code)s?|secrets?|credentials?|bearer|authorization|webhook"
    r"|(?:api|access|private|secret|account|storage|encryption|signing|license|wandb|ssh|auth)_?key"
    r"|(?:access|auth|api|bearer|refresh|session|security|hf|hub|github|gitlab|git|bot)_?token"
)
LIKELY = (
    r"token|auth|signature|sig|pat|key"
    r"|(?<!_)pass|(?:db|user|smtp)_pass|pwd|pw|userpwd|cookies?|jwt|login"
)
NAMES = rf"(?:[\w.-]*[_.-])?(?:{SURE}|{LIKELY})(?:_[a-z]+)?"
VALUE = r"(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\"&,;)}\]]*[^\s'\"&,;)}\]:])"
LOGIN = re.compile(r"(?![a-z]+://)[^\s:/]+:[^\s/:]{4,}")
LOGIN_NAME = re.compile(r"(?:^|_)(?:auth|login|userpwd)$")
FLAG = re.compile(r"--?[A-Za-z][\w-]*")
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
    r"|(?<=hooks\.slack\.com/)[\w/]+|(?<=/api/webhooks/)[\w/-]+|(?<=/bot)\d{6,}:[\w-]{30,}"
)
AFTER = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@'\"]*:)(?:[^\s/'\"]{1,256}|(?!\d+/)[^\s@'\"]{1,256})(?=@)"
    r"|(\b[a-z][a-z0-9+.-]{0,20}://)(?=(?:[a-z_-]*\d){3})(?=[\d_-]*[a-z])[\w-]{16,}(?=@)"
    r"|(\b(?:machine\s+\S+|default)\s+login\s+\S+\s+password\s+)[^\s'\"]+"
    r"|(\bcluster\.setup\b[^\s=]*=)[^\n]+"
    r"|(authorization['\"]?\s*[:=]\s*['\"]?)[^'\"\n]+"
    r"|(\bbearer\s+)(?=[^\s\d]*\d)[\w+/=~.-]{16,}"
    r"|(\bwandb login(?:\s+--\S+)*\s+)(?!-)[^\s'\"]+"
    r"|(--export(?:[= ]|['\"]\s*,\s*['\"]))[^\s'\"]*=[^\s'\"]*"
    r"|(\bexport(?:['\"]?:|['\"],)\s*)(?:'[^']*=[^']*'|\"[^\"]*=[^\"]*\"|[^\s'\"}]*=[^\s'\"}]*)",
    re.IGNORECASE,
)
ASSIGNED = re.compile(rf"(?i)(?<![\w.-])(?P<name>{NAMES})(?P<is>['\"]?\s*[=:]\s*){VALUE}")
# Without `password: no such setting`.
IN_PROSE = re.compile(
    rf"(?i)(?<![\w.-])(?P<name>{NAMES})"
    rf"(?P<is>['\"]?\s*=\s*|['\"]\s*:\s*|:\s*(?=['\"])|:(?! )){VALUE}"
)
FLAGGED = re.compile(rf"(?i)(?<![\w-])(?P<name>--{NAMES})(?P<is>\s+)(?!-){VALUE}")
PAIRED = re.compile(rf"(?i)(?<![\w.-])(?P<name>(?:--)?{NAMES})(?P<is>['\"]?\s*,\s*)(?!-){VALUE}")
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
        before = ["", *value]
        return [
            _after(word, one) or masked(one, name) for word, one in zip(before, value, strict=False)
        ]
    if not isinstance(value, str) or not value:
        return value
    return _in_its_place(name, value) or masked_text(value)


def hidden_in(value: Any, name: str = "") -> Iterator[str]:
    """Yield the texts of plain data that `masked` replaces as a whole, unless they are short.

    >>> list(hidden_in({"project": "a", "api_key": "2f1c90ab", "to": {"password": "me"}}))
    ['2f1c90ab']
    """
    if isinstance(value, Mapping):
        is_secret = SURE_NAME.search(_spelled(name))
        for key, one in value.items():
            yield from hidden_in(one, f"{name}.{key}" if is_secret else str(key))
    elif isinstance(value, list | tuple):
        for word, one in zip(["", *value], value, strict=False):
            yield from [one] if _after(word, one) else hidden_in(one, name)
    elif isinstance(value, str) and len(value) >= LEAST_CHARACTERS:
        yield from [value] if _in_its_place(name, value) not in (None, value) else []


def masked_text(text: str, *, is_prose: bool = False) -> str:
    """Return a text in which keys and passwords are masked, as far as it shows what they are.

    In prose a word after a colon goes on with what is said.

    >>> masked_text("wandb.init(api_key='2f1c') with WANDB_API_KEY=2f1c")
    "wandb.init(api_key='<masked>') with WANDB_API_KEY=<masked>"
    """
    text = FORMS.sub(MASK, text)
    text = AFTER.sub(lambda found: "".join(filter(None, found.groups())) + MASK, text)
    text = FLAGGED.sub(_named, (IN_PROSE if is_prose else ASSIGNED).sub(_named, text))
    return PAIRED.sub(_next, text)


def masked_here(text: str, *, is_prose: bool = False) -> str:
    """Return a text for people, such as a traceback, also without the keys in this environment."""
    for value in sorted(secret_variables().values(), key=len, reverse=True):
        text = text.replace(value, MASK)
    return masked_text(text, is_prose=is_prose)


def secret_variables() -> dict[str, str]:
    """Return the environment variables whose names say that they hold a key or a password."""
    return {
        name: value
        for name, value in os.environ.items()
        if len(value) >= LEAST_CHARACTERS and value[0] != "/" and _in_its_place(name, value)
    }


def _named(found: re.Match[str]) -> str:
    return _replaced(found, _in_its_place)


def _next(found: re.Match[str]) -> str:
    return _replaced(found, _after)


def _replaced(found: re.Match[str], mask_of: Callable[[str, str], str | None]) -> str:
    value = found["value"]
    quote = value[0] if value[0] in "'\"" else ""
    mask = mask_of(found["name"], value.strip(quote) if quote else value)
    return found[0] if mask is None else f"{found['name']}{found['is']}{quote}{mask}{quote}"


def _after(word: Any, value: Any) -> str | None:
    """Return what stands in the place of a value that follows a word in a list, as in a command.

    A list of names may hold `password` too: what follows has to look like a key, then.
    """
    if not isinstance(word, str) or not isinstance(value, str) or not value:
        return None
    if FLAG.fullmatch(word):
        return None if value[0] == "-" else _in_its_place(word.strip("-"), value)
    is_name = SURE_NAME.search(_spelled(word)) or LIKELY_NAME.search(_spelled(word))
    is_drawn = " " not in word and DRAWN_KEY.fullmatch(value)
    return _digested(value) if is_name and is_drawn and not OF_A_STAGE.fullmatch(value) else None


@functools.lru_cache(maxsize=4096)
def _in_its_place(name: str, value: str) -> str | None:
    """Return what stands in the place of a value of this name; None if that may be read."""
    if not value or MASKED.fullmatch(value):
        return value or None
    name = _spelled(name)
    if SURE_NAME.search(name) or (EXPORT_NAME.search(name) and "=" in value):
        return MASK
    if not LIKELY_NAME.search(name) or OF_A_STAGE.fullmatch(value):
        return None
    drawn = DRAWN_KEY if name.endswith("key") else DRAWN
    is_login = LOGIN_NAME.search(name) and LOGIN.fullmatch(value)
    return _digested(value) if is_login or drawn.fullmatch(value) else None


def _digested(value: str) -> str:
    """Return a mask that keeps two values apart."""
    return f"<masked {hashlib.sha256(value.encode(errors='surrogateescape')).hexdigest()[:6]}>"


def _spelled(name: str) -> str:
    """Return a name in one spelling: words in small letters, with underscores between them."""
    return re.sub(r"[.-]", "_", WORD_IN_CAPITALS.sub("_", name).lower())
