/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nodes of the view: making and taking away, finding by number, and the small readers and
 * writers that many files share.
 *
 * A node that leaves is taken out of the tree, with all below it. Who has it open keeps its memory,
 * its number and attributes, and the function that it belongs to.
 */
#include <errno.h>
#include <stdarg.h>

#include "door/dev/view_priv.h"

/* ------------------------------------------------------------------ numbers */

static struct view_node **bucket(struct view *v, uint64_t ino)
{
	return &v->hash[ino & (v->hash_size - 1)];
}

static int hash_grow(struct view *v)
{
	size_t size = v->hash_size ? 2 * v->hash_size : 256;
	struct view_node **old = v->hash, **bigger = calloc(size, sizeof(struct view_node *));
	size_t old_size = v->hash_size;

	if (!bigger)
		return -ENOMEM;
	v->hash = bigger;
	v->hash_size = size;
	for (size_t i = 0; i < old_size; i++) {
		struct view_node *n, *next;

		for (n = old[i]; n; n = next) {
			struct view_node **at = bucket(v, n->ino);

			next = n->hash_next;
			n->hash_next = *at;
			*at = n;
		}
	}
	free(old);
	return 0;
}

struct view_node *view_find(struct view *v, uint64_t ino)
{
	struct view_node *n;

	for (n = *bucket(v, ino); n && n->ino != ino; n = n->hash_next)
		;
	return n;
}

static void hash_remove(struct view *v, struct view_node *n)
{
	struct view_node **at;

	for (at = bucket(v, n->ino); *at != n; at = &(*at)->hash_next)
		;
	*at = n->hash_next;
	v->n_nodes--;
}

/* ------------------------------------------------------------------ life */

/* One allocation: the node, its name and its target. */
static struct view_node *node_new(const char *name, const char *target)
{
	size_t name_size = strlen(name) + 1, target_size = target ? strlen(target) + 1 : 0;
	struct view_node *n = calloc(1, sizeof(*n) + name_size + target_size);
	char *text = (char *)(n + 1);

	if (!n)
		return NULL;
	n->name = memcpy(text, name, name_size);
	if (target)
		n->target = memcpy(text + name_size, target, target_size);
	return n;
}

static struct view_node *node_add(struct view *v, struct view_node *parent, const char *name,
				  enum view_type type, unsigned mode, const char *target)
{
	struct view_node *n;

	if (v->failed || (!parent && v->last_ino))
		return NULL;
	n = v->n_nodes < v->hash_size || !hash_grow(v) ? node_new(name, target) : NULL;
	if (!n) {
		v->failed = true;
		return NULL;
	}
	n->type = type;
	n->mode = mode;
	n->view = v;
	n->ino = ++v->last_ino;
	n->fixed = v->fixed;
	atomic_init(&n->refs, 1);
	n->hash_next = *bucket(v, n->ino);
	*bucket(v, n->ino) = n;
	v->n_nodes++;
	if (!parent)
		return n;
	n->fn = parent->fn ? view_fn_get(parent->fn) : NULL;
	n->parent = parent;
	/* Behind all others: so entries are in order of their numbers. */
	n->prev = parent->last_child;
	*(n->prev ? &n->prev->next : &parent->child) = n;
	parent->last_child = n;
	return n;
}

static void node_free(struct view_node *n)
{
	view_fn_put(n->fn);
	free(n);
}

/* The tree has let go of it before, so that nobody finds it any more who would want a reference. */
void view_put(struct view_node *n)
{
	if (!n || atomic_fetch_sub(&n->refs, 1) != 1)
		return;
	pthread_mutex_lock(&n->view->lock);
	hash_remove(n->view, n);
	pthread_mutex_unlock(&n->view->lock);
	node_free(n);
}

static void subtree_gone(struct view *v, struct view_node *n)
{
	while (n->child) {
		struct view_node *child = n->child;

		n->child = child->next;
		subtree_gone(v, child);
	}
	n->last_child = n->parent = n->next = n->prev = NULL;
	atomic_store(&n->gone, true);
	if (atomic_fetch_sub(&n->refs, 1) != 1)
		return;
	hash_remove(v, n);
	node_free(n);
}

void view_remove(struct view *v, struct view_node **node)
{
	struct view_node *n = *node;

	if (!n)
		return;
	*node = NULL;
	if (n->parent) {
		*(n->prev ? &n->prev->next : &n->parent->child) = n->next;
		*(n->next ? &n->next->prev : &n->parent->last_child) = n->prev;
	}
	subtree_gone(v, n);
}

/* ------------------------------------------------------------------ kinds of nodes */

struct view_node *view_dir(struct view *v, struct view_node *parent, const char *name)
{
	return node_add(v, parent, name, VIEW_DIR, 0755, NULL);
}

struct view_node *view_link(struct view *v, struct view_node *parent, const char *name,
			    const char *target)
{
	return parent ? node_add(v, parent, name, VIEW_LINK, 0777, target) : NULL;
}

struct view_node *view_file(struct view *v, struct view_node *parent, const char *name,
			    unsigned mode, void *data)
{
	struct view_node *n = parent ? node_add(v, parent, name, VIEW_FILE, mode, NULL) : NULL;

	if (!n)
		return NULL;
	n->size = VIEW_TEXT_MAX;
	n->data = data;
	return n;
}

void view_attrs(struct view *v, struct view_node *parent, const struct view_attr *attrs, size_t n,
		void *data)
{
	for (size_t i = 0; i < n; i++) {
		struct view_node *file = view_file(v, parent, attrs[i].name, attrs[i].mode, data);

		if (!file)
			return;
		file->read = attrs[i].read;
		file->write = attrs[i].write;
		file->act = attrs[i].act;
	}
}

static int read_text(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%s", (const char *)node->data);
}

void view_text(struct view *v, struct view_node *parent, const char *name, unsigned mode,
	       const char *text)
{
	struct view_node *file = view_file(v, parent, name, mode, (void *)(uintptr_t)text);

	if (file)
		file->read = read_text;
}

char *view_printf(struct view *v, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0) {
		v->failed = true;
		s = NULL;
	}
	va_end(ap);
	return s;
}

struct view_node *view_link_path(struct view *v, struct view_node *parent, const char *name,
				 const char *from, const char *to)
{
	size_t up = 1, n = 0;
	AUTO_FREE char *target = NULL;

	if (!from || !to)
		return NULL;
	/* One "../" for each directory on the way up to /sys. */
	for (const char *p = from; *p; p++)
		up += *p == '/';
	target = malloc(3 * up + strlen(to) + 1);
	if (!target) {
		v->failed = true;
		return NULL;
	}
	while (up--)
		n += (size_t)sprintf(target + n, "../");
	strcpy(target + n, to);
	return view_link(v, parent, name, target);
}

/* ------------------------------------------------------------------ readers and writers */

int view_say(char **buf, size_t *size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(buf, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	*size = (size_t)n;
	return 0;
}

int view_word(const char *buf, size_t size, char **word)
{
	size_t n = 0;

	while (n < size && buf[n] && buf[n] != '\n')
		n++;
	*word = strndup(buf, n);
	return *word ? 0 : -ENOMEM;
}

bool view_same(const char *buf, size_t size, const char *text)
{
	size_t n = strnlen(buf, size);

	if (n && buf[n - 1] == '\n')
		n--;
	return n == strlen(text) && !memcmp(buf, text, n);
}

int view_bool(const char *buf, size_t size, bool *value)
{
	static const char yes[] = "eEyYtT1", no[] = "dDnNfF0";

	if (!size || !buf[0])
		return -EINVAL;
	if (strchr(yes, buf[0]))
		*value = true;
	else if (strchr(no, buf[0]))
		*value = false;
	else if ((buf[0] == 'o' || buf[0] == 'O') && size > 1 && buf[1] && strchr("nNfF", buf[1]))
		*value = buf[1] == 'n' || buf[1] == 'N';
	else
		return -EINVAL;
	return 0;
}

int view_number(const char *buf, size_t size, unsigned long *value)
{
	size_t n = strnlen(buf, size);
	AUTO_FREE char *word = NULL;
	unsigned long v;
	char *end;

	if (n && buf[n - 1] == '\n')
		n--;
	word = strndup(buf, n);
	if (!word)
		return -ENOMEM;
	if (word[word[0] == '+'] < '0' || word[word[0] == '+'] > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(word, &end, 0);
	if (errno || *end)
		return -EINVAL;
	*value = v;
	return 0;
}
