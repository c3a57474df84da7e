"""YAML to be read: members in the order that they have, and prose in blocks."""

from __future__ import annotations

import io
from typing import Any

WIDTH = 100
"""Prose is folded before a word that would reach beyond, counted from where the text begins."""


def text(value: Any) -> str:
    """`value`, made of what JSON has, as a YAML document (1.2); always the same for the same value."""
    from ruamel.yaml import YAML

    writer = YAML(pure=True)  # which is the same everywhere
    writer.width = 10_000  # it would fold elsewhere, and leave spaces at the ends of lines
    writer.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    writer.dump(_blocks(value), out)
    return out.getvalue()


def _blocks(value: Any) -> Any:
    from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

    if isinstance(value, dict):
        return {name: _blocks(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_blocks(one) for one in value]
    if not isinstance(value, str) or value != value.strip():
        return value
    if "\n" in value:
        return LiteralScalarString(value)
    if len(value) > WIDTH and (places := _folds(value)):
        folded = FoldedScalarString(value)
        folded.fold_pos = places
        return folded
    return value


def _folds(prose: str) -> list[int]:
    """Where the spaces are that become line breaks."""
    places, begins, last = [], 0, -1
    for place, character in enumerate(prose):
        if character != " " or prose[place + 1] == " " or prose[place - 1] == " ":
            continue  # a fold between two spaces would be another text
        if place - begins > WIDTH and last > begins:
            places.append(last)
            begins = last + 1
        last = place
    if len(prose) - begins > WIDTH and last > begins:
        places.append(last)
    return places
