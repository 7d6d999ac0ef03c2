"""The name of the user, also where the system has none."""

from __future__ import annotations

import os
import pwd
from typing import NoReturn

import pytest

from sparsekit.system.users import VARIABLES, name_of, user_name


def unknown(uid: int) -> NoReturn:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


def test_the_name_is_the_systems_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = pwd.getpwuid(os.getuid()).pw_name
    for name in VARIABLES:
        monkeypatch.setenv(name, "somebody-else")
    assert user_name() == name_of(os.getuid()) == expected


def test_a_user_id_without_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert user_name() == name_of(os.getuid()) == str(os.getuid())
    monkeypatch.setenv("USER", "alice")
    assert user_name() == "alice"
    assert name_of(os.getuid()) == str(os.getuid())
