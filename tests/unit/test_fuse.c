/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake with kernels of all ages, played by a socket that keeps packets apart as
 * /dev/fuse does.
 */
#include <errno.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "door/dev/fuse_abi.h"
#include "door/dev/priv.h"

struct hello {
	struct fuse_in_header h;
	struct fuse_init_in in;
};

static struct fuse_init_out answer;
static size_t answered;

/* @devices: what is wanted, then what it is. */
static int shake(const struct hello *hello, size_t size, enum device_files *devices,
		 struct door_error *err)
{
	struct door_dev *d = calloc(1, sizeof(*d));
	struct {
		struct fuse_out_header h;
		struct fuse_init_out out;
	} back = { 0 };
	int fds[2], r;
	ssize_t n;

	assert_non_null(d);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(write(fds[1], hello, size), size);
	d->fuse_fd = fds[0];
	d->devices = *devices;
	err->text[0] = 0;
	r = fuse_handshake(d, err);
	*devices = d->devices;
	close(fds[0]);
	n = read(fds[1], &back, sizeof(back));
	answered = n < 0 ? 0 : (size_t)n;
	answer = back.out;
	close(fds[1]);
	free(d);
	return r;
}

static const struct hello hello_new = {
	.h = { .len = sizeof(hello_new), .opcode = FUSE_INIT, .unique = 1 },
	.in = { .major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.flags = FUSE_INIT_EXT,
		.flags2 = (uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32) },
};

#define HELLO_BEFORE_5_17 (sizeof(struct fuse_in_header) + 16)

static void best_devices(void **state)
{
	enum device_files devices = DEVICES_AUTO;
	struct door_error err;
	struct hello h = hello_new;

	assert_int_equal(shake(&hello_new, sizeof(h), &devices, &err), 0);
	assert_string_equal(err.text, "");
	assert_int_equal(devices, DEVICES_FUSE);
	assert_int_equal(answered, sizeof(struct fuse_out_header) + sizeof(answer));
	assert_true(answer.flags & FUSE_INIT_EXT);
	assert_int_equal(answer.flags2, FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
	/* Debian 12's own kernel, 6.1. */
	h.in.flags2 = 0;
	devices = DEVICES_AUTO;
	assert_int_equal(shake(&h, sizeof(h), &devices, &err), 0);
	assert_int_equal(devices, DEVICES_MEMFD);
	assert_false(answer.flags & FUSE_INIT_EXT);
	assert_int_equal(answer.flags2, 0);
	/* Without the second word of flags nobody can mean one of its bits. */
	h = hello_new;
	h.in.flags = 0;
	devices = DEVICES_AUTO;
	assert_int_equal(shake(&h, sizeof(h), &devices, &err), 0);
	assert_int_equal(devices, DEVICES_MEMFD);
	/* Before Linux 5.17 the message was shorter. */
	devices = DEVICES_AUTO;
	assert_int_equal(shake(&h, HELLO_BEFORE_5_17, &devices, &err), 0);
	assert_int_equal(devices, DEVICES_MEMFD);
	assert_int_equal(answered, sizeof(struct fuse_out_header) + sizeof(answer));
}

static void wanted_devices(void **state)
{
	enum device_files devices = DEVICES_MEMFD;
	struct door_error err;
	struct hello h = hello_new;

	assert_int_equal(shake(&hello_new, sizeof(h), &devices, &err), 0);
	assert_int_equal(devices, DEVICES_MEMFD);
	assert_int_equal(answer.flags2, 0);
	devices = DEVICES_FUSE;
	assert_int_equal(shake(&hello_new, sizeof(h), &devices, &err), 0);
	assert_int_equal(devices, DEVICES_FUSE);
	h.in.flags2 = 0;
	assert_int_equal(shake(&h, sizeof(h), &devices, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "FUSE_DIRECT_IO_ALLOW_MMAP"));
	assert_non_null(strstr(err.text, "UVFIO_DOOR"));
	assert_null(strchr(err.text, '\n'));
}

static void no_kernel_of_ours(void **state)
{
	enum device_files devices = DEVICES_AUTO;
	struct door_error err;
	struct hello h = hello_new;

	h.in.major = 6;
	assert_int_equal(shake(&h, sizeof(h), &devices, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "Linux 5.10"));
	h.in.major = FUSE_KERNEL_VERSION;
	h.in.minor = 22;
	assert_int_equal(shake(&h, sizeof(h), &devices, &err), -EOPNOTSUPP);
	h = hello_new;
	assert_int_equal(shake(&h, HELLO_BEFORE_5_17 - 1, &devices, &err), -EOPNOTSUPP);
	h.h.opcode = FUSE_GETATTR;
	assert_int_equal(shake(&h, sizeof(h), &devices, &err), -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(best_devices),
		cmocka_unit_test(wanted_devices),
		cmocka_unit_test(no_kernel_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
