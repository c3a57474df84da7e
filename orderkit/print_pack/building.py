"""The PDF: the built folder's Markdown, one document, by typst from pip alone, or by pandoc and a TeX that is there.

The same folder gives the same bytes: the time in the PDF is that of the newest evidence, and only the fonts that come with typst
are used.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orderkit.errors import Invalid
from orderkit.print_pack import typesetting

PDF = "Order-MVP-Print-Pack.pdf"
SIZES_PT = (10.0, 9.5, 9.0, 8.5)
"""A page that is meant to be one and runs over is set smaller, down to what is still read without effort."""
ABOUT = "What it is, how it works, why it is so, and what shows it: for a conversation, on paper."


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file of the pack as it is to be printed. `foot` says what its figures are from."""

    file: str
    title: str
    markdown: str
    foot: str
    one_page: bool
    size: float = SIZES_PT[0]


@dataclass(frozen=True, slots=True)
class Printed:
    """Where an artifact is in the PDF."""

    file: str
    title: str
    first: int
    last: int
    one_page: bool

    @property
    def pages(self) -> int:
        return self.last - self.first + 1

    @property
    def fits(self) -> bool:
        return self.pages == 1 or not self.one_page


def build(
    folder: Path,
    style: Path,
    pages: Sequence[Page],
    facts: Mapping[str, str],
    seconds: int,
    each: Callable[[int], None],
) -> list[Printed]:
    """Writes the PDF into `folder`; where each page came to be. `seconds` since 1970 is the time it bears.

    `each` is told 1 for each page that is set. Raises Invalid for what typst does not take, with its words.
    """
    files = frozenset(page.file for page in pages)
    bodies = {}
    for page in pages:
        bodies[page.file] = typesetting.typst(page.markdown, page.file, files, lambda name: _picture(folder, name))
        each(1)
    press = _Press(folder, style.read_text(encoding="utf-8"), facts, bodies)
    try:
        printed = press.places(pages)
        if long := [page for page in pages if page.file in {one.file for one in printed if not one.fits}]:
            pages = _smaller(press, pages, long)
            printed = press.places(pages)
        (folder / PDF).write_bytes(press.pdf(pages, seconds))
    except RuntimeError as error:  # typst.TypstError is one, and not all of its errors are that
        raise Invalid(f"typst: {getattr(error, 'diagnostic', '') or error}") from error
    return printed


def _smaller(press: _Press, pages: Sequence[Page], long: Sequence[Page]) -> list[Page]:
    """The pages, where each of `long` has the largest size at which it is one sheet. What fits at none stays as it is."""
    fitting: dict[str, Page] = {}
    for size in SIZES_PT[1:]:
        tried = [replace(page, size=size) for page in long if page.file not in fitting]
        if tried:
            found = press.places(tried, besides=pages)
            fitting |= {page.file: page for page, one in zip(tried, found, strict=True) if one.fits}
    return [fitting.get(page.file, page) for page in pages]


class _Press:
    """typst with the pack's style, and the body of every page."""

    def __init__(self, folder: Path, style: str, facts: Mapping[str, str], bodies: Mapping[str, str]) -> None:
        import typst

        self._compiler = typst.Compiler
        self._fonts = typst.Fonts(include_system_fonts=False)
        self._folder = folder
        told = "".join(f"({_text(name)}, {_text(said)}), " for name, said in facts.items())
        title = f"title: {_text('Print pack')}, about: {_text(ABOUT)}, facts: ({told})"
        self._head = f"{style}\n#show: pack.with({title})\n"
        self._bodies = bodies

    def pdf(self, pages: Sequence[Page], seconds: int) -> bytes:
        made = self._typst(self._source(pages)).compile(format="pdf", timestamp=seconds)
        assert isinstance(made, bytes)  # noqa: S101 - pages of a PDF are one file
        return made

    def places(self, pages: Sequence[Page], besides: Sequence[Page] = ()) -> list[Printed]:
        """Where each page comes to be. Of those `besides` only what links lead to is there, which takes next to no time."""
        others = {page.file for page in besides} - {page.file for page in pages}
        source = self._source(pages) + b"".join(_target(file) for file in sorted(others))
        found = json.loads(self._typst(source).query("<pages>", field="value", one=True))
        by_file = {one["file"]: one for one in found}
        return [
            Printed(page.file, page.title, by_file[page.file]["first"], by_file[page.file]["last"], page.one_page)
            for page in pages
        ]

    def _typst(self, source: bytes) -> Any:
        return self._compiler(input=source, root=str(self._folder), font_paths=self._fonts)

    def _source(self, pages: Sequence[Page]) -> bytes:
        parts = [self._head]
        for page in pages:
            names = ", ".join(_text(one) for one in (page.file, page.title, page.foot))
            parts.append(f"#artifact({names}, {page.size}pt)[\n{self._bodies[page.file]}\n]\n")
        return "\n".join(parts).encode()


def _target(file: str) -> bytes:
    return f"#metadata(none)<{typesetting.label(file)}>\n".encode()


XELATEX_S = 600


def by_xelatex(folder: Path, files: Sequence[str], seconds: int) -> None:
    """The PDF as pandoc and a TeX make it that are there. Raises Invalid with TeX's words where they do not."""
    import pypandoc

    if shutil.which("xelatex") is None:
        raise Invalid("there is no xelatex; install one (Debian: texlive-xetex), or leave out --pdf-engine")
    paper = ["-V", "geometry:margin=1in", "-V", "papersize:a4", "--toc"]
    command = [pypandoc.get_pandoc_path(), *files, "-o", PDF, "--from", "markdown", "--pdf-engine=xelatex", *paper]
    fixed = {"SOURCE_DATE_EPOCH": str(seconds), "FORCE_SOURCE_DATE": "1"}
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, cwd=folder, env=os.environ | fixed, capture_output=True, text=True, timeout=XELATEX_S, check=False
    )
    if done.returncode:
        raise Invalid(f"pandoc with xelatex: {' '.join(done.stderr.split())}")


def picture(svg: str, pixels_an_inch: float = 200) -> bytes:
    """A PNG of an SVG, as wide as it is."""
    import typst

    source = f'#set page(width: auto, height: auto, margin: 0pt)\n#image(bytes({_text(svg)}), format: "svg")\n'
    made: bytes = typst.compile(source.encode(), format="png", ppi=pixels_an_inch, ignore_system_fonts=True)
    return made


def _picture(folder: Path, name: str) -> str:
    """The drawing itself rather than its raster, from the root of the folder."""
    drawn = str(Path(name).with_suffix(".svg"))
    return f"/{drawn}" if (folder / drawn).exists() else f"/{name}"


def _text(text: str) -> str:
    """A string of typst."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
