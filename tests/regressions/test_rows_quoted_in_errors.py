"""An error of a constraint carried the whole row, password hash included, into whatever logged it.

SQLAlchemy hides the parameters of a statement if told to, but PostgreSQL's own detail says `Failing row contains (…)` and
`Key (email)=(…) already exists`.
"""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from orderkit.auth.models import User
from orderkit.db import Database
from tests.factories import make_user


def test_an_error_tells_the_constraint_and_none_of_the_values(database: Database) -> None:
    make_user(database, email="somebody@example.com")
    with pytest.raises(IntegrityError) as taken, database.transaction() as session:
        session.add(User(email="somebody@example.com", name="x", password_hash="$argon2id$hash"))
    with pytest.raises(IntegrityError) as odd, database.transaction() as session:
        session.add(User(email="SOMEBODY@example.com", name="x", password_hash="$argon2id$hash"))
    assert "email" in str(taken.value.orig)
    assert "email_lower" in str(odd.value.orig)
    told = f"{taken.value!s} {taken.value.orig!r} {odd.value!s} {odd.value.orig!r}"
    assert "example.com" not in told.lower()
    assert "argon2id" not in told
