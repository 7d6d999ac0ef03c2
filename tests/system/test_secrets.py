"""Keys and passwords are recognised by name and form; nothing else is."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparsekit.configuration.compose import CONFIGS
from sparsekit.system.secrets import MASK, masked, masked_here, masked_text, secret_variables

KEY = "deadbeef0123456789deadbeef0123456789abcd"


@pytest.mark.parametrize(
    "name",
    [
        "api_key", "apiKey", "API-KEY", "wandb_api_key", "WANDB_API_KEY", "password", "PGPASSWORD",
        "passphrase", "secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "private_key",
        "hf_token", "access_token", "authToken", "webhook_url", "credentials", "authorization",
    ],
)  # fmt: skip
def test_settings_are_recognised_by_their_names(name: str) -> None:
    assert masked({name: "pw", "other": "pw"}) == {name: MASK, "other": "pw"}
    assert masked({"a": [{name: ["pw", None, 3]}]}) == {"a": [{name: [MASK, None, 3]}]}
    assert masked({name: {"user": "me"}}) == {name: {"user": MASK}}
    assert masked_text(f"f({name}='p w', n=1) --{name} pw {name}: pw") == (
        f"f({name}='{MASK}', n=1) --{name} {MASK} {name}: {MASK}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "https://me:{}@host.org/data.tar",
        "postgresql://me:{}@host:5432/runs",
        "https://host.org/data?name=a&access_token={}&n=1",
        "export WANDB_API_KEY={} OTHER=1",
        "curl -H 'Authorization: Bearer {}' https://host.org",
        "wandb login --relogin {}",
        "srun --export=ALL,SOME_NAME={} --mem 3",
        "{{'api_key': '{}', 'n': 1}}",
        '{{"password": "{}"}}',
        "login --password {} --user me",
        "logger={{_target_:mine.Logger,api_key:{},n:1}}",
        "https://me:p/{}@host.org",
        "https://me:p@{}@host.org",
        "machine api.wandb.ai login user password {}",
        "tool ['--password', '{}', 'x']",
        "cluster.srun=['--export','ALL,SOME_NAME={}']",
        "cluster.setup.0='export A={}'",
    ],
)
def test_texts_say_what_is_a_key(text: str) -> None:
    assert masked_text(text.format("s3cr3t-pw")) == masked_text(text.format(KEY))
    whole = ("ALL,SOME_NAME=", "Bearer ", "p/", "p@", "'export A=")
    wanted = functools.reduce(lambda left, one: left.replace(one, ""), whole, text.format(MASK))
    assert masked_text(text.format(KEY)) == (wanted.rstrip("'") if "setup" in text else wanted)


@pytest.mark.parametrize(
    "key",
    [
        "hf_" + "aB3" * 10,
        "ghp_" + "aB3" * 12,
        "github_pat_" + "aB3_" * 10,
        "glpat-" + "aB3-" * 6,
        "sk-proj-" + "aB3-" * 8,
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_def",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----",
        f"local-{KEY}",
        "https://host.org/bot123456789:" + "aB3" * 12,
        f"https://{KEY}@host.org/1",
    ],
)
def test_keys_are_recognised_by_their_form(key: str) -> None:
    begin = "https://host.org/bot" * ("/bot" in key) + "https://" * ("@" in key)
    end = "@host.org/1" * ("@" in key)
    assert masked({"note": f"see {key} there"}) == {"note": f"see {begin}{MASK}{end} there"}


def test_what_only_looks_like_a_key_stays_apart_from_others() -> None:
    first, second = masked({"token": KEY})["token"], masked({"token": KEY[::-1]})["token"]
    assert KEY not in first
    assert first != second
    assert masked({"token": first}) == {"token": first}


@pytest.mark.parametrize(
    "value",
    [
        {"auth": ["me", "hunter2-hunter2"]},
        {"auth": "me:hunter2"},
        {"pass": "hunter2-hunter2"},
        {"cookie": "session=hunter2hunter2"},
        {"headers": [["X-Api-Key", KEY]]},
        {"argv": ["--db-password", "hunter2"]},
        {"srun": ["--export", "ALL,A=hunter2"]},
    ],
)
def test_what_stands_beside_a_word_is_hidden(value: dict[str, Any]) -> None:
    shown = str(masked(value))
    assert "hunter2" not in shown
    assert KEY not in shown
    assert "<masked" in shown
    assert "<masked" in str(masked({"typed": str(value)})) or "auth" in value


def test_prose_goes_on_after_a_name() -> None:
    said = f"data.api_key: no such argument; api_key={KEY}, {{'password': 'pw'}}, password:pw"
    assert masked_text(said, is_prose=True) == (
        f"data.api_key: no such argument; api_key={MASK}, {{'password': '{MASK}'}}, password:{MASK}"
    )
    assert masked_text(f"password='{KEY}': none") == f"password='{MASK}': none"
    assert masked_text("password=pw: none") == f"password={MASK}: none"


@pytest.mark.parametrize(
    "value",
    [
        {"columns": ["password", "age", "token", "height"], "flags": ["--token-dim", "--n", "3"]},
        {"forward_pass": "conv1block2", "address": "http://host:8080/a@b", "login": "node1:22"},
        {"tokenizer": "bert-base-uncased-v2", "keys": ["a1b2c3d4e5f6a7b8"], "pat": "*.conv1.w"},
        {"key": "ticket-3f698378a9d24ea734c4", "pad_token": "<pad>", "sort_key": "conv1.weight"},
        {
            "num_tokens": "512",
            "author": "me",
            "passes": "two",
            "token": "cls",
            "bypass": "1a2b3c4d5",
        },
        {"revision": KEY, "url": "https://host.org/a:b@c/d?name=a&n=1", "password": None},
        {"text": "the basic experiment; key: layer1.0.conv1.weight; a secret: nobody knows"[:50]},
        {"path": "/home/me/.ssh/key", "address": "me@host.org", "ssh": "ssh://git@host.org/a.git"},
    ],
)
def test_nothing_else_is_masked(value: dict[str, str]) -> None:
    assert masked(value) == value


def test_no_configuration_of_ours_has_anything_to_mask() -> None:
    for file in CONFIGS.glob("*/*.yaml"):
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        assert masked(content) == content, file


def test_keys_of_the_environment_are_masked_in_what_people_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("MY_PASSWORD", "correct horse")
    monkeypatch.setenv("SSH_AUTH", "/tmp/agent.123")
    monkeypatch.setenv("SHORT_SECRET", "no")
    assert {"WANDB_API_KEY", "MY_PASSWORD"} <= set(secret_variables())
    assert not {"SSH_AUTH", "SHORT_SECRET", "PATH"} & set(secret_variables())
    assert masked_here(f"no user {KEY}: correct horse") == f"no user {MASK}: {MASK}"


@pytest.mark.parametrize(
    "text", ["a_" * 100_000, "a." * 100_000, "token" * 50_000, "a://" * 50_000, "-" * 200_000]
)
def test_long_texts_are_masked_too(text: str) -> None:
    assert masked_text(f"{text} password=pw") == f"{text} password={MASK}"
