/*
 * How a pattern is matched.
 *
 * Patterns are read as they stand in the file; nothing is compiled, so a file of rules costs its
 * own size.  What most rules are (a plain name, or a star and a plain ending) is compared at once.
 * The others are walked with two marks to go back to, one for the last '*' of the segment and one
 * for the last '**': because '*' never passes a slash and '**' takes whole segments, an earlier
 * mark can never succeed where a later one failed, so each byte of the path is tried against each
 * of the pattern at most once per level: the product of the two lengths bounds the work.
 */
#include "engine/ignore.h"

#include "base/array.h"

enum rule_flags {
	RULE_NEGATIVE = 1,
	RULE_DIR_ONLY = 2,
	RULE_BASENAME = 4, /* no slash: the last name decides, in any directory */
	RULE_LITERAL = 8,  /* no wildcard at all */
	RULE_ENDING = 16,  /* a star, then no wildcard; only with RULE_BASENAME */
};

struct rule {
	uint32_t at, len; /* in text */
	uint32_t literal; /* bytes before the first wildcard */
	uint8_t flags;
};

struct ignore_rules {
	uint8_t *text;
	ARRAY(struct rule) rules;
};

/* -- one element of a pattern -- */

static bool
is_between(uint8_t c, uint8_t from, uint8_t to)
{
	return c >= from && c <= to;
}

/* ASCII only, whatever the locale says. */
#define CLASSES(X)                                                                                 \
	X(upper, is_between(c, 'A', 'Z'))                                                          \
	X(lower, is_between(c, 'a', 'z'))                                                          \
	X(alpha, is_upper(c) || is_lower(c))                                                       \
	X(digit, is_between(c, '0', '9'))                                                          \
	X(alnum, is_alpha(c) || is_digit(c))                                                       \
	X(xdigit, is_digit(c) || is_between(c, 'a', 'f') || is_between(c, 'A', 'F'))               \
	X(blank, c == ' ' || c == '\t')                                                            \
	X(space, c == ' ' || is_between(c, '\t', '\r'))                                            \
	X(cntrl, c < ' ' || c == 0x7f)                                                             \
	X(print, is_between(c, ' ', '~'))                                                          \
	X(graph, is_between(c, '!', '~'))                                                          \
	X(punct, is_graph(c) && !is_alnum(c))

#define X(name, is)                                                                                \
	static bool is_##name(uint8_t c)                                                           \
	{                                                                                          \
		return is;                                                                         \
	}
CLASSES(X)
#undef X

static const struct {
	const char *name;
	bool (*has)(uint8_t c);
} classes[] = {
#define X(name, is) { #name, is_##name },
	CLASSES(X)
#undef X
};

enum found { FOUND_NO, FOUND_YES, FOUND_BROKEN /* the pattern is none */ };

/* "[:name:]" at AT, which stands behind "[:".  *RET_END: behind "]".  FOUND_BROKEN for a name that
 * nobody knows. */
static enum found
match_class(struct bytes p, size_t at, uint8_t c, size_t *ret_end, bool *ret_is_class)
{
	size_t end = at;

	*ret_is_class = false;
	while (end < p.len && p.at[end] != ']')
		end++;
	if (end == p.len)
		return FOUND_BROKEN;
	if (end == at || p.at[end - 1] != ':')
		return FOUND_NO; /* an ordinary '[' */
	*ret_is_class = true;
	*ret_end = end + 1;
	struct bytes name = bytes_slice(p, at, end - 1 - at);
	for (size_t i = 0; i < lengthof(classes); i++)
		if (bytes_equal(name, bytes_str(classes[i].name)))
			return classes[i].has(c) ? FOUND_YES : FOUND_NO;
	return FOUND_BROKEN;
}

/* One member of a set at *AT: a character, an escaped one, a range or a class. */
static enum found
match_member(struct bytes p, size_t *at, uint8_t c, uint8_t *previous)
{
	uint8_t m = p.at[*at];
	bool is_class = false;

	if (m == '[' && *at + 1 < p.len && p.at[*at + 1] == ':') {
		enum found f = match_class(p, *at + 2, c, at, &is_class);
		if (is_class || f == FOUND_BROKEN) {
			*previous = 0;
			return f;
		}
	}
	bool is_range = m == '-' && *previous != 0 && *at + 1 < p.len && p.at[*at + 1] != ']';
	if (is_range)
		m = p.at[++*at];
	if (m == '\\') {
		if (++*at == p.len)
			return FOUND_BROKEN;
		m = p.at[*at];
	}
	++*at;
	bool yes = is_range ? is_between(c, *previous, m) : c == m;
	*previous = is_range ? 0 : m;
	return yes ? FOUND_YES : FOUND_NO;
}

/* The set that begins behind the '[' at *AT; moves *AT behind its ']'. */
static enum found
match_set(struct bytes p, size_t *at, uint8_t c)
{
	bool negated = *at < p.len && (p.at[*at] == '!' || p.at[*at] == '^'), found = false;
	uint8_t previous = 0;

	*at += negated;
	/* A ']' that comes first is a member. */
	for (bool first = true; first || *at >= p.len || p.at[*at] != ']'; first = false) {
		if (*at >= p.len)
			return FOUND_BROKEN;
		enum found f = match_member(p, at, c, &previous);
		if (f == FOUND_BROKEN)
			return f;
		found |= f == FOUND_YES;
	}
	++*at;
	return found != negated && c != '/' ? FOUND_YES : FOUND_NO;
}

/* Does the element at *AT, which is no star, take C?  Moves *AT behind it if so. */
static bool
match_one(struct bytes p, size_t *at, uint8_t c)
{
	size_t next = *at + 1;
	bool yes;

	switch (p.at[*at]) {
	case '?':
		yes = c != '/';
		break;
	case '[':
		yes = match_set(p, &next, c) == FOUND_YES;
		break;
	case '\\':
		yes = next < p.len && p.at[next] == c;
		next++;
		break;
	default:
		yes = p.at[*at] == c;
	}
	if (yes)
		*at = next;
	return yes;
}

/* -- a whole pattern -- */

/* Where to go on when the way that was tried fails. */
struct mark {
	bool set;
	size_t pattern, text;
};
struct matcher {
	struct bytes p, t;
	size_t literal;        /* of the pattern */
	size_t at, to;         /* in p and t */
	struct mark star, all; /* the last '*' of this segment, the last '**' */
};

/* Start of the segment after the one at TO; t.len + 1 when there is none. */
static size_t
next_segment(struct bytes t, size_t to)
{
	const uint8_t *slash = to < t.len ? memchr(t.at + to, '/', t.len - to) : NULL;

	return slash != NULL ? (size_t)(slash - t.at) + 1 : t.len + 1;
}

/*
 * Two stars or more count as '**' where a segment begins and ends with them.  As in git, the first
 * wildcard of a pattern begins one wherever it stands ("a**" + "/b").
 */
static bool
take_stars(struct matcher *m)
{
	size_t from = m->at, end = from;

	while (end < m->p.len && m->p.at[end] == '*')
		end++;
	size_t left = m->p.len - end;
	const uint8_t *rest = m->p.at + end;
	bool begins = from == m->literal || m->p.at[from - 1] == '/';
	bool slash = left > 0 && rest[0] == '/',
	     escaped = left > 1 && rest[0] == '\\' && rest[1] == '/';

	if (end - from < 2 || !begins || !(left == 0 || slash || escaped)) {
		m->star = (struct mark){ true, end, m->to };
		m->at = end;
		return false;
	}
	if (left == 0)
		return true;
	m->star.set = false;
	m->at = end + (slash ? 1 : 2);
	if (escaped)
		m->to = next_segment(m->t, m->to);
	m->all = (struct mark){ true, m->at, m->to };
	return false;
}

/* Goes back to the last mark that can still move; false if there is none. */
static bool
go_back(struct matcher *m)
{
	if (m->star.set && m->star.text < m->t.len && m->t.at[m->star.text] != '/') {
		m->to = ++m->star.text;
		m->at = m->star.pattern;
		return true;
	}
	m->star.set = false;
	if (!m->all.set || m->all.text > m->t.len)
		return false;
	m->to = m->all.text = next_segment(m->t, m->all.text);
	m->at = m->all.pattern;
	return m->to <= m->t.len;
}

static bool
match_wild(struct bytes p, size_t literal, struct bytes t)
{
	struct matcher m = { .p = p, .t = t, .literal = literal };

	for (;;) {
		if (m.at < p.len && p.at[m.at] == '*') {
			if (take_stars(&m))
				return true;
			if (m.to <= t.len)
				continue;
		} else if (m.at == p.len && m.to == t.len) {
			return true;
		} else if (m.at < p.len && m.to < t.len && match_one(p, &m.at, t.at[m.to])) {
			if (t.at[m.to++] == '/')
				m.star.set = false;
			continue;
		}
		if (!go_back(&m))
			return false;
	}
}

static struct bytes
basename_of(struct bytes path)
{
	const uint8_t *slash = path.len > 0 ? memrchr(path.at, '/', path.len) : NULL;
	size_t from = slash != NULL ? (size_t)(slash - path.at) + 1 : 0;

	return bytes_slice(path, from, path.len - from);
}

static bool
rule_matches(
    const struct ignore_rules *r, const struct rule *rule, struct bytes path, struct bytes name)
{
	struct bytes p = BYTES(r->text + rule->at, rule->len);
	struct bytes t = rule->flags & RULE_BASENAME ? name : path;

	if (p.len == 0)
		return false;
	if (rule->flags & RULE_LITERAL)
		return bytes_equal(p, t);
	if (rule->flags & RULE_ENDING)
		return t.len >= p.len - 1 && bytes_equal(bytes_slice(p, 1, p.len - 1),
						 bytes_slice(t, t.len - (p.len - 1), p.len - 1));
	if (t.len < rule->literal || memcmp(p.at, t.at, rule->literal) != 0)
		return false;
	return match_wild(p, rule->literal, t);
}

enum ignore_verdict
ignore_rules_match(const struct ignore_rules *r, struct bytes path, bool is_dir)
{
	struct bytes name = basename_of(path);

	for (size_t i = r->rules.len; i-- > 0;) {
		const struct rule *rule = &r->rules.at[i];
		if ((rule->flags & RULE_DIR_ONLY) && !is_dir)
			continue;
		if (rule_matches(r, rule, path, name))
			return rule->flags & RULE_NEGATIVE ? IGNORE_NO : IGNORE_YES;
	}
	return IGNORE_UNDECIDED;
}

/* -- reading a file of rules -- */

/* Without blanks at the end, unless the last is escaped; without the carriage return of a foreign
 * editor. */
static struct bytes
trim(struct bytes line)
{
	size_t end = 0;

	if (line.len > 0 && line.at[line.len - 1] == '\r')
		line.len--;
	for (size_t i = 0; i < line.len; i++) {
		if (line.at[i] == '\\') {
			if (++i == line.len)
				return line;
		} else if (line.at[i] == ' ') {
			continue;
		}
		end = i + 1;
	}
	return bytes_slice(line, 0, end);
}

static uint32_t
literal_length(struct bytes p)
{
	uint32_t n = 0;

	while (n < p.len && memchr("*?[\\", p.at[n], 4) == NULL)
		n++;
	return n;
}

static struct rule
rule_of(const struct ignore_rules *r, struct bytes line)
{
	struct rule rule = { 0 };

	if (line.len > 0 && line.at[0] == '!') {
		rule.flags |= RULE_NEGATIVE;
		line = bytes_slice(line, 1, line.len - 1);
	}
	if (line.len > 0 && line.at[line.len - 1] == '/') {
		rule.flags |= RULE_DIR_ONLY;
		line.len--;
	}
	if (line.len == 0 || memchr(line.at, '/', line.len) == NULL)
		rule.flags |= RULE_BASENAME;
	else if (line.at[0] == '/')
		line = bytes_slice(line, 1, line.len - 1);
	rule.at = (uint32_t)(line.at - r->text);
	rule.len = (uint32_t)line.len;
	rule.literal = literal_length(line);
	if (rule.literal == line.len)
		rule.flags |= RULE_LITERAL;
	else if ((rule.flags & RULE_BASENAME) && line.at[0] == '*' &&
		 literal_length(bytes_slice(line, 1, line.len - 1)) == line.len - 1)
		rule.flags |= RULE_ENDING;
	return rule;
}

static enum err
add_line(struct ignore_rules *r, struct bytes line, size_t number, struct error *e)
{
	const uint8_t *nul = line.len > 0 ? memchr(line.at, '\0', line.len) : NULL;

	if (line.len == 0 || line.at[0] == '#')
		return OK;
	if (line.len > IGNORE_PATTERN_MAX)
		return fail(e, ERR_LIMIT, "line %zu of the ignore rules has %zu bytes, limit %d",
		    number, line.len, IGNORE_PATTERN_MAX);
	if (r->rules.len == IGNORE_RULES_MAX)
		return fail(e, ERR_LIMIT, "line %zu of the ignore rules: more than %d rules",
		    number, IGNORE_RULES_MAX);
	if (nul != NULL)
		line.len = (size_t)(nul - line.at); /* no name goes beyond it */
	array_push(&r->rules, rule_of(r, trim(line)));
	return OK;
}

static enum err
add_lines(struct ignore_rules *r, struct bytes text, struct error *e)
{
	static const uint8_t mark[] = { 0xef, 0xbb, 0xbf }; /* of UTF-8 */
	size_t at =
	    text.len >= sizeof mark && memcmp(text.at, mark, sizeof mark) == 0 ? sizeof mark : 0;

	for (size_t number = 1; at < text.len; number++) {
		const uint8_t *end = memchr(text.at + at, '\n', text.len - at);
		size_t len = end != NULL ? (size_t)(end - text.at) - at : text.len - at;
		enum err r_ = add_line(r, bytes_slice(text, at, len), number, e);
		if (r_ != OK)
			return r_;
		at += len + 1;
	}
	return OK;
}

enum err
ignore_rules_parse(struct bytes text, struct ignore_rules **ret, struct error *e)
{
	if (text.len > IGNORE_FILE_MAX)
		return fail(e, ERR_LIMIT, "the ignore rules have %zu bytes, limit %d", text.len,
		    IGNORE_FILE_MAX);
	struct ignore_rules *r = mem_new(struct ignore_rules);
	r->text = mem_dup(text.at, text.len);
	enum err failed = add_lines(r, BYTES(r->text, text.len), e);
	if (failed != OK) {
		ignore_rules_free(r);
		return failed;
	}
	*ret = r;
	return OK;
}

void
ignore_rules_free(struct ignore_rules *r)
{
	if (r == NULL)
		return;
	array_clear(&r->rules);
	free(r->text);
	free(r);
}
