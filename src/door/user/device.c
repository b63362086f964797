// SPDX-License-Identifier: BSD-3-Clause
/*
 * A session's function: opened as a client of /dev/vfio opens one, by its group, with a container
 * of its own. So what is owned by somebody is refused here as there, and a function that is closed
 * is reset.
 */
#include <errno.h>
#include <linux/vfio.h>

#include "door/user/priv.h"

static int group_request(struct user_session *s, uint32_t request, void *data, size_t size,
			 struct vfio_obj **device)
{
	struct vfio_fd fd = { .fd = -1, .obj = s->container };
	struct vfio_call call = {
		.request = request,
		.data = data,
		.size = size,
		.fds = &fd,
		.n_fds = 1,
	};
	int ret = vfio_call(s->group, &call);

	if (device)
		*device = call.new_obj;
	return ret;
}

static int open_group(struct user_session *s)
{
	struct vfio_call iommu = { .request = VFIO_SET_IOMMU, .value = VFIO_TYPE1v2_IOMMU };
	int number = -1; /* the container, which has no descriptor */
	int ret;

	ret = vfio_open_container(s->door->vfio, &s->container);
	if (!ret)
		ret = vfio_open_group(s->door->vfio, pcif_group(s->socket->f), &s->group);
	if (ret)
		return ret;
	vfio_group_set_client(s->group, s->client);
	ret = group_request(s, VFIO_GROUP_SET_CONTAINER, &number, sizeof(number), NULL);
	return ret ? ret : vfio_call(s->container, &iommu);
}

/* Each BAR at the offset of its region, so that places in the file are told apart by their region.
 */
static int open_pages(struct user_session *s)
{
	uint64_t base[PCIF_NUM_BARS];
	int ret;

	for (unsigned bar = 0; bar < PCIF_NUM_BARS; bar++)
		base[bar] = (uint64_t)bar << VFIO_REGION_SHIFT;
	ret = door_pages_begin(&s->pages, s->socket->f, base,
			       (uint64_t)PCIF_NUM_BARS << VFIO_REGION_SHIFT);
	if (ret)
		return ret;
	s->has_pages = true;
	pcif_set_shared(s->socket->f, true);
	return 0;
}

/**
 * session_open() - opens the function for the client.
 * Returns 0; -EBUSY: it, or another of its group, has an owner; -EPERM: a function of its group
 * belongs to a host driver; -ENODEV; -EACCES: a virtual function that wants a token; -ENOMEM, ...
 */
int session_open(struct user_session *s)
{
	char name[PCI_BDF_STRLEN];
	int ret;

	snprintf(name, sizeof(name), "%s", session_name(s));
	ret = open_group(s);
	if (!ret)
		ret = group_request(s, VFIO_GROUP_GET_DEVICE_FD, name, strlen(name) + 1,
				    &s->device);
	if (!ret)
		ret = open_pages(s);
	if (!ret)
		ret = user_link_new(s->has_twin ? &s->twin : &s->main, &s->main, s->max_data,
				    &s->link);
	if (!ret)
		ret = user_link_memory(s->link, &s->remote);
	return ret;
}

/* Whatever of it is open. The connection is dead, so nobody waits for an answer. */
void session_close(struct user_session *s)
{
	if (s->has_pages) {
		pcif_set_shared(s->socket->f, false);
		door_pages_end(&s->pages);
	}
	vfio_obj_put(s->device);
	vfio_obj_put(s->group);
	vfio_obj_put(s->container);
	if (s->link)
		user_link_cut(s->link);
	iommu_mem_put(s->remote);
	session_forget(s);
}
