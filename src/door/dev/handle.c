/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Open files of the FUSE server.
 *
 * The kernel names an open file by a 64-bit number of ours. It is index and generation of a slot in
 * a table that only grows, so a number can be checked without a lock and a stale or invented one is
 * refused. A slot's references are counted in the same word as its generation: one for being open,
 * one for each request that works on it. The last one closes what is behind it, exactly once.
 *
 * FUSE tells of a last close after close(2) has returned (RELEASE is not waited for), so a client
 * that closes a group and opens it again could still meet itself: EBUSY, where the kernel's VFIO
 * would have opened. Likewise a device that was closed and is opened again would not be reset. But
 * the kernel queues RELEASE before close(2) returns, and we read what is queued in order. So who
 * may have met what is on its way out has whatever was queued before read first (own_sync()), waits
 * for the releases among it, and tries again: handles_settle(). It waits as well for devices that
 * are being opened: the client may have been killed meanwhile. That is so across all doors of the
 * process, as a machine may have several: what the killed client of one held is free for the next
 * client of another.
 */
#include <errno.h>
#include <time.h>

#include "door/dev/priv.h"

/* A device whose close takes longer than that is busy. */
#define GRACE_NS 5000000000ull

/* Of all doors. */
static struct {
	pthread_mutex_t lock; /* guards the list; short, innermost */
	pthread_cond_t cond;
	struct leaving *first, *last; /* by age */
	uint64_t seen;		      /* age of the youngest of all times */
	atomic_uint vfio;	      /* handles of VFIO files */
} files = { .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

#define REFS(state) ((uint32_t)(state))
#define GENERATION(state) ((state) >> 32)

static struct handle *slot(struct door_dev *d, uint32_t index)
{
	struct handle *block;

	if (index / HANDLES_PER_BLOCK >= HANDLE_BLOCKS)
		return NULL;
	block = atomic_load_explicit(&d->blocks[index / HANDLES_PER_BLOCK], memory_order_acquire);
	return block ? &block[index % HANDLES_PER_BLOCK] : NULL;
}

/* Called with door_dev.lock held. */
static int grow(struct door_dev *d)
{
	struct handle *block;
	unsigned i;

	if (d->n_blocks == HANDLE_BLOCKS)
		return -ENFILE;
	block = calloc(HANDLES_PER_BLOCK, sizeof(*block));
	if (!block)
		return -ENOMEM;
	for (i = HANDLES_PER_BLOCK; i-- > 0;) {
		block[i].index = d->n_blocks * HANDLES_PER_BLOCK + i;
		atomic_init(&block[i].state, (uint64_t)1 << 32);
		pthread_mutex_init(&block[i].text_lock, NULL);
		block[i].next_free = d->free;
		d->free = &block[i];
	}
	atomic_store_explicit(&d->blocks[d->n_blocks++], block, memory_order_release);
	return 0;
}

/* A VFIO file of a client's, also where it is none of FUSE's. */
void files_opened(void)
{
	atomic_fetch_add(&files.vfio, 1);
}

/* With the last file of the last client goes what was kept of their processes. */
void files_closed(void)
{
	if (atomic_fetch_sub(&files.vfio, 1) == 1)
		iommu_mem_cache_drop();
}

/**
 * handles_new() - a slot for an open file; the caller fills in what is behind it, then publishes
 * it.
 * @fh: the number for the kernel
 * Returns 0, -ENFILE, -ENOMEM, -ENODEV once the door closes.
 */
int handles_new(struct door_dev *d, enum handle_kind kind, struct handle **out, uint64_t *fh)
{
	struct handle *h;
	uint64_t state;
	int r = 0;

	pthread_mutex_lock(&d->lock);
	if (atomic_load(&d->closing))
		r = -ENODEV;
	else if (!d->free)
		r = grow(d);
	h = d->free;
	if (!r)
		d->free = h->next_free;
	pthread_mutex_unlock(&d->lock);
	if (r)
		return r;

	if (kind == HANDLE_VFIO)
		files_opened();
	h->kind = kind;
	h->obj = NULL;
	atomic_store(&h->session, NULL);
	h->cdev_node = 0;
	h->node = NULL;
	h->text = NULL;
	h->text_size = 0;
	atomic_store(&h->closed, false);
	h->leaving.group = -1;
	state = atomic_load(&h->state);
	*fh = GENERATION(state) << 32 | h->index;
	*out = h;
	return 0;
}

/* What is behind @h is filled in: its number is good from now on. */
void handle_publish(struct handle *h)
{
	atomic_fetch_add_explicit(&h->state, 1, memory_order_release);
}

/*
 * @h is the only open file of the inode @nodeid, as long as it is open. -ESTALE: there is one
 * already; the kernel looks the name up once more then, and comes with another inode.
 */
int handle_take_node(struct door_dev *d, struct handle *h, uint64_t nodeid)
{
	struct handle *other;

	pthread_mutex_lock(&d->lock);
	for (other = d->cdevs; other && other->cdev_node != nodeid; other = other->next_cdev)
		;
	if (!other) {
		h->cdev_node = nodeid;
		h->next_cdev = d->cdevs;
		d->cdevs = h;
	}
	pthread_mutex_unlock(&d->lock);
	return other ? -ESTALE : 0;
}

struct handle *handle_get(struct door_dev *d, uint64_t fh)
{
	struct handle *h = slot(d, (uint32_t)fh);
	uint64_t state;

	if (!h)
		return NULL;
	state = atomic_load_explicit(&h->state, memory_order_acquire);
	do {
		if (GENERATION(state) != fh >> 32 || !REFS(state))
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
		&h->state, &state, state + 1, memory_order_acquire, memory_order_acquire));
	return h;
}

/* Of a file: RELEASE was read. */
void leaving_begin(struct leaving *l)
{
	pthread_mutex_lock(&files.lock);
	if (!l->age) {
		l->age = ++files.seen;
		l->older = files.last;
		l->younger = NULL;
		*(files.last ? &files.last->younger : &files.first) = l;
		files.last = l;
	}
	pthread_mutex_unlock(&files.lock);
}

/* It is gone. Nothing happens where it did not begin. */
void leaving_end(struct leaving *l)
{
	pthread_mutex_lock(&files.lock);
	if (l->age) {
		*(l->older ? &l->older->younger : &files.first) = l->younger;
		*(l->younger ? &l->younger->older : &files.last) = l->older;
		l->age = 0;
		pthread_cond_broadcast(&files.cond);
	}
	pthread_mutex_unlock(&files.lock);
}

/* With door_dev.lock. */
static void leave_node(struct door_dev *d, struct handle *h)
{
	struct handle **at;

	for (at = &d->cdevs; *at && *at != h; at = &(*at)->next_cdev)
		;
	if (*at)
		*at = h->next_cdev;
	h->cdev_node = 0;
}

static void destroy(struct door_dev *d, struct handle *h)
{
	struct session *s = atomic_load(&h->session);

	/* The device's session ends first: the image is the function's own again when the close of
	 * the device resets it. */
	if (s) {
		if (h->kind == HANDLE_VFIO)
			session_client_gone(s);
		session_put(s);
	}
	if (h->obj)
		vfio_obj_put(h->obj);
	view_put(h->node);
	if (h->kind == HANDLE_VFIO)
		files_closed();
	free(h->text);
	h->text = NULL;

	leaving_end(&h->leaving);
	pthread_mutex_lock(&d->lock);
	leave_node(d, h);
	atomic_store(&h->state, (GENERATION(atomic_load(&h->state)) + 1) << 32);
	h->next_free = d->free;
	d->free = h;
	pthread_mutex_unlock(&d->lock);
}

void handle_put(struct door_dev *d, struct handle *h)
{
	if (REFS(atomic_fetch_sub_explicit(&h->state, 1, memory_order_acq_rel)) == 1)
		destroy(d, h);
}

bool handle_put_not_last(struct handle *h)
{
	uint64_t state = atomic_load_explicit(&h->state, memory_order_acquire);

	do {
		if (REFS(state) == 1)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&h->state, &state, state - 1, memory_order_acq_rel, memory_order_acquire));
	return true;
}

void handle_close(struct door_dev *d, struct handle *h)
{
	if (!atomic_exchange(&h->closed, true))
		handle_put(d, h);
}

/* Called with files.lock held: does something of that age or older still leave? */
static bool any_leaves(uint64_t age, int group)
{
	struct leaving *l;

	for (l = files.first; l && l->age <= age; l = l->younger)
		if (group < 0 || l->group == group)
			return true;
	return false;
}

/**
 * handles_settle() - when this returns, what clients closed before the call is closed for us too.
 * @group: the devices of that group, closed by clients of @d; or -1, everything, of all doors
 * A device that takes longer to close than is decent is not waited for.
 */
void handles_settle(struct door_dev *d, int group)
{
	uint64_t until = time_mono_ns() + GRACE_NS;
	struct timespec ts = {
		.tv_sec = (time_t)(until / 1000000000u),
		.tv_nsec = (long)(until % 1000000000u),
	};
	uint64_t age;
	int r = 0;

	if (group < 0)
		own_sync_all();
	else
		own_sync(d);
	pthread_mutex_lock(&files.lock);
	age = files.seen;
	while (any_leaves(age, group) && !r)
		r = pthread_cond_clockwait(&files.cond, &files.lock, CLOCK_MONOTONIC, &ts);
	pthread_mutex_unlock(&files.lock);
	if (group < 0)
		memdevs_settle();
}

/* The door ends: what clients left open is closed as if they had. */
void handles_close_all(struct door_dev *d)
{
	uint32_t i, n;

	/* The door is closing: there will be no more than these. */
	pthread_mutex_lock(&d->lock);
	n = d->n_blocks * HANDLES_PER_BLOCK;
	pthread_mutex_unlock(&d->lock);
	for (i = 0; i < n; i++) {
		struct handle *h = slot(d, i);
		uint64_t state = atomic_load(&h->state);

		/* Our own mappings end with the session of the client that they serve. */
		h = REFS(state) ? handle_get(d, GENERATION(state) << 32 | i) : NULL;
		if (!h)
			continue;
		if (h->kind == HANDLE_VFIO)
			leaving_begin(&h->leaving);
		if (h->kind != HANDLE_OWN)
			handle_close(d, h);
		handle_put(d, h);
	}
}

/* No FUSE thread runs any more: what is left are our own mappings' files. */
void handles_free(struct door_dev *d)
{
	unsigned i, k;

	for (i = 0; i < d->n_blocks; i++) {
		struct handle *block = atomic_load(&d->blocks[i]);

		for (k = 0; k < HANDLES_PER_BLOCK; k++) {
			if (REFS(atomic_load(&block[k].state)))
				handle_close(d, &block[k]);
			pthread_mutex_destroy(&block[k].text_lock);
		}
		free(block);
	}
	d->n_blocks = 0;
}
