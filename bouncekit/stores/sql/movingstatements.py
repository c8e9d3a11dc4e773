"""What a SQL store says to its database to give away what waits, and to take in what waited in another store."""
# ruff: noqa: S608 - what is put into a text is ours: lists of columns

from bouncekit.stores.queuecodec import MESSAGE_COLUMNS, RECIPIENT_COLUMNS

__all__ = ["ARRIVED", "ARRIVING", "DEPART", "FORGET", "RECEIVE", "TAKE_ALONG"]

# Whose first attempt was the application's, at fence 0, is nobody's before a worker took him: it asks for no lease when
# it comes back, and must find him here.
_NOBODY_IS_AT = """attempt_id IS NULL AND (lease_until IS NULL
        OR (fence > 0 AND (lease_until <= :now OR lease_until > :beyond)))"""
TAKE_ALONG = f"""
    UPDATE recipients SET lease_owner = :token, lease_until = :until, fence = fence + 1, free_at = max(due_at, :until)
    WHERE (message, address) IN (
        SELECT message, address FROM recipients
        WHERE (message, address) > (:message, :address) AND {_NOBODY_IS_AT}
        ORDER BY message, address LIMIT :most /*! FOR NO KEY UPDATE SKIP LOCKED */)
    RETURNING message, {RECIPIENT_COLUMNS}, due_at, timed_at"""
DEPART = """
    DELETE FROM recipients WHERE message = ? AND address = ? AND coalesce(lease_owner, '') = ? AND attempt_id IS NULL"""
RECEIVE = f"""
    INSERT INTO arrivals (token, origin, arrived_at, recipients, {MESSAGE_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (token, id) DO NOTHING"""
ARRIVED = f"SELECT recipients, {MESSAGE_COLUMNS} FROM arrivals WHERE token = ? AND id = ?"
FORGET = "DELETE FROM arrivals WHERE token = ? AND id = ?"
ARRIVING = f"""
    SELECT token, origin, arrived_at, recipients, {MESSAGE_COLUMNS} FROM arrivals
    WHERE (token, id) > (?, ?) ORDER BY token, id LIMIT ?"""
