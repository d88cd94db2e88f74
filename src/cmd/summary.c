#include "cmd/summary.h"

#include "base/text.h"
#include "cmd/cell.h"

/* "photos@7", or "photos" when there is no number yet. */
static void
print_snapshot(FILE *out, struct bytes r)
{
	char share[CELL_MAX];

	fprintf(out, "%s", cell_of(r, "share", share));
	if (record_num(r, "snapshot") > 0)
		fprintf(out, "@%llu", (unsigned long long)record_num(r, "snapshot"));
}

static void
print_files(FILE *out, struct bytes r)
{
	char count[CELL_COUNT], size[TEXT_SIZE];
	uint64_t files = record_num(r, "files");

	fprintf(out, "%s file%s, %s", cell_count(files, count), files == 1 ? "" : "s",
	    text_size(record_num(r, "bytes"), size));
}

/* ", 12.4 s (264.1 MiB/s)": the rate of the bytes that moved. */
static void
print_time(FILE *out, struct bytes r, uint64_t moved)
{
	char took[TEXT_DURATION], rate[TEXT_SIZE];
	uint64_t ms = record_num(r, "duration");

	fprintf(out, " in %s", text_duration(ms, took));
	if (ms > 0 && moved > 0)
		fprintf(
		    out, " (%s/s)", text_size((uint64_t)((double)moved * 1000 / (double)ms), rate));
	fputc('\n', out);
}

/* "  N WHAT" when there are any. */
static void
print_some(FILE *out, struct bytes r, const char *field, const char *what)
{
	char count[CELL_COUNT];

	if (record_num(r, field) > 0)
		fprintf(out, "  %s %s\n", cell_count(record_num(r, field), count), what);
}

static void
print_sources(FILE *out, const struct rows *lists)
{
	char name[CELL_MAX], size[TEXT_SIZE], list[16];
	const char *between = ": ";

	array_each (row, &lists->all) {
		if (strcmp(record_str(*row, "list", list, sizeof list), "sources") != 0)
			continue;
		cell_of(*row, "name", name);
		if (name[0] == '\0')
			cell_of(*row, "device", name);
		fprintf(out, "%s%s %s", between, name, text_size(record_num(*row, "bytes"), size));
		between = ", ";
	}
}

/* ", 21.3 MiB on the wire (67 % saved)", where it is worth a word. */
static void
print_wire(FILE *out, uint64_t bytes, uint64_t wire)
{
	char size[TEXT_SIZE];

	if (wire > 0 && wire <= bytes - bytes / 100)
		fprintf(out, ", %s on the wire (%llu %% saved)", text_size(wire, size),
		    (unsigned long long)((bytes - wire) * 100 / bytes));
}

static void
print_get(FILE *out, struct bytes r, const struct rows *lists)
{
	char dest[CELL_MAX], size[TEXT_SIZE];
	uint64_t fetched = record_num(r, "bytes_fetched"), reused = record_num(r, "bytes_reused");

	print_snapshot(out, r);
	fprintf(out, " is in %s: ", cell_of(r, "dest", dest));
	print_files(out, r);
	print_time(out, r, fetched);
	if (fetched > 0) {
		fprintf(out, "  %s fetched", text_size(fetched, size));
		print_sources(out, lists);
		print_wire(out, fetched, record_num(r, "bytes_wire"));
		fputc('\n', out);
	}
	if (reused > 0)
		fprintf(out, "  %s were here already\n", text_size(reused, size));
	print_some(out, r, "files_removed", "removed: the snapshot no longer has them");
	print_some(out, r, "trashed", "in the way moved to .weft/trash");
	print_some(
	    out, r, "in_way", "in the way left alone; --overwrite moves them to .weft/trash");
}

static void
print_publish(FILE *out, struct bytes r, const struct rows *lists)
{
	char count[CELL_COUNT], size[TEXT_SIZE];
	uint64_t fresh = record_num(r, "bytes_new");
	bool is_dry = record_num(r, "dry_run") != 0;
	struct record_field f;

	(void)lists;
	print_snapshot(out, r);
	if (record_num(r, "unchanged") != 0) {
		fprintf(out, " is what is there: nothing has changed\n");
		return;
	}
	fprintf(out, "%s: ", is_dry ? " would be published" : "");
	print_files(out, r);
	print_time(out, r, fresh);
	uint64_t n = record_num(r, "files_read");
	fprintf(out, "  %s read from %s", text_size(record_num(r, "bytes_read"), size),
	    cell_count(n, count));
	fprintf(out, " file%s", n == 1 ? "" : "s");
	if (record_find(r, "bytes_new", &f))
		fprintf(out, ", %s new to the server", text_size(fresh, size));
	fputc('\n', out);
	print_some(out, r, "skipped", "left out");
	if (!is_dry && record_find(r, "waited", &f) && f.num == 0)
		fprintf(out, "  the server does not hold it all yet: leave the files in place "
			     "(`weft jobs`)\n");
}

/* What is checked is files in directories or, on a server, chunks in its store. */
static void
print_verify(FILE *out, struct bytes r, const struct rows *lists)
{
	char share[CELL_MAX], count[CELL_COUNT], size[TEXT_SIZE];
	uint64_t n = record_num(r, "differences");
	struct record_field chunks;

	(void)lists;
	fprintf(out, "%s: ", cell_of(r, "share", share));
	if (record_find(r, "chunks", &chunks))
		fprintf(out, "%s chunks, %s", cell_count(chunks.num, count),
		    text_size(record_num(r, "bytes"), size));
	else
		print_files(out, r);
	fprintf(out, " checked, %s difference%s", n == 0 ? "no" : cell_count(n, count),
	    n == 1 ? "" : "s");
	if (record_num(r, "duration") > 0)
		print_time(out, r, record_num(r, "bytes"));
	else
		fputc('\n', out);
}

static void
print_rm(FILE *out, struct bytes r, const struct rows *lists)
{
	char share[CELL_MAX], snapshot[CELL_MAX], count[CELL_COUNT], size[TEXT_SIZE];
	uint64_t n = record_num(r, "snapshots");

	(void)lists;
	cell_of(r, "snapshot", snapshot);
	fprintf(out, "%s%s%s %s: %s snapshot%s, up to %s\n", cell_of(r, "share", share),
	    snapshot[0] != '\0' ? "@" : "", snapshot,
	    record_num(r, "dry_run") != 0 ? "would be forgotten" : "is forgotten",
	    cell_count(n, count), n == 1 ? "" : "s", text_size(record_num(r, "bytes"), size));
}

/* The invite alone is on standard output: it is made to be piped. */
static void
print_invite(FILE *out, struct bytes r, const struct rows *lists)
{
	struct record_field text = { 0 };

	(void)lists;
	(void)record_find(r, "invite", &text);
	fprintf(out, "%.*s\n", (int)text.text.len, (const char *)text.text.at);
}

static void
print_policy(FILE *out, struct bytes r, const struct rows *lists)
{
	char share[CELL_MAX], policy[CELL_MAX];

	(void)lists;
	fprintf(out, "%s is %s\n", cell_of(r, "share", share), cell_of(r, "policy", policy));
}

static void
print_nothing(FILE *out, struct bytes r, const struct rows *lists)
{
	(void)out;
	(void)r;
	(void)lists;
}

bool
summary_print(FILE *out, const char *verb, struct bytes record, const struct rows *lists)
{
	static const struct {
		const char *verb;
		void (*print)(FILE *out, struct bytes record, const struct rows *lists);
	} words[] = {
		{ "get", print_get },
		{ "publish", print_publish },
		{ "verify", print_verify },
		{ "rm", print_rm },
		{ "policy", print_policy },
		{ "invite", print_invite },
		{ "leave", print_nothing },
		{ "grant", print_nothing },
		{ "ungrant", print_nothing },
		{ "pause", print_nothing },
		{ "resume", print_nothing },
		{ "cancel", print_nothing },
	};

	for (size_t i = 0; i < lengthof(words); i++) {
		if (strcmp(words[i].verb, verb) == 0) {
			words[i].print(out, record, lists);
			return true;
		}
	}
	return false;
}
