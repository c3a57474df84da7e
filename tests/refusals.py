"""Whatever a test is refused, the document of the API lists: looked at for every answer that any test gets in process."""

from __future__ import annotations

import json
import re
from functools import cache

from orderkit.api.problems import MEDIA_TYPE
from orderkit.api.refusing import EVERYWHERE
from orderkit.app import create_app
from orderkit.settings import Settings


@cache
def _listed() -> list[tuple[re.Pattern[str], str, dict[str, set[str]]]]:
    """Of each operation its addresses, its method, and its codes by status; those without parameters first."""
    document = create_app(Settings(_env_file=None)).openapi()
    found = []
    for path, operations in sorted(document["paths"].items(), key=lambda one: one[0].count("{")):
        pattern = re.compile(re.sub(r"{\w+}", "[^/]+", path))
        for method, operation in operations.items():
            codes: dict[str, set[str]] = {}
            for status, response in operation["responses"].items():
                if "$ref" in response:
                    response = document["components"]["responses"][response["$ref"].rsplit("/", 1)[-1]]
                codes[status] = set(response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}))
            found.append((pattern, method.upper(), codes))
    return found


def check(method: str, path: str, status: int, body: bytes) -> None:
    """Fails for a problem document whose code the operation does not list under that status."""
    code = json.loads(body)["code"]
    if code in EVERYWHERE:
        return
    codes = next((codes for pattern, of, codes in _listed() if of == method and pattern.fullmatch(path)), None)
    if codes is not None:
        assert code in codes.get(str(status), ()), f"{method} {path} answers {status} {code}, which no document says"
