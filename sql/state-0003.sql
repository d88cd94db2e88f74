-- What servers said about snapshots beyond what their commits say.  number 0: announced only.

CREATE TABLE snapshot(
	id BLOB PRIMARY KEY,
	unit_size INTEGER NOT NULL,
	number INTEGER NOT NULL
) WITHOUT ROWID;
