/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names and attributes of the FUSE file system. Its root holds
 *   vfio   what /dev/vfio is: the container file "vfio" and one file for each group
 *   sys    the view of the machine's part of /sys (view.h)
 *   .dev   device files; only this process's threads find anything in it, and not by name: a
 *          thread registers what it is about to open (session.c)
 *
 * Device nodes cannot live on a FUSE file system that an ordinary user mounted, so all are regular
 * files. The kernel checks permissions by the modes we report (default_permissions).
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "door/dev/priv.h"

#define FOREVER 3600u /* seconds; for what never changes */

/* What @nodeid is, or 0: mode with file type, and where the owner is kept. */
static struct view_node *view_of(struct door_dev *d, uint64_t nodeid)
{
	return NODE_CLASS(nodeid) == NODE_VIEW ? view_by_ino(d->view, NODE_NUMBER(nodeid)) : NULL;
}

static struct node_owner *owner_of(struct door_dev *d, uint64_t nodeid)
{
	if (nodeid == NODE_CONTAINER)
		return &d->owners[0];
	if (NODE_CLASS(nodeid) == NODE_GROUP && NODE_NUMBER(nodeid) + 1 < d->n_owners)
		return &d->owners[NODE_NUMBER(nodeid) + 1];
	return NULL;
}

static const mode_t view_type_mode[] = {
	[VIEW_DIR] = S_IFDIR,
	[VIEW_FILE] = S_IFREG,
	[VIEW_LINK] = S_IFLNK,
};

/* 0, or -ENOENT for a node id that does not exist (any more). */
static int fill_attr(struct door_dev *d, uint64_t nodeid, struct fuse_attr *a)
{
	struct node_owner *owner = owner_of(d, nodeid);
	struct view_node *node = view_of(d, nodeid);

	memset(a, 0, sizeof(*a));
	a->ino = nodeid;
	a->nlink = 1;
	a->blksize = UVF_PAGE_SIZE;
	a->uid = d->uid;
	a->gid = d->gid;
	if (node) {
		a->mode = view_type_mode[node->type] | (node->mode & 07777);
		a->size = node->type == VIEW_FILE ? node->size : 0;
		if (node->type == VIEW_LINK) {
			a->mode = S_IFLNK | 0777;
			a->size = strlen(node->target);
		}
		if (node->type == VIEW_DIR)
			a->nlink = 2;
	} else if (owner) {
		a->mode = S_IFREG | atomic_load(&owner->mode);
		a->uid = atomic_load(&owner->uid);
		a->gid = atomic_load(&owner->gid);
	} else if (nodeid == NODE_ROOT || nodeid == NODE_VFIO_DIR || nodeid == NODE_DEV_DIR) {
		a->mode = S_IFDIR | 0755;
		a->nlink = 2;
	} else if (NODE_CLASS(nodeid) == NODE_SESSION) {
		a->mode = S_IFREG | 0600;
		a->size = DEVICE_FILE_SIZE;
	} else {
		return -ENOENT;
	}
	return 0;
}

/* How long the kernel may believe attributes and names: what is live is asked for every time. */
static uint32_t valid_s(struct door_dev *d, uint64_t nodeid)
{
	struct view_node *node = view_of(d, nodeid);

	if (node)
		return node->type == VIEW_FILE ? 0 : FOREVER;
	return NODE_CLASS(nodeid) == NODE_SESSION || nodeid <= NODE_DEV_DIR ? FOREVER : 0;
}

/* "7" but not "07" or "+7". */
static bool group_number(const char *name, uint32_t *number)
{
	char text[16];
	char *end;
	unsigned long v;

	if (*name < '0' || *name > '9')
		return false;
	v = strtoul(name, &end, 10);
	if (*end || v > UINT32_MAX)
		return false;
	snprintf(text, sizeof(text), "%lu", v);
	*number = (uint32_t)v;
	return !strcmp(text, name);
}

static uint64_t lookup(struct fuse_req *r, const char *name)
{
	struct door_dev *d = r->door;
	struct view_node *node = view_of(d, r->h->nodeid);
	struct pending *p;
	uint32_t n;

	if (node) {
		for (node = node->child; node; node = node->next)
			if (!strcmp(node->name, name))
				return NODE_ID(NODE_VIEW, node->ino);
		return 0;
	}
	switch (r->h->nodeid) {
	case NODE_ROOT:
		if (!strcmp(name, "vfio"))
			return NODE_VFIO_DIR;
		if (!strcmp(name, "sys"))
			return NODE_ID(NODE_VIEW, view_root(d->view)->ino);
		if (!strcmp(name, ".dev") && client_is_self((pid_t)r->h->pid))
			return NODE_DEV_DIR;
		return 0;
	case NODE_VFIO_DIR:
		if (!strcmp(name, "vfio"))
			return NODE_CONTAINER;
		if (group_number(name, &n) && n + 1 < d->n_owners && vfio_group_present(d->vfio, n))
			return NODE_ID(NODE_GROUP, n);
		return 0;
	case NODE_DEV_DIR:
		p = pending_find(d, (pid_t)r->h->pid);
		return p ? p->session->nodeid : 0;
	default:
		return 0;
	}
}

void fs_lookup(struct fuse_req *r)
{
	const char *name = r->arg;
	struct fuse_entry_out out = { 0 };

	if (!memchr(name, 0, r->arg_size)) {
		fuse_reply(r, -EINVAL);
		return;
	}
	out.nodeid = lookup(r, name);
	if (!out.nodeid || fill_attr(r->door, out.nodeid, &out.attr)) {
		fuse_reply(r, -ENOENT);
		return;
	}
	out.attr_valid = valid_s(r->door, out.nodeid);
	/* Names in .dev mean another session each time, and .dev itself is not everybody's. */
	out.entry_valid = NODE_CLASS(out.nodeid) == NODE_VIEW ? FOREVER : 0;
	fuse_reply_data(r, &out, sizeof(out));
}

static void reply_attr(struct fuse_req *r)
{
	struct fuse_attr_out out = { 0 };
	int err = fill_attr(r->door, r->h->nodeid, &out.attr);

	if (err) {
		fuse_reply(r, err);
		return;
	}
	out.attr_valid = valid_s(r->door, r->h->nodeid);
	fuse_reply_data(r, &out, sizeof(out));
}

void fs_getattr(struct fuse_req *r)
{
	reply_attr(r);
}

/* chmod and chown of what is in /dev/vfio work as they do on device nodes; the kernel has checked
 * that the caller may. Truncation (shells open with O_TRUNC to write) changes nothing. */
void fs_setattr(struct fuse_req *r)
{
	const struct fuse_setattr_in *in = r->arg;
	struct node_owner *owner = owner_of(r->door, r->h->nodeid);
	uint32_t who = FATTR_MODE | FATTR_UID | FATTR_GID;

	if (in->valid & who && !owner) {
		fuse_reply(r, -EPERM);
		return;
	}
	if (in->valid & FATTR_SIZE && NODE_CLASS(r->h->nodeid) == NODE_SESSION) {
		fuse_reply(r, -EINVAL);
		return;
	}
	if (in->valid & FATTR_MODE)
		atomic_store(&owner->mode, in->mode & 0777);
	if (in->valid & FATTR_UID)
		atomic_store(&owner->uid, in->uid);
	if (in->valid & FATTR_GID)
		atomic_store(&owner->gid, in->gid);
	reply_attr(r);
}

void fs_readlink(struct fuse_req *r)
{
	struct view_node *node = view_of(r->door, r->h->nodeid);

	if (!node || node->type != VIEW_LINK)
		fuse_reply(r, -EINVAL);
	else
		fuse_reply_data(r, node->target, MIN(strlen(node->target), UVF_PAGE_SIZE - 1));
}

void fs_statfs(struct fuse_req *r)
{
	struct fuse_statfs_out out = { .st = { .bsize = UVF_PAGE_SIZE, .namelen = 255 } };

	if (!anchor_is(r))
		fuse_reply_data(r, &out, sizeof(out));
}

/* ------------------------------------------------------------------ directories */

struct listing {
	struct fuse_req *r;
	uint64_t skip;	/* entries that the kernel has already */
	uint64_t index; /* of the next entry */
	size_t used, max;
	bool full;
};

static void list_add(struct listing *l, const char *name, uint64_t nodeid, unsigned type)
{
	struct fuse_dirent *e;
	size_t len = strlen(name);
	size_t need = FUSE_REC_ALIGN(FUSE_NAME_OFFSET + len);

	if (l->full || l->index++ < l->skip)
		return;
	if (need > l->max - l->used) {
		l->full = true;
		return;
	}
	e = (struct fuse_dirent *)((uint8_t *)fuse_out(l->r) + l->used);
	memset(e, 0, need);
	e->ino = nodeid;
	e->off = l->index;
	e->namelen = (uint32_t)len;
	e->type = type;
	memcpy(e->name, name, len);
	l->used += need;
}

static void list_vfio(struct listing *l)
{
	struct door_dev *d = l->r->door;
	char name[16];
	uint32_t g;

	list_add(l, "vfio", NODE_CONTAINER, DT_REG);
	for (g = 0; g + 1 < d->n_owners; g++) {
		if (!vfio_group_present(d->vfio, g))
			continue;
		snprintf(name, sizeof(name), "%u", g);
		list_add(l, name, NODE_ID(NODE_GROUP, g), DT_REG);
	}
}

void fs_readdir(struct fuse_req *r)
{
	static const unsigned types[] = {
		[VIEW_DIR] = DT_DIR, [VIEW_FILE] = DT_REG, [VIEW_LINK] = DT_LNK
	};
	const struct fuse_read_in *in = r->arg;
	struct view_node *node = view_of(r->door, r->h->nodeid);
	struct listing l = {
		.r = r,
		.skip = in->offset,
		.max = MIN(in->size, FUSE_MAX_DATA),
	};

	list_add(&l, ".", r->h->nodeid, DT_DIR);
	list_add(&l, "..", r->h->nodeid, DT_DIR);
	if (node) {
		for (node = node->child; node; node = node->next)
			list_add(&l, node->name, NODE_ID(NODE_VIEW, node->ino), types[node->type]);
	} else if (r->h->nodeid == NODE_ROOT) {
		list_add(&l, "vfio", NODE_VFIO_DIR, DT_DIR);
		list_add(&l, "sys", NODE_ID(NODE_VIEW, view_root(r->door->view)->ino), DT_DIR);
	} else if (r->h->nodeid == NODE_VFIO_DIR) {
		list_vfio(&l);
	}
	fuse_reply_out(r, l.used);
}

/* ------------------------------------------------------------------ files of the view */

/* As sysfs does: content is made when it is read from the start, and read on from that. */
static int text_read(struct handle *h, void *buf, size_t size, uint64_t offset, size_t *got)
{
	int r = 0;

	pthread_mutex_lock(&h->text_lock);
	if (!offset || !h->text) {
		char *text = NULL;
		size_t n = 0;

		r = h->node->read(h->node, &text, &n);
		if (!r) {
			free(h->text);
			h->text = text;
			h->text_size = n;
		}
	}
	if (!r) {
		*got = offset < h->text_size ? MIN(size, h->text_size - offset) : 0;
		if (*got)
			memcpy(buf, h->text + offset, *got);
	}
	pthread_mutex_unlock(&h->text_lock);
	return r;
}

void fs_view_read(struct fuse_req *r, struct handle *h, const struct fuse_read_in *in)
{
	struct view_node *node = h->node;
	size_t size = MIN(in->size, FUSE_MAX_DATA);
	size_t got = 0;
	ssize_t n = -EIO; /* what sysfs says of a file that has no show() */

	if (node->pread) {
		n = node->pread(node, fuse_out(r), size, in->offset);
	} else if (node->read) {
		n = text_read(h, fuse_out(r), size, in->offset, &got);
		if (!n)
			n = (ssize_t)got;
	}
	if (n < 0)
		fuse_reply(r, (int)n);
	else
		fuse_reply_out(r, MIN((size_t)n, size));
}

void fs_view_write(struct fuse_req *r, struct handle *h, const struct fuse_write_in *in)
{
	struct view_node *node = h->node;
	struct fuse_write_out out = { 0 };
	ssize_t n = -EIO;

	if (node->pwrite) {
		n = node->pwrite(node, in + 1, in->size, in->offset);
	} else if (node->write) {
		n = node->write(node, (const char *)(in + 1), in->size);
		if (!n)
			n = (ssize_t)in->size;
	}
	if (n < 0) {
		fuse_reply(r, (int)n);
		return;
	}
	out.size = (uint32_t)n;
	fuse_reply_data(r, &out, sizeof(out));
}
