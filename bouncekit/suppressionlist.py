"""The suppression list in the owner's hands: look, add, lift; every change with who made it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from bouncekit.address import parse_address, suppression_key
from bouncekit.classification import Category
from bouncekit.errors import AddressError
from bouncekit.events import Event, EventType, Occasion, event_id
from bouncekit.office import Office
from bouncekit.suppression import Evidence, Standing, Suppression

__all__ = ["SuppressionList"]


class SuppressionList:
    """The suppressions of one postmaster."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def __iter__(self) -> Iterator[Suppression]:
        """Every suppression of the default tenant, also expired ones, in the order of their keys."""
        return self.find()

    def find(
        self, *, tenant: str = "", stream: str | None = None, containing: str | None = None, binding: bool = False
    ) -> Iterator[Suppression]:
        """Suppressions in the order of their keys; with `binding`, only those that hold mail back now."""
        at = self._office.clock.now() if binding else None
        return self._office.store.suppressions(tenant=tenant, stream=stream, containing=containing, at=at)

    def get(self, address: str, *, tenant: str = "", stream: str = "") -> Suppression | None:
        """The suppression of an address, None where there is none. It may have expired: ask `binds`."""
        return self._office.store.suppression(
            suppression_key(parse_address(address).wire), tenant=tenant, stream=stream
        )

    def __contains__(self, address: str) -> bool:
        """Whether mail to this address is held back now."""
        found = self.get(address)
        return found is not None and found.binds(self._office.clock.now())

    def add(
        self,
        address: str,
        *,
        reason: str = "",
        category: Category = Category.RECIPIENT_FILTERED,
        lasts: timedelta | None = None,
        by: str = "owner",
        tenant: str = "",
        stream: str = "",
    ) -> Suppression:
        """Suppress an address by hand, for good or for a time. No success lifts it, only a hand or its end.

        Raises:
            AddressError: the address is none.
        """
        now = self._office.clock.now()
        wire = parse_address(address).wire
        if not wire:
            raise AddressError(address, "the empty address is a return path, never a recipient (RFC 5321 4.5.5)")
        suppression = Suppression(
            key=suppression_key(wire),
            address=wire,
            standing=Standing.MANUAL,
            category=category,
            since=now,
            changed_at=now,
            expires_at=None if lasts is None else now + lasts,
            by=by,
            evidence=Evidence(reply=reason),
            tenant=tenant,
            stream=stream,
        )
        event = self._event(EventType.SUPPRESSION_ADDED, suppression)
        self._office.store.add(suppression, by=by, event=event)
        self._office.ledger.publish((event,))
        return suppression

    def lift(self, address: str, *, by: str = "owner", tenant: str = "", stream: str = "") -> Suppression | None:
        """Lift the suppression of an address; None where there was none."""
        key = suppression_key(parse_address(address).wire)
        found = self._office.store.suppression(key, tenant=tenant, stream=stream)
        if found is None:
            return None
        now = self._office.clock.now()
        event = self._event(EventType.SUPPRESSION_LIFTED, replace(found, changed_at=now), by=by)
        lifted = self._office.store.lift(key, tenant=tenant, stream=stream, by=by, at=now, event=event)
        if lifted is not None:
            self._office.ledger.publish((event,))
        return lifted

    def _event(self, type_: EventType, suppression: Suppression, **details: object) -> Event:
        office = self._office
        occasion = Occasion(
            attempt_id=office.clock.new_id(),
            at=office.clock.now(),
            policy=office.policy.name,
            policy_hash=office.policy.hash,
        )
        return Event(
            id=event_id(occasion.attempt_id, suppression.address, type_),
            type=type_,
            occasion=occasion,
            recipient=suppression.address,
            suppression=suppression,
            details=details,
        )
