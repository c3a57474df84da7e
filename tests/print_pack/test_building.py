"""The PDF: what is in it, how many pages each part takes, and that the same is the same, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pypdfium2
import pytest

from orderkit.errors import Invalid
from orderkit.print_pack import building, typesetting
from orderkit.print_pack.building import PDF, Page, Printed
from orderkit.print_pack.stamps import ROOT

pytestmark = pytest.mark.unit

STYLE = ROOT / "print-pack" / "style" / "pack.typ"
SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="20" height="10"/></svg>'
LINE = "A line of text that is long enough to take some room on the page, and says nothing.\n\n"


def page(file: str, markdown: str, *, one_page: bool = True) -> Page:
    return Page(file, f"Title of {file}", markdown, f"foot of {file}", one_page)


def build(folder: Path, *pages: Page) -> list[Printed]:
    return building.build(folder, STYLE, pages, {"Program": "orderkit 1.2.3"}, 1_700_000_000, lambda _: None)


def texts(folder: Path) -> list[str]:
    """The text of each page."""
    document = pypdfium2.PdfDocument(folder / PDF)
    try:
        return [one.get_textpage().get_text_bounded() for one in document]
    finally:
        document.close()


def test_it_has_a_cover_contents_with_page_numbers_and_running_heads(tmp_path: Path) -> None:
    made = build(tmp_path, page("a.md", "# First\n\ntext"), page("b/c.md", "# Second\n\nmore"))
    assert [(one.file, one.first, one.last) for one in made] == [("a.md", 3, 3), ("b/c.md", 4, 4)]
    cover, contents, first, second = texts(tmp_path)
    assert "orderkit 1.2.3" in cover
    assert "of 4" not in cover
    for part in ("First", "Second", "3", "4", "2 of 4"):
        assert part in contents
    for part in ("Title of a.md", "foot of a.md", "3 of 4"):
        assert part in first
    for part in ("Title of b/c.md", "foot of b/c.md", "4 of 4"):
        assert part in second


def test_it_is_a4(tmp_path: Path) -> None:
    build(tmp_path, page("a.md", "# First"))
    width, height = pypdfium2.PdfDocument(tmp_path / PDF)[0].get_size()
    assert (round(width), round(height)) == (595, 842)


def test_the_same_is_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.svg").write_text(SQUARE)
        build(tmp_path / name, page("a.md", "# First\n\n![A picture](p.png)\n\n- [x] done\n"))
    assert (tmp_path / "one" / PDF).read_bytes() == (tmp_path / "two" / PDF).read_bytes()


def test_what_is_a_little_too_long_is_set_smaller_and_what_is_much_too_long_is_counted(tmp_path: Path) -> None:
    fits, little, much = LINE * 20, LINE * 34, LINE * 120
    made = build(
        tmp_path,
        page("fits.md", f"# A\n\n{fits}"),
        page("little.md", f"# B\n\n{little}"),
        page("much.md", f"# C\n\n{much}"),
        page("may.md", f"# D\n\n{much}", one_page=False),
    )
    assert [(one.pages, one.fits) for one in made[:2]] == [(1, True), (1, True)]
    assert made[2].pages > 1
    assert not made[2].fits
    assert made[3].pages > 1
    assert made[3].fits


def test_code_and_words_that_are_wider_than_a_page_are_wrapped(tmp_path: Path) -> None:
    word = "".join(chr(ord("a") + number % 26) for number in range(400))
    build(tmp_path, page("a.md", f"# A\n\n```\n{word}\n{'word ' * 100}\n```\n"))
    document = pypdfium2.PdfDocument(tmp_path / PDF)
    sheet = document[2]
    told = sheet.get_textpage()
    right = max(told.get_charbox(number)[2] for number in range(told.count_chars()))
    assert right < 595 - 60
    assert word in told.get_text_bounded().replace("\r\n", "").replace("\u200b", "").replace("\ufffe", "")


def test_links_between_files_lead_to_their_pages_and_others_are_text() -> None:
    source = typesetting.typst(
        "# A\n\n[b](../b.md#x), [gone](gone.md), [here](#sub), [web](https://example.com)\n\n## Sub\n",
        "d/a.md",
        {"d/a.md", "b.md"},
        lambda name: name,
    )
    assert "#link(<b>)[b]" in source
    assert "#link(<d-a--sub>)[here]" in source
    assert '#link("https://example.com")[web]' in source
    assert "gone.md" not in source
    assert "<d-a>" in source


def test_task_lists_are_boxes(tmp_path: Path) -> None:
    source = typesetting.typst("- [x] done `x`\n- [ ] not\n    - [x] inner\n", "a.md", {"a.md"}, lambda name: name)
    assert source.count("#task(true)[") == 2
    assert source.count("#task(false)[") == 1
    assert not set("☒☐") & set(source)
    build(tmp_path, page("a.md", "# A\n\n- [x] done\n- [ ] not\n"))
    assert "done" in texts(tmp_path)[2]


def test_a_picture_is_printed_as_it_was_drawn_and_named_as_a_raster(tmp_path: Path) -> None:
    (tmp_path / "p.svg").write_text(SQUARE)
    assert building.picture(SQUARE).startswith(b"\x89PNG")
    assert building.picture(SQUARE) == building.picture(SQUARE)
    build(tmp_path, page("a.md", "# A\n\n![Said of it](p.png)\n"))
    assert "Said of it" in texts(tmp_path)[2]


def test_what_typst_does_not_take_is_told(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"typst: .*gone"):
        build(tmp_path, page("a.md", "# A\n\n![x](gone.png)\n"))


def test_without_a_tex_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Invalid, match="there is no xelatex"):
        building.by_xelatex(tmp_path, ["a.md"], 0)
