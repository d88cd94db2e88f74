-- What a node remembers between runs: src/engine/state.h.
-- Ids of shares, snapshots and contents are 33 bytes, an algorithm byte and the hash; NULL is none.

CREATE TABLE setting(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE statement(id BLOB PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;

-- A directory that we publish or receive into.
CREATE TABLE root(
	id INTEGER PRIMARY KEY AUTOINCREMENT, -- jobs name it: never used again
	kind INTEGER NOT NULL,
	share BLOB NOT NULL,
	share_name TEXT NOT NULL,
	path BLOB NOT NULL,
	subpath BLOB NOT NULL,
	snapshot BLOB,
	content BLOB,
	time_ns INTEGER NOT NULL DEFAULT 0,
	UNIQUE(kind, share, path)
);

-- key: the first 8 bytes of the SHA-256 of path, so that long paths are kept once.
CREATE TABLE dir(
	id INTEGER PRIMARY KEY,
	root INTEGER NOT NULL,
	key INTEGER NOT NULL,
	ino INTEGER NOT NULL DEFAULT 0,
	path BLOB NOT NULL
);
CREATE INDEX dir_key ON dir(root, key);

CREATE TABLE file(
	dir INTEGER NOT NULL,
	name BLOB NOT NULL,
	id INTEGER NOT NULL,
	size INTEGER NOT NULL,
	ino INTEGER NOT NULL,
	mtime_ns INTEGER NOT NULL,
	ctime_ns INTEGER NOT NULL,
	gen INTEGER NOT NULL,
	ours INTEGER NOT NULL,
	content INTEGER NOT NULL,
	PRIMARY KEY(dir, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX file_id ON file(id);

-- Where chunks lie.  key: 47 bits of the chunk's hash: a candidate, which the bytes themselves prove.
CREATE TABLE place(
	file INTEGER NOT NULL,
	offset INTEGER NOT NULL,
	key INTEGER NOT NULL,
	PRIMARY KEY(file, offset)
) WITHOUT ROWID;
CREATE INDEX place_key ON place(key);

-- Which nodes may be asked for under which share.
CREATE TABLE share(id INTEGER PRIMARY KEY, share BLOB NOT NULL UNIQUE);
CREATE TABLE share_node(
	share INTEGER NOT NULL,
	node BLOB NOT NULL,
	PRIMARY KEY(share, node)
) WITHOUT ROWID;

CREATE TABLE job(
	id INTEGER PRIMARY KEY AUTOINCREMENT, -- people name it: never used again
	kind INTEGER NOT NULL,
	state INTEGER NOT NULL,
	root INTEGER NOT NULL,
	share BLOB,
	snapshot BLOB,
	spec BLOB NOT NULL,
	created_ns INTEGER NOT NULL,
	updated_ns INTEGER NOT NULL,
	bytes_done INTEGER NOT NULL,
	bytes_total INTEGER NOT NULL,
	text TEXT NOT NULL
);
