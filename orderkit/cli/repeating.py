"""Acts that must not be done twice: each under a key, which is given, or made and told before anything is kept.

A command whose answer got lost is repeated with its key, and then does what was not done, or tells what was.
"""

from __future__ import annotations

from typing import Annotated

import typer

Given = Annotated[
    str | None,
    typer.Option("--key", metavar="TEXT", help="Of an earlier try: what that did is told, and not done again."),
]


class Key:
    """The key of one act. Raises BadParameter for one that no act can have."""

    def __init__(self, given: str | None) -> None:
        from orderkit.errors import KeyMalformed
        from orderkit.idempotency import check_key
        from orderkit.ids import new_id

        self._told = given is not None
        try:
            self.text = check_key(given) if given is not None else new_id().hex
        except KeyMalformed as error:
            raise typer.BadParameter(error.detail, param_hint="--key") from None

    def tell(self) -> None:
        """Says on stderr, once, with which key to try again; nothing to whoever gave it. Call it before the COMMIT."""
        if not self._told:
            typer.echo(f"should its answer be lost, the same command with --key {self.text} does it once", err=True)
            self._told = True
