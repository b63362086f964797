/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Physical region pages: from the two entries of a command to a list of runs. Lists live in client
 * memory, which may change under us: each entry is copied once and the copy is checked and used.
 * The walk always ends: a page of a list yields an entry, or is the first one.
 *
 * Follows NVM Express 1.4, 4.3 and 4.1.1.
 */
#include "device/nvme/priv.h"

struct walk {
	struct nvmed_run *runs;
	unsigned n;
	uint32_t left; /* bytes of the transfer that have no place yet */
	uint64_t page;
};

static uint16_t walk_add(struct walk *w, uint64_t iova, uint64_t room)
{
	uint32_t size = MIN(w->left, room);
	struct nvmed_run *last = w->n ? &w->runs[w->n - 1] : NULL;

	if (iova + size - 1 < iova)
		return NVMED_DATA_TRANSFER_ERROR;
	w->left -= size;
	if (last && iova && last->iova + last->size == iova) {
		last->size += size;
		return NVMED_OK;
	}
	w->runs[w->n++] = (struct nvmed_run){ iova, size };
	return NVMED_OK;
}

static uint16_t walk_list(struct walk *w, uint64_t list, nvmed_prp_fetch fetch, void *data)
{
	le64 entries[64];

	if (list & 7)
		return NVMED_INVALID_PRP_OFFSET;
	while (w->left) {
		uint64_t needed = (w->left + w->page - 1) / w->page;
		uint64_t slots = (w->page - (list & (w->page - 1))) / sizeof(le64);
		/* Where the rest does not fit, the last slot of the page names the next page. */
		bool chain = needed > slots;
		uint64_t use = chain ? slots - 1 : needed;

		while (use) {
			unsigned n = MIN(use, ARRAY_SIZE(entries));

			if (fetch(data, list, entries, n * sizeof(le64)))
				return NVMED_DATA_TRANSFER_ERROR;
			for (unsigned i = 0; i < n; i++) {
				uint64_t iova = le64_get(entries[i]);
				uint16_t status;

				if (iova & (w->page - 1))
					return NVMED_INVALID_PRP_OFFSET;
				status = walk_add(w, iova, w->page);
				if (status)
					return status;
			}
			list += n * sizeof(le64);
			use -= n;
		}
		if (!chain)
			break;
		if (fetch(data, list, entries, sizeof(le64)))
			return NVMED_DATA_TRANSFER_ERROR;
		list = le64_get(entries[0]);
		if (list & (w->page - 1))
			return NVMED_INVALID_PRP_OFFSET;
	}
	return NVMED_OK;
}

uint16_t nvmed_prp_walk(uint64_t prp1, uint64_t prp2, uint32_t size, unsigned page_shift,
			nvmed_prp_fetch fetch, void *data, struct nvmed_run *runs, unsigned *n_runs)
{
	uint64_t page = BIT64(page_shift);
	struct walk w = { .runs = runs, .left = size, .page = page };
	uint16_t status;

	if (prp1 & 3)
		return NVMED_INVALID_PRP_OFFSET;
	status = walk_add(&w, prp1, page - (prp1 & (page - 1)));
	if (!status && w.left > page)
		status = walk_list(&w, prp2, fetch, data);
	else if (!status && w.left)
		status = prp2 & (page - 1) ? NVMED_INVALID_PRP_OFFSET : walk_add(&w, prp2, page);
	if (!status)
		*n_runs = w.n;
	return status;
}
