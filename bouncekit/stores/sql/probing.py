"""The probe behind a suppression in a SQL store: what an outcome says of when another message may be it."""

from bouncekit.delivery.events import Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.stores.codec import key_hash, storable
from bouncekit.stores.probing import left_until, tells_of_probe
from bouncekit.stores.sql.database import Transaction
from bouncekit.stores.sql.statements import LEAVE

__all__ = ["leave_probe"]


def leave_probe(transaction: Transaction, settlement: Settlement, occasion: Occasion, delivery_id: str) -> None:
    """Have an outcome of a delivery say when another message may be the probe; it changes nothing if that was none."""
    if tells_of_probe(settlement, occasion.labels):
        labels, key = occasion.labels, key_hash(settlement.key)
        whose = (storable(labels.tenant), storable(labels.stream), key, delivery_id)
        transaction.execute(LEAVE, (left_until(settlement, occasion.at), *whose))
