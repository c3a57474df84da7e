"""Configuration: everything wrong is told at once, secrets never, and nothing starts half configured."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from orderkit.db import Database
from orderkit.errors import ConfigurationError
from orderkit.settings import MIN_SECRET_CHARACTERS, PREFIX, Settings, load_settings

STRONG = "kX3n-9dTq7PzLw0vYb5RcJm2HsGf8AeU"


def configure(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"{PREFIX}{name.upper()}", value)


def problems() -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert "\n" not in raised.value.detail
    return raised.value.detail.removesuffix(" (orderkit config show lists all settings)").split("; ")


def test_nothing_needs_to_be_configured() -> None:
    settings = load_settings()
    assert settings.resolved_database_url == "sqlite:///.orderkit/orderkit.db"
    assert (settings.env, settings.gateway, settings.carrier_name) == ("development", "builtin", "builtin")
    assert settings.redis_url is None


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(
        monkeypatch,
        env="production",
        gateway="paypal",
        db_pool_size="many",
        db_timeout="0",
        lease="-1",
        redis_url="localhost:6379",
        simulator_url="localhost",
        database_url="mysql://host/name",
        databse_url="sqlite://",
        carrier="simulator",
    )
    told = problems()
    names = [one.split()[0] for one in told if one.startswith(PREFIX)]
    expected = (
        "DATABSE_URL GATEWAY DB_POOL_SIZE DB_TIMEOUT LEASE REDIS_URL SIMULATOR_URL DATABASE_URL SECRET_KEY CARRIER"
    )
    assert sorted(names) == sorted(f"{PREFIX}{name}" for name in expected.split())


def test_what_is_wrong_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, database_url="oracle://db", redis_url="6379", log_level="LOUD")
    assert problems() == [
        "ORDERKIT_DATABASE_URL names oracle",
        "only sqlite and postgresql are supported",
        "ORDERKIT_REDIS_URL is not a URL that begins with redis:// or rediss:// or unix://",
        "ORDERKIT_LOG_LEVEL has to be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
    ]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("db_pool_size", "many", "has to be a whole number"),
        ("db_pool_size", "1.5", "has to be a whole number"),
        ("db_timeout", "soon", "has to be a number"),
        ("db_timeout", "0", "has to be more than 0"),
        ("breaker_failures", "0", "has to be 1 or more"),
        ("worker_metrics_port", "70000", "has to be 65535 or less"),
        ("worker_metrics_port", "none", "has to be a whole number"),
        ("gateway", "paypal", "has to be 'builtin' or 'simulator'"),
        ("allow_test_providers", "perhaps", "has to be 1 or 0, which mean yes and no"),
        ("mail_from", "x", "has to have 3 or more characters"),
    ],
)
def test_what_a_setting_has_to_be_is_said_without_the_words_of_a_library_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    configure(monkeypatch, **{name: value})
    assert problems() == [f"ORDERKIT_{name.upper()} {told}"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ORDERKIT_DATABASE", ", did you mean ORDERKIT_DATABASE_URL?"),
        ("ORDERKIT_", ""),
        ("orderkit_secret", ", did you mean ORDERKIT_SECRET_KEY?"),
        ("ORDERKIT_DB_TIMEOUT_S", ", did you mean ORDERKIT_DB_TIMEOUT?"),
        ("ORDERKIT_XYZZY", ""),
    ],
)
def test_an_unknown_name_is_a_problem(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(name, "1")
    assert problems() == [f"{name} in the environment is not a setting{meant}"]


def test_an_unknown_name_in_the_env_file_is_a_problem_and_other_programs_names_are_not() -> None:
    Path(".env").write_text("ORDERKIT_DBTIMEOUT=3\nPATH_OF_ANOTHER=1\nANOTHER\nORDERKIT_DB_TIMEOUT=3\n")
    assert problems() == ["ORDERKIT_DBTIMEOUT in .env is not a setting, did you mean ORDERKIT_DB_TIMEOUT?"]


def test_a_line_of_the_env_file_that_sets_nothing_is_a_problem_told_once(caplog: pytest.LogCaptureFixture) -> None:
    Path(".env").write_text("# one\nfoo bar\n\n\nORDERKIT_LEASE\nORDERKIT_DB_TIMEOUT=never\n")
    assert problems() == [
        ".env line 2 is not NAME=value",
        ".env line 5 is not NAME=value",
        "ORDERKIT_DB_TIMEOUT has to be a number",
    ]
    assert caplog.messages == []


def test_an_env_file_that_is_not_utf_8_is_a_problem_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_bytes("ORDERKIT_HOME=Café\n".encode("latin-1"))
    configure(monkeypatch, env="test")
    assert problems() == [".env is not UTF-8", "ORDERKIT_ENV has to be 'development' or 'production'"]


def test_the_environment_wins_over_the_env_file_and_arguments_over_both(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("ORDERKIT_DB_TIMEOUT=3\nORDERKIT_BREAKER_OPEN_FOR=3\nORDERKIT_RETRY_CAP=3\n")
    configure(monkeypatch, breaker_open_for="4", retry_cap="4")
    settings = load_settings(retry_cap=5)
    assert (settings.db_timeout, settings.breaker_open_for, settings.retry_cap) == (3, 4, 5)


def test_an_empty_value_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, database_url="", redis_url="", secret_key="", carrier="", db_timeout="")
    assert load_settings() == Settings()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_name_postgresql_means_psycopg(scheme: str) -> None:
    settings = load_settings(database_url=f"{scheme}://user:p%40ss@host:5433/name?sslmode=require")
    database = Database(settings)
    assert database.engine.dialect.driver == "psycopg"
    assert (database.url.password, database.url.port, database.url.query["sslmode"]) == ("p@ss", 5433, "require")
    assert not database.is_sqlite


SECRET_TEXT = "hunter2"


@pytest.mark.parametrize(
    "wrong",
    [
        {"database_url": f"mysql://user:{SECRET_TEXT}@host/name"},
        {"database_url": f"postgres://user:p@host:{SECRET_TEXT}@host/name"},
        {"database_url": f"{SECRET_TEXT}"},
        {"redis_url": f"http://:{SECRET_TEXT}@host"},
        {"simulator_url": f"ftp://user:{SECRET_TEXT}@host"},
        {"env": "production", "secret_key": SECRET_TEXT},
        {"env": "production", "secret_key": SECRET_TEXT * 9},
        {"gateway": SECRET_TEXT, "metrics_token": SECRET_TEXT},
    ],
    ids=str,
)
def test_no_secret_is_in_what_is_told(monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]) -> None:
    configure(monkeypatch, **wrong)
    assert SECRET_TEXT not in str(problems())


def test_no_secret_is_in_settings_that_are_printed() -> None:
    settings = Settings(secret_key=SecretStr(STRONG), metrics_token=SecretStr(SECRET_TEXT))
    assert STRONG not in f"{settings!r} {settings}"
    assert SECRET_TEXT not in f"{settings!r} {settings}"


PRODUCTION: dict[str, Any] = {"env": "production", "secret_key": STRONG, "allow_test_providers": True}


def told_of(**settings: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load_settings(**settings)
    return raised.value.detail


def test_production_starts_with_a_strong_key_and_test_providers_that_are_meant() -> None:
    assert load_settings(**PRODUCTION).signing_key == STRONG


def test_production_needs_a_secret_key() -> None:
    assert told_of(**PRODUCTION | {"secret_key": None}).startswith(
        "ORDERKIT_SECRET_KEY is not set; make one: python -c"
    )


@pytest.mark.parametrize("weak", ["secret", STRONG[: MIN_SECRET_CHARACTERS - 1], "x" * 64, "abcabcabc" * 8])
def test_production_needs_a_strong_secret_key(weak: str) -> None:
    told = told_of(**PRODUCTION | {"secret_key": weak})
    assert told.startswith("ORDERKIT_SECRET_KEY is weak; use at least 32 random characters")


def test_the_command_that_is_given_makes_a_strong_key() -> None:
    told = told_of(**PRODUCTION | {"secret_key": None})
    code = told.partition("python -c '")[2].partition("'")[0]
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert load_settings(**PRODUCTION | {"secret_key": made.stdout.strip()}).signing_key == made.stdout.strip()


def test_production_refuses_test_providers_unless_they_are_meant() -> None:
    told = told_of(**PRODUCTION | {"allow_test_providers": False, "gateway": "simulator"})
    assert "ORDERKIT_GATEWAY is simulator" in told
    assert "ORDERKIT_CARRIER is simulator" in told
    assert "set ORDERKIT_ALLOW_TEST_PROVIDERS=1" in told


def test_development_takes_any_key_and_the_carrier_follows_the_gateway() -> None:
    settings = load_settings(secret_key="weak", gateway="simulator")
    assert (settings.signing_key, settings.carrier_name) == ("weak", "simulator")
    assert load_settings(gateway="simulator", carrier="builtin").carrier_name == "builtin"


def test_settings_cannot_be_changed_while_running() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().db_timeout = 1  # type: ignore[misc]


def test_development_keeps_a_generated_key_that_only_its_owner_reads() -> None:
    before = os.umask(0)
    try:
        key = Settings().signing_key
    finally:
        os.umask(before)
    file = Path(".orderkit") / "secret_key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(key) >= MIN_SECRET_CHARACTERS
    assert file.read_text() == key
    assert Settings().signing_key == key, "the next start signs with the same"
    assert [path.name for path in file.parent.iterdir()] == ["secret_key"]


def test_many_processes_that_start_at_once_agree_on_one_key() -> None:
    code = "from orderkit.settings import Settings; print(Settings().signing_key)"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {process.communicate(timeout=60)[0] for process in started}
    assert len(keys) == 1
    assert len(keys.pop().strip()) >= MIN_SECRET_CHARACTERS


def test_a_home_that_cannot_be_written_says_which_setting_to_change() -> None:
    Path("file").write_text("")
    with pytest.raises(ConfigurationError, match="set ORDERKIT_SECRET_KEY or ORDERKIT_HOME"):
        Settings(home=Path("file") / "home").signing_key  # noqa: B018 - it is read for its error


@pytest.mark.parametrize("provider", ["gateway", "carrier"])
def test_a_lease_shorter_than_a_call_to_a_provider_is_refused(monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    monkeypatch.setenv(f"ORDERKIT_{provider.upper()}_TIMEOUT", "15")
    with pytest.raises(
        ConfigurationError, match=rf"ORDERKIT_LEASE is 10 s.*ORDERKIT_{provider.upper()}_TIMEOUT of 15 s"
    ):
        load_settings()
    monkeypatch.setenv("ORDERKIT_LEASE", "20")
    assert load_settings().lease == 20


def test_a_request_that_would_end_before_its_charge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_REQUEST_TIMEOUT", "5")
    with pytest.raises(ConfigurationError, match=r"ORDERKIT_REQUEST_TIMEOUT is 5 s.*ORDERKIT_GATEWAY_TIMEOUT, 5 s"):
        load_settings()
    monkeypatch.setenv("ORDERKIT_GATEWAY_TIMEOUT", "4")
    assert load_settings().request_timeout == 5
