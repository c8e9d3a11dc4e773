"""What a SQL store says to its database about its queue and the readers of its events.

Values go in as parameters; the only text that is put in are the lists of columns that `bouncekit.stores.queuecodec`
reads. `free_at` and `retried` are written wherever what they follow from is; the table checks that. What stands between
`/*!` and `*/` is for PostgreSQL: which rows are locked, in their order, or passed over where another has them.
"""
# ruff: noqa: S608 - what is put into a text is ours: lists of columns, and marks

from bouncekit.stores.queuecodec import KEPT_COLUMNS, MESSAGE_COLUMNS, QUEUED_COLUMNS, RECIPIENT_COLUMNS

__all__ = [
    "ABANDONED",
    "AGAIN",
    "AHEAD",
    "BEGIN",
    "BEGIN_ATTEMPT",
    "BEGIN_CLAIMED",
    "BEYOND",
    "CLAIM_CURSOR",
    "CURSORS",
    "DELAY",
    "DEPTH",
    "DROP",
    "DROP_CURSOR",
    "END_ATTEMPTS",
    "ENQUEUE",
    "EXTEND",
    "FIRST_RELAY",
    "FREE",
    "GIVE_BACK",
    "GIVE_UP",
    "HAVE_MORE",
    "HOLD",
    "IS_BEGUN",
    "IS_SETTLED",
    "KEEP",
    "KEPT",
    "LATE",
    "LEAVE",
    "LEFT",
    "MESSAGE",
    "MESSAGES",
    "MOVE",
    "MOVE_CURSOR",
    "MOVE_MESSAGE",
    "NEWEST",
    "NEXT_RELAY",
    "NOTE_TROUBLE",
    "OPEN",
    "OPEN_AHEAD",
    "PLACE_CURSOR",
    "PRUNE",
    "QUEUED",
    "READ_CURSOR",
    "RELAYS",
    "RELEASE_CURSOR",
    "REQUEUE",
    "ROWS",
    "SETTLE",
    "SWEEP",
    "TAKE",
    "TAKE_ABANDONED",
    "TAKE_GROUP",
    "TIMES",
    "TROUBLE",
    "WAITING",
    "WAITS",
    "WAS_BEGUN",
    "WITH",
]

# -- what comes in

KEEP = f"""
    INSERT INTO messages ({MESSAGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO NOTHING"""
_RECIPIENT = """
    INSERT INTO recipients (message, address, position, given, tenant, key, domain, relay, state, due_at, timed_at,
    attempts, retried, first_attempt_at, possible_duplicate, attempt_id, lease_owner, lease_until, free_at,
    give_up_at, greylisted_at)
    VALUES (:message, :address, :position, :given, :tenant, :key, :domain, :relay"""
ENQUEUE = f"""
    {_RECIPIENT}, :state, :due_at, :timed_at,
    :attempts, :retried, :first_attempt_at, :possible_duplicate, NULL, NULL, NULL, :due_at, :give_up_at, :greylisted_at)
    ON CONFLICT (message, address) DO NOTHING"""

# -- an attempt; at fence 0 a row is the application's own, and who comes without a lease is the application

BEGIN_ATTEMPT = """
    INSERT INTO attempts (id, message, relay, owner, begun_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
BEGIN = f"""
    {_RECIPIENT}, 'due', :at, :at,
    :attempts, :retried, :first_attempt_at, :possible_duplicate, :attempt, :token, :until, NULL, NULL, :greylisted_at)
    ON CONFLICT (message, address) DO UPDATE SET
    attempt_id = excluded.attempt_id, lease_until = excluded.lease_until, free_at = NULL
    WHERE recipients.fence = 0 AND recipients.lease_owner = excluded.lease_owner AND recipients.attempt_id IS NULL"""
WAS_BEGUN = "SELECT 1 FROM attempts WHERE id = ?"
IS_BEGUN = "SELECT 1 FROM attempts WHERE id = ? AND message = ? AND owner = ? AND begun_at = ?"
WITH = "SELECT address FROM recipients WHERE attempt_id = ?"
BEGIN_CLAIMED = """
    UPDATE recipients SET attempt_id = :attempt, lease_until = :until, free_at = NULL,
    first_attempt_at = coalesce(first_attempt_at, :first_attempt_at)
    WHERE message = :message AND address = :address AND coalesce(lease_owner, '') = :lease AND attempt_id IS NULL"""
IS_SETTLED = """
    SELECT 1 FROM attempts JOIN outcomes ON outcomes.attempt_id = attempts.id AND outcomes.recipient = ?
    WHERE attempts.message = ? AND NOT EXISTS (SELECT 1 FROM recipients WHERE message = ? AND address = ?)"""
# `coalesce` keeps a planner from going by the lease, under which there are many.
_OURS = "(coalesce(lease_owner, '') = :lease OR (CAST(:lease AS TEXT) IS NULL AND fence = 0))"
DELAY = f"""
    UPDATE recipients SET state = :state, due_at = :due_at, timed_at = :timed_at, attempts = :attempts,
    retried = :retried,
    first_attempt_at = coalesce(:first_attempt_at, first_attempt_at),
    give_up_at = :give_up_at, greylisted_at = :greylisted_at,
    possible_duplicate = max(possible_duplicate, :possible_duplicate),
    attempt_id = NULL, lease_owner = NULL, lease_until = NULL, free_at = :due_at
    WHERE message = :message AND address = :address AND {_OURS}"""
SETTLE = f"""
    DELETE FROM recipients WHERE message = :message AND address = :address AND (:is_answered = 1 OR {_OURS})"""
# Whoever took over an abandoned attempt and asks again at once does not know whether the first one arrived.
AGAIN = f"""
    UPDATE recipients SET
    possible_duplicate = CASE
        WHEN lease_owner <> (SELECT owner FROM attempts WHERE id = recipients.attempt_id) THEN 1
        ELSE possible_duplicate END,
    attempt_id = NULL, free_at = max(due_at, lease_until)
    WHERE attempt_id = :attempt AND {_OURS}"""
OPEN = f"SELECT 1 FROM recipients WHERE attempt_id = :attempt AND {_OURS} LIMIT 1"
END_ATTEMPTS = """
    UPDATE attempts SET settled_at = ? WHERE message = ? AND settled_at IS NULL
    AND (id = ? OR NOT EXISTS (SELECT 1 FROM recipients WHERE attempt_id = attempts.id))"""
_NOBODY_WAITS = "NOT EXISTS (SELECT 1 FROM recipients WHERE message = messages.id)"
SWEEP = f"DELETE FROM messages WHERE id = ? AND {_NOBODY_WAITS}"
LEAVE = f"UPDATE messages SET keep_until = ? WHERE id = ? AND {_NOBODY_WAITS}"

# -- leases; one is over at its end, and where that lies beyond any that could have been given by now

_IS_OVER = "(lease_until <= :now OR lease_until > :beyond)"
_IS_BEYOND = "lease_owner IS NOT NULL AND attempt_id IS NULL AND lease_until > :beyond"
BEYOND = f"SELECT 1 FROM recipients WHERE {_IS_BEYOND} LIMIT 1"
GIVE_UP = f"""
    UPDATE recipients SET lease_owner = NULL, lease_until = NULL, fence = fence + 1, free_at = due_at
    WHERE {_IS_BEYOND} /*! AND (message, address) IN (
        SELECT message, address FROM recipients WHERE {_IS_BEYOND}
        ORDER BY message, address FOR NO KEY UPDATE SKIP LOCKED) */"""
FIRST_RELAY = "SELECT min(relay) FROM recipients WHERE free_at IS NOT NULL"
# With the newest message in the queue, to see that the clock was set back since.
_NEWEST = "(SELECT max(message) FROM recipients)"
WAITING = f"""
    SELECT min(relay), {_NEWEST}, (SELECT timed_at FROM recipients WHERE message = {_NEWEST} LIMIT 1)
    FROM recipients WHERE free_at IS NOT NULL"""
NEXT_RELAY = "SELECT min(relay) FROM recipients WHERE free_at IS NOT NULL AND relay > ?"
# Pages of who is free, in their order: behind a time and a message. Not DISTINCT: a message may have any number.
FREE = """
    SELECT retried, free_at, message FROM recipients
    WHERE relay = ? AND retried = ? AND free_at <= ? AND (free_at, message) > (?, ?)
    ORDER BY free_at, message LIMIT ?"""
# Whose deadline passed last comes first: the others are late already. Not DISTINCT, as above.
LATE = """
    SELECT give_up_at, message, retried, free_at FROM recipients
    WHERE relay = ? AND give_up_at <= ? AND free_at <= ? ORDER BY give_up_at DESC, message DESC LIMIT ?"""
# Whether messages have more recipients than that, whatever these wait for: so many rows and no more are looked at.
HAVE_MORE = """
    SELECT 1 FROM /*! messages AS m JOIN */ recipients AS r /*! ON r.message = m.id */
    WHERE r.message IN (%s) LIMIT 1 OFFSET :most"""
TAKE = f"""
    UPDATE recipients SET lease_owner = :token, lease_until = :until, fence = fence + 1, free_at = max(due_at, :until)
    WHERE message IN (%s) AND free_at <= :now /*! AND (message, address) IN (
        SELECT r.message, r.address FROM messages AS m JOIN recipients AS r ON r.message = m.id
        WHERE r.message IN (%s) AND r.free_at <= :now ORDER BY r.message, r.address FOR NO KEY UPDATE SKIP LOCKED) */
    RETURNING message, {RECIPIENT_COLUMNS}"""
# Of a message that has more: those who could be had at one time, in the order of the index.
TAKE_GROUP = f"""
    UPDATE recipients SET lease_owner = :token, lease_until = :until, fence = fence + 1, free_at = max(due_at, :until)
    WHERE free_at <= :now AND (message, address) IN (
        SELECT message, address FROM recipients
        WHERE relay = :relay AND retried = :retried AND free_at = :free_at AND message = :message
        ORDER BY due_at LIMIT :most /*! FOR NO KEY UPDATE SKIP LOCKED */)
    RETURNING message, {RECIPIENT_COLUMNS}"""
# Their ids sort by time. There are never more than somebody sends just now, and those that nobody looked after yet.
ABANDONED = """
    SELECT DISTINCT attempt_id FROM recipients
    WHERE attempt_id > '' AND (lease_until <= ? OR lease_until > ?) ORDER BY attempt_id LIMIT ?"""
TAKE_ABANDONED = f"""
    UPDATE recipients SET lease_owner = :token, lease_until = :until, fence = fence + 1
    WHERE attempt_id = :attempt AND {_IS_OVER} /*! AND (message, address) IN (
        SELECT r.message, r.address FROM attempts AS a JOIN recipients AS r ON r.attempt_id = a.id
        WHERE a.id = :attempt AND {_IS_OVER} ORDER BY r.address FOR NO KEY UPDATE SKIP LOCKED) */
    RETURNING message, {RECIPIENT_COLUMNS}"""
_IN_ORDER = """/*! AND (message, address) IN (
        SELECT message, address FROM recipients WHERE lease_owner = :token
        ORDER BY message, address FOR NO KEY UPDATE) */"""
EXTEND = f"""
    UPDATE recipients SET lease_until = :until, free_at = CASE WHEN attempt_id IS NULL THEN max(due_at, :until) END
    WHERE lease_owner = :token {_IN_ORDER}"""
LEFT = "SELECT 1 FROM recipients WHERE lease_owner = ? AND attempt_id IS NULL LIMIT 1"
GIVE_BACK = f"""
    UPDATE recipients SET lease_owner = NULL, lease_until = NULL, free_at = due_at
    WHERE lease_owner = :token AND attempt_id IS NULL {_IN_ORDER}"""
HOLD = """
    UPDATE recipients SET state = 'held', due_at = NULL, free_at = NULL, lease_owner = NULL, lease_until = NULL,
    possible_duplicate = CASE WHEN attempt_id IS NULL THEN possible_duplicate ELSE 1 END, attempt_id = NULL
    WHERE message = ? AND lease_owner = ?"""

# -- what waits by the time of a clock that was set back, see `stores.clockset`

OPEN_AHEAD = "SELECT message FROM recipients WHERE attempt_id IS NOT NULL AND due_at > ? AND timed_at > ?"
AHEAD = """
    SELECT max(timed_at), free_at, message FROM recipients
    WHERE relay = ? AND retried = ? AND free_at IS NOT NULL AND (free_at, message) > (?, ?)
    GROUP BY free_at, message ORDER BY free_at, message LIMIT ?"""
TIMES = """
    SELECT message, address, timed_at, due_at, first_attempt_at, give_up_at, greylisted_at FROM recipients
    WHERE message IN (%s) AND timed_at > ? AND due_at > ? ORDER BY message, address"""
MOVE = """
    UPDATE recipients SET timed_at = :timed_at, due_at = :due_at, first_attempt_at = :first_attempt_at,
    give_up_at = :give_up_at, greylisted_at = :greylisted_at,
    free_at = CASE WHEN attempt_id IS NULL THEN max(:due_at, coalesce(lease_until, :due_at)) END
    WHERE message = :message AND address = :address"""
MOVE_MESSAGE = "UPDATE messages SET created_at = created_at - ? WHERE id = ? AND created_at > ?"

# -- what people see and do

MESSAGES = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id IN (%s)"
MESSAGE = f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE id = ?"
WAITS = "SELECT 1 FROM messages WHERE id = ?"
ROWS = f"SELECT {RECIPIENT_COLUMNS} FROM recipients WHERE message = ?"
# Each part of it is counted in the index that holds no more than that part.
DEPTH = f"""
    WITH free AS (SELECT count(*) AS number, min(due_at) AS oldest FROM recipients WHERE free_at <= :now),
    beyond AS (SELECT count(*) AS number, min(due_at) AS oldest FROM recipients WHERE {_IS_BEYOND} AND due_at <= :now)
    SELECT free.number + beyond.number, (SELECT count(*) FROM recipients WHERE free_at > :now) - beyond.number,
    (SELECT count(*) FROM recipients WHERE state = 'held'),
    (SELECT count(*) FROM recipients
        WHERE lease_owner IS NOT NULL AND lease_until > :now AND lease_until <= :beyond AND attempt_id IS NULL),
    (SELECT count(*) FROM recipients WHERE attempt_id IS NOT NULL), free.oldest, beyond.oldest,
    (SELECT count(*) FROM recipients WHERE attempt_id IS NOT NULL AND {_IS_OVER})
    FROM free, beyond"""
# The same; a row is in one of the three.
RELAYS = """
    SELECT relay, CAST(sum(number) AS BIGINT) FROM (
        SELECT relay, count(*) AS number FROM recipients WHERE free_at IS NOT NULL GROUP BY relay
        UNION ALL SELECT relay, count(*) FROM recipients WHERE state = 'held' GROUP BY relay
        UNION ALL SELECT relay, count(*) FROM recipients WHERE attempt_id IS NOT NULL AND state <> 'held' GROUP BY relay
    ) AS parts GROUP BY relay ORDER BY relay"""
QUEUED = f"""
    SELECT {QUEUED_COLUMNS} FROM recipients AS r CROSS JOIN messages AS m
    WHERE m.id = r.message AND (r.message, r.address) > (:message, :address)
    AND (CAST(:tenant AS TEXT) IS NULL OR r.tenant = :tenant) AND (CAST(:relay AS TEXT) IS NULL OR r.relay = :relay)
    AND (CAST(:state AS TEXT) IS NULL OR r.state = :state)
    AND (CAST(:needle AS TEXT) IS NULL OR holds(:needle, m.sender, r.address) OR holds(:needle, '', m.message_id))
    ORDER BY r.message, r.address LIMIT :page"""
KEPT = f"""
    SELECT {KEPT_COLUMNS} FROM messages
    WHERE id > :after AND id >= :beginning AND id < :behind AND keep_until IS NOT NULL AND {_NOBODY_WAITS}
    ORDER BY id LIMIT :page"""
_ONE_OR_ALL = "message = :message AND (CAST(:recipient AS TEXT) IS NULL OR address = :recipient)"
REQUEUE = f"""
    UPDATE recipients SET state = 'due', due_at = min(coalesce(due_at, :now), :now), timed_at = :now,
    fence = CASE WHEN lease_owner IS NULL THEN fence ELSE fence + 1 END, lease_owner = NULL, lease_until = NULL,
    free_at = min(coalesce(due_at, :now), :now)
    WHERE {_ONE_OR_ALL} AND attempt_id IS NULL AND (lease_until IS NULL OR {_IS_OVER})"""
DROP = f"DELETE FROM recipients WHERE {_ONE_OR_ALL} AND (lease_until IS NULL OR {_IS_OVER}) RETURNING address"

# -- readers of the events

READ_CURSOR = "SELECT sequence FROM cursors WHERE name = ?"
CLAIM_CURSOR = """
    INSERT INTO cursors (name, lease_owner, lease_until) VALUES (:name, :owner, :until)
    ON CONFLICT (name) DO UPDATE SET
    fence = CASE WHEN cursors.lease_owner = excluded.lease_owner THEN cursors.fence ELSE cursors.fence + 1 END,
    lease_owner = excluded.lease_owner, lease_until = excluded.lease_until
    WHERE cursors.lease_owner IS NULL OR cursors.lease_owner = excluded.lease_owner
    OR cursors.lease_until <= :now OR cursors.lease_until > :beyond
    RETURNING sequence"""
MOVE_CURSOR = """
    UPDATE cursors SET sequence = CASE WHEN sequence < :sequence THEN :sequence ELSE sequence END,
    moved_at = :now, lease_until = :until, failures = 0, failing_since = NULL, last_error = NULL, next_try_at = NULL
    WHERE name = :name AND lease_owner = :owner"""
TROUBLE = "SELECT failures, failing_since, last_error, next_try_at FROM cursors WHERE name = ?"
NOTE_TROUBLE = """
    UPDATE cursors SET failures = :failures, failing_since = :since, last_error = :error, next_try_at = :next_try_at
    WHERE name = :name AND lease_owner = :owner"""
PLACE_CURSOR = """
    UPDATE cursors SET sequence = coalesce(?, sequence), lease_owner = NULL, lease_until = NULL, fence = fence + 1,
    failures = 0, failing_since = NULL, last_error = NULL, next_try_at = NULL
    WHERE name = ?"""
RELEASE_CURSOR = "UPDATE cursors SET lease_owner = NULL, lease_until = NULL WHERE name = ? AND lease_owner = ?"
CURSORS = """
    SELECT name, sequence, moved_at, lease_until,
    max((SELECT coalesce(max(sequence), 0) FROM outbox) - sequence, 0),
    (SELECT at FROM outbox WHERE outbox.sequence > cursors.sequence ORDER BY outbox.sequence LIMIT 1),
    failures, failing_since, last_error, next_try_at
    FROM cursors ORDER BY name"""
DROP_CURSOR = f"DELETE FROM cursors WHERE name = :name AND (lease_until IS NULL OR {_IS_OVER})"
NEWEST = """
    SELECT max(at) FROM outbox UNION ALL
    SELECT max(begun_at) FROM attempts WHERE id IN (SELECT attempt_id FROM recipients WHERE attempt_id IS NOT NULL)"""
# What goes first, and then the next one; each with a time and a number of rows.
PRUNE = (
    """
    DELETE FROM outbox WHERE sequence IN (
        SELECT sequence FROM outbox
        WHERE at < ? AND sequence <= (SELECT coalesce(min(sequence), 9223372036854775807) FROM cursors)
        ORDER BY at, sequence LIMIT ?)""",
    """
    DELETE FROM outcomes WHERE (attempt_id, recipient) IN (
        SELECT attempt_id, recipient FROM outcomes WHERE at < ? ORDER BY at LIMIT ?)""",
    """
    DELETE FROM attempts WHERE id IN (
        SELECT id FROM attempts
        WHERE settled_at < ? AND NOT EXISTS (SELECT 1 FROM recipients WHERE attempt_id = attempts.id)
        ORDER BY settled_at LIMIT ?)""",
    """
    DELETE FROM counters WHERE (name, subject, began_at, slot) IN (
        SELECT name, subject, began_at, slot FROM counters WHERE began_at < ? ORDER BY began_at LIMIT ?)""",
    """
    DELETE FROM strikes WHERE (tenant, stream, key_hash, category, day) IN (
        SELECT tenant, stream, key_hash, category, day FROM strikes WHERE at < ? ORDER BY at LIMIT ?)""",
    f"""
    DELETE FROM messages WHERE id IN (
        SELECT id FROM messages WHERE keep_until <= ? AND {_NOBODY_WAITS} ORDER BY keep_until LIMIT ?)""",
)
