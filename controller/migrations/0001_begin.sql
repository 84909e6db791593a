-- Plain SQL that SQLite and PostgreSQL both read. Moments are microseconds since 1970 (UTC),
-- identities are text, ranks are small numbers whose order is that of the enum in the code.

CREATE TABLE hosts (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    software TEXT NOT NULL,
    protocols TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    first_seen BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    stored_entries BIGINT NOT NULL,
    counters TEXT
);

-- A guest may be told of by several hosts: it was moved, or its UUID was copied.
CREATE TABLE guests (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    state_at BIGINT NOT NULL,
    present BIGINT NOT NULL,
    incarnation TEXT,
    scenarios TEXT NOT NULL,
    last_seen BIGINT NOT NULL,
    PRIMARY KEY (id, host)
);

CREATE TABLE incidents (
    id TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    guest TEXT NOT NULL,
    guest_name TEXT NOT NULL,
    state BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    class TEXT,
    controller_class TEXT,
    scenario TEXT,
    summary TEXT NOT NULL,
    summary_rank BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    examined BIGINT,
    closed BIGINT,
    has_report BIGINT NOT NULL
);
CREATE INDEX incidents_of_guest ON incidents (guest, id);
CREATE INDEX incidents_of_host ON incidents (host, id);

-- Large and seldom read, so apart from the list.
CREATE TABLE reports (
    incident TEXT NOT NULL PRIMARY KEY,
    written BIGINT NOT NULL,
    manifest TEXT NOT NULL,
    withheld TEXT NOT NULL,
    conclusion TEXT,
    not_concluded TEXT NOT NULL
);

CREATE TABLE artifacts (
    sha256 TEXT NOT NULL PRIMARY KEY,
    size BIGINT NOT NULL,
    stored BIGINT NOT NULL
);

CREATE TABLE events (
    host TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    guest TEXT,
    event TEXT NOT NULL,
    PRIMARY KEY (host, seq)
);
CREATE INDEX events_by_time ON events (at, host, seq);
CREATE INDEX events_of_guest ON events (guest, at);

-- A token itself is never kept.
CREATE TABLE tokens (
    name TEXT NOT NULL PRIMARY KEY,
    role TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    created BIGINT NOT NULL
);
