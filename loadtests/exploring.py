"""Asks an API whatever its own document allows, and much that it does not, and holds every answer against that document.

Three ways of asking: the boundary of each schema one by one, values made up from the schemas, and chains in which an answer gives
the ids of the next request. Whoever asks is a user of some role, an API key, or nobody.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky, Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig
from schemathesis.core.errors import NoLinksFound
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import delete, insert

from orderkit.auth import api_keys, passwords, roles, sessions, signing_keys
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import RolePermission, User
from orderkit.auth.permissions import SCOPES
from orderkit.auth.tokens import Tokens
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.settings import Settings

BASE_URL = "http://127.0.0.1"
ADMIN, NOBODY, API_KEY = "admin", "nobody", "API key"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
BY_BOUNDARY, BY_CHANCE = 0.4, 0.4
"""The parts of all cases that are boundaries and made-up values; the rest are chains."""
MADE_FOR_ONE = 4
"""Boundaries made for one that is asked: making one takes as long as asking it, and the first of an operation are the tamest."""
AT_LEAST = 5
"""Values made up for an operation that is asked by chance at all; getting ready to make them takes as long as 20."""
NEWS_AFTER = 50
"""Requests after which the lists are read again for what is there by then."""
STEPS = 8
"""Requests in a chain, at most."""
OFTEN = 0.5
"""How often a made-up id gives way to a real one, and how often it is an admin who asks: else few requests get anywhere."""

LISTS = {
    "order_id": ("/orders?limit=100", "id"),
    "sku": ("/products?limit=100", "sku"),
    "user_id": ("/users?limit=100", "id"),
    "email": ("/users?limit=100", "email"),
    "letter_id": ("/dead-letters?limit=100", "id"),
    "key_id": ("/users/me/api-keys", "id"),
    "session_id": ("/users/me/sessions", "id"),
    "name": ("/roles", "name"),
}
"""Where the values of a parameter of a path are listed, and as what."""
WORDS = {
    "currency": ("EUR", "JPY", "USD"),
    "code": ("not_found", "out_of_stock"),
    "payment_method": ("pm_card_visa", "pm_card_visa", "pm_card_declined", "pm_card_timeout_after_charge"),
    "postal_code": ("N1 9GU", "FAIL-2", "FAIL-ALWAYS"),
}
ADDRESS = {"name": "A", "line1": "1 Road", "city": "C", "country": "GB"}
PASSWORD = "of all who are asked to ask"
GOOD: dict[str, Callable[[Callable[[str], str]], dict[str, Any]]] = {
    "POST /orders": lambda real: {
        "items": [{"sku": real("sku"), "quantity": 1}],
        "payment_method": real("payment_method"),
        "shipping_address": ADDRESS | {"postal_code": real("postal_code")},
    },
    "PATCH /orders/{order_id}": lambda _real: {"staff_note": "looked at"},
    "POST /orders/{order_id}/refunds": lambda _real: {"amount": 1, "reason": "asked for"},
    "POST /products/{sku}/stock": lambda _real: {"delta": 5, "reason": "received"},
    "PUT /products/{sku}/prices/{currency}": lambda _real: {"unit_price": 100},
    "POST /users/me/api-keys": lambda _real: {
        "name": "a key",
        "permissions": ["orders:own"],
        "current_password": PASSWORD,
    },
    "POST /users/me/password": lambda _real: {"current_password": PASSWORD, "new_password": f"{PASSWORD}, too"},
    "POST /token": lambda real: {"grant_type": "password", "username": real("email"), "password": PASSWORD},
}
"""Bodies that will do, given something real of each kind: schemas cannot say all that a body must be."""
UPSETTING = (
    "DELETE /users/me",
    "DELETE /users/me/sessions",
    "DELETE /users/me/sessions/{session_id}",
    "POST /users/me/password",
    "PATCH /users/{user_id}",
    "DELETE /users/{user_id}",
    "PUT /roles/{name}/permissions",
    "DELETE /users/me/api-keys/{key_id}",
)
"""After one of these succeeded, those who ask may no longer be whom they were."""


class Callers:
    """One user of each role, an API key of an admin, and nobody; with the headers of their requests."""

    def __init__(self, database: Database, configured: Settings) -> None:
        self._database = database
        self._tokens = Tokens(configured, lambda: signing_keys.load(database, configured.signing_key))
        with database.reading() as session:
            self._grants = {one.name: one.permissions for one in roles.listing(session.connection())}
        self.names = [ADMIN, *sorted(self._grants.keys() - {ADMIN}), API_KEY, NOBODY]
        self._password_hash = passwords.hash_password(PASSWORD)
        self._headers: dict[str, dict[str, str]] = {}
        self.renew()

    def headers(self, name: str) -> dict[str, str]:
        return self._headers[name]

    def renew(self) -> None:
        """Gives every role what it may do at first, and has others of each role ask from now on."""
        users = {
            name: User(
                email=f"{new_id().hex}@example.com", name=f"Some {name}", role=name, password_hash=self._password_hash
            )
            for name in self._grants
        }
        with self._database.transaction() as session:
            session.execute(delete(RolePermission))
            rows = [{"role": role, "permission": one} for role, those in self._grants.items() for one in those]
            session.execute(insert(RolePermission), rows)
            session.add_all(users.values())
        with self._database.transaction() as session:
            actor = Actor(None, "127.0.0.1")
            _key, text = api_keys.make(
                session.connection(), actor, users[ADMIN].id, name="for asking", wanted=list(SCOPES), days=1
            )
        asyncio.run(self._tokens.reload())
        self._headers = {NOBODY: {}, API_KEY: _bearer(text)}
        for name, user in users.items():
            granted = sessions.start(self._database, user, days=1)
            self._headers[name] = _bearer(self._tokens.issue(user.id, granted.session_id).token)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass
class Found:
    """What was asked and answered, and what was not as the document says."""

    asked: Counter[str] = field(default_factory=Counter)
    """Requests by caller."""
    by_way: Counter[str] = field(default_factory=Counter)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by operation and status."""
    wrong: dict[tuple[str, int, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """By operation, status and what is wrong: how each request could be repeated, and what the answer was."""

    @property
    def cases(self) -> int:
        return sum(self.by_way.values())


class Explorer:
    """Asks one running API, whose document is `document`, through `session`; what comes of it is in `found`."""

    def __init__(
        self,
        document: dict[str, Any],
        callers: Callers,
        session: requests.Session,
        base_url: str = BASE_URL,
        *,
        seeded: int = 0,
    ) -> None:
        self.found = Found()
        self._schema = schemathesis.openapi.from_dict(document)
        self._operations = [one.ok() for one in self._schema.get_all_operations() if isinstance(one, Ok)]
        self._callers = callers
        self._session = session
        self._session.trust_env = False
        self._base_url = base_url
        self._seed = seeded
        self._random = random.Random(seeded)
        self._real: dict[str, list[str]] = {}

    def explore(self, cases: int) -> Found:
        """Asks about so many times in all."""
        self._at_the_boundaries(round(cases * BY_BOUNDARY))
        self._by_chance(round(cases * BY_CHANCE))
        self._in_chains(cases - self.found.cases)
        return self.found

    def _look_around(self) -> None:
        """Finds out which ids there are."""
        for parameter, (path, member) in LISTS.items():
            answer = self._session.get(self._base_url + path, headers=self._callers.headers(ADMIN))
            self._real[parameter] = [one[member] for one in answer.json()["items"]]

    def _at_the_boundaries(self, most: int) -> None:
        """What JSON Schema allows just so, and just not: missing members, other types, one more than the most."""
        each = max(1, -(-MADE_FOR_ONE * most // len(self._operations)))
        made = []
        for operation in self._operations:
            cases = self._schema.iter_coverage_cases(
                operation, generation_modes=list(GenerationMode), generation_config=GenerationConfig()
            )
            few = list(islice(cases, each))
            made.append(self._random.sample(few, len(few)))
        in_turn = (case for one_of_each in zip_longest(*made) for case in one_of_each if case is not None)
        for case in islice(in_turn, most):
            self._ask(case, "boundaries")

    def _by_chance(self, most: int) -> None:
        """Values that fit the schemas, and values that do not, in turn."""
        ways = [(operation, mode) for operation in self._operations for mode in GenerationMode]
        chosen = self._random.sample(ways, min(len(ways), -(-most // AT_LEAST)))
        for number, (operation, mode) in enumerate(chosen):
            left = most - self.found.by_way["by chance"]
            self._made_up(operation, mode, max(AT_LEAST, left // (len(chosen) - number)))

    def _made_up(self, operation: Any, mode: GenerationMode, times: int) -> None:
        @seed(self._seed)
        @settings(_settings(), max_examples=times)
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            self._ask(case, "by chance")

        with suppress(Unsatisfiable):  # an operation that takes nothing cannot be asked wrongly
            ask()

    def _in_chains(self, most: int) -> None:
        """Requests whose ids come from answers, along the links that the schemas have."""
        explorer = self

        class Chain(self._schema.as_state_machine()):  # type: ignore[misc]
            def call(self, case: Case[Any], **_kwargs: Any) -> Response:
                return explorer._sent(case, "in chains")

            def validate_response(self, response: Response, case: Case[Any], **_kwargs: Any) -> None:
                explorer._judge(response, case)

        while (left := most - self.found.by_way["in chains"]) > 0:
            before = self.found.cases
            chain = seed(self._seed + before)(Chain)
            # What a chain can go on with depends on answers, which Hypothesis takes for flaky when it notices.
            with suppress(Flaky, NoLinksFound):
                chain.run(settings=settings(_settings(), max_examples=max(1, left // STEPS), stateful_step_count=STEPS))
            if self.found.cases == before:
                return

    def _ask(self, case: Case[Any], way: str) -> None:
        if self.found.cases % NEWS_AFTER == 0:
            self._look_around()
        self._make_real(case)
        self._judge(self._sent(case, way), case)

    def _make_real(self, case: Case[Any]) -> None:
        """Puts ids that exist for some that were made up, and bodies that will do for some that were not."""
        for name in case.path_parameters:
            if self._random.random() < OFTEN and (self._real.get(name) or name in WORDS):
                case.path_parameters[name] = self._one(name)
        good = GOOD.get(case.operation.label)
        if good is not None and self._random.random() < OFTEN:
            case.body = good(self._one)
        if case.operation.label == "PATCH /orders/{order_id}" and self._random.random() < OFTEN:
            case.headers["If-Match"] = "*"

    def _one(self, name: str) -> str:
        return self._random.choice(self._real.get(name) or WORDS[name])

    def _sent(self, case: Case[Any], way: str) -> Response:
        often = self._random.random() < OFTEN
        caller = ADMIN if often else self._random.choice(self._callers.names)
        headers = self._callers.headers(caller)
        response = case.call(base_url=self._base_url, session=self._session, headers=headers)
        self.found.asked[caller] += 1
        self.found.by_way[way] += 1
        self.found.answered[case.operation.label, response.status_code] += 1
        if case.operation.label in UPSETTING and response.status_code < 300:
            self._callers.renew()
        return response

    def _judge(self, response: Response, case: Case[Any]) -> None:
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as group:
            for one in group.exceptions:
                kind = (case.operation.label, response.status_code, str(getattr(one, "title", type(one).__name__)))
                told = f"{one}\n{case.as_curl_command(base_url=self._base_url)}\n{response.content[:500]!r}"
                self.found.wrong[kind].append(told)


def _settings() -> settings:
    """Nothing is shrunk, kept or timed: each request is judged on its own, and the next one asked."""
    return settings(
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=False,
    )
