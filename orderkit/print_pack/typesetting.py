"""Markdown to typst: pandoc reads and writes, and between the two, links, headings, pictures and task lists are made to fit one
document of many files.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Set
from typing import Any

Node = dict[str, Any]

TICKED, UNTICKED = "☒", "☐"
_FAR = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def typst(markdown: str, file: str, files: Set[str], pictures: Callable[[str], str]) -> str:
    """The body of one file as typst source. `files` are those of the whole document; links to others become plain text.

    `pictures` gives, for a picture as the Markdown names it, the one to print.
    """
    import pypandoc

    document = json.loads(pypandoc.convert_text(markdown, "json", format="markdown"))
    known = set(_identifiers(document["blocks"]))
    ours = _Walk(file, files, known, pictures)
    document["blocks"] = ours.blocks(document["blocks"])
    document["meta"] = {}
    options = ["--syntax-highlighting=none", "--wrap=none"]
    written: str = pypandoc.convert_text(json.dumps(document), "typst", format="json", extra_args=options)
    return written


def label(file: str, identifier: str = "") -> str:
    """What a place of a file is called in the one document."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", file.removesuffix(".md"))
    return f"{name}--{identifier}" if identifier else name


def _identifiers(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for one in node:
            yield from _identifiers(one)
    elif isinstance(node, dict):
        if node.get("t") == "Header":
            yield node["c"][1][0]
        yield from _identifiers(node.get("c"))


class _Walk:
    """What is changed in the tree that pandoc reads. Nodes are `{"t": kind, "c": content}`."""

    def __init__(self, file: str, files: Set[str], known: Set[str], pictures: Callable[[str], str]) -> None:
        self._file, self._files, self._known, self._pictures = file, files, known, pictures
        self._first = True

    def blocks(self, blocks: list[Node]) -> list[Node]:
        done: list[Node] = []
        for block in blocks:
            if block["t"] == "BulletList" and all(_box(item) is not None for item in block["c"]):
                done += self._tasks(block["c"])
            else:
                done.append(self._any(block))
        return done

    def _any(self, node: Any) -> Any:
        if isinstance(node, list):
            if node and all(isinstance(one, dict) and one.get("t") in _BLOCKS for one in node):
                return self.blocks(node)
            return [made for one in node for made in self._spliced(one)]
        if not isinstance(node, dict):
            return node
        if node.get("t") == "Header":
            return self._header(node)
        if node.get("t") == "Image":
            attributes, said, (source, title) = node["c"]
            return {"t": "Image", "c": [attributes, self._any(said), [self._pictures(source), title]]}
        return {key: self._any(value) for key, value in node.items()}

    def _spliced(self, node: Any) -> list[Any]:
        """A link that leads nowhere in print becomes what it says."""
        if isinstance(node, dict) and node.get("t") == "Link":
            attributes, said, (target, title) = node["c"]
            said = self._any(said)
            if (place := self._place(target)) is None:
                return list(said)
            return [{"t": "Link", "c": [attributes, said, [place, title]]}]
        return [self._any(node)]

    def _place(self, target: str) -> str | None:
        if _FAR.match(target):
            return target
        path, _, fragment = target.partition("#")
        if not path:
            return f"#{label(self._file, fragment)}" if fragment in self._known else None
        file = posixpath.normpath(posixpath.join(posixpath.dirname(self._file), path))
        return f"#{label(file)}" if file in self._files else None

    def _header(self, node: Node) -> Node:
        level, (identifier, classes, pairs), said = node["c"]
        first, self._first = self._first, False
        name = label(self._file) if first else label(self._file, identifier)
        return {"t": "Header", "c": [level, [name, classes, pairs], self._any(said)]}

    def _tasks(self, items: list[list[Node]]) -> list[Node]:
        done: list[Node] = []
        for item in items:
            first, *rest = item
            ticked = "true" if _box(item) else "false"
            done.append(_raw(f"#task({ticked})["))
            done.append({"t": "Plain", "c": self._any(first["c"][2:])})
            done += self.blocks(rest)
            done.append(_raw("]"))
        return done


_BLOCKS = frozenset(
    {
        "BlockQuote",
        "BulletList",
        "CodeBlock",
        "DefinitionList",
        "Div",
        "Figure",
        "Header",
        "HorizontalRule",
        "LineBlock",
        "OrderedList",
        "Para",
        "Plain",
        "RawBlock",
        "Table",
    }
)


def _box(item: list[Node]) -> bool | None:
    """Whether a list item is a ticked task; None if it is no task."""
    if not item or item[0]["t"] not in ("Plain", "Para") or not item[0]["c"]:
        return None
    return {TICKED: True, UNTICKED: False}.get(str(item[0]["c"][0].get("c")))


def _raw(source: str) -> Node:
    return {"t": "RawBlock", "c": ["typst", source]}
