/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommufds: /dev/iommu. What is in one has a number, the lowest that is free, and a count of users
 * that keep it: a page table keeps its IOAS, a device that is attached keeps the page table, and a
 * driver keeps the device that it has bound. Source: drivers/iommu/iommufd/main.c.
 *
 * An iommufd stays while one of its devices is open, or a group is set to it.
 */
#include "vfio/priv.h"

#define OBJECTS_MAX 65536u

int vfio_open_iommufd(struct vfio *v, struct vfio_obj **obj)
{
	struct iommufd *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->obj = (struct vfio_obj){ VFIO_KIND_IOMMUFD, v };
	f->refs = 1;
	f->free_from = 1;
	*obj = &f->obj;
	return 0;
}

/* ------------------------------------------------------------------ numbers */

int iofd_add(struct iommufd *f, struct iofd_obj *o)
{
	uint32_t id = f->free_from;

	while (id < f->room && f->objects[id])
		id++;
	if (id >= OBJECTS_MAX)
		return -ENOMEM;
	if (id >= f->room) {
		uint32_t room = MAX(16u, f->room * 2);
		void *more = realloc(f->objects, room * sizeof(struct iofd_obj *));

		if (!more)
			return -ENOMEM;
		f->objects = more;
		memset(f->objects + f->room, 0, (room - f->room) * sizeof(struct iofd_obj *));
		f->room = room;
	}
	f->objects[id] = o;
	f->free_from = id + 1;
	o->id = id;
	return 0;
}

void iofd_remove(struct iommufd *f, struct iofd_obj *o)
{
	f->objects[o->id] = NULL;
	f->free_from = MIN(f->free_from, o->id);
	if (o->type == IOFD_IOAS && f->vfio_ioas == container_of(o, struct ioas, obj))
		f->vfio_ioas = NULL;
}

static struct iofd_obj *object_at(struct iommufd *f, uint32_t id)
{
	return id < f->room ? f->objects[id] : NULL;
}

struct iofd_obj *iofd_find(struct iommufd *f, uint32_t id, enum iofd_type type)
{
	struct iofd_obj *o = object_at(f, id);

	return o && o->type == type ? o : NULL;
}

bool iofd_known(struct iommufd *f, uint32_t id)
{
	return object_at(f, id) != NULL;
}

static struct ioas *ioas_ref(struct ioas *s)
{
	if (s)
		atomic_fetch_add(&s->refs, 1);
	return s;
}

struct ioas *ioas_get(struct iommufd *f, uint32_t id)
{
	struct iofd_obj *o;
	struct ioas *s;

	pthread_mutex_lock(&f->obj.v->lock);
	o = iofd_find(f, id, IOFD_IOAS);
	s = ioas_ref(o ? container_of(o, struct ioas, obj) : NULL);
	pthread_mutex_unlock(&f->obj.v->lock);
	return s;
}

struct ioas *ioas_get_vfio(struct iommufd *f)
{
	struct ioas *s;

	pthread_mutex_lock(&f->obj.v->lock);
	s = ioas_ref(f->vfio_ioas);
	pthread_mutex_unlock(&f->obj.v->lock);
	return s;
}

/* ------------------------------------------------------------------ the end */

/* Nobody uses it. */
static void object_free(struct iommufd *f, struct iofd_obj *o)
{
	if (o->type == IOFD_HWPT) {
		hwpt_free(f, container_of(o, struct hwpt, obj));
		return;
	}
	iofd_remove(f, o);
	ioas_put(container_of(o, struct ioas, obj));
}

/* Source: iommufd_fops_release(). No device is left, as each holds a reference. */
void iommufd_put(struct iommufd *f)
{
	if (--f->refs)
		return;
	for (unsigned pass = 0; pass < 2; pass++)
		for (uint32_t id = 1; id < f->room; id++)
			if (f->objects[id] &&
			    f->objects[id]->type == (pass ? IOFD_IOAS : IOFD_HWPT))
				object_free(f, f->objects[id]);
	free(f->objects);
	free(f);
}

/* Source: iommufd_object_remove(). */
int iommufd_destroy(struct vfio_obj *obj, struct vfio_call *call)
{
	struct iommufd *f = obj_iommufd(obj);
	const struct abi_destroy *cmd = call->data;
	struct iofd_obj *o;
	int ret = 0;

	pthread_mutex_lock(&obj->v->lock);
	o = object_at(f, cmd->id);
	if (!o)
		ret = -ENOENT;
	else if (o->users)
		ret = -EBUSY;
	else
		object_free(f, o);
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

/* ------------------------------------------------------------------ options */

/*
 * How memory is accounted. None is pinned here, so none is, and it is not asked who may change it.
 * Source: iommufd_option_rlimit_mode().
 */
static int option_rlimit(struct iommufd *f, struct abi_option *cmd)
{
	if (cmd->object_id)
		return -EOPNOTSUPP;
	if (cmd->op == OPTION_GET) {
		cmd->val64 = f->rlimit_mode;
		return 0;
	}
	if (cmd->op != OPTION_SET)
		return -EOPNOTSUPP;
	for (uint32_t id = 1; id < f->room; id++)
		if (f->objects[id])
			return -EBUSY;
	if (cmd->val64 > 1)
		return -EINVAL;
	f->rlimit_mode = cmd->val64;
	return 0;
}

/* Source: iommufd_ioas_option_huge_pages(). */
static int option_huge_pages(struct iommufd *f, struct abi_option *cmd)
{
	struct ioas *s = ioas_get(f, cmd->object_id);
	int ret = -EOPNOTSUPP;
	bool small;

	if (!s)
		return -ENOENT;
	if (cmd->op == OPTION_GET) {
		(void)ioas_has_pages(s, &small);
		cmd->val64 = !small;
		ret = 0;
	} else if (cmd->op == OPTION_SET) {
		ret = cmd->val64 > 1 ? -EINVAL : ioas_small_pages(s, !cmd->val64);
	}
	ioas_put(s);
	return ret;
}

/* Source: iommufd_option(). */
int iommufd_option(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_option *cmd = call->data;
	int ret = -EOPNOTSUPP;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	if (cmd->option_id == OPTION_RLIMIT_MODE) {
		pthread_mutex_lock(&obj->v->lock);
		ret = option_rlimit(obj_iommufd(obj), cmd);
		pthread_mutex_unlock(&obj->v->lock);
	} else if (cmd->option_id == OPTION_HUGE_PAGES) {
		ret = option_huge_pages(obj_iommufd(obj), cmd);
	}
	if (!ret)
		call->reply_size = sizeof(*cmd);
	return ret;
}

/* ------------------------------------------------------------------ the IOAS of VFIO's requests */

/* Source: iommufd_vfio_compat_ioas_create(). */
int iommufd_vfio_ioas_make(struct iommufd *f)
{
	struct ioas *s;
	int ret;

	if (f->vfio_ioas)
		return 0;
	ret = ioas_new(&s);
	if (ret)
		return ret;
	ret = iofd_add(f, &s->obj);
	if (ret)
		ioas_put(s);
	else
		f->vfio_ioas = s;
	return ret;
}

/* Source: iommufd_vfio_ioas(). */
int iommufd_vfio_ioas(struct vfio_obj *obj, struct vfio_call *call)
{
	struct iommufd *f = obj_iommufd(obj);
	struct abi_vfio_ioas *cmd = call->data;
	struct iofd_obj *o;
	int ret = 0;

	if (cmd->reserved || cmd->op > VFIO_IOAS_CLEAR)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&obj->v->lock);
	switch (cmd->op) {
	case VFIO_IOAS_GET:
		if (f->vfio_ioas) {
			cmd->ioas_id = f->vfio_ioas->obj.id;
			call->reply_size = sizeof(*cmd);
		} else {
			ret = -ENODEV;
		}
		break;
	case VFIO_IOAS_SET:
		o = iofd_find(f, cmd->ioas_id, IOFD_IOAS);
		if (o)
			f->vfio_ioas = container_of(o, struct ioas, obj);
		else
			ret = -ENOENT;
		break;
	default:
		f->vfio_ioas = NULL;
	}
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

/* ------------------------------------------------------------------ what is not offered */

/*
 * Page faults that a client serves, and what goes with an IOMMU that a guest sees. Source:
 * iommufd_viommu_alloc_ioctl() and others, of an IOMMU whose driver has none of it.
 */
int iommufd_not_offered(struct vfio_obj *obj, struct vfio_call *call)
{
	struct iommufd *f = obj_iommufd(obj);
	const struct abi_change_process *cmd = call->data;
	int ret = 0;

	if (call->request != IOMMU_IOAS_CHANGE_PROCESS)
		return -EOPNOTSUPP;
	/* There is no account that could be another process's; what it refuses is refused. */
	if (cmd->reserved)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&obj->v->lock);
	for (uint32_t id = 1; id < f->room && !ret; id++)
		if (f->objects[id] && f->objects[id]->type == IOFD_IOAS &&
		    ioas_has_pages(container_of(f->objects[id], struct ioas, obj), NULL))
			ret = -EINVAL;
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}
