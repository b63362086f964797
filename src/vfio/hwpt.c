/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Page tables of an iommufd, and the devices that hang on them.
 *
 * All tables of an IOAS say the same, so that a device that is attached to one has its group's DMA
 * go through the IOAS's space; a table adds to that what may be logged. Functions of a group share
 * their table. Source: drivers/iommu/iommufd/hw_pagetable.c, device.c.
 */
#include "vfio/priv.h"

/* What is worked on at a time: bits of a client's bitmap, bytes that they are about. */
#define WINDOW_BITS (1u << 21)
#define WINDOW_MAX GIB(16)

static struct hwpt *hwpt_of(struct iofd_obj *o)
{
	return o ? container_of(o, struct hwpt, obj) : NULL;
}

static struct ioas *ioas_of(struct iofd_obj *o)
{
	return o ? container_of(o, struct ioas, obj) : NULL;
}

/* ------------------------------------------------------------------ making and ending */

/* Source: iommufd_hwpt_paging_alloc(). */
static int hwpt_new(struct iommufd *f, struct ioas *s, struct hwpt **out)
{
	struct hwpt *h = calloc(1, sizeof(*h));
	int ret;

	if (!h)
		return -ENOMEM;
	h->obj.type = IOFD_HWPT;
	h->ioas = s;
	ret = ioas_enter_hwpt(s);
	if (!ret) {
		ret = iofd_add(f, &h->obj);
		if (ret)
			ioas_leave_hwpt(s);
	}
	if (ret) {
		free(h);
		return ret;
	}
	s->obj.users++;
	*out = h;
	return 0;
}

/* What is logged now is another's. With vfio.lock, or while nobody else has it. */
static void log_stop(struct hwpt *h)
{
	struct ioas *s = h->ioas;

	if (!h->logs)
		return;
	h->logs = false;
	pthread_mutex_lock(&s->lock);
	if (!--s->dirty)
		(void)iommu_space_dirty_stop(s->space);
	pthread_mutex_unlock(&s->lock);
}

void hwpt_free(struct iommufd *f, struct hwpt *h)
{
	struct ioas *s = h->ioas;

	iofd_remove(f, &h->obj);
	log_stop(h);
	if (s->auto_hwpt == h)
		s->auto_hwpt = NULL;
	ioas_leave_hwpt(s);
	s->obj.users--;
	free(h);
}

/* @n devices less. Source: iommufd_hw_pagetable_put(). */
static void hwpt_leave(struct iommufd *f, struct hwpt *h, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		ioas_leave_device(h->ioas);
	h->obj.users -= n;
	if (h->automatic && !h->obj.users)
		hwpt_free(f, h);
}

/* ------------------------------------------------------------------ binding */

/* Source: iommufd_device_bind(). */
int device_bind(struct vdev *d, struct iommufd *f)
{
	struct iofd_obj *o = calloc(1, sizeof(*o));
	struct group *g = d->group;
	int ret = 0;

	if (!o)
		return -ENOMEM;
	if (!g->claims)
		ret = bus_group_claim(d->v->bus, g->number, f);
	else if (g->owner != f)
		ret = -EPERM;
	if (!ret) {
		o->type = IOFD_DEVICE;
		o->users = 1;
		ret = iofd_add(f, o);
		if (ret && !g->claims)
			bus_group_release(d->v->bus, g->number, f);
	}
	if (ret) {
		free(o);
		return ret;
	}
	g->owner = f;
	g->claims++;
	f->refs++;
	d->iommufd = f;
	d->devid = o;
	return 0;
}

void device_unbind(struct vdev *d)
{
	struct iommufd *f = d->iommufd;
	struct group *g = d->group;

	device_detach(d);
	iofd_remove(f, d->devid);
	free(d->devid);
	d->devid = NULL;
	d->iommufd = NULL;
	if (!--g->claims) {
		g->owner = NULL;
		bus_group_release(d->v->bus, g->number, f);
	}
	iommufd_put(f);
}

uint32_t device_number(struct iommufd *f, const struct vdev *d)
{
	if (d->iommufd == f)
		return d->devid->id;
	return d->group->claims && d->group->owner == f ? HOT_RESET_DEVID_OWNED
							: HOT_RESET_DEVID_NOT_OWNED;
}

/* ------------------------------------------------------------------ attaching */

/* The first of a group moves all of it. Source: iommufd_hw_pagetable_attach(). */
static int attach_first(struct vdev *d, struct hwpt *h, unsigned client)
{
	struct group *g = d->group;
	int ret;

	if (g->hwpt && g->hwpt != h)
		return -EINVAL;
	ret = ioas_enter_device(h->ioas);
	if (ret)
		return ret;
	if (!g->attached++) {
		g->hwpt = h;
		g->hwpt_client = client;
		bus_group_attach(d->v->bus, g->number, h->ioas->space);
		vfio_tell(d->v, VFIO_EVENT_ATTACH, g->number, client, NULL);
	}
	h->obj.users++;
	d->hwpt = h;
	return 0;
}

/* All that are attached in the group go along. Source: iommufd_device_do_replace(). */
static int attach_instead(struct vdev *d, struct hwpt *h)
{
	struct group *g = d->group;
	struct hwpt *old = g->hwpt;
	unsigned n = 0;
	int ret = 0;

	if (h == old)
		return 0;
	for (; n < g->attached && !ret; n++)
		ret = ioas_enter_device(h->ioas);
	if (ret) {
		while (--n)
			ioas_leave_device(h->ioas);
		return ret;
	}
	h->obj.users += n;
	g->hwpt = h;
	bus_group_attach(d->v->bus, g->number, h->ioas->space);
	for (struct vdev *other = d->v->devices; other; other = other->next)
		if (other->group == g && other->hwpt)
			other->hwpt = h;
	hwpt_leave(d->iommufd, old, n);
	return 0;
}

static int attach_to(struct vdev *d, struct hwpt *h, unsigned client)
{
	return d->hwpt ? attach_instead(d, h) : attach_first(d, h, client);
}

/* Source: iommufd_device_auto_get_domain(). */
static int attach_to_ioas(struct vdev *d, struct ioas *s, unsigned client)
{
	struct hwpt *h;
	int ret;

	if (s->auto_hwpt)
		return attach_to(d, s->auto_hwpt, client);
	ret = hwpt_new(d->iommufd, s, &h);
	if (ret)
		return ret;
	ret = attach_to(d, h, client);
	if (ret) {
		hwpt_free(d->iommufd, h);
		return ret;
	}
	h->automatic = true;
	s->auto_hwpt = h;
	return 0;
}

/* Source: iommufd_device_change_pt(). */
int device_attach(struct vdev *d, uint32_t *pt_id, unsigned client)
{
	struct iommufd *f = d->iommufd;
	struct iofd_obj *ioas = iofd_find(f, *pt_id, IOFD_IOAS);
	struct iofd_obj *hwpt = iofd_find(f, *pt_id, IOFD_HWPT);
	int ret;

	if (ioas)
		ret = attach_to_ioas(d, ioas_of(ioas), client);
	else if (hwpt)
		ret = attach_to(d, hwpt_of(hwpt), client);
	else
		ret = iofd_find(f, *pt_id, IOFD_DEVICE) ? -EINVAL : -ENOENT;
	if (!ret)
		*pt_id = d->hwpt->obj.id;
	return ret;
}

/* Source: iommufd_device_detach(). */
void device_detach(struct vdev *d)
{
	struct group *g = d->group;
	struct hwpt *h = d->hwpt;

	if (!h)
		return;
	d->hwpt = NULL;
	if (!--g->attached) {
		g->hwpt = NULL;
		bus_group_attach(d->v->bus, g->number, NULL);
		vfio_tell(d->v, VFIO_EVENT_DETACH, g->number, g->hwpt_client, NULL);
	}
	hwpt_leave(d->iommufd, h, 1);
}

/* ------------------------------------------------------------------ requests */

/* With vfio.lock. */
static int alloc_locked(struct iommufd *f, struct abi_hwpt_alloc *cmd)
{
	struct iofd_obj *o;
	struct hwpt *h;
	int ret;

	if (!iofd_find(f, cmd->dev_id, IOFD_DEVICE))
		return -ENOENT;
	/* On another table: one that a guest makes itself. */
	if (iofd_find(f, cmd->pt_id, IOFD_HWPT))
		return -EOPNOTSUPP;
	o = iofd_find(f, cmd->pt_id, IOFD_IOAS);
	if (!o)
		return -EINVAL;
	if (cmd->flags & ~HWPT_ALLOC_DIRTY_TRACKING || cmd->data_len)
		return -EOPNOTSUPP;
	ret = hwpt_new(f, ioas_of(o), &h);
	if (ret)
		return ret;
	h->can_log = cmd->flags & HWPT_ALLOC_DIRTY_TRACKING;
	cmd->out_hwpt_id = h->obj.id;
	return 0;
}

/* Source: iommufd_hwpt_alloc(). */
int hwpt_alloc(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_hwpt_alloc *cmd = call->data;
	int ret;

	if (cmd->reserved)
		return -EOPNOTSUPP;
	if (!cmd->data_type != !cmd->data_len)
		return -EINVAL;
	pthread_mutex_lock(&obj->v->lock);
	ret = alloc_locked(obj_iommufd(obj), cmd);
	pthread_mutex_unlock(&obj->v->lock);
	if (!ret)
		call->reply_size = sizeof(*cmd);
	return ret;
}

/* Our IOMMU is of no make that a guest would have to know. Source: iommufd_get_hw_info(). */
int hwpt_hw_info(struct vfio_obj *obj, struct vfio_call *call)
{
	static const uint8_t zeroes[4096];
	struct abi_hw_info *cmd = call->data;
	uint64_t at = cmd->data_uptr;
	struct iofd_obj *o;
	int ret = 0;

	if (cmd->flags & ~HW_INFO_INPUT_TYPE || cmd->reserved[0] || cmd->reserved[1] ||
	    cmd->reserved[2] || (cmd->flags & HW_INFO_INPUT_TYPE && cmd->data_type))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&obj->v->lock);
	o = iofd_find(obj_iommufd(obj), cmd->dev_id, IOFD_DEVICE);
	pthread_mutex_unlock(&obj->v->lock);
	if (!o)
		return -ENOENT;
	while (cmd->data_len && !ret) {
		uint32_t n = MIN(cmd->data_len, (uint32_t)sizeof(zeroes));

		ret = call->client && call->client->mem
			      ? iommu_mem_write(call->client->mem, at, zeroes, n)
			      : -EFAULT;
		at += n;
		cmd->data_len -= n;
	}
	if (ret)
		return ret;
	cmd->data_type = 0;
	cmd->out_max_pasid_log2 = 0;
	cmd->out_capabilities = HW_CAP_DIRTY_TRACKING | HW_CAP_PCI_ATS_NOT_SUPPORTED;
	call->reply_size = sizeof(*cmd);
	return 0;
}

/* ------------------------------------------------------------------ what devices have written */

/* Starts a log that is empty. With vfio.lock. */
static int log_start(struct hwpt *h)
{
	struct ioas *s = h->ioas;
	int ret;

	pthread_mutex_lock(&s->lock);
	(void)iommu_space_dirty_stop(s->space);
	ret = iommu_space_dirty_start(s->space);
	if (!ret && !h->logs) {
		h->logs = true;
		s->dirty++;
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

/* Source: iommufd_hwpt_set_dirty_tracking(), iopt_set_dirty_tracking(). */
int hwpt_set_dirty_tracking(struct vfio_obj *obj, struct vfio_call *call)
{
	const struct abi_dirty_tracking *cmd = call->data;
	struct hwpt *h;
	int ret = 0;

	if (cmd->flags & ~HWPT_DIRTY_TRACKING_ENABLE)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&obj->v->lock);
	h = hwpt_of(iofd_find(obj_iommufd(obj), cmd->hwpt_id, IOFD_HWPT));
	if (!h)
		ret = -ENOENT;
	else if (!h->can_log)
		ret = -EOPNOTSUPP;
	else if (cmd->flags & HWPT_DIRTY_TRACKING_ENABLE)
		ret = log_start(h);
	else
		log_stop(h);
	pthread_mutex_unlock(&obj->v->lock);
	return ret;
}

/* Source: iommufd_check_iova_range(). */
static int check_bitmap(struct ioas *s, const struct abi_dirty_bitmap *cmd)
{
	struct abi_iova_range ranges[3];
	uint64_t last, align, mask;

	if (range_last(cmd->iova, cmd->length, &last))
		return -EOVERFLOW;
	(void)ioas_ranges(s, ranges, &align);
	if ((cmd->iova | (last + 1)) & (align - 1) || !cmd->page_size)
		return -EINVAL;
	mask = cmd->page_size - 1;
	return (cmd->iova | (last + 1)) & mask ? -EINVAL : 0;
}

/* Bits of pages to bits of @shift; bit 0 of @pages is that of byte @at. */
static void spread(const uint64_t *pages, uint64_t n, uint64_t at, unsigned shift, uint8_t *bits)
{
	uint64_t base = at >> shift & ~7ull;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t first = (at + i * UVF_PAGE_SIZE) >> shift;
		uint64_t last = (at + (i + 1) * UVF_PAGE_SIZE - 1) >> shift;

		if (!(pages[i / 64] >> (i & 63)))
			i |= 63;
		else if (pages[i / 64] >> (i & 63) & 1)
			for (uint64_t bit = first - base; bit <= last - base; bit++)
				bits[bit / 8] |= BIT(bit % 8);
	}
}

/*
 * @size bytes from @at on of what the bitmap at @data is about, which begins at @iova. What the
 * client's bitmap has already stays; that it can take the bits is tried before they leave the log.
 * -ENOENT: not all of it is mapped.
 */
static int bitmap_window(struct ioas *s, struct iommu_mem *mem, const struct abi_dirty_bitmap *cmd,
			 uint64_t at, uint64_t size)
{
	unsigned shift = (unsigned)__builtin_ctzll(cmd->page_size);
	uint64_t byte = (at >> shift) / 8, n = size / UVF_PAGE_SIZE;
	size_t bytes = ((at + (size - 1)) >> shift) / 8 - byte + 1;
	AUTO_FREE uint64_t *pages = calloc(n / 64 + 1, sizeof(*pages));
	AUTO_FREE uint8_t *bits = malloc(bytes);
	int ret, err;

	if (!pages || !bits)
		return -ENOMEM;
	ret = iommu_mem_read(mem, cmd->data + byte, bits, bytes);
	if (!ret)
		ret = iommu_mem_write(mem, cmd->data + byte, bits, bytes);
	if (ret)
		return ret;
	ret = iommu_space_dirty_take(s->space, cmd->iova + at, size,
				     !(cmd->flags & HWPT_GET_DIRTY_NO_CLEAR), pages);
	spread(pages, n, at, shift, bits);
	err = iommu_mem_write(mem, cmd->data + byte, bits, bytes);
	return err ? err : ret;
}

static int bitmap_get(struct ioas *s, struct iommu_mem *mem, const struct abi_dirty_bitmap *cmd)
{
	unsigned shift = (unsigned)__builtin_ctzll(cmd->page_size);
	uint64_t window = shift < 13 ? (uint64_t)WINDOW_BITS << shift : WINDOW_MAX;
	uint64_t at = 0;
	int ret = 0;

	if (!mem)
		return -EFAULT;
	while (!ret && at < cmd->length) {
		uint64_t size = MIN(window, cmd->length - at);

		ret = bitmap_window(s, mem, cmd, at, size);
		at += size;
	}
	/* What is not mapped ends it, and is nobody's error. */
	return ret == -ENOENT ? 0 : ret;
}

/* Source: iommufd_hwpt_get_dirty_bitmap(), iopt_read_and_clear_dirty_data(). */
int hwpt_get_dirty_bitmap(struct vfio_obj *obj, struct vfio_call *call)
{
	const struct abi_dirty_bitmap *cmd = call->data;
	bool can = false, logs = false;
	struct ioas *s = NULL;
	struct hwpt *h;
	int ret;

	if (cmd->flags & ~HWPT_GET_DIRTY_NO_CLEAR || cmd->reserved)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&obj->v->lock);
	h = hwpt_of(iofd_find(obj_iommufd(obj), cmd->hwpt_id, IOFD_HWPT));
	if (h) {
		s = h->ioas;
		atomic_fetch_add(&s->refs, 1);
		can = h->can_log;
		logs = h->logs;
	}
	pthread_mutex_unlock(&obj->v->lock);
	if (!s)
		return -ENOENT;
	ret = check_bitmap(s, cmd);
	if (!ret && !can)
		ret = -EOPNOTSUPP;
	if (!ret && logs)
		ret = bitmap_get(s, call->client ? call->client->mem : NULL, cmd);
	ioas_put(s);
	return ret;
}

/* There are no tables of a guest. Source: iommufd_hwpt_invalidate(). */
int hwpt_invalidate(struct vfio_obj *obj, struct vfio_call *call)
{
	struct abi_hwpt_invalidate *cmd = call->data;
	struct iommufd *f = obj_iommufd(obj);
	int ret = -ENOENT;

	if (cmd->reserved) {
		ret = -EOPNOTSUPP;
	} else if (cmd->entry_num && (!cmd->data_uptr || !cmd->entry_len)) {
		ret = -EINVAL;
	} else {
		pthread_mutex_lock(&obj->v->lock);
		if (iofd_known(f, cmd->hwpt_id))
			ret = -EINVAL;
		pthread_mutex_unlock(&obj->v->lock);
	}
	cmd->entry_num = 0;
	call->reply_size = sizeof(*cmd);
	return ret;
}
