"""The catalog over HTTP. Reading is for anyone; changing is for whoever may."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from orderkit.api import problems
from orderkit.api.dependencies import Running, anyone, requires
from orderkit.api.json_body import Body, OneLine, StrictRoute
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth.callers import Caller
from orderkit.catalog import products
from orderkit.catalog.models import Product
from orderkit.inventory import stock
from orderkit.money import MAX_AMOUNT

Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT, description="In minor units.")]
Pieces = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]

router = APIRouter(prefix="/products", tags=["products"], route_class=StrictRoute)


class ProductIn(Body):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "sku": "TEA-001",
                "name": "Green tea, 100 g",
                "unit_price": 1999,
                "currency": "GBP",
                "stock": 10,
            }
        }
    )

    sku: Annotated[str, Field(min_length=1, max_length=products.MAX_SKU, description="Case counts.")]
    name: OneLine
    unit_price: Amount
    currency: Annotated[str, Field(min_length=3, max_length=3, description="ISO 4217.", examples=["GBP"])]
    stock: Pieces = 0


class ProductChange(Body):
    # Factories, so that the schema says "may be left out" and not "may be null".
    name: OneLine = Field(default_factory=str)
    unit_price: Amount = Field(default_factory=int)

    @model_validator(mode="after")
    def _something(self) -> ProductChange:
        if not self.model_fields_set:
            raise ValueError("name what is to change: name, unit_price or both")
        return self


class Movement(Body):
    delta: Annotated[
        int, Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, description="Pieces received, or taken away if negative.")
    ]
    reason: OneLine

    @model_validator(mode="after")
    def _moves(self) -> Movement:
        if self.delta == 0:
            raise ValueError("a movement of 0 is none")
        return self


class ProductAnswer(BaseModel):
    """A product. `unit_price` is in minor units of `currency`; `stock` is what can still be ordered."""

    model_config = ConfigDict(from_attributes=True)

    sku: str
    name: str
    unit_price: int
    currency: str
    stock: int
    created_at: datetime
    updated_at: datetime


@router.get("", responses=problems.responses(400, 422, 503))
@anyone
def list_products(app: Running, paging: Annotated[Paging, Depends(paging)]) -> Page[ProductAnswer]:
    """All products, by SKU."""
    of = {"list": "products"}
    after = paging.after(of, str)
    with app.database.reading() as session:
        found = products.page(session, limit=paging.limit + 1, after=after)
    return paging.page(
        of, found, lambda last: last.sku, lambda shown: [ProductAnswer.model_validate(one) for one in shown]
    )


@router.get("/{sku}", response_model=ProductAnswer, responses=problems.responses(404, 503))
@anyone
def get_product(sku: str, app: Running) -> Product:
    """One product."""
    with app.database.reading() as session:
        return products.find(session, sku)


@router.post(
    "",
    status_code=201,
    response_model=ProductAnswer,
    responses=problems.responses(400, 401, 403, 409, 413, 415, 422, 503),
)
def create_product(
    body: ProductIn, app: Running, caller: Annotated[Caller, Depends(requires("catalog:write"))], response: Response
) -> Product:
    """Adds a product. Stock given here is its first movement."""
    with app.database.transaction() as session:
        product = products.create(
            session, sku=body.sku, name=body.name, unit_price=body.unit_price, currency=body.currency
        )
        if body.stock:
            product = stock.move(session, body.sku, body.stock, "opening stock", caller.id)
    response.headers["Location"] = f"/products/{quote(body.sku, safe='')}"
    return product


@router.patch(
    "/{sku}",
    response_model=ProductAnswer,
    responses=problems.responses(400, 401, 403, 404, 413, 415, 422, 503),
    dependencies=[Depends(requires("catalog:write"))],
)
def change_product(sku: str, body: ProductChange, app: Running) -> Product:
    """Changes name or price. Orders keep the price they were placed at."""
    with app.database.transaction() as session:
        return products.change(session, sku, **body.model_dump(exclude_unset=True))


@router.post(
    "/{sku}/stock",
    response_model=ProductAnswer,
    responses=problems.responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
def move_stock(
    sku: str, body: Movement, app: Running, caller: Annotated[Caller, Depends(requires("inventory:write"))]
) -> Product:
    """Records a receipt or an adjustment, and answers the product with its new stock."""
    with app.database.transaction() as session:
        return stock.move(session, sku, body.delta, body.reason, caller.id)
