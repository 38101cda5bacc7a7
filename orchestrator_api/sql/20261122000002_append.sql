-- migrate:up

-- append_events: the whole transaction of a group of appends, called in autocommit, READ COMMITTED.
--
-- Each step is a statement of its own, so that it sees what the lock before it waited for: deciding and numbering in one
-- statement would use a snapshot older than the lock (measured: permanent holes). Locks are taken feeds first, then runs,
-- each by SELECT .. ORDER BY, because a bare multi-row UPDATE does not lock in order (measured: deadlocks).
--
-- wait_ms null: feeds locked elsewhere are left alone and their appends come back 'locked'. Otherwise wait that long.
-- Runs are never waited for: whoever writes to a run locks its feed first, so only a stranger can hold one without it.
-- a_*: one entry an append. No two appends of a call may share a run when one of them creates it, ends it, or has a key:
--      then each decision depends only on what is committed (orchestrator_api/groups.py sees to it).
-- e_*: one entry an event, in order; e_append is the index of its append, from 1.
-- One row comes back. By append: outcomes, statuses, run_ids (a repeat without run_id learns its run);
-- by event: ids and seqs, and made, true where the event was stored by this call. The outcomes:
--   stored | repeat | locked | no_feed | no_run | run_finished | run_exists | key_reused
CREATE FUNCTION append_events(
    wait_ms integer, now_s double precision, feed_names text[],
    a_run text[], a_user text[], a_key text[], a_scope text[], a_digest bytea[],
    a_new boolean[], a_workflow text[], a_metadata text[], a_create_digest bytea[],
    e_append integer[], e_run text[], e_user text[], e_tail text[], e_key text[], e_digest bytea[],
    e_status text[], e_progress double precision[], e_step text[],
    OUT outcomes text[], OUT statuses text[], OUT run_ids text[],
    OUT ids bigint[], OUT seqs bigint[], OUT made boolean[], OUT epoch text
) LANGUAGE plpgsql VOLATILE
-- The plans are cached for the session's life: one made while the tables were small must not scan them when they are not.
SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    f_user text[]; f_last bigint[];                      -- the feeds that this transaction has locked
    r_run text[]; r_user text[]; r_status text[]; r_seq bigint[]; r_digest bytea[];  -- their runs, locked
    x_run text[]; x_user text[];                         -- runs that exist, locked or not
    new_runs text[] := '{}';                             -- made by this call
    k_digest bytea[]; k_run text[]; k_id bigint[]; k_seq bigint[];    -- by append: its request key, when known
    e_same boolean[]; e_id bigint[]; e_seq bigint[];     -- by event: its event_id, when known
    fresh bigint;                                        -- how many events are stored now
BEGIN
    -- 1. the feeds
    IF wait_ms IS NULL THEN
        SELECT array_agg(username), array_agg(last_id) INTO f_user, f_last FROM (
            SELECT username, last_id FROM feeds WHERE username = ANY (feed_names)
            ORDER BY username FOR NO KEY UPDATE SKIP LOCKED) mine;
    ELSE
        PERFORM set_config('lock_timeout', wait_ms::text, true);
        SELECT array_agg(username), array_agg(last_id) INTO f_user, f_last FROM (
            SELECT username, last_id FROM feeds WHERE username = ANY (feed_names)
            ORDER BY username FOR NO KEY UPDATE) mine;
    END IF;

    -- 2. the request keys of those feeds' runs: nobody else can write them now
    IF EXISTS (SELECT FROM unnest(a_key) k WHERE k IS NOT NULL) THEN
        SELECT array_agg((k).digest ORDER BY n), array_agg((k).run_id ORDER BY n),
               array_agg((k).first_id ORDER BY n), array_agg((k).first_seq ORDER BY n)
        INTO k_digest, k_run, k_id, k_seq
        FROM (SELECT n, (SELECT k FROM keys k WHERE k.scope = a.scope AND k.kind = 'r' AND k.key = a.key) AS k
              FROM unnest(a_scope, a_key) WITH ORDINALITY AS a(scope, key, n)) found;
    END IF;

    -- 3. the runs: new ones, then the locks on all
    IF true = ANY (a_new) THEN
        WITH made AS (
            INSERT INTO runs (run_id, username, workflow, metadata, created_at, create_digest, updated_at)
            SELECT run, usr, workflow, metadata, now_s, create_digest, now_s
            FROM unnest(a_run, a_user, a_new, a_workflow, a_metadata, a_create_digest, k_digest)
                AS a(run, usr, is_new, workflow, metadata, create_digest, known)
            WHERE is_new AND known IS NULL AND usr = ANY (f_user)
            ORDER BY run
            ON CONFLICT (run_id) DO NOTHING
            RETURNING run_id)
        SELECT coalesce(array_agg(run_id), '{}') INTO new_runs FROM made;
    END IF;
    SELECT array_agg(run_id), array_agg(username), array_agg(status), array_agg(last_seq), array_agg(create_digest)
    INTO r_run, r_user, r_status, r_seq, r_digest FROM (
        SELECT run_id, username, status, last_seq, create_digest FROM runs
        WHERE run_id = ANY (a_run) AND username = ANY (f_user)
        ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED) mine;

    -- 4. the event keys
    IF EXISTS (SELECT FROM unnest(e_key) k WHERE k IS NOT NULL) THEN
        SELECT array_agg((k).digest = digest ORDER BY n), array_agg((k).first_id ORDER BY n), array_agg((k).first_seq ORDER BY n)
        INTO e_same, e_id, e_seq
        FROM (SELECT n, digest, (SELECT k FROM keys k WHERE k.scope = 'run:' || e.run AND k.kind = 'e' AND k.key = e.key) AS k
              FROM unnest(e_run, e_key, e_digest) WITH ORDINALITY AS e(run, key, digest, n)) found;
    END IF;

    -- 5. one outcome an append
    IF coalesce(cardinality(r_run), 0) < cardinality(a_run) THEN
        SELECT array_agg(run_id), array_agg(username) INTO x_run, x_user FROM runs WHERE run_id = ANY (a_run);
    END IF;
    SELECT array_agg(CASE
            WHEN f.usr IS NULL THEN
                CASE WHEN EXISTS (SELECT FROM feeds WHERE username = a.usr) THEN 'locked' ELSE 'no_feed' END
            WHEN x.usr <> a.usr THEN CASE WHEN a.is_new THEN 'run_exists' ELSE 'no_run' END
            WHEN r.run IS NULL AND x.run IS NOT NULL THEN 'locked'
            WHEN a.known IS NOT NULL THEN CASE WHEN a.known = a.digest THEN 'repeat' ELSE 'key_reused' END
            WHEN r.run IS NULL THEN 'no_run'
            WHEN a.is_new AND a.run <> ALL (new_runs) THEN
                CASE WHEN r.digest = a.create_digest THEN 'repeat' ELSE 'run_exists' END
            WHEN e.differs THEN 'key_reused'
            WHEN e.all_known THEN 'repeat'
            WHEN r.status IN ('completed', 'failed', 'cancelled') THEN 'run_finished'
            ELSE 'stored' END ORDER BY a.n)
    INTO outcomes
    FROM unnest(a_run, a_user, a_digest, a_new, a_create_digest, k_digest) WITH ORDINALITY
        AS a(run, usr, digest, is_new, create_digest, known, n)
    LEFT JOIN unnest(f_user) AS f(usr) ON f.usr = a.usr
    LEFT JOIN unnest(r_run, r_user, r_status, r_digest) AS r(run, usr, status, digest) ON r.run = a.run AND r.usr = a.usr
    LEFT JOIN unnest(x_run, x_user) AS x(run, usr) ON x.run = a.run
    LEFT JOIN (SELECT append, bool_or(NOT same) AS differs, bool_and(same IS NOT NULL) AS all_known
               FROM unnest(e_append, e_same) AS e(append, same) WHERE e_same IS NOT NULL GROUP BY append) e
        ON e.append = a.n;

    -- 6. the numbers: within a feed run by run, within a run as they came; known events keep theirs
    SELECT array_agg(coalesce(known_id, CASE WHEN new THEN f_last + nth_of_feed END) ORDER BY n),
           array_agg(coalesce(known_seq, CASE WHEN new THEN r_seq + nth_of_run END) ORDER BY n),
           array_agg(new ORDER BY n), count(*) FILTER (WHERE new)
    INTO ids, seqs, made, fresh
    FROM (
        SELECT e.n, new, f.last AS f_last, r.seq AS r_seq,
               coalesce(e.known_id, CASE WHEN o.outcome = 'repeat' THEN o.key_id + nth_of_append - 1 END) AS known_id,
               coalesce(e.known_seq, CASE WHEN o.outcome = 'repeat' THEN o.key_seq + nth_of_append - 1 END) AS known_seq,
               row_number() OVER (PARTITION BY e.usr, new ORDER BY e.run, e.n) AS nth_of_feed,
               row_number() OVER (PARTITION BY e.run, new ORDER BY e.n) AS nth_of_run
        FROM (SELECT *, row_number() OVER (PARTITION BY append ORDER BY n) AS nth_of_append
              FROM unnest(e_append, e_run, e_user, e_id, e_seq) WITH ORDINALITY
                  AS e(append, run, usr, known_id, known_seq, n)) e
        JOIN unnest(outcomes, k_id, k_seq) WITH ORDINALITY AS o(outcome, key_id, key_seq, append) USING (append)
        CROSS JOIN LATERAL (SELECT o.outcome = 'stored' AND e.known_id IS NULL AS new) judged
        LEFT JOIN unnest(f_user, f_last) AS f(usr, last) ON f.usr = e.usr
        LEFT JOIN unnest(r_run, r_seq) AS r(run, seq) ON r.run = e.run) numbered;

    -- 7. store
    IF fresh > 0 THEN
        INSERT INTO events (username, id, run_id, seq, tail)
        SELECT usr, id, run, seq, tail FROM unnest(e_user, ids, e_run, seqs, e_tail, made) AS e(usr, id, run, seq, tail, new)
        WHERE new;
        UPDATE feeds SET last_id = last, updated_at = now_s
        FROM (SELECT usr, max(id) AS last FROM unnest(e_user, ids, made) AS e(usr, id, new) WHERE new GROUP BY usr) e
        WHERE username = usr AND username = ANY (f_user);
        UPDATE runs SET last_seq = e.last,
            status = coalesce(e.status, CASE WHEN runs.status = 'queued' THEN 'running' ELSE runs.status END),
            progress = coalesce(e.progress, runs.progress), current_step = coalesce(e.step, runs.current_step),
            started_at = coalesce(runs.started_at, now_s), updated_at = now_s,
            finished_at = CASE WHEN e.status IN ('completed', 'failed', 'cancelled') THEN now_s END
        FROM (SELECT run, max(seq) AS last,
                     (array_agg(status ORDER BY seq DESC) FILTER (WHERE status IS NOT NULL))[1] AS status,
                     (array_agg(progress ORDER BY seq DESC) FILTER (WHERE progress IS NOT NULL))[1] AS progress,
                     (array_agg(step ORDER BY seq DESC) FILTER (WHERE step IS NOT NULL))[1] AS step
              FROM unnest(e_run, seqs, made, e_status, e_progress, e_step) AS e(run, seq, new, status, progress, step)
              WHERE new GROUP BY run) e
        WHERE run_id = e.run AND run_id = ANY (r_run);
    END IF;

    -- 8. remember the keys of what was stored; a refused append leaves none
    IF k_digest IS NOT NULL THEN
        INSERT INTO keys (scope, kind, key, digest, run_id, first_id, first_seq)
        SELECT a.scope, 'r', a.key, a.digest, a.run, coalesce(e.id, 0), coalesce(e.seq, 0)
        FROM unnest(a_scope, a_key, a_digest, a_run, outcomes) WITH ORDINALITY AS a(scope, key, digest, run, outcome, n)
        LEFT JOIN (SELECT append, min(id) AS id, min(seq) AS seq FROM unnest(e_append, ids, seqs) AS e(append, id, seq)
                   GROUP BY append) e ON e.append = a.n
        WHERE a.key IS NOT NULL AND outcome = 'stored';
    END IF;
    IF e_same IS NOT NULL THEN
        INSERT INTO keys (scope, kind, key, digest, run_id, first_id, first_seq)
        SELECT 'run:' || run, 'e', key, digest, run, id, seq
        FROM unnest(e_run, e_key, e_digest, ids, seqs, made) AS e(run, key, digest, id, seq, new)
        WHERE new AND key IS NOT NULL;
    END IF;

    SELECT array_agg(coalesce(CASE WHEN outcome = 'repeat' THEN known_run END, run) ORDER BY n) INTO run_ids
    FROM unnest(a_run, k_run, outcomes) WITH ORDINALITY AS a(run, known_run, outcome, n);
    SELECT array_agg(r.status ORDER BY n) INTO statuses
    FROM unnest(run_ids) WITH ORDINALITY AS a(run, n)
    LEFT JOIN (SELECT run_id, status FROM runs WHERE run_id = ANY (run_ids)) r ON r.run_id = a.run;
    epoch := epoch();
END
$$;

-- migrate:down

DROP FUNCTION append_events(integer, double precision, text[], text[], text[], text[], text[], bytea[], boolean[], text[],
    text[], bytea[], integer[], text[], text[], text[], text[], bytea[], text[], double precision[], text[]);
