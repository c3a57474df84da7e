"""The plans: six weeks beside a job, four full-time, thirteen at leisure; the daily rotation, and where it all ends."""

from __future__ import annotations

from orderkit.print_pack.checks.pages import Item, Stretch, Week

SIX_WEEKS: tuple[Week, ...] = (
    Week(
        1,
        "Foundation and flow",
        "You can draw what happens to a request, from socket to answer, and the service starts, stops and says how it is.",
        (
            Item("Start it, break a setting, and see all problems told at once", "config.fails_fast"),
            Item("Liveness and readiness, and what each is for", "health.ready"),
            Item("A request's id, from the header to the log", "request.id"),
            Item("Stop it in the middle of a request", "app.drains"),
        ),
        (
            "Draw request → authentication → validation → database → response, from memory.",
            "Write for each box: what it is, where it lives, what it turns into what.",
        ),
        "reading the runbook's first section and saying aloud what you would do",
    ),
    Week(
        2,
        "Database and data thinking",
        "You can say why each index exists, and show the plan with and without it.",
        (
            Item("Models, keys and the relationship", "database.models"),
            Item("Seed, then list orders by every filter", "database.seed"),
            Item("`orderkit explain`, and one query `--without` its index", "database.plans"),
            Item("Why this index exists, for all of them", "database.why_indexes"),
        ),
        (
            "Draw the tables and their arrows; compare with the ERD.",
            "Write down what ten times, and a thousand times, the rows would do to each query.",
        ),
        "seeding a larger past and guessing the plans before you look",
    ),
    Week(
        3,
        "Authentication and security",
        "You can follow a password and a token from birth to death, and say what a thief of either could do.",
        (
            Item("Register and look at the row", "access.register"),
            Item("Log in and decode the token", "access.login"),
            Item("401 against 403, at five addresses", "access.roles"),
            Item("Use a refresh token twice", "access.refresh"),
            Item("Look for a secret in every log", "logs.no_secrets"),
        ),
        (
            "Draw the lifecycle of a token, with every way that it ends.",
            "Explain aloud where identity lives when the server keeps no session in memory.",
        ),
        "taking one route and listing everybody who may call it, then `docs/access.md`",
    ),
    Week(
        4,
        "Order flow and business logic",
        "You can kill any part at any moment and say what becomes of the order.",
        (
            Item("Place an order, and repeat it under its key", "orders.same_key"),
            Item("Send the same key a dozen times at once", "orders.same_key_at_once"),
            Item("Change a status with a stale version", "orders.status_update"),
            Item("Let the provider fall silent", "orders.unknown"),
            Item("Let a parcel fail for good, and discard it", "worker.dead_letter"),
            Item("Compare your books with the provider's", "worker.books"),
        ),
        (
            "Draw the states, and by which act each arrow is gone along.",
            "Write the failure flow of a timeout before, and after, the charge.",
        ),
        "`orderkit demo`, with the story told aloud as it runs",
    ),
    Week(
        5,
        "Analytics, logging and reliability",
        "You can find one order's way in the logs of all processes, and say which number would have warned you.",
        (
            Item("A report by day, and the sum by hand", "reports.per_day"),
            Item("Status counts against the table", "reports.statuses"),
            Item("Follow one order through all logs", "logs.followed"),
            Item("Hold the database's lock and watch", "timeouts.database"),
            Item("An alert, its metric and its page of the runbook", "metrics.alerts"),
        ),
        (
            "Write why logs matter more than a debugger when the fault was yesterday.",
            "Take one alert and write what you would look at, in order.",
        ),
        "one ready query of `docs/logs.md`, tried on a log of your own",
    ),
    Week(
        6,
        "Tests, showcasing and job readiness",
        "You can show the whole in three minutes, and every claim has something that runs behind it.",
        (
            Item("Read a regression test and tell its story", "tests.regression"),
            Item("Break a rule and see which test notices", "tests.rules"),
            Item("The pack, printed", "pages.interview"),
            Item("Decisions: one told with what was not chosen", "pages.decisions"),
            Item("The demo in front of somebody", "pages.one_command"),
        ),
        (
            "Tell the two-minute pitch to a wall, a friend, a recorder.",
            "Mark on paper which answer you could not have given six weeks ago.",
        ),
        "recording three minutes and listening to them once",
    ),
)

FOUR_WEEKS: tuple[Stretch, ...] = (
    Stretch(
        "Week 1",
        "Modules 1 and 2: a service on a database that you can explain",
        (Item("It starts, refuses and drains", "app.drains"), Item("Plans and indexes", "database.plans")),
    ),
    Stretch(
        "Week 2",
        "Modules 3 and 4: who may, and an order that is placed once",
        (Item("401 and 403", "access.roles"), Item("One key, one order", "orders.same_key_at_once")),
    ),
    Stretch(
        "Week 3",
        "Modules 4 and 5: the background, failures, reports",
        (Item("Retried, dead, paid back", "worker.dead_letter"), Item("Reports that are right", "reports.by_user")),
    ),
    Stretch(
        "Week 4",
        "Modules 6 to 8: seen, tested, shown",
        (
            Item("One id through all logs", "logs.followed"),
            Item("Tests", "tests.isolated"),
            Item("Pitch", "pages.interview"),
        ),
    ),
)

THIRTEEN_WEEKS: tuple[Stretch, ...] = (
    Stretch(
        "1",
        "Python: values, errors, types",
        (
            Item("Money is a value, never a float", "tests.unit"),
            Item("Errors are classes with a stable code", "errors.problems"),
            Item("A rule of the house is a test", "tests.rules"),
        ),
    ),
    Stretch(
        "2",
        "Objects, and what to do without",
        (
            Item("A state machine as a table", "orders.status_update"),
            Item("A context manager that undoes", "tests.rollback"),
            Item("Settings as one checked object", "config.fails_fast"),
        ),
    ),
    Stretch(
        "3",
        "FastAPI: routes, models, validation",
        (
            Item("Routes and a document of them", "app.serves"),
            Item("Wrong input is 422 with a pointer", "orders.refused"),
            Item("Pages by cursor", "orders.list"),
        ),
    ),
    Stretch(
        "4",
        "FastAPI: dependencies, middleware, life",
        (
            Item("A dependency that asks for a token", "access.required"),
            Item("A request's id from a middleware", "request.id"),
            Item("Start, readiness and drain", "app.drains"),
        ),
    ),
    Stretch(
        "5",
        "Database: schema, migrations, transactions",
        (
            Item("Tables and keys", "database.models"),
            Item("Migrations", "database.schema"),
            Item("A pool with a bound", "database.pool"),
        ),
    ),
    Stretch(
        "6",
        "ORM or SQL: indexes and plans",
        (
            Item("Every query on its index", "database.plans"),
            Item("Each index with its reason", "database.why_indexes"),
            Item("Reports on indexes", "reports.indexes"),
        ),
    ),
    Stretch(
        "7",
        "Modules and their borders",
        (
            Item("Domains that know no framework", "tests.rules"),
            Item("Diagrams from the code", "pages.diagrams"),
            Item("Decisions written down", "pages.decisions"),
        ),
    ),
    Stretch(
        "8",
        "Authentication and authorization",
        (
            Item("Hash, login, token", "access.login"),
            Item("Roles and permissions", "access.granted"),
            Item("Sessions that end", "access.refresh"),
        ),
    ),
    Stretch(
        "9",
        "Events: outbox and worker",
        (
            Item("Events once and in order", "worker.events"),
            Item("Work in the background", "worker.ships"),
            Item("Idempotent on both sides", "orders.same_key_at_once"),
        ),
    ),
    Stretch(
        "10",
        "Events: failure",
        (
            Item("Retries that back off", "worker.retries"),
            Item("Dead letters", "worker.dead_letter"),
            Item("Signed callbacks", "worker.delivered"),
        ),
    ),
    Stretch(
        "11",
        "LLM integration",
        (
            Item("An assistant that answers from the data", "assistant"),
            Item("What it may not do, tested", "assistant"),
            Item("Secrets that stay out of any text", "logs.no_secrets"),
        ),
    ),
    Stretch(
        "12",
        "Deployment",
        (
            Item("An image and a stack", "pages.deployment"),
            Item("A pipeline", "pages.pipeline"),
            Item("Metrics, alerts, runbook", "metrics.alerts"),
        ),
    ),
    Stretch(
        "13",
        "Capstone",
        (
            Item("The books agree", "worker.books"),
            Item("One command shows it", "pages.one_command"),
            Item("The story, told", "pages.interview"),
        ),
    ),
)

ROTATION: tuple[tuple[str, int, str], ...] = (
    ("Code", 45, "one item of the module of the week, with its test"),
    ("Notes", 20, "material, location, transformation: what it is, where it lives, what it turns into what"),
    ("Draw", 15, "the flow that you have just worked on, on paper, from memory"),
    ("Explain aloud", 10, "the same, to somebody who is not there"),
)
"""What, how many minutes, and of what."""

CHECKPOINT: tuple[Item, ...] = (
    Item("I can say what happens when a request comes in, box by box.", "orders.timeline"),
    Item("I can say why an order is never charged twice, and show it.", "worker.books"),
    Item("I can show what an index is worth, and what it costs.", "database.plans"),
    Item("I can say where identity lives, and how it ends.", "access.refresh"),
    Item("I can find yesterday's failure by one id.", "logs.followed"),
    Item("I can say what the tests hold, and what they do not.", "tests.isolated"),
    Item("I can say what I would do differently, and why I did not.", "pages.decisions"),
)
"""What one can say calmly in the end, and what there is to show for it. A person ticks these; the check says it can be shown."""
