-- One stack a row; the record is what was proven (plan::intent::Record), the facts are what nodes need to know.
CREATE TABLE stack (
    name    text PRIMARY KEY,
    record  jsonb NOT NULL,
    facts   jsonb NOT NULL DEFAULT '{}',
    updated timestamptz NOT NULL DEFAULT now()
);

-- Who runs the loop. The epoch rises with every new holder; every write names the epoch it was made under.
CREATE TABLE lease (
    stack   text PRIMARY KEY,
    holder  text NOT NULL,
    epoch   bigint NOT NULL,
    expires timestamptz NOT NULL
);

CREATE TABLE rollout (
    id          text NOT NULL,
    stack       text NOT NULL,
    intent      jsonb NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('live', 'done', 'rolled_back', 'stuck')),
    history     jsonb NOT NULL DEFAULT '[]',
    reasons     jsonb NOT NULL DEFAULT '[]',
    request_key text NOT NULL,
    operator    text NOT NULL,
    created     timestamptz NOT NULL DEFAULT now(),
    finished    timestamptz,
    PRIMARY KEY (stack, id),
    UNIQUE (stack, request_key)
);
-- One live rollout per stack: an index, not a check in code. A stuck one waits for a person: it is live.
CREATE UNIQUE INDEX rollout_one_live ON rollout (stack) WHERE outcome IN ('live', 'stuck');

-- Append-only; the primary key makes an append idempotent.
CREATE TABLE journal (
    stack   text NOT NULL,
    key     text NOT NULL,
    attempt bigint NOT NULL,
    event   text NOT NULL CHECK (event IN ('intended', 'done', 'failed')),
    epoch   bigint NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    error   text,
    PRIMARY KEY (stack, key, attempt, event)
);

CREATE TABLE node (
    instance_id  text PRIMARY KEY,
    stack        text NOT NULL,
    key_sha256   text NOT NULL,
    enrolled     timestamptz NOT NULL DEFAULT now(),
    revoked      boolean NOT NULL DEFAULT false,
    generation   bigint NOT NULL DEFAULT 0,
    goal         jsonb,
    -- Of the configuration that goes with the goal: the facts in it may change while the goal stays.
    digest       text,
    report       jsonb
);
CREATE INDEX node_by_stack ON node (stack);

CREATE TABLE event (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stack   text NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    subject text NOT NULL,
    what    text NOT NULL,
    cause   text NOT NULL DEFAULT ''
);
CREATE INDEX event_by_stack ON event (stack, id);
