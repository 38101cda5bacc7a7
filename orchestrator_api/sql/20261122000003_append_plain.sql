-- migrate:up

-- append_plain: the whole transaction of a group of appends that have no key and make no run, which nearly all are.
--
-- Nothing has to be looked up for them but what the locks give, so it is five short statements instead of fifteen. A feed
-- is stored wholly or not at all: when it is locked elsewhere, or one of its runs is, or is unknown, another user's or
-- finished, its numbers come back null and nothing of it is stored. append_events, which knows every outcome, is for it.
-- The order of locks is append_events': feeds, then runs, each by SELECT .. ORDER BY, and what they say is read with the
-- lock. What is written is counted from there, in statements that begin after it.
--
-- feed_names, run_names: sorted, each once; run_users: whose each run is. f_count, r_count: how many events each gets.
-- r_said, r_progress, r_step: what the events say last of each run, null for nothing.
-- a_*: one entry an append: which feed and run (from 1), how many events of this call come before its own in that feed,
-- in that run and in all, and how many its own are. tails: of all events, a line each: JSON has no line breaks.
-- known_epoch: what this function said before in the same session, or ''. Only its first part, the life, can change while a
-- session on a primary lasts: the rest changes with a restart, and reading it costs as much as two of these statements.
-- f_last, r_last: the numbers before this call, null for what it left alone; statuses: those before it, by run.
CREATE FUNCTION append_plain(
    now_s double precision, known_epoch text, feed_names text[], f_count integer[],
    run_names text[], run_users text[], r_count integer[], r_said text[], r_progress double precision[], r_step text[],
    a_feed integer[], a_run integer[], a_id integer[], a_seq integer[], a_before integer[], a_events integer[], tails text,
    OUT f_last bigint[], OUT r_last bigint[], OUT statuses text[], OUT epoch text
) LANGUAGE plpgsql VOLATILE
-- The plans are cached for the session's life: one made while the tables were small must not scan them when they are not.
-- Planned once: a plan made for the arrays of each call is no other and costs more than its execution.
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    f_user text[]; f_id bigint[];                                 -- the feeds that are locked now
    r_run text[]; r_user text[]; r_seq bigint[]; r_status text[]; -- and their runs
    tail text[] := string_to_array(tails, E'\n');
    current_life text;
BEGIN
    SELECT array_agg(username), array_agg(last_id) INTO f_user, f_id FROM (
        SELECT username, last_id FROM feeds WHERE username = ANY (feed_names)
        ORDER BY username FOR NO KEY UPDATE SKIP LOCKED) mine;
    SELECT array_agg(run_id), array_agg(username), array_agg(last_seq), array_agg(status)
    INTO r_run, r_user, r_seq, r_status FROM (
        SELECT run_id, username, last_seq, status FROM runs WHERE run_id = ANY (run_names) AND username = ANY (f_user)
        ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED) mine;

    IF f_user = feed_names AND r_run = run_names AND r_user = run_users
        AND NOT r_status && ARRAY['completed', 'failed', 'cancelled']
    THEN
        f_last := f_id; r_last := r_seq; statuses := r_status;
    ELSE
        SELECT array_agg(CASE WHEN all_good THEN f.last END ORDER BY n) INTO f_last
        FROM unnest(feed_names) WITH ORDINALITY AS u(usr, n)
        LEFT JOIN unnest(f_user, f_id) AS f(usr, last) ON f.usr = u.usr
        LEFT JOIN (SELECT w.usr, bool_and(r.status NOT IN ('completed', 'failed', 'cancelled') AND r.run IS NOT NULL) AS all_good
            FROM unnest(run_names, run_users) AS w(run, usr)
            LEFT JOIN unnest(r_run, r_user, r_status) AS r(run, usr, status) ON r.run = w.run AND r.usr = w.usr
            GROUP BY w.usr) g ON g.usr = u.usr;
        SELECT array_agg(r.seq ORDER BY w.n), array_agg(r.status ORDER BY w.n) INTO r_last, statuses
        FROM unnest(run_names, run_users) WITH ORDINALITY AS w(run, usr, n)
        LEFT JOIN unnest(feed_names, f_last) AS f(usr, last) ON f.usr = w.usr
        LEFT JOIN unnest(r_run, r_seq, r_status) AS r(run, seq, status) ON r.run = w.run AND f.last IS NOT NULL;
    END IF;

    INSERT INTO events (username, id, run_id, seq, tail)
    SELECT feed_names[a.feed], f_last[a.feed] + a.id + n, run_names[a.run], r_last[a.run] + a.seq + n, tail[a.before + n]
    FROM unnest(a_feed, a_run, a_id, a_seq, a_before, a_events) AS a(feed, run, id, seq, before, events),
        LATERAL generate_series(1, a.events) AS n
    WHERE f_last[a.feed] IS NOT NULL;
    UPDATE feeds SET last_id = c.last + c.events, updated_at = now_s
    FROM unnest(feed_names, f_count, f_last) AS c(usr, events, last) WHERE username = c.usr AND c.last IS NOT NULL;
    UPDATE runs SET last_seq = c.last + c.events,
        status = coalesce(c.said, CASE WHEN runs.status = 'queued' THEN 'running' ELSE runs.status END),
        progress = coalesce(c.progress, runs.progress), current_step = coalesce(c.step, runs.current_step),
        started_at = coalesce(runs.started_at, now_s), updated_at = now_s,
        finished_at = CASE WHEN c.said IN ('completed', 'failed', 'cancelled') THEN now_s END
    FROM unnest(run_names, r_count, r_last, r_said, r_progress, r_step) AS c(run, events, last, said, progress, step)
    WHERE run_id = c.run AND c.last IS NOT NULL;

    SELECT life::text INTO current_life FROM epochs;
    epoch := CASE WHEN starts_with(known_epoch, current_life) THEN known_epoch ELSE epoch() END;
END
$$;

-- The same for what append_events does: a group of few appends took twice as long to plan as to store.
ALTER FUNCTION append_events(integer, double precision, text[], text[], text[], text[], text[], bytea[], boolean[], text[],
    text[], bytea[], integer[], text[], text[], text[], text[], bytea[], text[], double precision[], text[])
    SET plan_cache_mode = force_generic_plan;

-- migrate:down

ALTER FUNCTION append_events(integer, double precision, text[], text[], text[], text[], text[], bytea[], boolean[], text[],
    text[], bytea[], integer[], text[], text[], text[], text[], bytea[], text[], double precision[], text[])
    RESET plan_cache_mode;
DROP FUNCTION append_plain(double precision, text, text[], integer[], text[], text[], integer[], text[], double precision[],
    text[], integer[], integer[], integer[], integer[], integer[], integer[], text);
