/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake with kernels that are too old, played by a socket that keeps packets apart as
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

static int shake(const struct hello *hello, size_t size, struct door_error *err)
{
	struct door_dev *d = calloc(1, sizeof(*d));
	int fds[2], r;

	assert_non_null(d);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(write(fds[1], hello, size), size);
	d->fuse_fd = fds[0];
	err->text[0] = 0;
	r = fuse_handshake(d, err);
	close(fds[0]);
	close(fds[1]);
	free(d);
	return r;
}

static void old_kernels(void **state)
{
	const struct hello good = {
		.h = { .len = sizeof(good), .opcode = FUSE_INIT, .unique = 1 },
		.in = { .major = FUSE_KERNEL_VERSION,
			.minor = FUSE_KERNEL_MINOR_VERSION,
			.flags = FUSE_INIT_EXT,
			.flags2 = (uint32_t)(FUSE_DIRECT_IO_ALLOW_MMAP >> 32) },
	};
	struct door_error err;
	struct hello h = good;

	assert_int_equal(shake(&good, sizeof(good), &err), 0);
	assert_string_equal(err.text, "");
	/* Debian 12's own kernel, 6.1. */
	h.in.flags2 = 0;
	assert_int_equal(shake(&h, sizeof(h), &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "FUSE_DIRECT_IO_ALLOW_MMAP"));
	assert_non_null(strstr(err.text, "Linux 6.6 or later"));
	assert_null(strchr(err.text, '\n'));
	/* Without the second word of flags nobody can mean one of its bits. */
	h = good;
	h.in.flags = 0;
	assert_int_equal(shake(&h, sizeof(h), &err), -EOPNOTSUPP);
	/* Before Linux 5.17 the message was shorter. */
	assert_int_equal(shake(&good, sizeof(good.h) + 16, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "Linux 6.6 or later"));
	h = good;
	h.in.major = 6;
	assert_int_equal(shake(&h, sizeof(h), &err), -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
