-- All that a bouncekit store holds: in PostgreSQL, the same tables and columns as in SQLite.
--
-- Times are milliseconds since 1970 in UTC. Ids are ours: 128 bits as 32 hexadecimal digits that sort by time; they
-- are never the Message-ID, which anybody can write. `key_hash` is blake2b-16 of the suppression key, by key_version.

-- What SQLite says and PostgreSQL does not: NULL where one of the two is NULL.
CREATE FUNCTION max(BIGINT, BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    'SELECT CASE WHEN $1 IS NOT NULL AND $2 IS NOT NULL THEN greatest($1, $2) END';
CREATE FUNCTION min(BIGINT, BIGINT) RETURNS BIGINT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    'SELECT CASE WHEN $1 IS NOT NULL AND $2 IS NOT NULL THEN least($1, $2) END';

-- Where a text first stands in another, from 1 on; 0: nowhere.
CREATE FUNCTION instr(TEXT, TEXT) RETURNS INTEGER LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT strpos($1, $2)';

-- Whether a key, which is in lower case, or an address holds a text in lower case.
CREATE FUNCTION holds(needle TEXT, key TEXT, address TEXT) RETURNS BOOLEAN LANGUAGE sql STABLE PARALLEL SAFE AS
    'SELECT strpos(key, needle) > 0 OR coalesce(strpos(lower(address COLLATE "default"), needle) > 0, FALSE)';

-- Sequence numbers are given out before a commit, and commits come in any order: a reader who has seen number 6 could
-- miss number 5 for good. So whoever writes into outbox or audit says beforehand, by a lock that hinders nobody and
-- ends with his transaction, behind which number his own will come. A reader takes, in this order, the last number that
-- was given out, the lowest that is said in the locks, and a new snapshot: all numbers up to the lower of the two have
-- been given to transactions that had ended before that snapshot. The lock has the number modulo 2^31.
CREATE FUNCTION numbers_follow() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    turn  TEXT   := 'bouncekit.turn_' || TG_RELID;
    given BIGINT;
BEGIN
    IF current_setting(turn, TRUE) IS DISTINCT FROM pg_current_xact_id()::TEXT THEN
        given := coalesce(pg_sequence_last_value(format('%I.%I', TG_TABLE_SCHEMA, TG_ARGV[0])::REGCLASS), 0);
        PERFORM pg_advisory_xact_lock_shared(TG_RELID::INTEGER, (given & 2147483647)::INTEGER);
        PERFORM set_config(turn, pg_current_xact_id()::TEXT, TRUE);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION settled_until(name TEXT) RETURNS BIGINT LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    given  BIGINT := coalesce(pg_sequence_last_value((name || '_sequence_seq')::REGCLASS), 0);
    before BIGINT;
BEGIN
    -- Whoever says a number that was given out since then is ahead of us, which looks like a long way behind.
    SELECT min(given - behind) INTO before
    FROM pg_locks CROSS JOIN LATERAL (SELECT (given - objid::BIGINT) & 2147483647 AS behind) AS said
    WHERE locktype = 'advisory' AND objsubid = 2 AND classid = name::REGCLASS AND behind < 1073741824
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    RETURN least(given, before);
END $$;

-- Who is not written to. `probe_by` is the delivery whose message may try again, `probe_until` when another one may.
-- Where addresses must not be kept, `address` is NULL and `key` is '#' and the hash. `fingerprint` is of the reply that
-- it rests on.
CREATE TABLE suppressions (
    tenant      TEXT COLLATE "C" NOT NULL,
    stream      TEXT COLLATE "C" NOT NULL,
    key_hash    BYTEA            NOT NULL CHECK (length(key_hash) = 16),
    key_version BIGINT           NOT NULL DEFAULT 1,
    key         TEXT COLLATE "C" NOT NULL,
    address     TEXT COLLATE "C",
    standing    TEXT COLLATE "C" NOT NULL CHECK (standing IN ('provisional', 'confirmed', 'held', 'manual')),
    category    TEXT COLLATE "C" NOT NULL,
    since       BIGINT           NOT NULL,
    changed_at  BIGINT           NOT NULL,
    expires_at  BIGINT,
    ladder      TEXT COLLATE "C",
    rung        BIGINT           NOT NULL CHECK (rung >= 0),
    set_by      TEXT COLLATE "C" NOT NULL,
    evidence    TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C",
    probe_by    TEXT COLLATE "C",
    probe_until BIGINT,
    PRIMARY KEY (tenant, stream, key_hash),
    CHECK ((probe_by IS NULL) = (probe_until IS NULL))
);

CREATE UNIQUE INDEX suppressions_by_key ON suppressions (tenant, key, stream);

-- What the guard would hold: in the midst of a mass, all that it holds already must not be read again and again.
CREATE INDEX suppressions_alike ON suppressions (fingerprint, since)
    WHERE fingerprint IS NOT NULL AND standing IN ('provisional', 'confirmed');

-- What the guard holds, which is counted every few seconds: all that is asked of it but one of the replies.
CREATE INDEX suppressions_held ON suppressions (standing, fingerprint, expires_at, since, changed_at)
    WHERE standing = 'held';

-- Days on which there was a verdict of a category about a recipient; `at` is the day's last one.
CREATE TABLE strikes (
    tenant   TEXT COLLATE "C" NOT NULL,
    stream   TEXT COLLATE "C" NOT NULL,
    key_hash BYTEA            NOT NULL CHECK (length(key_hash) = 16),
    category TEXT COLLATE "C" NOT NULL,
    day      BIGINT           NOT NULL,
    at       BIGINT           NOT NULL,
    PRIMARY KEY (tenant, stream, key_hash, category, day)
);

CREATE INDEX strikes_by_time ON strikes (at);

-- What became of each recipient of each attempt.
CREATE TABLE outcomes (
    attempt_id         TEXT COLLATE "C" NOT NULL,
    recipient          TEXT COLLATE "C" NOT NULL,
    delivery_id        TEXT COLLATE "C" NOT NULL,
    at                 BIGINT           NOT NULL,
    tenant             TEXT COLLATE "C" NOT NULL,
    stream             TEXT COLLATE "C" NOT NULL,
    test               BIGINT           NOT NULL CHECK (test IN (0, 1)),
    key_hash           BYTEA                     CHECK (length(key_hash) = 16),
    message_id         TEXT COLLATE "C",
    action             TEXT COLLATE "C" NOT NULL CHECK (action IN
                                     ('delivered', 'delayed', 'failed', 'relayed', 'expanded', 'suppressed', 'unknown')),
    category           TEXT COLLATE "C",
    scope              TEXT COLLATE "C"          CHECK (scope IN ('recipient', 'message', 'sender', 'route')),
    stage              TEXT COLLATE "C",
    code               BIGINT,
    enhanced           TEXT COLLATE "C",
    remote_mta         TEXT COLLATE "C",
    rule               TEXT COLLATE "C",
    classified_by      TEXT COLLATE "C",
    policy_hash        TEXT COLLATE "C",
    retry_at           BIGINT,
    attempts           BIGINT           NOT NULL,
    possible_duplicate BIGINT           NOT NULL CHECK (possible_duplicate IN (0, 1)),
    PRIMARY KEY (attempt_id, recipient)
);

CREATE INDEX outcomes_by_time ON outcomes (at);
CREATE INDEX outcomes_by_delivery ON outcomes (delivery_id);

-- Every change of the suppression list, with what stood there before, so that it can be undone.
CREATE TABLE audit (
    sequence     BIGINT           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           BIGINT           NOT NULL,
    act          TEXT COLLATE "C" NOT NULL CHECK (act IN ('added', 'changed', 'lifted')),
    made_by      TEXT COLLATE "C" NOT NULL,
    tenant       TEXT COLLATE "C" NOT NULL,
    stream       TEXT COLLATE "C" NOT NULL,
    key_hash     BYTEA            NOT NULL CHECK (length(key_hash) = 16),
    event_id     TEXT COLLATE "C",
    state_before TEXT COLLATE "C",
    state_after  TEXT COLLATE "C",
    CHECK ((state_before IS NULL) = (act = 'added') AND (state_after IS NULL) = (act = 'lifted'))
);

CREATE TRIGGER numbers_follow BEFORE INSERT ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION numbers_follow('audit_sequence_seq');

CREATE INDEX audit_by_key ON audit (tenant, key_hash, sequence);

-- Events in the order in which they were committed; a sequence number is never used twice.
CREATE TABLE outbox (
    sequence BIGINT           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id       TEXT COLLATE "C" NOT NULL UNIQUE,
    type     TEXT COLLATE "C" NOT NULL,
    at       BIGINT           NOT NULL,
    tenant   TEXT COLLATE "C" NOT NULL,
    key_hash BYTEA                     CHECK (length(key_hash) = 16),
    event    TEXT COLLATE "C" NOT NULL
);

CREATE TRIGGER numbers_follow BEFORE INSERT ON outbox
    FOR EACH STATEMENT EXECUTE FUNCTION numbers_follow('outbox_sequence_seq');

CREATE INDEX outbox_by_time ON outbox (at);
CREATE INDEX outbox_by_key ON outbox (tenant, key_hash, sequence) WHERE key_hash IS NOT NULL;

-- How far each durable reader of the outbox has come; the lease lets one process at a time be that reader. One that
-- fails is tried again at `next_try_at`, or never by itself where that is NULL.
CREATE TABLE cursors (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    sequence      BIGINT           NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    moved_at      BIGINT,
    lease_owner   TEXT COLLATE "C",
    lease_until   BIGINT,
    fence         BIGINT           NOT NULL DEFAULT 0,
    failures      BIGINT           NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since BIGINT,
    last_error    TEXT COLLATE "C",
    next_try_at   BIGINT,
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK ((failing_since IS NULL) = (failures = 0) AND (failing_since IS NULL) = (last_error IS NULL))
);

-- Numbers by minute, hour or day: how often a fingerprint was seen of late, how often a provider usually refuses, how
-- many bounces and complaints a stream has brought. The number is the sum over all slots: where many write at once, each
-- adds to its own.
CREATE TABLE counters (
    name     TEXT COLLATE "C" NOT NULL,
    subject  TEXT COLLATE "C" NOT NULL,
    began_at BIGINT           NOT NULL,
    slot     BIGINT           NOT NULL DEFAULT (pg_backend_pid() % 16),
    number   BIGINT           NOT NULL,
    PRIMARY KEY (name, subject, began_at, slot)
);

CREATE INDEX counters_by_time ON counters (began_at);

-- How fast mail of a stream, or to a relay or a provider, may go, where that is bounded now: `state` is JSON, `token` is
-- new with each change, and who changes it says which one he has read.
CREATE TABLE flows (
    kind  TEXT COLLATE "C" NOT NULL CHECK (kind IN ('stream', 'relay', 'provider')),
    name  TEXT COLLATE "C" NOT NULL,
    token TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, name)
);

-- At which level a stream stands whose bounces or complaints have used up some of its budget. `token` as above.
CREATE TABLE budgets (
    tenant TEXT COLLATE "C" NOT NULL,
    stream TEXT COLLATE "C" NOT NULL,
    token  TEXT COLLATE "C" NOT NULL,
    level  TEXT COLLATE "C" NOT NULL CHECK (level IN ('warned', 'slowed', 'stopped')),
    since  BIGINT           NOT NULL,
    PRIMARY KEY (tenant, stream)
);

-- Messages that somebody still waits for. `id` is the delivery's; `relay` is a name that the application explains,
-- never a password. A message goes when its last recipient has gone, or, where a policy keeps it, at `keep_until`.
CREATE TABLE messages (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    created_at    BIGINT           NOT NULL,
    relay         TEXT COLLATE "C" NOT NULL,
    tenant        TEXT COLLATE "C" NOT NULL,
    stream        TEXT COLLATE "C" NOT NULL,
    message_class TEXT COLLATE "C",
    test          BIGINT           NOT NULL CHECK (test IN (0, 1)),
    message_id    TEXT COLLATE "C",
    sender        TEXT COLLATE "C" NOT NULL,
    mail_options  TEXT COLLATE "C" NOT NULL,
    rcpt_options  TEXT COLLATE "C" NOT NULL,
    encoding      TEXT COLLATE "C" NOT NULL CHECK (encoding IN ('plain', 'zlib')),
    size_bytes    BIGINT           NOT NULL CHECK (size_bytes >= 0),
    content       BYTEA            NOT NULL,
    keep_until    BIGINT
);

CREATE INDEX messages_kept ON messages (keep_until) WHERE keep_until IS NOT NULL;

-- One for each time that a dot may have gone out; `owner` is the lease under which it was begun. Begun and never
-- settled: nobody knows how it ended.
CREATE TABLE attempts (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    message    TEXT COLLATE "C" NOT NULL,
    relay      TEXT COLLATE "C" NOT NULL,
    owner      TEXT COLLATE "C" NOT NULL,
    begun_at   BIGINT           NOT NULL,
    settled_at BIGINT
);

CREATE INDEX attempts_by_message ON attempts (message);
CREATE INDEX attempts_settled ON attempts (settled_at) WHERE settled_at IS NOT NULL;

-- Their recipients. A row is claimed when it is due and no lease runs; each claim raises `fence`, and who comes back
-- with an older lease is too late. At fence 0 it is the application's own. `attempt_id` is set from before the first
-- byte of the dot until the outcome is known. `free_at` is when a row can be had, by its time and its lease; NULL
-- where it cannot; `give_up_at` when somebody looks after it, whatever it waits for; `timed_at` when `due_at` was said.
-- `free_at` and `retried` follow from the others, and are columns so that the queue is read from an index.
CREATE TABLE recipients (
    message            TEXT COLLATE "C" NOT NULL REFERENCES messages (id),
    address            TEXT COLLATE "C" NOT NULL,
    position           BIGINT           NOT NULL,
    given              TEXT COLLATE "C",
    tenant             TEXT COLLATE "C" NOT NULL,
    key                TEXT COLLATE "C" NOT NULL,
    domain             TEXT COLLATE "C" NOT NULL,
    relay              TEXT COLLATE "C" NOT NULL,
    state              TEXT COLLATE "C" NOT NULL CHECK (state IN ('due', 'held')),
    due_at             BIGINT,
    timed_at           BIGINT           NOT NULL DEFAULT 0,
    attempts           BIGINT           NOT NULL DEFAULT 0,
    first_attempt_at   BIGINT,
    possible_duplicate BIGINT           NOT NULL DEFAULT 0 CHECK (possible_duplicate IN (0, 1)),
    attempt_id         TEXT COLLATE "C" REFERENCES attempts (id),
    lease_owner        TEXT COLLATE "C",
    lease_until        BIGINT,
    fence              BIGINT           NOT NULL DEFAULT 0,
    retried            BIGINT           NOT NULL DEFAULT 0 CHECK (retried = (attempts > 0)::INTEGER),
    free_at            BIGINT,
    give_up_at         BIGINT,
    greylisted_at      BIGINT,
    PRIMARY KEY (message, address),
    CHECK ((state = 'due') = (due_at IS NOT NULL)),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (attempt_id IS NULL OR lease_owner IS NOT NULL),
    CHECK (free_at IS NOT DISTINCT FROM
        CASE WHEN attempt_id IS NULL THEN max(due_at, coalesce(lease_until, due_at)) END)
);

CREATE INDEX recipients_free ON recipients (relay, retried, free_at, message, due_at) WHERE free_at IS NOT NULL;
-- Of as few columns as can be, so that the planner takes none of them for what another one is for.
CREATE INDEX recipients_late ON recipients (relay, give_up_at, message) WHERE give_up_at IS NOT NULL;
CREATE INDEX recipients_held ON recipients (state, relay) WHERE state = 'held';
CREATE INDEX recipients_by_lease ON recipients (lease_owner) WHERE lease_owner IS NOT NULL;
CREATE INDEX recipients_by_attempt ON recipients (attempt_id) WHERE attempt_id IS NOT NULL;

-- Messages that another store gives away, each with some who wait for it, as they will wait here, in JSON. Nobody sends
-- them before that store, the `origin`, has let them go; `token` is the lease under which they were taken there.
CREATE TABLE arrivals (
    token         TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    origin        TEXT COLLATE "C" NOT NULL,
    arrived_at    BIGINT           NOT NULL,
    recipients    TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT           NOT NULL,
    relay         TEXT COLLATE "C" NOT NULL,
    tenant        TEXT COLLATE "C" NOT NULL,
    stream        TEXT COLLATE "C" NOT NULL,
    message_class TEXT COLLATE "C",
    test          BIGINT           NOT NULL CHECK (test IN (0, 1)),
    message_id    TEXT COLLATE "C",
    sender        TEXT COLLATE "C" NOT NULL,
    mail_options  TEXT COLLATE "C" NOT NULL,
    rcpt_options  TEXT COLLATE "C" NOT NULL,
    encoding      TEXT COLLATE "C" NOT NULL CHECK (encoding IN ('plain', 'zlib')),
    size_bytes    BIGINT           NOT NULL CHECK (size_bytes >= 0),
    content       BYTEA            NOT NULL,
    PRIMARY KEY (token, id)
);
