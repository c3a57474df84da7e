"""What the queue carries: for each kind of act one task, one line long, addressed by the id of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from huey import Huey

from orderkit.worker.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Tasks:
    """Each puts a task for a row on the queue."""

    ship: Callable[[UUID], object]
    recall: Callable[[UUID], object]
    resolve_payment: Callable[[UUID], object]
    refund: Callable[[UUID], object]
    mail: Callable[[UUID], object]


def register(queue: Huey, runtime: Runtime) -> Tasks:
    """Teaches the queue what its tasks do in this process."""

    @queue.task()  # type: ignore[untyped-decorator]
    def ship(row_id: str) -> None:
        runtime.act(runtime.dispatch.ship, row_id)

    @queue.task()  # type: ignore[untyped-decorator]
    def recall(row_id: str) -> None:
        runtime.act(runtime.dispatch.recall, row_id)

    @queue.task()  # type: ignore[untyped-decorator]
    def resolve_payment(row_id: str) -> None:
        runtime.act(runtime.resolution.resolve, row_id)

    @queue.task()  # type: ignore[untyped-decorator]
    def refund(row_id: str) -> None:
        runtime.act(runtime.resolution.refund, row_id)

    @queue.task()  # type: ignore[untyped-decorator]
    def mail(row_id: str) -> None:
        runtime.act(runtime.mails.send, row_id)

    return Tasks(
        ship=lambda row_id: ship(str(row_id)),
        recall=lambda row_id: recall(str(row_id)),
        resolve_payment=lambda row_id: resolve_payment(str(row_id)),
        refund=lambda row_id: refund(str(row_id)),
        mail=lambda row_id: mail(str(row_id)),
    )
