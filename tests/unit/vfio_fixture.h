/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of src/vfio share: the machine of vfio_client.h as a fixture, and short ways to
 * make requests as a door does (shape first, then descriptors, then the call).
 */
#ifndef UVFIO_TEST_VFIO_FIXTURE_H
#define UVFIO_TEST_VFIO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "vfio_client.h"

static int setup(void **state)
{
	static const struct place list[] = { { FULL, &full_model },
					     { PLAIN, &plain_model },
					     { PLAIN2, &plain_model },
					     { PF, &pf_model } };
	struct fixture *x = calloc(1, sizeof(*x));

	assert_int_equal(fixture_open(x, list, ARRAY_SIZE(list), MIB(1)), 0);
	x->full = find(x, FULL);
	x->plain = find(x, PLAIN);
	x->pf = find(x, PF);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	assert_true(fixture_close(x));
	free(x);
	return 0;
}

/* ------------------------------------------------------------------ requests */

static inline int call_fds(struct fixture *x, struct vfio_obj *obj, uint32_t request, void *data,
			   size_t size, const struct vfio_fd *fds, unsigned n)
{
	return request_block(&x->client, obj, request, data, size, fds, n, &x->reply, &x->new_obj);
}

/* With the ints of the block as our own eventfds. */
static inline int call(struct fixture *x, struct vfio_obj *obj, uint32_t request, void *data,
		       size_t size)
{
	struct vfio_fd fds[64];
	size_t offset;
	unsigned n = vfio_call_fds(vfio_obj_kind(obj), request, data, size, &offset);

	assert_true(n <= 64);
	for (unsigned i = 0; i < n; i++) {
		int32_t fd;

		memcpy(&fd, (uint8_t *)data + offset + 4 * i, 4);
		fds[i] = (struct vfio_fd){ .fd = fd < 0 ? -1 : fd };
		if (fd >= 0 && fcntl(fd, F_GETFD) < 0)
			fds[i] = (struct vfio_fd){ .fd = -1, .error = -EBADF };
	}
	return call_fds(x, obj, request, data, size, fds, n);
}

static inline int call_value(struct fixture *x, struct vfio_obj *obj, uint32_t request,
			     uint64_t value)
{
	return request_value(&x->client, obj, request, value);
}

static inline int set_container(struct fixture *x, struct vfio_obj *group,
				struct vfio_obj *container)
{
	return request_container(&x->client, group, container);
}

static inline int get_device(struct fixture *x, const char *name, struct vfio_obj **dev)
{
	int ret = request_device(&x->client, x->group, name, &x->new_obj);

	if (!ret)
		*dev = x->new_obj;
	return ret;
}

static inline void open_container(struct fixture *x, const char *bdf, uint32_t type)
{
	assert_int_equal(vfio_open_container(x->v, &x->container), 0);
	assert_int_equal(vfio_open_group(x->v, pcif_group(find(x, bdf)), &x->group), 0);
	assert_int_equal(set_container(x, x->group, x->container), 0);
	assert_int_equal(call_value(x, x->container, VFIO_SET_IOMMU, type), 0);
}

static inline void open_device(struct fixture *x, const char *bdf)
{
	open_container(x, bdf, VFIO_TYPE1v2_IOMMU);
	assert_int_equal(get_device(x, bdf, &x->dev), 0);
}

static inline uint64_t region(unsigned index, uint64_t offset)
{
	return (uint64_t)index << VFIO_REGION_SHIFT | offset;
}

static inline uint32_t config_get(struct fixture *x, unsigned at, unsigned n)
{
	uint32_t v = 0;

	assert_int_equal(vfio_device_read(x->dev, &v, n, region(VFIO_PCI_CONFIG_REGION_INDEX, at)),
			 n);
	return v;
}

static inline void config_put(struct fixture *x, unsigned at, unsigned n, uint32_t v)
{
	assert_int_equal(vfio_device_write(x->dev, &v, n, region(VFIO_PCI_CONFIG_REGION_INDEX, at)),
			 n);
}

static inline uint64_t counter(int efd)
{
	uint64_t v = 0;

	return read(efd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

/* A client that makes our writes to its eventfd wait, as often as it can. */
struct hostile {
	struct pcif *f;
	int fd;
	_Atomic bool stop;
};

static inline void hostile_drain(int fd)
{
	uint64_t v;
	struct iovec iov = { &v, sizeof(v) };

	if (preadv2(fd, &iov, 1, -1, RWF_NOWAIT) < 0)
		return;
}

static inline void *hostile_fill(void *data)
{
	struct hostile *h = data;
	uint64_t max = ~0ull - 1;

	while (!h->stop) {
		hostile_drain(h->fd);
		if (write(h->fd, &max, sizeof(max)) < 0)
			break;
	}
	return NULL;
}

static inline void *hostile_raise(void *data)
{
	struct hostile *h = data;

	for (unsigned i = 0; i < 20000 && !h->stop; i++)
		pcif_irq_raise(h->f, 0);
	return NULL;
}

static inline int new_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

#endif
