-- migrate:up

-- append_plain: the whole transaction of a group of appends that have no key and make no run, which nearly all are.
--
-- Nothing has to be looked up for them but what the locks give, so it is five short statements instead of fifteen. When
-- one append of the group cannot simply be stored (its feed or run is locked elsewhere, unknown, another user's, or
-- finished), nothing is stored and one row of nulls comes back: then append_events, which knows every outcome, is called.
-- The order of locks is append_events': feeds, then runs, each by SELECT .. ORDER BY, and what they say is read with the
-- lock. What is written is counted from there, in statements that begin after it.
--
-- feed_names, run_names: sorted, each once; run_users: whose each run is. f_count, r_count: how many events each gets.
-- r_status, r_progress, r_step: what the events say last of each run, null for nothing.
-- a_*: one entry an append: which feed and run (from 1), how many events of this call come before its own in that feed,
-- in that run and in all, and how many its own are. tails: of all events, a line each: JSON has no line breaks.
-- known_epoch: what this function said before in the same session, or ''. Only its first part, the life, can change while a
-- session on a primary lasts: the rest changes with a restart, and reading it costs as much as two of these statements.
-- f_last, r_last: the numbers before this call; statuses: those before it, by run.
CREATE FUNCTION append_plain(
    now_s double precision, known_epoch text, feed_names text[], f_count integer[],
    run_names text[], run_users text[], r_count integer[], r_status text[], r_progress double precision[], r_step text[],
    a_feed integer[], a_run integer[], a_id integer[], a_seq integer[], a_before integer[], a_events integer[], tails text,
    OUT f_last bigint[], OUT r_last bigint[], OUT statuses text[], OUT epoch text
) LANGUAGE plpgsql VOLATILE
-- The plans are cached for the session's life: one made while the tables were small must not scan them when they are not.
-- Planned once: a plan made for the arrays of each call is no other and costs more than its execution.
SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    found text[];
    owners text[];
    current_life text;
    tail text[] := string_to_array(tails, E'\n');
BEGIN
    SELECT array_agg(username), array_agg(last_id) INTO found, f_last FROM (
        SELECT username, last_id FROM feeds WHERE username = ANY (feed_names)
        ORDER BY username FOR NO KEY UPDATE SKIP LOCKED) mine;
    IF found IS DISTINCT FROM feed_names THEN
        f_last := NULL;
        RETURN;
    END IF;

    SELECT array_agg(run_id), array_agg(username), array_agg(last_seq), array_agg(status)
    INTO found, owners, r_last, statuses FROM (
        SELECT run_id, username, last_seq, status FROM runs WHERE run_id = ANY (run_names)
        ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED) mine;
    IF found IS DISTINCT FROM run_names OR owners IS DISTINCT FROM run_users
        OR statuses && ARRAY['completed', 'failed', 'cancelled']
    THEN
        f_last := NULL; r_last := NULL; statuses := NULL;
        RETURN;
    END IF;

    INSERT INTO events (username, id, run_id, seq, tail)
    SELECT feed_names[a.feed], f_last[a.feed] + a.id + n, run_names[a.run], r_last[a.run] + a.seq + n, tail[a.before + n]
    FROM unnest(a_feed, a_run, a_id, a_seq, a_before, a_events) AS a(feed, run, id, seq, before, events),
        LATERAL generate_series(1, a.events) AS n;
    UPDATE feeds SET last_id = last_id + c.events, updated_at = now_s
    FROM unnest(feed_names, f_count) AS c(usr, events) WHERE username = c.usr;
    UPDATE runs SET last_seq = last_seq + c.events,
        status = coalesce(c.said, CASE WHEN runs.status = 'queued' THEN 'running' ELSE runs.status END),
        progress = coalesce(c.progress, runs.progress), current_step = coalesce(c.step, runs.current_step),
        started_at = coalesce(runs.started_at, now_s), updated_at = now_s,
        finished_at = CASE WHEN c.said IN ('completed', 'failed', 'cancelled') THEN now_s END
    FROM unnest(run_names, r_count, r_status, r_progress, r_step) AS c(run, events, said, progress, step)
    WHERE run_id = c.run;

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
