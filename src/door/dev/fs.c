/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names and attributes of the FUSE file system. Its root holds
 *   vfio   what /dev/vfio is: the container file "vfio", one file for each group, and "devices",
 *	    one file for each device
 *   iommu  what /dev/iommu is
 *   sys    the view of the machine's part of /sys (view.h)
 *   .dev   device files; only the opener (own.c) finds anything in it, and not by name: what it is
 *          about to open (session.c)
 *
 * Device nodes cannot live on a FUSE file system that an ordinary user mounted, so all are regular
 * files. The kernel checks permissions by the modes we report (default_permissions).
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "door/dev/priv.h"

#define FOREVER 3600u /* seconds; for what never changes */

static const mode_t view_type_mode[] = {
	[VIEW_DIR] = S_IFDIR,
	[VIEW_FILE] = S_IFREG,
	[VIEW_LINK] = S_IFLNK,
};

/* ------------------------------------------------------------------ owners */

/* Of @id's record, or where one would be. With owners_lock. */
static struct node_owner **owner_at(struct door_dev *d, uint64_t id)
{
	struct node_owner **at;

	for (at = &d->owners; *at && (*at)->id != id; at = &(*at)->next)
		;
	return at;
}

/* What does not exist any more needs no record. With owners_lock; ids are never used again, so
 * that it does not matter when this happens. */
static void owners_clean(struct door_dev *d)
{
	struct node_owner **at = &d->owners, *gone;
	unsigned number;

	while (*at) {
		if (NODE_CLASS((*at)->id) == NODE_CDEV
			    ? vfio_cdev_present(d->vfio, CDEV_OF_NODE((*at)->id))
			    : view_group_number(d->view, NODE_NUMBER((*at)->id), &number)) {
			at = &(*at)->next;
			continue;
		}
		gone = *at;
		*at = gone->next;
		free(gone);
	}
}

static bool has_owner(uint64_t nodeid)
{
	return nodeid == NODE_CONTAINER || nodeid == NODE_IOMMU ||
	       NODE_CLASS(nodeid) == NODE_GROUP || NODE_CLASS(nodeid) == NODE_CDEV;
}

/* One for all files of a device. */
static uint64_t owner_id(uint64_t nodeid)
{
	return NODE_CLASS(nodeid) == NODE_CDEV ? CDEV_NODE(CDEV_OF_NODE(nodeid), 0) : nodeid;
}

/* Of what is always there. */
static struct node_owner *fixed_owner(struct door_dev *d, uint64_t nodeid)
{
	if (nodeid == NODE_CONTAINER)
		return &d->container_owner;
	return nodeid == NODE_IOMMU ? &d->iommu_owner : NULL;
}

static void owner_get(struct door_dev *d, uint64_t nodeid, struct node_owner *owner)
{
	struct node_owner *o;

	*owner = (struct node_owner){ .uid = d->uid, .gid = d->gid, .mode = 0600 };
	pthread_mutex_lock(&d->owners_lock);
	o = fixed_owner(d, nodeid);
	if (!o)
		o = *owner_at(d, owner_id(nodeid));
	if (o)
		*owner = *o;
	pthread_mutex_unlock(&d->owners_lock);
}

static void owner_change(struct node_owner *o, const struct fuse_setattr_in *in)
{
	if (in->valid & FATTR_MODE)
		o->mode = in->mode & 0777;
	if (in->valid & FATTR_UID)
		o->uid = in->uid;
	if (in->valid & FATTR_GID)
		o->gid = in->gid;
}

/* What is written is kept while the group exists, whether it has a file at the moment or not; of a
 * device while it is VFIO's. */
static int owner_set(struct door_dev *d, uint64_t nodeid, const struct fuse_setattr_in *in)
{
	struct node_owner *fixed = fixed_owner(d, nodeid), **at, *fresh = NULL;

	if (!fixed) {
		fresh = malloc(sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		owner_get(d, nodeid, fresh);
		fresh->id = owner_id(nodeid);
		fresh->next = NULL;
	}
	pthread_mutex_lock(&d->owners_lock);
	at = fixed ? NULL : owner_at(d, owner_id(nodeid));
	if (at && !*at) {
		*at = fresh;
		fresh = NULL;
	}
	owner_change(at ? *at : fixed, in);
	owners_clean(d);
	pthread_mutex_unlock(&d->owners_lock);
	free(fresh);
	return 0;
}

/* ------------------------------------------------------------------ attributes */

/* The number of the group whose file @nodeid is. -ENOENT: the group or its file is gone. */
int fs_group_open(struct door_dev *d, uint64_t nodeid, unsigned *group)
{
	return view_group_number(d->view, NODE_NUMBER(nodeid), group) &&
			       vfio_group_present(d->vfio, *group)
		       ? 0
		       : -ENOENT;
}

static void attr_of_view(const struct view_stat *st, struct fuse_attr *a)
{
	a->mode = view_type_mode[st->type] | (st->mode & 07777);
	a->size = st->size;
	if (st->type == VIEW_DIR)
		a->nlink = 2;
}

/* What a session's file is, without a look at anything that has a lock: it is the opener who asks.
 */
static void attr_of_session(struct door_dev *d, uint64_t nodeid, struct fuse_attr *a)
{
	*a = (struct fuse_attr){
		.ino = nodeid,
		.nlink = 1,
		.blksize = UVF_PAGE_SIZE,
		.uid = d->uid,
		.gid = d->gid,
		.mode = S_IFREG | 0600,
		.size = DEVICE_FILE_SIZE,
	};
}

/*
 * 0, -ENOENT for a node id that does not exist (any more), -ENOMEM. *@keep: the kernel may keep
 * what it is told; what is live is asked for every time.
 */
static int fill_attr(struct door_dev *d, uint64_t nodeid, struct fuse_attr *a, bool *keep)
{
	struct node_owner owner;
	struct view_stat st;
	unsigned group;
	int r = 0;

	memset(a, 0, sizeof(*a));
	a->ino = nodeid;
	a->nlink = 1;
	a->blksize = UVF_PAGE_SIZE;
	a->uid = d->uid;
	a->gid = d->gid;
	*keep = false;
	if (NODE_CLASS(nodeid) == NODE_VIEW) {
		r = view_stat(d->view, NODE_NUMBER(nodeid), &st);
		if (!r)
			attr_of_view(&st, a);
		*keep = !r && st.type != VIEW_FILE;
	} else if (has_owner(nodeid)) {
		if (NODE_CLASS(nodeid) == NODE_GROUP)
			r = fs_group_open(d, nodeid, &group);
		if (NODE_CLASS(nodeid) == NODE_CDEV) {
			/* One that was unbound stays what it was for who has it open. */
			a->ino = owner_id(nodeid);
			a->size = DEVICE_FILE_SIZE;
		}
		owner_get(d, nodeid, &owner);
		a->mode = S_IFREG | owner.mode;
		a->uid = owner.uid;
		a->gid = owner.gid;
	} else if (nodeid == NODE_ROOT || nodeid == NODE_VFIO_DIR || nodeid == NODE_DEV_DIR ||
		   nodeid == NODE_DEVICES_DIR) {
		a->mode = S_IFDIR | 0755;
		a->nlink = 2;
		*keep = true;
	} else if (NODE_CLASS(nodeid) == NODE_SESSION) {
		attr_of_session(d, nodeid, a);
		*keep = true;
	} else {
		r = -ENOENT;
	}
	return r;
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

/* The device "vfioX"; of old kernels, whose VFIO had none, there is none either. */
static uint64_t cdev_node(struct door_dev *d, const char *name)
{
	struct vfio_cdev cdev;
	uint32_t n;

	if (strncmp(name, "vfio", 4) || !group_number(name + 4, &n) ||
	    !vfio_cdev_next(d->vfio, n, &cdev) || cdev.index != n)
		return 0;
	return CDEV_NODE(cdev.id, atomic_fetch_add(&d->cdev_serial, 1) + 1);
}

/* 0, or -ENOENT; of what is not in the view. */
static int lookup(struct fuse_req *r, const char *name, uint64_t *nodeid)
{
	struct door_dev *d = r->door;
	uint64_t id;
	uint32_t n;

	*nodeid = 0;
	switch (r->h->nodeid) {
	case NODE_ROOT:
		if (!strcmp(name, "vfio"))
			*nodeid = NODE_VFIO_DIR;
		else if (!strcmp(name, "sys"))
			*nodeid = NODE_ID(NODE_VIEW, view_root_ino(d->view));
		else if (!strcmp(name, "iommu") && d->devices == DEVICES_FUSE)
			*nodeid = NODE_IOMMU;
		else if (!strcmp(name, ".dev") && own_is(&d->opener, r->h))
			*nodeid = NODE_DEV_DIR;
		break;
	case NODE_VFIO_DIR:
		if (!strcmp(name, "vfio"))
			*nodeid = NODE_CONTAINER;
		else if (!strcmp(name, "devices") && d->devices == DEVICES_FUSE)
			*nodeid = NODE_DEVICES_DIR;
		else if (group_number(name, &n) && view_group_id(d->view, n, &id))
			*nodeid = NODE_ID(NODE_GROUP, id);
		break;
	case NODE_DEVICES_DIR:
		*nodeid = cdev_node(d, name);
		break;
	case NODE_DEV_DIR:
		if (own_is(&d->opener, r->h))
			*nodeid = opening_node(d);
		break;
	}
	return *nodeid ? 0 : -ENOENT;
}

void fs_lookup(struct fuse_req *r)
{
	struct fuse_entry_out out = { 0 };
	const char *name = r->arg;
	struct view_stat st = { 0 };
	bool keep = false;
	int err;

	if (!memchr(name, 0, r->arg_size)) {
		fuse_reply(r, -EINVAL);
		return;
	}
	if (NODE_CLASS(r->h->nodeid) == NODE_VIEW) {
		err = view_lookup(r->door->view, NODE_NUMBER(r->h->nodeid), name, &st);
		out.nodeid = NODE_ID(NODE_VIEW, st.ino);
	} else {
		err = lookup(r, name, &out.nodeid);
	}
	if (!err && r->h->nodeid == NODE_DEV_DIR)
		attr_of_session(r->door, out.nodeid, &out.attr);
	else if (!err)
		err = fill_attr(r->door, out.nodeid, &out.attr, &keep);
	if (err) {
		fuse_reply(r, err); /* no name is remembered as missing: it may come */
		return;
	}
	out.attr_valid = keep ? FOREVER : 0;
	/* Names in .dev mean another session each time, and .dev itself is not everybody's. */
	out.entry_valid = st.fixed ? FOREVER : 0;
	fuse_reply_data(r, &out, sizeof(out));
}

static void reply_attr(struct fuse_req *r)
{
	struct fuse_attr_out out = { 0 };
	bool keep;
	int err = fill_attr(r->door, r->h->nodeid, &out.attr, &keep);

	if (err) {
		fuse_reply(r, err);
		return;
	}
	out.attr_valid = keep ? FOREVER : 0;
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
	uint32_t who = FATTR_MODE | FATTR_UID | FATTR_GID;
	int err = 0;

	if (in->valid & who)
		err = has_owner(r->h->nodeid) ? owner_set(r->door, r->h->nodeid, in) : -EPERM;
	else if (in->valid & FATTR_SIZE && NODE_CLASS(r->h->nodeid) == NODE_SESSION)
		err = -EINVAL;
	if (err)
		fuse_reply(r, err);
	else
		reply_attr(r);
}

void fs_readlink(struct fuse_req *r)
{
	AUTO_FREE char *target = NULL;
	int err = -EINVAL;

	if (NODE_CLASS(r->h->nodeid) == NODE_VIEW)
		err = view_readlink(r->door->view, NODE_NUMBER(r->h->nodeid), &target);
	if (err)
		fuse_reply(r, err);
	else
		fuse_reply_data(r, target, MIN(strlen(target), UVF_PAGE_SIZE - 1));
}

void fs_statfs(struct fuse_req *r)
{
	struct fuse_statfs_out out = { .st = { .bsize = UVF_PAGE_SIZE, .namelen = 255 } };

	if (!anchor_is(r))
		fuse_reply_data(r, &out, sizeof(out));
}

/* ------------------------------------------------------------------ directories */

/*
 * Each entry has a place that it keeps while others come and go, so that who reads on finds what
 * there is behind what was read.
 */
struct listing {
	struct fuse_req *r;
	uint64_t after; /* place of the last entry that the kernel has */
	size_t used, max;
	bool full;
};

#define PLACE_SELF 1u
#define PLACE_PARENT 2u
#define PLACE_FIRST 3u

static void list_add(struct listing *l, const char *name, uint64_t nodeid, unsigned type,
		     uint64_t place)
{
	struct fuse_dirent *e;
	size_t len = strlen(name);
	size_t need = FUSE_REC_ALIGN(FUSE_NAME_OFFSET + len);

	if (l->full || place <= l->after)
		return;
	if (need > l->max - l->used) {
		l->full = true;
		return;
	}
	e = (struct fuse_dirent *)((uint8_t *)fuse_out(l->r) + l->used);
	memset(e, 0, need);
	e->ino = nodeid;
	e->off = place;
	e->namelen = (uint32_t)len;
	e->type = type;
	memcpy(e->name, name, len);
	l->used += need;
}

static void list_vfio(struct listing *l)
{
	struct door_dev *d = l->r->door;
	unsigned g = 0;
	char name[16];
	uint64_t id;

	list_add(l, "vfio", NODE_CONTAINER, DT_REG, PLACE_FIRST);
	if (d->devices == DEVICES_FUSE)
		list_add(l, "devices", NODE_DEVICES_DIR, DT_DIR, PLACE_FIRST + 1);
	for (; !l->full && vfio_group_next(d->vfio, g, &g); g++) {
		if (!view_group_id(d->view, g, &id))
			continue;
		snprintf(name, sizeof(name), "%u", g);
		list_add(l, name, NODE_ID(NODE_GROUP, id), DT_REG, PLACE_FIRST + 2 + g);
	}
}

static void list_devices(struct listing *l)
{
	struct vfio_cdev cdev;
	char name[16];

	for (unsigned from = 0; !l->full && vfio_cdev_next(l->r->door->vfio, from, &cdev);
	     from = cdev.index + 1) {
		snprintf(name, sizeof(name), "vfio%u", cdev.index);
		list_add(l, name, CDEV_NODE(cdev.id, 0), DT_REG, PLACE_FIRST + cdev.index);
	}
}

static bool list_view(void *data, const char *name, uint64_t ino, enum view_type type)
{
	static const unsigned types[] = {
		[VIEW_DIR] = DT_DIR, [VIEW_FILE] = DT_REG, [VIEW_LINK] = DT_LNK
	};
	struct listing *l = data;

	list_add(l, name, NODE_ID(NODE_VIEW, ino), types[type], PLACE_FIRST + ino);
	return !l->full;
}

void fs_readdir(struct fuse_req *r)
{
	const struct fuse_read_in *in = r->arg;
	uint64_t dir = r->h->nodeid;
	struct listing l = {
		.r = r,
		.after = in->offset,
		.max = MIN(in->size, FUSE_MAX_DATA),
	};
	int err = 0;

	list_add(&l, ".", dir, DT_DIR, PLACE_SELF);
	list_add(&l, "..", dir, DT_DIR, PLACE_PARENT);
	if (NODE_CLASS(dir) == NODE_VIEW) {
		err = view_list(r->door->view, NODE_NUMBER(dir),
				in->offset > PLACE_FIRST ? in->offset - PLACE_FIRST : 0, list_view,
				&l);
	} else if (dir == NODE_ROOT) {
		list_add(&l, "vfio", NODE_VFIO_DIR, DT_DIR, PLACE_FIRST);
		list_add(&l, "sys", NODE_ID(NODE_VIEW, view_root_ino(r->door->view)), DT_DIR,
			 PLACE_FIRST + 1);
	} else if (dir == NODE_VFIO_DIR) {
		list_vfio(&l);
	} else if (dir == NODE_DEVICES_DIR) {
		list_devices(&l);
	}
	if (err)
		fuse_reply(r, err);
	else
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

	if (view_gone(node)) {
		n = -ENODEV;
	} else if (node->pread) {
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
	const char *text = (const char *)(in + 1);
	/* Linux takes a page of a text, and says so. */
	size_t size = MIN(in->size, UVF_PAGE_SIZE);
	ssize_t n = -EIO;
	int err;

	/* A reset waits for the model, other things for other clients. */
	fuse_step_aside(r->door);
	if (view_gone(node)) {
		n = -ENODEV;
	} else if (node->pwrite) {
		n = node->pwrite(node, in + 1, in->size, in->offset);
	} else if (node->write || node->act) {
		err = node->act ? act_run(r, node, text, size) : node->write(node, text, size);
		n = err ? err : (ssize_t)size;
	}
	if (n < 0) {
		fuse_reply(r, (int)n);
		return;
	}
	out.size = (uint32_t)n;
	fuse_reply_data(r, &out, sizeof(out));
}

/* ------------------------------------------------------------------ life */

void fs_init(struct door_dev *d)
{
	pthread_mutex_init(&d->owners_lock, NULL);
	d->container_owner = (struct node_owner){ .uid = d->uid, .gid = d->gid, .mode = 0666 };
	d->iommu_owner = (struct node_owner){ .uid = d->uid, .gid = d->gid, .mode = 0660 };
}

void fs_fini(struct door_dev *d)
{
	while (d->owners) {
		struct node_owner *o = d->owners;

		d->owners = o->next;
		free(o);
	}
	pthread_mutex_destroy(&d->owners_lock);
}
