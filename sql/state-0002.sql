-- Others who took part in swarms of shares of ours: how to find them while the server is away.

CREATE TABLE member(
	device BLOB PRIMARY KEY,
	name TEXT NOT NULL,
	site TEXT NOT NULL,
	addresses TEXT NOT NULL, -- one a line
	seen_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX member_seen ON member(seen_ns);

CREATE TABLE member_share(
	device BLOB NOT NULL,
	share BLOB NOT NULL,
	PRIMARY KEY(device, share)
) WITHOUT ROWID;
