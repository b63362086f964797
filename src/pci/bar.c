/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BARs: what their description may say, trapped accesses, and the images behind pages that clients
 * may map.
 *
 * A trapped access of any length is cut into naturally aligned pieces. Each goes where its page
 * says: the MSI-X table and PBA are pci's own, RAM pages are memory, all else is the BAR's register
 * table or else the model's hook, which run with the register lock held. Whether the function
 * decodes at all (command register, power state) is looked at for each piece, without a lock.
 *
 * The images of a function's BARs lie one after the other in one sparse memfd, so that a door can
 * serve a client's page faults from it; see pcif_bar_set_image() for the mapping a model uses.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "priv.h"

static bool power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

static int check_areas(const struct pcif_bar *bar, unsigned i, struct pcif_reply_error *err)
{
	if (bar->n_areas > ARRAY_SIZE(bar->areas) || (bar->type == PCIF_BAR_IO && bar->n_areas))
		return pcif_error(err, -EINVAL, "BAR %u: too many areas", i);
	for (unsigned n = 0; n < bar->n_areas; n++) {
		const struct pcif_bar_area *a = &bar->areas[n];
		uint64_t last;

		if (a->offset % UVF_PAGE_SIZE || a->size % UVF_PAGE_SIZE ||
		    range_last(a->offset, a->size, &last) || last >= bar->size)
			return pcif_error(err, -EINVAL, "BAR %u: area %u is not whole pages inside",
					  i, n);
	}
	return 0;
}

static int check_one(const struct pcif_bar bars[], unsigned i, struct pcif_reply_error *err)
{
	const struct pcif_bar *bar = &bars[i];
	uint64_t min = bar->type == PCIF_BAR_IO ? 4 : UVF_PAGE_SIZE;
	uint64_t max = bar->type == PCIF_BAR_IO	     ? 256
		       : bar->type == PCIF_BAR_MEM32 ? GIB(1)
						     : GIB(1024);

	if (bar->type == PCIF_BAR_NONE)
		return 0;
	if (!power_of_two(bar->size) || bar->size < min || bar->size > max)
		return pcif_error(err, -EINVAL, "BAR %u: size %#llx is no power of two or too far",
				  i, (unsigned long long)bar->size);
	if (bar->type == PCIF_BAR_MEM64 &&
	    (i + 1 >= PCIF_NUM_BARS || bars[i + 1].type != PCIF_BAR_NONE))
		return pcif_error(err, -EINVAL, "BAR %u: 64 bits need the next register too", i);
	return check_areas(bar, i, err);
}

int bar_check(const struct pcif_bar bars[], struct pcif_reply_error *err)
{
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		int rc = check_one(bars, i, err);

		if (rc)
			return rc;
	}
	return 0;
}

/* ------------------------------------------------------------------ images */

static bool wants_image(const struct pcif_bar *bar)
{
	for (unsigned i = 0; bar->type != PCIF_BAR_NONE && i < bar->n_areas; i++)
		if (bar->areas[i].policy != PCIF_PAGE_TRAP)
			return true;
	return false;
}

int bar_images_new(struct pcif *f)
{
	int rc;

	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		if (!wants_image(&f->desc.bars[i]))
			continue;
		f->image[i].offset = f->memfd_size;
		f->memfd_size += f->desc.bars[i].size;
	}
	if (!f->memfd_size)
		return 0;
	f->memfd = memfd_create("uvfio-bars", MFD_CLOEXEC);
	if (f->memfd < 0)
		return -errno;
	if (ftruncate(f->memfd, (off_t)f->memfd_size)) {
		rc = -errno;
		goto err_free;
	}
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		void *p;

		if (!wants_image(&f->desc.bars[i]))
			continue;
		p = mmap(NULL, f->desc.bars[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd,
			 (off_t)f->image[i].offset);
		if (p == MAP_FAILED) {
			rc = -errno;
			goto err_free;
		}
		f->image[i].own = p;
		f->image[i].moved_fd = -1;
		atomic_store(&f->image[i].now, p);
	}
	return 0;

err_free:
	bar_images_free(f);
	return rc;
}

void bar_images_free(struct pcif *f)
{
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		if (f->image[i].own)
			munmap(f->image[i].own, f->desc.bars[i].size);
		f->image[i].own = NULL;
		atomic_store(&f->image[i].now, NULL);
	}
	if (f->memfd >= 0)
		close(f->memfd);
	f->memfd = -1;
}

void *pcif_bar_image(struct pcif *f, unsigned bar)
{
	return bar < PCIF_NUM_BARS ? atomic_load_explicit(&f->image[bar].now, memory_order_acquire)
				   : NULL;
}

/**
 * pcif_bar_set_image() - @image is borrowed until replaced; see the header. Nothing happens for a
 * BAR that has no image. Under the register lock, so that whoever publishes a value meanwhile has
 * either image whole: when this returns, the old one may be unmapped.
 */
void pcif_bar_set_image(struct pcif *f, unsigned bar, void *image)
{
	if (bar >= PCIF_NUM_BARS || !f->image[bar].own)
		return;
	pcif_lock(f);
	atomic_store_explicit(&f->image[bar].now, image ? image : f->image[bar].own,
			      memory_order_release);
	f->image[bar].moved_fd = -1;
	pcif_unlock(f);
}

/* [@at, @at + @size) of one file to the other; a hole is not filled. */
static int copy_data(int from, uint64_t from_at, int to, uint64_t to_at, uint64_t size)
{
	uint8_t page[UVF_PAGE_SIZE];
	uint64_t done = 0;

	while (done < size) {
		off_t data = lseek(from, (off_t)(from_at + done), SEEK_DATA);
		int rc;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		done = (uint64_t)data - from_at;
		if (done >= size)
			return 0;
		rc = fd_pread_all(from, page, sizeof(page), from_at + done);
		if (!rc)
			rc = fd_pwrite_all(to, page, sizeof(page), to_at + done);
		if (rc)
			return rc;
		done += sizeof(page);
	}
	return 0;
}

/* What lies on the pages that clients may map. */
static int copy_areas(const struct pcif_bar *b, int from, uint64_t from_offset, int to,
		      uint64_t to_offset)
{
	int rc = 0;

	for (unsigned i = 0; i < b->n_areas && !rc; i++) {
		const struct pcif_bar_area *a = &b->areas[i];

		if (a->policy == PCIF_PAGE_TRAP)
			continue;
		if (fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(to_offset + a->offset), (off_t)a->size))
			return -errno;
		rc = copy_data(from, from_offset + a->offset, to, to_offset + a->offset, a->size);
	}
	return rc;
}

/**
 * pcif_bar_move_image() - see the header. Under the register lock, so that no value is published
 * between its copying and the change of the image.
 */
int pcif_bar_move_image(struct pcif *f, unsigned bar, void *image, int fd, uint64_t offset)
{
	const struct pcif_bar *b;
	struct bar_image *im;
	int rc;

	if (bar >= PCIF_NUM_BARS || !f->image[bar].own)
		return 0;
	b = &f->desc.bars[bar];
	im = &f->image[bar];
	pcif_lock(f);
	if (image) {
		rc = copy_areas(b, f->memfd, im->offset, fd, offset);
		im->moved_fd = fd;
		im->moved_offset = offset;
	} else {
		rc = im->moved_fd < 0
			     ? 0
			     : copy_areas(b, im->moved_fd, im->moved_offset, f->memfd, im->offset);
		im->moved_fd = -1;
	}
	if (!rc || !image)
		atomic_store_explicit(&im->now, image ? image : im->own, memory_order_release);
	pcif_unlock(f);
	return rc;
}

/**
 * pcif_bar_memfd() - the descriptor (borrowed, for the life of the function), or -1 if no page of
 * this BAR is SHARED or RAM.
 */
int pcif_bar_memfd(const struct pcif *f, unsigned bar, uint64_t *offset)
{
	if (bar >= PCIF_NUM_BARS || !f->image[bar].own)
		return -1;
	*offset = f->image[bar].offset;
	return f->memfd;
}

enum pcif_page pcif_bar_policy(const struct pcif *f, unsigned bar, uint64_t offset)
{
	const struct pcif_bar *b;

	if (bar >= PCIF_NUM_BARS || f->desc.bars[bar].type == PCIF_BAR_NONE)
		return PCIF_PAGE_TRAP;
	b = &f->desc.bars[bar];
	for (unsigned i = 0; i < b->n_areas; i++)
		if (offset - b->areas[i].offset < b->areas[i].size)
			return b->areas[i].policy;
	return PCIF_PAGE_TRAP;
}

static void images_back(struct pcif *f)
{
	for (unsigned i = 0; i < PCIF_NUM_BARS; i++) {
		int rc = pcif_bar_move_image(f, i, NULL, -1, 0);

		if (rc)
			log_warn("%s: what was in BAR %u is lost: %s", f->name, i, strerror(-rc));
	}
}

/**
 * pcif_set_shared() - tell the model that clients can, or no longer can, store to SHARED pages.
 * Repeating a state does nothing. May be called while a reset of the function is running: it takes
 * no lock that a reset holds.
 */
void pcif_set_shared(struct pcif *f, bool on)
{
	pthread_mutex_lock(&f->shared);
	if (atomic_load(&f->shared_on) != on) {
		scan_set_shared(f, on);
		/* Before the model is told: it may keep the image that it finds. */
		if (!on)
			images_back(f);
		if (f->model->shared)
			f->model->shared(f->state, on);
	}
	pthread_mutex_unlock(&f->shared);
}

/* Lets go of the memory of the RAM pages in our own file. */
static bool punch_ram(struct pcif *f, unsigned bar)
{
	const struct pcif_bar *b = &f->desc.bars[bar];

	for (unsigned i = 0; i < b->n_areas; i++)
		if (b->areas[i].policy == PCIF_PAGE_RAM &&
		    fallocate(f->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(f->image[bar].offset + b->areas[i].offset),
			      (off_t)b->areas[i].size))
			return false;
	return true;
}

/**
 * pcif_bar_clear() - zeros in all RAM pages of @bar; for a model's reset(). While no client has
 * them they give their memory back; else what nobody has touched becomes allocated by it.
 */
void pcif_bar_clear(struct pcif *f, unsigned bar)
{
	static const uint8_t zeros[UVF_PAGE_SIZE];
	uint8_t *image = pcif_bar_image(f, bar);

	if (!image || (image == f->image[bar].own && punch_ram(f, bar)))
		return;
	/* Guarded: the image may be a client's mapping, which goes when its connection does. */
	for (uint64_t at = 0; at < f->desc.bars[bar].size; at += UVF_PAGE_SIZE)
		if (pcif_bar_policy(f, bar, at) == PCIF_PAGE_RAM)
			(void)guard_copy(image + at, zeros, UVF_PAGE_SIZE);
}

/* ------------------------------------------------------------------ trapped access */

static bool decodes(struct pcif *f, unsigned bar)
{
	bool io = f->desc.bars[bar].type == PCIF_BAR_IO;

	return atomic_load(&f->gate) & (io ? GATE_IO : GATE_MEM);
}

struct ram_copy {
	uint8_t *ram, *buf;
	size_t size;
	bool write;
};

/* Whole words where both sides allow it, so that a value is never seen half written. */
static void ram_copy(void *data)
{
	struct ram_copy *c = data;
	size_t i = 0;

	while (i < c->size) {
		uint8_t *ram = c->ram + i;
		uint64_t v;

		if (((uintptr_t)ram & 7) || c->size - i < 8) {
			if (c->write)
				__atomic_store_n(ram, c->buf[i], __ATOMIC_RELAXED);
			else
				c->buf[i] = __atomic_load_n(ram, __ATOMIC_RELAXED);
			i++;
			continue;
		}
		if (c->write) {
			memcpy(&v, c->buf + i, 8);
			__atomic_store_n((uint64_t *)ram, v, __ATOMIC_RELAXED);
		} else {
			v = __atomic_load_n((uint64_t *)ram, __ATOMIC_RELAXED);
			memcpy(c->buf + i, &v, 8);
		}
		i += 8;
	}
}

/*
 * Inside one page. Under the register lock, so that the image stays while we are at it, and so that
 * nothing is written once a reset has taken decoding away.
 */
static int access_ram(struct pcif *f, unsigned bar, uint64_t offset, uint8_t *buf, size_t size,
		      bool write)
{
	struct ram_copy c = { .buf = buf, .size = size, .write = write };
	int rc = -EIO;

	pcif_lock(f);
	c.ram = (uint8_t *)pcif_bar_image(f, bar) + offset;
	if (decodes(f, bar))
		rc = guard_call(ram_copy, &c);
	pcif_unlock(f);
	return rc;
}

static uint64_t size_mask(unsigned size)
{
	return size == 8 ? UINT64_MAX : BIT64(8 * size) - 1;
}

static uint64_t msix_read(struct pcif *f, uint64_t offset, unsigned size)
{
	uint64_t v;

	if (size == 8)
		return irq_msix_read(f, offset) | (uint64_t)irq_msix_read(f, offset + 4) << 32;
	v = irq_msix_read(f, offset & ~3ull);
	return v >> (offset % 4 * 8);
}

static void msix_write(struct pcif *f, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned shift = (unsigned)(offset % 4 * 8);

	if (size == 8) {
		irq_msix_write(f, offset, (uint32_t)value, UINT32_MAX);
		irq_msix_write(f, offset + 4, (uint32_t)(value >> 32), UINT32_MAX);
		return;
	}
	irq_msix_write(f, offset & ~3ull, (uint32_t)value << shift,
		       (uint32_t)size_mask(size) << shift);
}

/* Nobody claims the address on the bus, which the reader sees as ones. */
static bool silent(struct pcif *f, unsigned bar)
{
	bool io = f->desc.bars[bar].type == PCIF_BAR_IO;

	return atomic_load(&f->gate) & (io ? GATE_SILENT_IO : GATE_SILENT);
}

/* What the function itself answers, under its lock. -EIO: see bar_access(). */
static int access_function(struct pcif *f, unsigned bar, uint64_t offset, unsigned size,
			   uint64_t *v, bool write)
{
	struct pcif_regs *regs = f->regs[bar];
	int rc = 0;

	pcif_lock(f);
	/* Again: a reset that began since then waits only for who has the lock already. */
	if (!decodes(f, bar))
		rc = -EIO;
	else if (silent(f, bar))
		*v = UINT64_MAX;
	else if (regs && write)
		pcif_regs_write(regs, offset, size, *v);
	else if (regs)
		*v = pcif_regs_read(regs, offset, size);
	else if (write && f->model->bar_write)
		f->model->bar_write(f->state, bar, offset, size, *v);
	else if (!write && f->model->bar_read)
		*v = f->model->bar_read(f->state, bar, offset, size);
	pcif_unlock(f);
	return rc;
}

/* One aligned piece. */
static int access_piece(struct pcif *f, unsigned bar, uint64_t offset, unsigned size, void *buf,
			bool write)
{
	uint64_t v = 0;

	if (write)
		memcpy(&v, buf, size);
	v = le64toh(v);
	if (irq_in_msix(f, bar, offset)) {
		if (write)
			msix_write(f, offset, size, v);
		else
			v = msix_read(f, offset, size);
	} else {
		int rc = access_function(f, bar, offset, size, &v, write);

		if (rc)
			return rc;
	}
	if (!write) {
		v = htole64(v);
		memcpy(buf, &v, size);
	}
	return 0;
}

static unsigned piece_size(uint64_t offset, size_t left, unsigned max)
{
	unsigned size = max;

	while (size > left || offset % size)
		size /= 2;
	return size;
}

static int bar_access(struct pcif *f, unsigned bar, uint64_t offset, uint8_t *buf, size_t size,
		      bool write, bool hide_msix)
{
	const struct pcif_bar *b;
	bool io;

	if (bar >= PCIF_NUM_BARS)
		return -EINVAL;
	b = &f->desc.bars[bar];
	if (b->type == PCIF_BAR_NONE || offset > b->size || size > b->size - offset)
		return -EINVAL;
	io = b->type == PCIF_BAR_IO;
	while (size) {
		size_t n = piece_size(offset, size, io ? 4 : 8);

		if (hide_msix && irq_in_msix_table(f, bar, offset)) {
			if (!write)
				memset(buf, 0xff, n);
		} else if (!decodes(f, bar)) {
			return -EIO;
		} else if (silent(f, bar)) {
			if (!write)
				memset(buf, 0xff, n);
		} else if (pcif_bar_policy(f, bar, offset) == PCIF_PAGE_RAM) {
			n = MIN(size, UVF_PAGE_SIZE - offset % UVF_PAGE_SIZE);
			if (access_ram(f, bar, offset, buf, n, write))
				return -EIO;
		} else if (access_piece(f, bar, offset, (unsigned)n, buf, write)) {
			return -EIO;
		}
		offset += n;
		buf += n;
		size -= n;
	}
	return 0;
}

int pcif_bar_read(struct pcif *f, unsigned bar, uint64_t offset, void *buf, size_t size,
		  bool hide_msix)
{
	return bar_access(f, bar, offset, buf, size, false, hide_msix);
}

int pcif_bar_write(struct pcif *f, unsigned bar, uint64_t offset, const void *buf, size_t size,
		   bool hide_msix)
{
	/* Only read from when @write is set. */
	return bar_access(f, bar, offset, (uint8_t *)(uintptr_t)buf, size, true, hide_msix);
}
