"""`orderkit config`: everything that can be set, and never a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orderkit.cli import config
from orderkit.settings import PREFIX, Settings, load_settings
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
SECRET = "canary-canary-canary-canary-canary-1234567890"


def test_the_committed_example_is_the_one_that_is_written() -> None:
    assert (ROOT / ".env.example").read_text() == config.env_example_text(), (
        "run: orderkit config env-example --force -o .env.example"
    )


def test_the_example_names_every_setting_and_sets_none() -> None:
    lines = config.env_example_text().splitlines()
    named = [line[1:].partition("=")[0] for line in lines if line.startswith(f"#{PREFIX}")]
    assert named == [PREFIX + name.upper() for name in Settings.model_fields]
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_the_example_uncommented_is_the_defaults() -> None:
    settings = [line[1:] for line in config.env_example_text().splitlines() if line.startswith(f"#{PREFIX}")]
    Path(".env").write_text("\n".join(line for line in settings if not line.endswith("=")))
    assert "ORDERKIT_LEASE=10.0" in Path(".env").read_text()
    assert load_settings() == Settings(_env_file=None)


def test_the_example_replaces_a_file_only_when_told_to(cli: Cli) -> None:
    file = Path(".env")
    assert cli("config", "env-example", "-o", ".env") == (0, "", "")
    file.write_text("ORDERKIT_LEASE=7\n")
    told = cli("config", "env-example", "-o", ".env")
    assert told == (2, "", "error: .env is there already; --force writes over it\n")
    assert file.read_text() == "ORDERKIT_LEASE=7\n"
    assert cli("config", "env-example", "-o", ".env", "--force") == (0, "", "")
    assert file.read_text() == config.env_example_text()


def test_show_tells_where_each_value_comes_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("ORDERKIT_LEASE=7\nORDERKIT_LOG_LEVEL=DEBUG\n")
    monkeypatch.setenv("ORDERKIT_LOG_LEVEL", "ERROR")
    told = cli("config", "show", "--json")
    assert told.code == 0
    shown = {one["name"]: one for one in json.loads(told.out)}
    assert shown.keys() == {PREFIX + name.upper() for name in Settings.model_fields}
    assert (shown["ORDERKIT_LEASE"]["value"], shown["ORDERKIT_LEASE"]["source"]) == ("7", ".env")
    assert (shown["ORDERKIT_LOG_LEVEL"]["value"], shown["ORDERKIT_LOG_LEVEL"]["source"]) == ("ERROR", "environment")
    assert (shown["ORDERKIT_GATEWAY"]["value"], shown["ORDERKIT_GATEWAY"]["source"]) == ("builtin", "default")
    assert all(one["description"] for one in shown.values())


def test_without_a_terminal_the_table_is_plain_and_bare_config_shows_it(cli: Cli) -> None:
    told = cli("config")
    assert told == cli("config", "show")
    head, *rows = told.out.splitlines()
    assert head.split() == ["name", "value", "source", "description"]
    assert len(rows) == len(Settings.model_fields)
    assert "\x1b" not in told.out


@pytest.mark.usefixtures("narrow_terminal")
def test_a_narrow_terminal_shows_whole_names_and_values(cli: Cli) -> None:
    told = cli("config", "show")
    assert "…" not in told.out
    assert [one.name for one in config.describe() if one.name not in told.out] == []
    assert "http://127.0.0.1:8090" in told.out


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("SECRET_KEY", SECRET, "(set, not shown)"),
        ("METRICS_TOKEN", SECRET, "(set, not shown)"),
        ("DATABASE_URL", f"postgresql://app:{SECRET}@db.example/shop", "postgresql://db.example/shop "),
        ("DATABASE_URL", f"postgresql://app:a@b{SECRET}@db/shop", "postgresql://db/shop "),
        ("DATABASE_URL", f"postgresql://db:5433/shop?user=u&password={SECRET}", "postgresql://db:5433/shop "),
        ("DATABASE_URL", f"postgresql://u:x@[::1]:5433/shop?password={SECRET}", "postgresql://[::1]:5433/shop "),
        ("REDIS_URL", f"redis://:{SECRET}@redis:6379/0", "redis://redis:6379/0 "),
        ("REDIS_URL", f"redis://:pa/{SECRET}@redis", "(set, not shown)"),
        ("REDIS_URL", f"redis://:12/{SECRET}@redis", "(set, not shown)"),
        ("REDIS_URL", f"redis://:12/{SECRET}?a@redis", "(set, not shown)"),
        ("REDIS_URL", f"redis://:12#{SECRET}@redis", "(set, not shown)"),
        ("REDIS_URL", f"unix:///run/redis.sock?password={SECRET}", "unix:///run/redis.sock "),
        ("SIMULATOR_URL", f"http://x:{SECRET}@127.0.0.1:1/", "http://127.0.0.1:1/ "),
    ],
)
@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["check"], ["env-example"]], ids=" ".join)
def test_no_secret_is_ever_printed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str, command: list[str]
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    told = cli("config", *command)
    assert told.code == 0
    assert SECRET not in told.out + told.err
    if command == ["show"]:
        assert shown in told.out


def test_what_is_no_url_where_one_belongs_is_not_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_REDIS_URL", SECRET)
    told = cli("config", "show")
    assert told.code == 2
    assert SECRET not in told.out + told.err


def test_everything_wrong_is_told_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_ENV", "production")
    monkeypatch.setenv("ORDERKIT_SECRET_KEY", "short canary")
    monkeypatch.setenv("ORDERKIT_TYPO", "1")
    told = cli("config", "check")
    assert (told.code, told.out) == (2, "")
    for said in ("ORDERKIT_SECRET_KEY", "ORDERKIT_TYPO", "ORDERKIT_GATEWAY", "ORDERKIT_CARRIER"):
        assert said in told.err
    assert told.err.count("\n") == 1
    assert "canary" not in told.err


def test_a_wrong_configuration_is_shown_all_the_same(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_LEASE", "soon")
    told = cli("config", "show")
    assert told.code == 2
    assert "soon" in told.out
    assert "ORDERKIT_LEASE" in told.err


def test_check_is_content_with_the_defaults(cli: Cli) -> None:
    assert cli("config", "check") == (0, "fine: development, builtin gateway, builtin carrier\n", "")
