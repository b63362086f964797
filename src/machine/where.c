/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines of values in a JSON text. jansson tells the line of what it cannot parse, but forgets where
 * a value stood once it is parsed; an error like "unknown key" wants a line too. So the text is
 * walked once more, only when there is an error to report.
 *
 * Relies on the text having been parsed (RFC 8259), and never reads past its end all the same.
 */
#include "machine/priv.h"

struct cursor {
	const char *p, *end;
};

static void skip_space(struct cursor *c)
{
	while (c->p < c->end && strchr(" \t\r\n", *c->p) && *c->p)
		c->p++;
}

static void skip_string(struct cursor *c)
{
	for (c->p++; c->p < c->end && *c->p != '"'; c->p++)
		if (*c->p == '\\' && c->p + 1 < c->end)
			c->p++;
	if (c->p < c->end)
		c->p++;
}

/* Past one value of any kind; counts brackets, so depth costs no stack. */
static void skip_value(struct cursor *c)
{
	size_t depth = 0;

	while (c->p < c->end) {
		char ch = *c->p;

		if (ch == '"') {
			skip_string(c);
		} else if (!depth && (ch == ',' || ch == '}' || ch == ']')) {
			return;
		} else {
			if (ch == '{' || ch == '[')
				depth++;
			else if (ch == '}' || ch == ']')
				depth--;
			c->p++;
		}
	}
}

/* From the bracket of an object or array to its @n-th member's key, or element. */
static void enter(struct cursor *c, unsigned n)
{
	if (c->p < c->end)
		c->p++;
	skip_space(c);
	while (n-- && c->p < c->end) {
		skip_value(c);
		if (c->p < c->end)
			c->p++;
		skip_space(c);
	}
}

/* From a member's key to its value. */
static void pass_key(struct cursor *c)
{
	if (c->p < c->end)
		skip_string(c);
	while (c->p < c->end && *c->p != ':')
		c->p++;
	if (c->p < c->end)
		c->p++;
	skip_space(c);
}

unsigned where_line(const char *text, size_t size, const unsigned *path, unsigned depth)
{
	struct cursor c = { text, text + size };
	unsigned line = 1;

	skip_space(&c);
	for (unsigned i = 0; i < depth && c.p < c.end; i++) {
		bool object = *c.p == '{';

		enter(&c, path[i]);
		if (object && i + 1 < depth)
			pass_key(&c);
	}
	for (const char *p = text; p < c.p; p++)
		line += *p == '\n';
	return line;
}
