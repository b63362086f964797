/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capability chains of the GET_INFO requests: each capability starts with a header that holds its
 * id, its version and the offset of the next one, counted from the start of the whole reply.
 * Source: include/uapi/linux/vfio.h, vfio_info_cap_add(), vfio_info_cap_shift().
 */
#include "vfio/priv.h"

void *chain_add(struct chain *c, uint16_t id, uint16_t version, size_t size)
{
	size_t aligned = ALIGN_UP(size, INFO_CAP_ALIGN);
	struct vfio_info_cap_header head = { .id = id, .version = version };
	uint8_t *p;

	if (aligned > sizeof(c->buf) - c->size)
		return NULL;
	p = c->buf + c->size;
	memset(p, 0, aligned);
	memcpy(p, &head, sizeof(head));
	if (c->size) {
		struct vfio_info_cap_header *last = (void *)(c->buf + c->last);

		last->next = c->size;
	}
	c->last = c->size;
	c->size += aligned;
	return p;
}

size_t chain_reply(struct chain *c, void *data, size_t room, size_t head, uint32_t *argsz,
		   uint32_t *cap_offset)
{
	size_t at = 0;

	if (!c->size)
		return 0;
	if (room < head + c->size || *argsz < head + c->size) {
		/* The client comes again with a buffer of this size. */
		*argsz = head + c->size;
		*cap_offset = 0;
		return 0;
	}
	for (;;) {
		struct vfio_info_cap_header *h = (void *)(c->buf + at);

		if (!h->next)
			break;
		at = h->next;
		h->next += head;
	}
	*cap_offset = head;
	memcpy((uint8_t *)data + head, c->buf, c->size);
	return c->size;
}
