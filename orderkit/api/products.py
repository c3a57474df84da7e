"""The catalog over HTTP. Reading is for anyone; changing is for whoever may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, TypeVar
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlmodel import Session

from orderkit import idempotency
from orderkit.api import problems
from orderkit.api.dependencies import Running, Runtime, anyone, requires
from orderkit.api.json_body import Body, OneLine, Reason, StrictRoute
from orderkit.api.orders import idempotency_key
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth.callers import Caller
from orderkit.catalog import prices, products
from orderkit.catalog.models import Product
from orderkit.clock import now
from orderkit.idempotency import Answer, Claim, KeyId, Replay
from orderkit.ids import new_id
from orderkit.inventory import movements, stock
from orderkit.money import MAX_AMOUNT

Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="In minor units.")]
Pieces = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]

router = APIRouter(prefix="/products", tags=["products"], route_class=StrictRoute)


class ProductIn(Body):
    sku: Annotated[str, Field(min_length=1, max_length=products.MAX_SKU, description="Case counts.")]
    name: OneLine
    unit_price: Amount
    currency: Annotated[str, Field(min_length=3, max_length=3, description="ISO 4217.", examples=["GBP"])]
    stock: Pieces = 0


class ProductChange(Body):
    # Factories, so that the schema says "may be left out" and not "may be null".
    name: OneLine = Field(default_factory=str)
    unit_price: Amount = Field(default_factory=int)
    low_stock_at: Annotated[
        Pieces | None, Field(description="Stock that falls to so many pieces or fewer is told of. Null: it is not.")
    ] = None

    @model_validator(mode="after")
    def _something(self) -> ProductChange:
        if not self.model_fields_set:
            raise ValueError("name what is to change: name, unit_price or low_stock_at")
        return self


class PriceIn(Body):
    unit_price: Amount


class Movement(Body):
    delta: Annotated[
        int, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="Pieces received, or taken away if negative.")
    ]
    reason: Reason

    @model_validator(mode="after")
    def _moves(self) -> Movement:
        if self.delta == 0:
            raise ValueError("a movement of 0 is none")
        return self


class ProductAnswer(BaseModel):
    """A product. `unit_price` is in minor units of `currency`; `stock` is what can still be ordered.

    `prices` are what it costs in other currencies, in minor units of each.
    """

    model_config = ConfigDict(from_attributes=True)

    sku: str
    name: str
    unit_price: int
    currency: str
    prices: dict[str, int] = Field(default_factory=dict, examples=[{"EUR": 2299, "JPY": 3800}])
    stock: int
    created_at: datetime
    updated_at: datetime


class ProductForStaff(ProductAnswer):
    """A product as whoever changes it or its stock sees it: with `low_stock_at`, the threshold at which low stock is told of."""

    low_stock_at: int | None


class MovementAnswer(BaseModel):
    """Why stock changed: pieces that came, or went if negative. `author_id` is null where no account did it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    delta: int
    reason: str
    author_id: UUID | None
    created_at: datetime


Shown = TypeVar("Shown", bound=ProductAnswer)


def _shown(session: Session, found: Sequence[Product], kind: type[Shown]) -> list[Shown]:
    """Answers of several products, their prices read at once."""
    priced = prices.by_product(session.connection(), [one.sku for one in found])
    return [
        kind.model_validate(one).model_copy(update={"prices": priced[one.sku]} if one.sku in priced else {})
        for one in found
    ]


def _answer(session: Session, product: Product) -> ProductAnswer:
    [answer] = _shown(session, [product], ProductAnswer)
    return answer


def _for_staff(session: Session, product: Product) -> ProductForStaff:
    [answer] = _shown(session, [product], ProductForStaff)
    return answer


@router.get("", responses=problems.responses(400, 422, 503))
@anyone
def list_products(app: Running, paging: Annotated[Paging, Depends(paging)]) -> Page[ProductAnswer]:
    """All products, by SKU."""
    of = {"list": "products"}
    after = paging.after(of, str)
    with app.database.reading() as session:
        found = products.page(session, limit=paging.limit + 1, after=after)
        return paging.page(of, found, lambda last: last.sku, lambda shown: _shown(session, shown, ProductAnswer))


@router.get("/{sku}", responses=problems.responses(404, 503))
@anyone
def get_product(sku: str, app: Running) -> ProductAnswer:
    """One product."""
    with app.database.reading() as session:
        return _answer(session, products.find(session, sku))


@router.post(
    "",
    status_code=201,
    responses=problems.responses(400, 401, 403, 409, 413, 415, 422, 503),
)
def create_product(
    body: ProductIn, app: Running, caller: Annotated[Caller, Depends(requires("catalog:write"))], response: Response
) -> ProductAnswer:
    """Adds a product. Stock given here is its first movement."""
    with app.database.transaction() as session:
        product = products.create(
            session, sku=body.sku, name=body.name, unit_price=body.unit_price, currency=body.currency
        )
        if body.stock:
            product = stock.move(session, body.sku, body.stock, "opening stock", caller.id)
        answer = _answer(session, product)
    response.headers["Location"] = _path(body.sku)
    return answer


def _path(sku: str) -> str:
    return f"/products/{quote(sku, safe='')}"


@router.patch(
    "/{sku}",
    responses=problems.responses(400, 401, 403, 404, 413, 415, 422, 503),
    dependencies=[Depends(requires("catalog:write"))],
)
def change_product(sku: str, body: ProductChange, app: Running) -> ProductForStaff:
    """Changes name, price or threshold. Orders keep the price they were placed at.

    Stock that is at the threshold already is told of when it falls to it again.
    """
    with app.database.transaction() as session:
        return _for_staff(session, products.change(session, sku, **body.model_dump(exclude_unset=True)))


@router.put(
    "/{sku}/prices/{currency}",
    responses=problems.responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
    dependencies=[Depends(requires("catalog:write"))],
)
def put_price(sku: str, currency: str, body: PriceIn, app: Running) -> ProductAnswer:
    """Prices the product in another currency than its own, for orders that ask for it; replaces the price that was there."""
    with app.database.transaction() as session:
        return _answer(session, prices.put(session, sku, currency, body.unit_price))


@router.delete(
    "/{sku}/prices/{currency}",
    status_code=204,
    responses=problems.responses(401, 403, 404, 409, 503),
    dependencies=[Depends(requires("catalog:write"))],
)
def delete_price(sku: str, currency: str, app: Running) -> None:
    """Takes a price away. Orders that were placed at it keep it."""
    with app.database.transaction() as session:
        prices.remove(session, sku, currency)


@router.get("/{sku}/movements", responses=problems.responses(400, 401, 403, 404, 422, 503))
def list_movements(
    sku: str,
    app: Running,
    paging: Annotated[Paging, Depends(paging)],
    _caller: Annotated[Caller, Depends(requires("inventory:write"))],
) -> Page[MovementAnswer]:
    """Why stock is what it is, newest first: receipts, adjustments and restocks. What was ordered, the orders tell."""
    of = {"list": "movements", "sku": sku}
    after = paging.after(of, movements.Position)
    with app.database.reading() as session:
        products.find(session, sku)
        found = movements.page(session, sku, limit=paging.limit + 1, after=after)
    return paging.page(
        of, found, movements.position, lambda shown: [MovementAnswer.model_validate(one) for one in shown]
    )


@router.post(
    "/{sku}/stock",
    response_model=ProductForStaff,
    responses=problems.responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
    openapi_extra={
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
                "description": "One new value for each movement; repeats of it move nothing and get the first answer.",
            }
        ]
    },
)
def move_stock(
    sku: str,
    body: Movement,
    request: Request,
    app: Running,
    caller: Annotated[Caller, Depends(requires("inventory:write"))],
) -> Response:
    """Records a receipt or an adjustment, and answers the product with its new stock.

    With an Idempotency-Key it can be repeated as an order can; without one, every repeat is another movement.
    """
    key = idempotency_key(request) if "idempotency-key" in request.headers else None
    movement_id = new_id()
    with app.database.transaction() as session:

        def act() -> Answer:
            moved = stock.move(session, sku, body.delta, body.reason, caller.id, movement_id=movement_id)
            return Answer(200, _for_staff(session, moved).model_dump_json())

        if key is None:
            return _sent(act())
        # The model takes nothing but what JSON has, as it is: what it dumps is what was sent.
        wanted = idempotency.fingerprint("POST", request.scope["path"], body.model_dump())
        given = _once(app, session, Claim(KeyId(caller.id, key), wanted, movement_id), sku, act)
    return _sent(given.answer, replayed=given.replayed)


def _once(app: Runtime, session: Session, claim: Claim, sku: str, act: Callable[[], Answer]) -> Replay:
    return idempotency.once(
        session.connection(),
        claim,
        act,
        at=now(),
        lease=timedelta(seconds=app.settings.lease),
        ttl=timedelta(days=app.settings.idempotency_ttl_days),
        location=lambda _movement_id, _same: f"{_path(sku)}/movements",
    )


def _sent(answer: Answer, *, replayed: bool = False) -> Response:
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return Response(answer.body, answer.status, headers, "application/json")
