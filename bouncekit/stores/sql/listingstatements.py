"""What a SQL store says to its database about many entries of its suppression list, and about its audit.

`%s` is a list of marks, one for each value that is asked for.
"""
# ruff: noqa: S608 - what is put into a text is ours: lists of columns, and marks

from bouncekit.stores.codec import SUPPRESSION_COLUMNS

__all__ = [
    "CHANGES",
    "CHANGES_AT",
    "CHANGES_OF",
    "HELD",
    "HELD_FOR",
    "HELD_FOR_NONE",
    "HOLDINGS",
    "NEXT_TENANT",
    "SECRETS",
    "STANDING_AT",
    "SUPPRESSED",
]

_CHANGE = "sequence, at, made_by, event_id, state_before, state_after"

SUPPRESSED = """
    SELECT key_hash FROM suppressions
    WHERE tenant = ? AND stream IN (?, '') AND standing <> 'held' AND (expires_at IS NULL OR expires_at > ?)
    AND (standing = 'manual' OR category NOT IN (%s)) AND key_hash IN (%s)"""
STANDING_AT = f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE tenant = ? AND stream = ? AND key_hash IN (%s)"
CHANGES = f"SELECT {_CHANGE} FROM audit WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?"
CHANGES_AT = f"SELECT {_CHANGE} FROM audit WHERE tenant = ? AND stream = ? AND key_hash IN (%s) ORDER BY sequence"
CHANGES_OF = f"SELECT {_CHANGE} FROM audit WHERE tenant = ? AND key_hash = ? ORDER BY sequence DESC LIMIT ?"
_IS_HELD = "standing = 'held' AND (expires_at IS NULL OR expires_at > ?)"
# Each is read from the index once, without a look at the entries; then one entry of each kind, for its reply.
HELD = f"SELECT count(*) FROM suppressions WHERE {_IS_HELD}"
HOLDINGS = f"""
    SELECT CAST(sum(count(*)) OVER () AS BIGINT), fingerprint, count(*), min(since), max(changed_at) FROM suppressions
    WHERE {_IS_HELD} GROUP BY fingerprint ORDER BY count(*) DESC, min(since), coalesce(fingerprint, '') LIMIT ?"""
HELD_FOR = f"SELECT evidence FROM suppressions WHERE {_IS_HELD} AND fingerprint = ? LIMIT 1"
HELD_FOR_NONE = f"SELECT evidence FROM suppressions WHERE {_IS_HELD} AND fingerprint IS NULL LIMIT 1"
NEXT_TENANT = "SELECT min(tenant) FROM suppressions WHERE tenant > ?"
# From tenant to tenant and from secret to secret, a look in the index by key each. A pseudonym has no @ and begins with
# a #, the eight digits of its secret's name and a -; behind all of that name is what begins with it and a dot. One that
# somebody else made may look otherwise.
_HIDDEN = "key < '$' AND key NOT LIKE '%@%'"
_IS_OURS = "substr(hidden.key, 10, 1) = '-'"
SECRETS = f"""
    WITH RECURSIVE owners (tenant) AS (
        SELECT min(tenant) FROM suppressions
        UNION ALL
        SELECT (SELECT min(tenant) FROM suppressions WHERE tenant > owners.tenant)
        FROM owners WHERE owners.tenant IS NOT NULL
    ), hidden (tenant, key) AS (
        SELECT tenant, (SELECT min(key) FROM suppressions WHERE tenant = owners.tenant AND key > '#' AND {_HIDDEN})
        FROM owners WHERE owners.tenant IS NOT NULL
        UNION ALL
        SELECT tenant, (
            SELECT min(key) FROM suppressions
            WHERE tenant = hidden.tenant AND {_HIDDEN}
            AND key > CASE WHEN {_IS_OURS} THEN substr(hidden.key, 1, 9) || '.' ELSE hidden.key END)
        FROM hidden WHERE hidden.key IS NOT NULL
    )
    SELECT DISTINCT CASE WHEN {_IS_OURS} THEN substr(key, 1, 9) ELSE key END FROM hidden WHERE key IS NOT NULL"""
