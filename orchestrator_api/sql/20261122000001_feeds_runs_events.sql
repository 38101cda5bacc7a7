-- migrate:up

-- The life of this database's numbering. The operator renews `life` (new-epoch); a promotion, a restore
-- elsewhere or a reload changes what epoch() hashes by itself.
CREATE TABLE epochs (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    life     uuid    NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO epochs DEFAULT VALUES;

-- One row a username. The appending transaction holds its lock, so id order is commit order.
-- fillfactor 50 and no index on what an append changes: every append is a heap-only update.
CREATE TABLE feeds (
    username   text COLLATE "C" PRIMARY KEY,
    last_id    bigint NOT NULL DEFAULT 0,           -- the head; 0: no event yet
    first_id   bigint NOT NULL DEFAULT 1,           -- the lowest id that retention has left
    updated_at double precision NOT NULL DEFAULT 0  -- unix seconds of the last append
) WITH (fillfactor = 50);

CREATE TABLE runs (
    run_id        text COLLATE "C" PRIMARY KEY,
    username      text COLLATE "C" NOT NULL REFERENCES feeds,
    workflow      text,
    metadata      text,                             -- a JSON object, as it came
    created_at    double precision NOT NULL,        -- unix seconds
    create_digest bytea NOT NULL,                   -- of what POST /runs said: tells a repeat from another run
    status        text NOT NULL DEFAULT 'queued',   -- events.STATUSES
    last_seq      bigint NOT NULL DEFAULT 0,
    progress      double precision,                 -- 0 to 100
    current_step  text,
    started_at    double precision,
    finished_at   double precision,
    updated_at    double precision NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX runs_newest ON runs (username, created_at DESC, run_id DESC);

-- `tail` is the frame without its numbers. No SQL computes on it: readers put the numbers before it.
CREATE TABLE events (
    username text COLLATE "C" NOT NULL,
    id       bigint NOT NULL,
    run_id   text COLLATE "C" NOT NULL,
    seq      bigint NOT NULL,
    tail     text NOT NULL,
    PRIMARY KEY (username, id)
);
CREATE UNIQUE INDEX events_of_run ON events (run_id, id);

-- What was asked for under a key, so that a repeat gets the first answer.
CREATE TABLE keys (
    scope    text COLLATE "C" NOT NULL,   -- 'run:<run_id>' or 'user:<username>' (POST /runs without run_id)
    kind     "char" NOT NULL,             -- 'r': a request's Idempotency-Key, 'e': an event's event_id
    key      text COLLATE "C" NOT NULL,
    digest   bytea NOT NULL,              -- of the content that the key stands for
    run_id   text COLLATE "C" NOT NULL,
    first_id bigint NOT NULL,             -- the numbers given: contiguous within one request
    first_seq bigint NOT NULL,
    PRIMARY KEY (scope, kind, key)
);

-- "<life>-<8 hex digits>": read in the same statement as the numbers that it goes with. The digits are over the life as
-- well, because an ETag has only them.
CREATE FUNCTION epoch() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT life || '-' || left(md5(
        life || '/' ||
        (SELECT system_identifier FROM pg_control_system()) || '/' ||
        CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END || '/' ||
        (SELECT oid FROM pg_database WHERE datname = current_database())), 8)
    FROM epochs
$$;

-- migrate:down

DROP FUNCTION epoch();
DROP TABLE keys, events, runs, feeds, epochs;
