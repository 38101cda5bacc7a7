-- Named queries: `-- name: NAME` and what it is for; loaded once by store.py.

-- name: ensure_feeds
-- A feed's row is made before the transaction that needs it, so that the append never inserts under its locks.
INSERT INTO feeds (username) SELECT unnest($1::text[]) ORDER BY 1 ON CONFLICT DO NOTHING

-- name: append
SELECT outcomes, statuses, run_ids, ids, seqs, made, epoch FROM append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
    $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)

-- name: append_plain
SELECT f_last, r_last, statuses, epoch FROM append_plain($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
    $14, $15, $16, $17)

-- name: owner
-- Whose run it is: it never changes.
SELECT username FROM runs WHERE run_id = $1

-- name: runs
-- Runs with their feeds' bounds, of one snapshot.
SELECT run_id, username, workflow, metadata, status, last_seq, progress, current_step, created_at, started_at, finished_at,
    runs.updated_at, last_id AS head, first_id AS first, (SELECT epoch()) AS epoch
FROM runs JOIN feeds USING (username) WHERE run_id = ANY ($1)

-- name: runs_alike
-- The same with one row without a run when there is none: a fifth of the work is the epoch, and a run that is not there must
-- not be answered sooner than one that is another's. It costs some 15 us, and only where callers are told apart.
SELECT run_id, username, workflow, metadata, status, last_seq, progress, current_step, created_at, started_at, finished_at,
    runs.updated_at, last_id AS head, first_id AS first, epoch
FROM (SELECT (SELECT epoch()) AS epoch) now LEFT JOIN (runs JOIN feeds USING (username)) ON run_id = ANY ($1)

-- name: run_page
-- The next events of a run after an id, up to a seq: at most $4 of them, and no more than fit in $5 bytes (but one at least).
SELECT id, seq, tail FROM (
    SELECT id, seq, tail, sum(octet_length(tail)) OVER (ORDER BY id) - octet_length(tail) AS before FROM (
        SELECT id, seq, tail FROM events WHERE run_id = $1 AND id > $2 AND seq <= $3 ORDER BY id LIMIT $4) page) sized
WHERE before < $5 ORDER BY id

-- name: feed_page
-- The next events of a feed after an id, with its bounds, of one snapshot. One row without an event when there is none.
SELECT head, first, epoch, id, seq, tail FROM (
    SELECT coalesce(max(last_id), 0) AS head, coalesce(max(first_id), 1) AS first, epoch() AS epoch
    FROM feeds WHERE username = $1) feed
LEFT JOIN LATERAL (
    SELECT id, seq, tail FROM (
        SELECT id, seq, tail, sum(octet_length(tail)) OVER (ORDER BY id) - octet_length(tail) AS before FROM (
            SELECT id, seq, tail FROM events
            WHERE username = $1 AND id > $2 AND ($3::text[] IS NULL OR run_id = ANY ($3))
            ORDER BY id LIMIT $4) page) sized
    WHERE before < $5 ORDER BY id) e ON true
ORDER BY id

-- name: feeds_pages
-- The next events of many feeds, each after its own id, of one snapshot: $3 events a feed at most, and $4 bytes in all.
-- One row without an event for a feed that has none, or whose events did not fit; head is null for an unknown feed.
SELECT epoch, username, after, head, first, id, seq, CASE WHEN before < $4 THEN tail END AS tail FROM (
    SELECT epoch() AS epoch, asked.username, after, last_id AS head, first_id AS first, id, seq, tail, n,
        sum(octet_length(tail)) OVER (ORDER BY n, id) - octet_length(tail) AS before
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS asked(username, after, n)
    LEFT JOIN feeds ON feeds.username = asked.username
    LEFT JOIN LATERAL (SELECT id, seq, tail FROM events e WHERE e.username = asked.username AND id > after
        ORDER BY id LIMIT $3) e ON true) pages
ORDER BY n, id

-- name: event
-- One event of a run, by its seq.
SELECT username, id, tail FROM events WHERE run_id = $1 AND seq = $2

-- name: heads
SELECT epoch() AS epoch, array_agg(username) AS usernames, array_agg(last_id) AS heads FROM feeds WHERE username = ANY ($1)

-- name: recent_heads
-- The feeds with events since a time: for the first beacon of a process.
SELECT epoch() AS epoch, array_agg(username) AS usernames, array_agg(last_id) AS heads FROM feeds WHERE updated_at >= $1

-- name: runs_of
-- A user's runs, newest first, after a position.
SELECT run_id, username, workflow, metadata, status, last_seq, progress, current_step, created_at, started_at, finished_at,
    updated_at
FROM runs WHERE username = $1 AND ($2::text IS NULL OR status = $2)
    AND ($3::float8 IS NULL OR (created_at, run_id) < ($3, $4))
ORDER BY created_at DESC, run_id DESC LIMIT $5

-- name: epoch
SELECT epoch()

-- name: new_epoch
-- What RETURNING would say is still the old one: a function sees the statement's snapshot.
UPDATE epochs SET life = gen_random_uuid()

-- name: session
-- What a connection must find: settings under which "committed" means stored.
SELECT current_setting('transaction_isolation') AS transaction_isolation,
    current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes, pg_is_in_recovery() AS in_recovery

-- name: api_keys
-- API keys by their ids, as a request needs them.
SELECT key_id, digest, may, users, runs, expires_at FROM api_keys WHERE key_id = ANY ($1)

-- name: all_api_keys
SELECT key_id, name, may, users, runs, created_at, expires_at FROM api_keys ORDER BY created_at, key_id

-- name: add_api_key
INSERT INTO api_keys (key_id, digest, may, users, runs, name, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: rotate_api_key
-- A second key that may what the first may and lives as long as that was given, from now ($4). The first ends at $5 at the
-- latest. No row: there is no such key, or it has ended.
WITH old AS (
    UPDATE api_keys SET expires_at = least(expires_at, $5) WHERE key_id = $1 AND (expires_at IS NULL OR expires_at > $4)
    RETURNING key_id)
INSERT INTO api_keys (key_id, digest, may, users, runs, name, created_at, expires_at)
SELECT $2, $3, may, users, runs, name, $4, $4 + (expires_at - created_at)
FROM api_keys WHERE key_id = (SELECT key_id FROM old)
RETURNING expires_at

-- name: remove_api_key
DELETE FROM api_keys WHERE key_id = $1 RETURNING key_id

-- name: owned_runs
-- Which of these runs are this user's.
SELECT run_id FROM runs WHERE run_id = ANY ($2) AND username = $1

-- name: add_ticket
-- $2: seconds for which it can be used.
INSERT INTO tickets (digest, good_until, origin, username, run_ids, expires_at, issued_at, token_id)
VALUES ($1, extract(epoch FROM clock_timestamp()) + $2, $3, $4, $5, $6, $7, $8)

-- name: use_ticket
-- A ticket is used up by whoever shows it first, whatever comes of that.
DELETE FROM tickets WHERE digest = $1
RETURNING username, run_ids, expires_at, issued_at, token_id, origin,
    least(good_until, expires_at) > extract(epoch FROM clock_timestamp()) AS good

-- name: forget_grants
-- What nobody can use any more. An hour after a token's end: clocks differ, and its socket has some time to renew it.
WITH unused AS (DELETE FROM tickets WHERE good_until < extract(epoch FROM clock_timestamp()))
DELETE FROM revocations WHERE expires_at < extract(epoch FROM clock_timestamp()) - 3600

-- name: revoke
SELECT number, before FROM revoke($1, $2, $3)

-- name: revocations
-- Those after a number, $2 at most. One row without a number when there is none.
SELECT epoch, number, username, before, token_id FROM (SELECT epoch() AS epoch) now
LEFT JOIN LATERAL (SELECT number, username, before, token_id FROM revocations WHERE number > $1 ORDER BY number LIMIT $2) r
    ON true
ORDER BY number
