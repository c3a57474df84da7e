"""The whole pack, from `orderkit print-pack`: its files, its pages, what it says of what is missing, and the same again."""

from __future__ import annotations

import filecmp
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orderkit import assets
from orderkit.cli import print_pack as command
from orderkit.print_pack import evidence, gathering, making, tex
from orderkit.print_pack.artifacts import ARTIFACTS
from orderkit.print_pack.building import PDF
from orderkit.print_pack.checks import running
from orderkit.print_pack.evidence import DEAR, HOW, read
from orderkit.settings import Settings
from tests.cli.conftest import Cli, cli

__all__ = ["cli"]

pytestmark = pytest.mark.integration

WIDEST = 118
"""Characters of a line of code that xelatex sets on a page; typst wraps what is wider."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack whose checks all hold, by decree: what they look at has tests of its own."""
    folder = tmp_path_factory.mktemp("pack")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(running, "run", lambda *_, **__: {"of-nothing": {"ok": True, "said": "seen"}})
        patch.setattr(sys, "argv", ["orderkit", "print-pack", "-o", "pack", "--allow-missing"])
        command.print_pack(Path("pack"), "typst", collect=False, allow_missing=True, from_=None, json_=True)
    return folder / "pack"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_it_has_every_page_that_has_a_template_and_every_decision(built: Path) -> None:
    templates = assets.asset("print-pack") / "templates"
    expected = {one.file for one in ARTIFACTS if (templates / f"{one.file}.j2").exists()}
    assert expected <= set(files(built))
    decisions = {path.name for path in (assets.asset("docs") / "decisions").glob(making.RECORDS)}
    assert {f"adrs/{name}" for name in decisions} <= set(files(built))
    assert {"openapi.yaml", PDF, "architecture/erd.svg", "architecture/erd.png"} <= set(files(built))


def test_every_template_is_of_a_page() -> None:
    templates = assets.asset("print-pack") / "templates"
    found = {str(path.relative_to(templates)) for path in templates.rglob("*.md.j2")}
    assert found <= {f"{one.file}.j2" for one in ARTIFACTS}


def test_built_again_from_its_evidence_it_is_the_same_byte_for_byte(built: Path, cli: Cli, tmp_path: Path) -> None:
    cli("print-pack", "--from", str(built), "-o", str(tmp_path / "again"), "--allow-missing")
    assert files(tmp_path / "again") == files(built)
    _same, differ, lost = filecmp.cmpfiles(built, tmp_path / "again", files(built), shallow=False)
    assert (differ, lost) == ([], [])


def test_gathered_again_it_is_the_same_evidence() -> None:
    settings = Settings(_env_file=None)
    first, second = (json.dumps(gathering.gather(settings, []), default=str) for _ in range(2))
    assert first == second
    assert not Path(".orderkit").exists(), "the database that the settings name was made"


def test_no_link_in_it_leads_nowhere(built: Path) -> None:
    for path in built.rglob("*.md"):
        text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text())
        for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^()\s#]+)[^()\s]*\)", text):
            assert target.startswith("http") or (path.parent / target).exists(), (path.name, target)


def test_every_picture_is_there_from_the_root_where_pandoc_looks(built: Path) -> None:
    pictures = [one for path in built.rglob("*.md") for one in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())]
    assert pictures
    for one in pictures:
        assert (built / one).exists(), one
        assert one.endswith(".png"), "TeX reads no SVG"


def test_xelatex_loses_no_character(built: Path) -> None:
    lost = {path.name: tex.unknown(path.read_text()) for path in built.rglob("*.md")}
    assert {name: signs for name, signs in lost.items() if signs} == {}


def test_no_line_of_code_is_wider_than_a_page(built: Path) -> None:
    for path in built.rglob("*.md"):
        for block in re.findall(r"(?ms)^ *```[a-z]*\n(.*?)^ *```$", making.without_head(path.read_text())):
            assert [line for line in block.splitlines() if len(line) > WIDEST] == [], path.name


def test_every_page_ends_with_what_its_figures_are_from(built: Path) -> None:
    version = read(built / "evidence" / "versions.json")
    for path in built.rglob("*.md"):
        last = path.read_text().rstrip().splitlines()[-1]
        assert last.startswith("*")
        assert version.version in last, path.name


def test_the_contract_in_it_is_that_of_the_application(built: Path) -> None:
    from ruamel.yaml import YAML

    told = YAML(typ="safe", pure=True).load((built / "openapi.yaml").read_text())
    assert told == read(built / "evidence" / "openapi.json").data


def test_what_is_missing_is_listed_and_the_page_says_how_to_make_it(built: Path, cli: Cli, tmp_path: Path) -> None:
    lacks = [name for name in DEAR if not (built / "evidence" / f"{name}.json").exists()]
    assert "faults" in lacks
    told = cli("print-pack", "--from", str(built), "-o", str(tmp_path / "pack"))
    assert told.code == 1
    for name in lacks:
        assert f"  {name}: " in told.err
        assert HOW[name] in told.err
    assert "No evidence yet" in (tmp_path / "pack" / "tests" / "fault-report.md").read_text()
    assert re.search(r"(?m)^README\.md +1 +fits 1 page$", told.out)
    assert cli("print-pack", "--from", str(built), "-o", str(tmp_path / "pack"), "--allow-missing").code == 0


def test_as_json_it_says_the_same(built: Path, cli: Cli, tmp_path: Path) -> None:
    told = json.loads(cli("print-pack", "--from", str(built), "-o", str(tmp_path), "--allow-missing", "--json").out)
    assert told["artifacts"][0] == {"artifact": "README.md", "pages": 1, "first": 3, "fits": True}
    assert told["missing"]["faults"]["command"] == HOW["faults"]
    assert told["pages"] > len(told["artifacts"])


def test_a_folder_without_evidence_and_one_that_cannot_be_written_are_told(
    cli: Cli, tmp_path: Path, built: Path
) -> None:
    told = cli("print-pack", "--from", str(tmp_path), "-o", str(tmp_path / "pack"))
    assert told.code == 2
    assert "there is no evidence in" in told.err
    (tmp_path / "file").write_text("")
    told = cli("print-pack", "--from", str(built), "-o", str(tmp_path / "file"))
    assert told.code == 2
    assert told.err.count("error: ") == 1


def test_without_the_extra_one_line_says_what_to_install() -> None:
    script = "import sys; sys.modules['typst'] = None; sys.argv = ['orderkit', 'print-pack']\n"
    script += "from orderkit.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.returncode == 2
    assert done.stderr == "error: the print pack needs more packages; run: pip install 'orderkit[print]'\n"


def test_an_index_that_does_not_serve_its_query_has_no_tick(built: Path, cli: Cli, tmp_path: Path) -> None:
    name = "orders.by_time"
    broken = tmp_path / "broken" / "evidence"
    broken.mkdir(parents=True)
    for path in (built / "evidence").glob("*.json"):
        piece = read(path)
        if piece.name == "plans":
            [query] = [one for one in piece.data["queries"] if one["name"] == name]
            query |= {"holds": False, "verdict": "sorts all rows", "plan": "SCAN orders"}
        evidence.write(piece, broken / path.name)
    cli("print-pack", "--from", str(broken.parent), "-o", str(tmp_path / "pack"), "--allow-missing")
    schema = (tmp_path / "pack" / "architecture" / "schema.md").read_text()
    assert re.search(r"- \[ \] `ix_orders_created_at`", schema)
    assert "sorts all rows" in schema
    assert len(re.findall(r"- \[ \] `", schema)) == 1


def test_every_command_of_the_runbook_is_one_that_a_test_executes(built: Path) -> None:
    page, tested = (built / "runbook.md").read_text(), (assets.asset("docs") / "runbook.md").read_text()
    blocks = re.findall(r"(?ms)^ *```sh\n(.*?)^ *```$", page)
    lines = {line.strip() for block in blocks for line in block.splitlines()}
    assert len(lines) > 20
    assert {line for line in lines if line not in tested} == {"orderkit version"}


def test_every_command_that_the_runbook_names_is_there(built: Path) -> None:
    there = {
        one["name"]: {sub["name"] for sub in one["commands"]} for one in read(built / "evidence" / "commands.json").data
    }
    for name, sub in re.findall(r"`orderkit ([a-z][a-z-]*) ?((?:[a-z][a-z-]*)?)", (built / "runbook.md").read_text()):
        assert name in there
        assert not sub or not there[name] or sub in there[name], (name, sub)
