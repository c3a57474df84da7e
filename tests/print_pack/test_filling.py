"""Filling the pages: what they are told, and that they need nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orderkit.errors import Invalid
from orderkit.print_pack import filling, tex
from orderkit.print_pack.evidence import HOW, Piece
from orderkit.print_pack.filling import Pack
from orderkit.print_pack.stamps import ROOT

pytestmark = pytest.mark.unit

TEMPLATES = ROOT / "print-pack" / "templates"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def piece(name: str, data: Any = None, at: datetime = AT) -> Piece:
    return Piece(name, at, "abc1234567", "1.2.3", "4 cores (Some CPU), Linux", HOW[name], data)


def with_macros(text: str, pack: Pack, tmp_path: Path) -> str:
    (tmp_path / "_macros.j2").write_text((TEMPLATES / "_macros.j2").read_text())
    (tmp_path / "a.md.j2").write_text('{% from "_macros.j2" import missing %}\n' + text)
    return filling.filled(filling.environment_of(pack, tmp_path), "a.md").strip()


def test_what_is_missing_says_how_to_make_it(tmp_path: Path) -> None:
    told = with_macros('{{ missing("load") }} {{ missing("faults") }}', Pack({"load": None}), tmp_path)
    assert "No evidence yet" in told
    assert HOW["load"] in told
    assert "no command that makes it" in told


def test_a_template_that_asks_for_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"a\.md\.j2"):
        with_macros("{{ nonsense }}", Pack({}), tmp_path)
    with pytest.raises(Invalid, match=r"a\.md\.j2, line 2"):
        with_macros("{% if %}", Pack({}), tmp_path)


def test_a_pack_is_as_old_as_its_newest_evidence() -> None:
    newer = piece("plans", at=AT.replace(year=2027))
    pack = Pack({"load": piece("load"), "plans": newer, "demo": None})
    assert pack.newest == newer
    assert pack.made_at == newer.made_at
    assert "demo" in pack.missing()
    assert "load" not in pack.missing()
    with pytest.raises(Invalid, match="no evidence"):
        _ = Pack({}).newest


def test_the_head_for_tex_draws_every_character_that_its_font_lacks() -> None:
    head = tex.header()
    for one in tex.DRAWN:
        assert f"\\def{one}{{" in head
    assert tex.unknown("plain, – é ✓ ≤") == set()
    assert tex.unknown("漢 é") == {"漢"}


def test_data_of_evidence_is_json() -> None:
    assert json.loads(piece("load", {"a": [1]}).told())["data"] == {"a": [1]}
