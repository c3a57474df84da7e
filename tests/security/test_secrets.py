"""The installation's own secret, and the accounts that nobody made: there are none."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from orderkit.auth.models import ADMIN, CUSTOMER
from orderkit.db import Database
from orderkit.errors import ConfigurationError
from orderkit.migrating import migrate
from orderkit.schema import metadata
from orderkit.settings import Settings, load_settings
from tests.client import Client, running
from tests.engines import on_sqlite
from tests.factories import all_users
from tests.processes import Processes

WEAK = {
    "missing": "",
    "short": "kX3n-9dTq7PzLw0vYb5RcJm2HsGf8Ae",
    "one character": "x" * 64,
    "a word repeated": "correct-horse-" * 5,
    "digits in order": "1234567890" * 3 + "12",
    "the alphabet": "abcdefghijklmnopqrstuvwxyz0123456789",
    "the alphabet backwards": "9876543210zyxwvutsrqponmlkjihgfedcba",
    "hexadecimal digits in order": "0123456789abcdef" * 4,
    "two characters in turn": "ab" * 32,
    "a placeholder": "please-change-me-before-you-go-live-4711",
    "called a secret": "MySuperSecretKeyForTheShop-2026-xyz!",
    "called a password": "P4ss-Password-for-the-shop-of-ours-99",
    "called an example": "Example-Key-kX3n-9dTq7PzLw0vYb5RcJm2",
    "a default": "kX3n-default-9dTq7PzLw0vYb5RcJm2HsGf",
    "our name": "orderkit-kX3n-9dTq7PzLw0vYb5RcJm2HsG",
}
IN_PRODUCTION = {"ORDERKIT_ENV": "production", "ORDERKIT_ALLOW_TEST_PROVIDERS": "1"}


# ── the secret ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", WEAK)
def test_production_refuses_a_secret_that_is(kind: str) -> None:
    """OWASP ASVS 5.0 V13.3.1 and V11.5.1: secrets are random, and not those that software comes with."""
    with pytest.raises(ConfigurationError, match=r"^ORDERKIT_SECRET_KEY is (weak|not set)") as refused:
        load_settings(env="production", allow_test_providers=True, secret_key=WEAK[kind] or None)
    assert not WEAK[kind] or WEAK[kind] not in refused.value.detail


@pytest.mark.parametrize("make", [secrets.token_urlsafe, secrets.token_hex], ids=["base64", "hexadecimal"])
@pytest.mark.parametrize("size", [32, 48, 64])
def test_production_takes_any_random_secret(make: Callable[[int], str], size: int) -> None:
    """OWASP ASVS 5.0 V11.5.1."""
    for _ in range(50):
        load_settings(env="production", allow_test_providers=True, secret_key=make(size))


def test_production_takes_a_long_random_number() -> None:
    """OWASP ASVS 5.0 V11.5.1: 48 random digits hold 159 bits."""
    for _ in range(50):
        digits = "".join(secrets.choice("0123456789") for _ in range(48))
        load_settings(env="production", allow_test_providers=True, secret_key=digits)


@on_sqlite
@pytest.mark.parametrize("command", ["serve --port 0", "worker", "config check", "users list"])
@pytest.mark.parametrize("kind", ["missing", "digits in order"])
def test_nothing_runs_in_production_without_a_strong_secret(processes: Processes, command: str, kind: str) -> None:
    """OWASP ASVS 5.0 V13.3.1: refused at start, in one line that does not repeat the secret."""
    processes.env |= IN_PRODUCTION | {"ORDERKIT_SECRET_KEY": WEAK[kind]}
    done = processes.run(*command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ORDERKIT_SECRET_KEY is ")
    assert done.stderr.count("\n") == 1
    assert not WEAK[kind] or WEAK[kind] not in done.stderr


def test_every_development_installation_has_a_secret_of_its_own(tmp_path: Path) -> None:
    """OWASP ASVS 5.0 V13.3.1: no secret is in the code."""
    keys = {Settings(home=tmp_path / str(n)).signing_key for n in range(3)}
    assert len(keys) == 3


# ── accounts that nobody made ────────────────────────────────────────────────────────────────────────────────────────


def rows(database: Database, table: str) -> int:
    with database.reading() as session:
        return int(session.connection().execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_fresh_installation_has_roles_and_no_account_key_or_session(empty_database_url: str, tmp_path: Path) -> None:
    """OWASP ASVS 5.0 V6.3.2: there are no default accounts."""
    settings = Settings(_env_file=None, home=tmp_path, database_url=empty_database_url)
    database = Database(settings)
    try:
        migrate(database)
        with running(settings):
            found = {table for table in metadata.tables if rows(database, table)}
    finally:
        database.dispose()
    # What it may be seeded with: roles and what they may do, the relay's lease, the key it signs with, and its version.
    assert found & {"users", "sessions", "api_keys", "account_mails", "audit_log"} == set()
    assert "roles" in found


def test_no_default_account_can_log_in(api: Client) -> None:
    """OWASP ASVS 5.0 V6.3.2."""
    for name in ("admin", "root", "orderkit", "admin@orderkit.test", "admin@example.com", "demo@example.com"):
        for password in ("admin", "orderkit", "password", "changeme"):
            assert api.form("/token", {"username": name, "password": password}).status == 401


def test_whoever_registers_is_a_customer_and_cannot_say_otherwise(api: Client, database: Database) -> None:
    """OWASP ASVS 5.0 V8.2.2; OWASP API Security 2023 API3: the first to come is no admin."""
    ada = {"email": "ada@example.com", "password": "correct horse", "name": "Ada"}
    assert api.post("/register", ada | {"role": ADMIN}).pointers == ["#/role"]
    assert api.post("/register", ada).status == 201
    assert [user.role for user in all_users(database)] == [CUSTOMER]


def test_the_first_admin_is_made_on_the_command_line_on_purpose(processes: Processes, database: Database) -> None:
    """OWASP ASVS 5.0 V6.3.2."""
    assert processes.run("users", "create", "ada@example.com").returncode == 0
    assert processes.run("users", "create", "eve@example.com", "--admin").returncode == 0
    assert [user.role for user in all_users(database)] == [CUSTOMER, ADMIN]


@on_sqlite
def test_a_password_that_the_command_line_makes_up_is_new_each_time(processes: Processes) -> None:
    """OWASP ASVS 5.0 V6.4.1: initial passwords are random."""
    made = [processes.run("users", "create", f"{name}@example.com").stdout.split("password: ")[1] for name in "ab"]
    assert made[0] != made[1]
    assert all(len(one.split()[0]) >= 20 for one in made)
