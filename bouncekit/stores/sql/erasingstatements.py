"""What a SQL store says to its database to forget a person."""

__all__ = [
    "CHANGES",
    "EVENTS",
    "OUTCOMES",
    "REMOVE",
    "RENAME_CHANGE",
    "RENAME_EVENT",
    "RENAME_OUTCOME",
    "REPEATED_EVENT",
    "REPEATED_OUTCOME",
    "SPELLINGS",
    "STRIKES",
    "TENANTS",
]

TENANTS = """
    SELECT tenant FROM suppressions WHERE key_hash = :hash UNION SELECT tenant FROM audit WHERE key_hash = :hash
    UNION SELECT tenant FROM outcomes WHERE key_hash = :hash UNION SELECT tenant FROM outbox WHERE key_hash = :hash
    UNION SELECT tenant FROM recipients WHERE key = :key"""
SPELLINGS = """
    SELECT recipient FROM outcomes WHERE key_hash = :hash
    UNION SELECT address FROM suppressions WHERE key_hash = :hash"""
EVENTS = """
    SELECT sequence, key_hash, event FROM outbox
    WHERE key_hash = ? OR lower(event) LIKE ? ESCAPE '!' ORDER BY sequence"""
REPEATED_EVENT = """
    DELETE FROM outbox WHERE sequence = ? AND EXISTS (SELECT 1 FROM outbox WHERE id = ? AND sequence <> ?)"""
RENAME_EVENT = "UPDATE outbox SET id = ?, key_hash = ?, event = ? WHERE sequence = ?"
CHANGES = "SELECT sequence, event_id, state_before, state_after FROM audit WHERE key_hash = ?"
RENAME_CHANGE = "UPDATE audit SET key_hash = ?, event_id = ?, state_before = ?, state_after = ? WHERE sequence = ?"
OUTCOMES = "SELECT attempt_id, recipient, message_id FROM outcomes WHERE key_hash = ? OR lower(recipient) = ?"
REPEATED_OUTCOME = """
    DELETE FROM outcomes WHERE attempt_id = ? AND recipient = ?
    AND EXISTS (SELECT 1 FROM outcomes AS before WHERE attempt_id = ? AND recipient = ? AND recipient <> ?)"""
RENAME_OUTCOME = """
    UPDATE outcomes SET recipient = ?, key_hash = ?, message_id = ? WHERE attempt_id = ? AND recipient = ?"""
STRIKES = "DELETE FROM strikes WHERE key_hash = ?"
REMOVE = "DELETE FROM suppressions WHERE key_hash = ?"
