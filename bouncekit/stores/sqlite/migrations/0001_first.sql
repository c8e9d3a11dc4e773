-- All that a bouncekit store holds.
--
-- Times are milliseconds since 1970 in UTC. Ids are ours: 128 bits as 32 hexadecimal digits that sort by time; they
-- are never the Message-ID, which anybody can write. `key_hash` is blake2b-16 of the suppression key, by key_version.

-- Who is not written to. `probe_by` is the delivery whose message may try again, `probe_until` when another one may.
-- Where addresses must not be kept, `address` is NULL and `key` is '#' and the hash. `fingerprint` is of the reply that
-- it rests on.
CREATE TABLE suppressions (
    tenant      TEXT    NOT NULL,
    stream      TEXT    NOT NULL,
    key_hash    BLOB    NOT NULL CHECK (length(key_hash) = 16),
    key_version INTEGER NOT NULL DEFAULT 1,
    key         TEXT    NOT NULL,
    address     TEXT,
    standing    TEXT    NOT NULL CHECK (standing IN ('provisional', 'confirmed', 'held', 'manual')),
    category    TEXT    NOT NULL,
    since       INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    ladder      TEXT,
    rung        INTEGER NOT NULL CHECK (rung >= 0),
    set_by      TEXT    NOT NULL,
    evidence    TEXT    NOT NULL,
    fingerprint TEXT,
    probe_by    TEXT,
    probe_until INTEGER,
    PRIMARY KEY (tenant, stream, key_hash),
    CHECK ((probe_by IS NULL) = (probe_until IS NULL))
) STRICT;

CREATE UNIQUE INDEX suppressions_by_key ON suppressions (tenant, key, stream);

-- What the guard would hold: in the midst of a mass, all that it holds already must not be read again and again.
CREATE INDEX suppressions_alike ON suppressions (fingerprint, since)
    WHERE fingerprint IS NOT NULL AND standing IN ('provisional', 'confirmed');

-- What the guard holds, which is counted every few seconds: all that is asked of it but one of the replies.
CREATE INDEX suppressions_held ON suppressions (standing, fingerprint, expires_at, since, changed_at)
    WHERE standing = 'held';

-- Days on which there was a verdict of a category about a recipient; `at` is the day's last one.
CREATE TABLE strikes (
    tenant   TEXT    NOT NULL,
    stream   TEXT    NOT NULL,
    key_hash BLOB    NOT NULL CHECK (length(key_hash) = 16),
    category TEXT    NOT NULL,
    day      INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (tenant, stream, key_hash, category, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX strikes_by_time ON strikes (at);

-- What became of each recipient of each attempt.
CREATE TABLE outcomes (
    attempt_id         TEXT    NOT NULL,
    recipient          TEXT    NOT NULL,
    delivery_id        TEXT    NOT NULL,
    at                 INTEGER NOT NULL,
    tenant             TEXT    NOT NULL,
    stream             TEXT    NOT NULL,
    test               INTEGER NOT NULL CHECK (test IN (0, 1)),
    key_hash           BLOB             CHECK (length(key_hash) = 16),
    message_id         TEXT,
    action             TEXT    NOT NULL CHECK (action IN
                           ('delivered', 'delayed', 'failed', 'relayed', 'expanded', 'suppressed', 'unknown')),
    category           TEXT,
    scope              TEXT             CHECK (scope IN ('recipient', 'message', 'sender', 'route')),
    stage              TEXT,
    code               INTEGER,
    enhanced           TEXT,
    remote_mta         TEXT,
    rule               TEXT,
    classified_by      TEXT,
    policy_hash        TEXT,
    retry_at           INTEGER,
    attempts           INTEGER NOT NULL,
    possible_duplicate INTEGER NOT NULL CHECK (possible_duplicate IN (0, 1)),
    PRIMARY KEY (attempt_id, recipient)
) STRICT, WITHOUT ROWID;

CREATE INDEX outcomes_by_time ON outcomes (at);
CREATE INDEX outcomes_by_delivery ON outcomes (delivery_id);

-- Every change of the suppression list, with what stood there before, so that it can be undone.
CREATE TABLE audit (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    act          TEXT    NOT NULL CHECK (act IN ('added', 'changed', 'lifted')),
    made_by      TEXT    NOT NULL,
    tenant       TEXT    NOT NULL,
    stream       TEXT    NOT NULL,
    key_hash     BLOB    NOT NULL CHECK (length(key_hash) = 16),
    event_id     TEXT,
    state_before TEXT,
    state_after  TEXT,
    CHECK ((state_before IS NULL) = (act = 'added') AND (state_after IS NULL) = (act = 'lifted'))
) STRICT;

CREATE INDEX audit_by_key ON audit (tenant, key_hash, sequence);

-- Events in the order in which they were committed; a sequence number is never used twice.
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT    NOT NULL UNIQUE,
    type     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    tenant   TEXT    NOT NULL,
    key_hash BLOB             CHECK (length(key_hash) = 16),
    event    TEXT    NOT NULL
) STRICT;

CREATE INDEX outbox_by_time ON outbox (at);
CREATE INDEX outbox_by_key ON outbox (tenant, key_hash, sequence) WHERE key_hash IS NOT NULL;

-- How far each durable reader of the outbox has come; the lease lets one process at a time be that reader. One that
-- fails is tried again at `next_try_at`, or never by itself where that is NULL.
CREATE TABLE cursors (
    name          TEXT    NOT NULL PRIMARY KEY,
    sequence      INTEGER NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    moved_at      INTEGER,
    lease_owner   TEXT,
    lease_until   INTEGER,
    fence         INTEGER NOT NULL DEFAULT 0,
    failures      INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since INTEGER,
    last_error    TEXT,
    next_try_at   INTEGER,
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK ((failing_since IS NULL) = (failures = 0) AND (failing_since IS NULL) = (last_error IS NULL))
) STRICT, WITHOUT ROWID;

-- Numbers by minute, hour or day: how often a fingerprint was seen of late, how often a provider usually refuses, how
-- many bounces and complaints a stream has brought. The number is the sum over all slots: where many write at once, each
-- adds to its own.
CREATE TABLE counters (
    name     TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    began_at INTEGER NOT NULL,
    slot     INTEGER NOT NULL DEFAULT 0,
    number   INTEGER NOT NULL,
    PRIMARY KEY (name, subject, began_at, slot)
) STRICT, WITHOUT ROWID;

CREATE INDEX counters_by_time ON counters (began_at);

-- How fast mail of a stream, or to a relay or a provider, may go, where that is bounded now: `state` is JSON, `token` is
-- new with each change, and who changes it says which one he has read.
CREATE TABLE flows (
    kind  TEXT NOT NULL CHECK (kind IN ('stream', 'relay', 'provider')),
    name  TEXT NOT NULL,
    token TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- At which level a stream stands whose bounces or complaints have used up some of its budget. `token` as above.
CREATE TABLE budgets (
    tenant TEXT    NOT NULL,
    stream TEXT    NOT NULL,
    token  TEXT    NOT NULL,
    level  TEXT    NOT NULL CHECK (level IN ('warned', 'slowed', 'stopped')),
    since  INTEGER NOT NULL,
    PRIMARY KEY (tenant, stream)
) STRICT, WITHOUT ROWID;

-- Messages that somebody still waits for. `id` is the delivery's; `relay` is a name that the application explains,
-- never a password. A message goes when its last recipient has gone, or, where a policy keeps it, at `keep_until`.
CREATE TABLE messages (
    id            TEXT    NOT NULL PRIMARY KEY,
    created_at    INTEGER NOT NULL,
    relay         TEXT    NOT NULL,
    tenant        TEXT    NOT NULL,
    stream        TEXT    NOT NULL,
    message_class TEXT,
    test          INTEGER NOT NULL CHECK (test IN (0, 1)),
    message_id    TEXT,
    sender        TEXT    NOT NULL,
    mail_options  TEXT    NOT NULL,
    rcpt_options  TEXT    NOT NULL,
    encoding      TEXT    NOT NULL CHECK (encoding IN ('plain', 'zlib')),
    size_bytes    INTEGER NOT NULL CHECK (size_bytes >= 0),
    content       BLOB    NOT NULL,
    keep_until    INTEGER
) STRICT;

CREATE INDEX messages_kept ON messages (keep_until) WHERE keep_until IS NOT NULL;

-- One for each time that a dot may have gone out; `owner` is the lease under which it was begun. Begun and never
-- settled: nobody knows how it ended.
CREATE TABLE attempts (
    id         TEXT    NOT NULL PRIMARY KEY,
    message    TEXT    NOT NULL,
    relay      TEXT    NOT NULL,
    owner      TEXT    NOT NULL,
    begun_at   INTEGER NOT NULL,
    settled_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_by_message ON attempts (message);
CREATE INDEX attempts_settled ON attempts (settled_at) WHERE settled_at IS NOT NULL;

-- Their recipients. A row is claimed when it is due and no lease runs; each claim raises `fence`, and who comes back
-- with an older lease is too late. At fence 0 it is the application's own. `attempt_id` is set from before the first
-- byte of the dot until the outcome is known. `free_at` is when a row can be had, by its time and its lease; NULL
-- where it cannot; `give_up_at` when somebody looks after it, whatever it waits for; `timed_at` when `due_at` was said.
-- `free_at` and `retried` follow from the others, and are columns so that the queue is read from an index.
CREATE TABLE recipients (
    message            TEXT    NOT NULL REFERENCES messages (id),
    address            TEXT    NOT NULL,
    position           INTEGER NOT NULL,
    given              TEXT,
    tenant             TEXT    NOT NULL,
    key                TEXT    NOT NULL,
    domain             TEXT    NOT NULL,
    relay              TEXT    NOT NULL,
    state              TEXT    NOT NULL CHECK (state IN ('due', 'held')),
    due_at             INTEGER,
    timed_at           INTEGER NOT NULL DEFAULT 0,
    attempts           INTEGER NOT NULL DEFAULT 0,
    first_attempt_at   INTEGER,
    possible_duplicate INTEGER NOT NULL DEFAULT 0 CHECK (possible_duplicate IN (0, 1)),
    attempt_id         TEXT    REFERENCES attempts (id),
    lease_owner        TEXT,
    lease_until        INTEGER,
    fence              INTEGER NOT NULL DEFAULT 0,
    retried            INTEGER NOT NULL DEFAULT 0 CHECK (retried = (attempts > 0)),
    free_at            INTEGER,
    give_up_at         INTEGER,
    greylisted_at      INTEGER,
    PRIMARY KEY (message, address),
    CHECK ((state = 'due') = (due_at IS NOT NULL)),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (attempt_id IS NULL OR lease_owner IS NOT NULL),
    CHECK (free_at IS CASE WHEN attempt_id IS NULL THEN max(due_at, coalesce(lease_until, due_at)) END)
) STRICT, WITHOUT ROWID;

CREATE INDEX recipients_free ON recipients (relay, retried, free_at, message, due_at) WHERE free_at IS NOT NULL;
CREATE INDEX recipients_late ON recipients (relay, give_up_at, message) WHERE give_up_at IS NOT NULL;
CREATE INDEX recipients_held ON recipients (state, relay) WHERE state = 'held';
CREATE INDEX recipients_by_lease ON recipients (lease_owner) WHERE lease_owner IS NOT NULL;
CREATE INDEX recipients_by_attempt ON recipients (attempt_id, lease_until) WHERE attempt_id IS NOT NULL;

-- Messages that another store gives away, each with some who wait for it, as they will wait here, in JSON. Nobody sends
-- them before that store, the `origin`, has let them go; `token` is the lease under which they were taken there.
CREATE TABLE arrivals (
    token         TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    origin        TEXT    NOT NULL,
    arrived_at    INTEGER NOT NULL,
    recipients    TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    relay         TEXT    NOT NULL,
    tenant        TEXT    NOT NULL,
    stream        TEXT    NOT NULL,
    message_class TEXT,
    test          INTEGER NOT NULL CHECK (test IN (0, 1)),
    message_id    TEXT,
    sender        TEXT    NOT NULL,
    mail_options  TEXT    NOT NULL,
    rcpt_options  TEXT    NOT NULL,
    encoding      TEXT    NOT NULL CHECK (encoding IN ('plain', 'zlib')),
    size_bytes    INTEGER NOT NULL CHECK (size_bytes >= 0),
    content       BLOB    NOT NULL,
    PRIMARY KEY (token, id)
) STRICT;
