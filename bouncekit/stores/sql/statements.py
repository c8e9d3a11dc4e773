"""What a SQL store says to its database, in the order of a store's methods.

Values go in as parameters; the only text that is put in is the list of columns that `bouncekit.stores.codec` fills.
The same text is for every database; see `bouncekit.stores.sql.database`.
"""
# ruff: noqa: S608 - what is put into a text is ours: lists of columns, and marks

from bouncekit.stores.codec import SUPPRESSION_COLUMNS

__all__ = [
    "ADD",
    "ADDRESSED",
    "ALIKE",
    "AUDIT",
    "CLAIM",
    "CLEAR",
    "COUNT",
    "DAYS",
    "EVENTS",
    "FIND",
    "HISTORY",
    "IS_TOLD",
    "LEAVE",
    "LIST",
    "MASS",
    "OUTCOME",
    "PUT",
    "REMOVE",
    "STANDING",
    "STRIKE",
    "SUM",
    "TELL",
    "TOLD",
]


def _sum(name: str, subject: str, since: str) -> str:
    return (
        f"(SELECT CAST(coalesce(sum(number), 0) AS BIGINT) FROM counters "
        f"WHERE name = '{name}' AND subject = :{subject} AND began_at >= :{since} AND began_at <= :latest)"
    )


FIND = f"""
    SELECT {SUPPRESSION_COLUMNS}, probe_by, probe_until FROM suppressions
    WHERE tenant = ? AND stream IN (?, '') AND key_hash IN (%s)"""
STANDING = f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE tenant = ? AND stream = ? AND key_hash = ?"
LIST = f"""
    SELECT {SUPPRESSION_COLUMNS} FROM suppressions
    WHERE tenant = :tenant AND (key, stream) > (:key, :after_stream)
    AND (CAST(:stream AS TEXT) IS NULL OR stream = :stream)
    AND (CAST(:at AS BIGINT) IS NULL OR (standing <> 'held' AND (expires_at IS NULL OR expires_at > :at)))
    AND (CAST(:needle AS TEXT) IS NULL OR holds(:needle, key, address))
    ORDER BY key, stream LIMIT :page"""
PUT = f"""
    INSERT INTO suppressions ({SUPPRESSION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, stream, key_hash) DO UPDATE SET
    key = excluded.key, address = excluded.address, standing = excluded.standing, category = excluded.category,
    since = excluded.since, changed_at = excluded.changed_at, expires_at = excluded.expires_at,
    ladder = excluded.ladder, rung = excluded.rung, set_by = excluded.set_by, evidence = excluded.evidence,
    fingerprint = excluded.fingerprint, probe_by = NULL, probe_until = NULL"""
REMOVE = "DELETE FROM suppressions WHERE tenant = ? AND stream = ? AND key_hash = ?"
CLAIM = """
    UPDATE suppressions SET probe_by = ?, probe_until = ? WHERE tenant = ? AND stream = ? AND key_hash = ?"""
LEAVE = """
    UPDATE suppressions SET probe_until = ?
    WHERE tenant = ? AND stream IN (?, '') AND key_hash = ? AND probe_by = ?"""
COUNT = """
    SELECT count(*) FROM strikes
    WHERE tenant = ? AND stream = ? AND key_hash = ? AND category = ? AND day < ? AND at >= ?"""
STRIKE = """
    INSERT INTO strikes (tenant, stream, key_hash, category, day, at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, stream, key_hash, category, day) DO UPDATE SET at = max(strikes.at, excluded.at)"""
MASS = f"""
    SELECT {_sum("refusals", "fingerprint", "window")}, {_sum("answers", "provider", "window")},
    {_sum("refusals", "fingerprint", "reach")}, {_sum("answers", "provider", "reach")},
    {_sum("trips", "fingerprint", "reach")}"""
DAYS = """
    SELECT CAST(coalesce((SELECT sum(number) FROM counters WHERE name = 'refusals_daily' AND subject = :provider
    AND began_at = answered.began_at), 0) AS BIGINT), CAST(sum(answered.number) AS BIGINT) FROM counters AS answered
    WHERE answered.name = 'answers_daily' AND answered.subject = :provider
    AND answered.began_at >= :usual AND answered.began_at < :until GROUP BY answered.began_at"""
SUM = """
    SELECT CAST(coalesce(sum(number), 0) AS BIGINT) FROM counters
    WHERE name = ? AND subject = ? AND began_at >= ? AND began_at <= ?"""
ADD = """
    INSERT INTO counters (name, subject, began_at, number) VALUES (?, ?, ?, ?)
    ON CONFLICT (name, subject, began_at, slot) DO UPDATE SET number = counters.number + excluded.number"""
ALIKE = f"""
    SELECT {SUPPRESSION_COLUMNS} FROM suppressions
    WHERE fingerprint = ? AND since >= ? AND standing IN ('provisional', 'confirmed')"""
CLEAR = "DELETE FROM strikes WHERE tenant = ? AND stream = ? AND key_hash = ?"
OUTCOME = """
    INSERT INTO outcomes (attempt_id, recipient, delivery_id, at, tenant, stream, test, key_hash, message_id, action,
    category, scope, stage, code, enhanced, remote_mta, rule, classified_by, policy_hash, retry_at, attempts,
    possible_duplicate) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (attempt_id, recipient) DO NOTHING"""
TELL = """
    INSERT INTO outbox (id, type, at, tenant, key_hash, event) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
IS_TOLD = "SELECT 1 FROM outbox WHERE id = ?"
TOLD = "SELECT event FROM outbox WHERE id = ?"
ADDRESSED = """
    SELECT DISTINCT recipient FROM outcomes
    WHERE delivery_id = ? AND tenant = ? AND action <> 'suppressed' ORDER BY recipient"""
HISTORY = "SELECT event FROM outbox WHERE tenant = ? AND key_hash = ? ORDER BY sequence DESC LIMIT ?"
EVENTS = "SELECT sequence, event FROM outbox WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
AUDIT = """
    INSERT INTO audit (at, act, made_by, tenant, stream, key_hash, event_id, state_before, state_after)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
