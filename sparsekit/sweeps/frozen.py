"""What a sweep was asked for, as it stands in its file: read, and sealed by who froze it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsekit.sweeps import schemas
from sparsekit.system import seals
from sparsekit.system.files import Damaged, parsed, read_json, spelled

SEAL = "seal"


def read_frozen(file: Path) -> dict[str, Any]:
    """Read what was asked for; Damaged where that cannot be it, or is not there as a file."""
    content: dict[str, Any] = read_json(file)
    try:
        schemas.frozen(content, "")
    except ValueError as error:
        raise Damaged(f"{file} is damaged: {error}") from error
    return content


def seal_of(content: Mapping[str, Any]) -> str | None:
    """Return this user's seal of what is asked for; None for a user who has none."""
    return seals.seal(_sealed_text(content))


def has_seal(content: Mapping[str, Any]) -> bool:
    """Say whether this user sealed what is asked for, as it is."""
    return seals.is_sealed(_sealed_text(content), content.get(SEAL))


def _sealed_text(frozen: Mapping[str, Any]) -> str:
    """Spell what is frozen in the way it is read again, where names are texts."""
    text = spelled({name: value for name, value in frozen.items() if name != SEAL})
    return spelled(parsed(text))
