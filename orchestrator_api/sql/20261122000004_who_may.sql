-- migrate:up

-- Who may call without being a user: workers, hubs, backends. The secret itself is nowhere.
CREATE TABLE api_keys (
    key_id     text COLLATE "C" PRIMARY KEY,    -- stands in the key, in the open
    digest     bytea NOT NULL,                  -- SHA-256 of the secret: of 256 random bits, so nothing slower is needed
    may        text[] NOT NULL,                 -- of keys.RIGHTS
    users      text[],                          -- exact names and `prefix*`; null: any
    runs       text[],                          -- the same
    name       text NOT NULL DEFAULT '',        -- for people
    created_at double precision NOT NULL,       -- unix seconds
    expires_at double precision                 -- unix seconds; null: never
);

-- What a page puts into a socket's address in place of a token. UNLOGGED: a ticket is worth thirty seconds, and after a
-- crash of PostgreSQL a client asks for another.
CREATE UNLOGGED TABLE tickets (
    digest      bytea PRIMARY KEY,              -- SHA-256
    good_until  double precision NOT NULL,      -- unix seconds by this database's clock
    origin      text,                           -- of the page that asked; null: no page did
    username    text COLLATE "C" NOT NULL,
    run_ids     text[],                         -- null: all of the user's
    expires_at  double precision NOT NULL,      -- of the session that it opens: the token's own
    issued_at   double precision NOT NULL,      -- as above
    token_id    text                            -- as above
);

-- Which tokens hold no longer: all of a user's up to a time, or one by its id. Numbers are in commit order, so whoever
-- read up to a number has missed nothing below it.
CREATE SEQUENCE revocation_numbers;
CREATE TABLE revocations (
    number     bigint PRIMARY KEY,
    username   text COLLATE "C" UNIQUE,
    before     double precision,                -- unix seconds: tokens issued then or earlier
    token_id   text COLLATE "C" UNIQUE,
    expires_at double precision,                -- unix seconds: when nobody can show that token any more
    CHECK ((username IS NULL) = (before IS NULL) AND (token_id IS NULL) = (expires_at IS NULL)
        AND (username IS NULL) <> (token_id IS NULL))
);

-- Exactly one of the first two is given; until belongs to the second. A row that is there gets a new number: who has read
-- the old one must read it again.
CREATE FUNCTION revoke(usr text, token text, until double precision, OUT number bigint, OUT before double precision)
LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_column
BEGIN
    -- Held to the end of the transaction: the next number is given after this one can be seen. The id is any constant.
    PERFORM pg_advisory_xact_lock(7205759404);
    number := nextval('revocation_numbers');
    IF usr IS NOT NULL THEN
        before := extract(epoch FROM clock_timestamp());
    END IF;
    -- Revoked twice, a token is revoked for as long as either says.
    SELECT greatest(until, max(r.expires_at)) INTO until FROM revocations r WHERE r.token_id = token;
    DELETE FROM revocations r WHERE r.username = usr OR r.token_id = token;
    INSERT INTO revocations VALUES (number, usr, before, token, until);
END
$$;

-- migrate:down

DROP FUNCTION revoke(text, text, double precision);
DROP TABLE revocations, tickets, api_keys;
DROP SEQUENCE revocation_numbers;
