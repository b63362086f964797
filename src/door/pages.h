/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What doors have in common: a memfd with the pages of a function that clients may map, and nothing
 * else of it. Clients get the memfd; while they have it the model's image of each BAR is our
 * mapping of the same pages (pcif_bar_move_image()). Who keeps it mapped for longer reaches nothing
 * any more.
 */
#ifndef UVFIO_DOOR_PAGES_H
#define UVFIO_DOOR_PAGES_H

#include "pci/pci.h"

struct door_pages {
	struct pcif *f;
	int fd;
	uint64_t base[PCIF_NUM_BARS]; /* where in the memfd each BAR begins */
	void *image[PCIF_NUM_BARS];   /* NULL: of this BAR no page may be mapped */
};

/**
 * door_pages_begin() - moves the pages of @f that may be mapped to a new memfd.
 * @base: places of the BARs in it, multiples of the page size, apart as their sizes want; copied
 * @size: of the memfd, which is sparse and keeps its size whatever clients do
 * Nobody works at the function yet (see pcif_bar_set_image()). Returns 0, or -ENOMEM, -EMFILE, ...,
 * with nothing changed.
 */
int door_pages_begin(struct door_pages *p, struct pcif *f, const uint64_t base[PCIF_NUM_BARS],
		     uint64_t size);
/* The contents are the function's own again. Nobody works at it any more. Once. */
void door_pages_end(struct door_pages *p);

#endif
