// SPDX-License-Identifier: BSD-3-Clause
/* The pages that clients may map, in a memfd of their own: see pages.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "door/pages.h"

static bool has_pages(const struct pcif_bar *b)
{
	if (b->type != PCIF_BAR_MEM32 && b->type != PCIF_BAR_MEM64)
		return false;
	for (unsigned i = 0; i < b->n_areas; i++)
		if (b->areas[i].policy != PCIF_PAGE_TRAP)
			return true;
	return false;
}

static void images_back(struct door_pages *p)
{
	const struct pcif_desc *desc = pcif_desc(p->f);

	for (unsigned bar = 0; bar < PCIF_NUM_BARS; bar++) {
		int ret;

		if (!p->image[bar])
			continue;
		ret = pcif_bar_move_image(p->f, bar, NULL, -1, 0);
		if (ret)
			log_warn("%s: what was in BAR %u is lost: %s", pcif_name(p->f), bar,
				 strerror(-ret));
		munmap(p->image[bar], desc->bars[bar].size);
		p->image[bar] = NULL;
	}
}

/* The function's own memory, with pages of the memfd in the places that clients may map. */
static int image_move(struct door_pages *p, unsigned bar)
{
	const struct pcif_bar *b = &pcif_desc(p->f)->bars[bar];
	uint64_t own_offset;
	int own = pcif_bar_memfd(p->f, bar, &own_offset), ret = 0;
	uint8_t *image;

	image = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, own, (off_t)own_offset);
	if (image == MAP_FAILED)
		return -errno;
	for (unsigned i = 0; i < b->n_areas && !ret; i++) {
		const struct pcif_bar_area *a = &b->areas[i];

		if (a->policy != PCIF_PAGE_TRAP &&
		    mmap(image + a->offset, a->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 p->fd, (off_t)(p->base[bar] + a->offset)) == MAP_FAILED)
			ret = -errno;
	}
	if (!ret)
		ret = pcif_bar_move_image(p->f, bar, image, p->fd, p->base[bar]);
	if (ret)
		munmap(image, b->size);
	else
		p->image[bar] = image;
	return ret;
}

/* A memfd that nobody can make smaller under our feet. */
static int make_memfd(struct door_pages *p, uint64_t size)
{
	p->fd = memfd_create("uvfio-device", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (p->fd < 0)
		return -errno;
	if (fchmod(p->fd, 0600) || ftruncate(p->fd, (off_t)size) ||
	    fcntl(p->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	return 0;
}

int door_pages_begin(struct door_pages *p, struct pcif *f, const uint64_t base[PCIF_NUM_BARS],
		     uint64_t size)
{
	const struct pcif_desc *desc = pcif_desc(f);
	int ret;

	*p = (struct door_pages){ .f = f, .fd = -1 };
	memcpy(p->base, base, sizeof(p->base));
	ret = make_memfd(p, size);
	for (unsigned bar = 0; bar < PCIF_NUM_BARS && !ret; bar++)
		if (has_pages(&desc->bars[bar]))
			ret = image_move(p, bar);
	if (ret)
		door_pages_end(p);
	return ret;
}

void door_pages_end(struct door_pages *p)
{
	images_back(p);
	base_cleanup_close(&p->fd);
	p->fd = -1;
}
