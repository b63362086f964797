// SPDX-License-Identifier: BSD-3-Clause
/* vfio-user: the stream of messages, clients that behave badly, sockets and their folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/file.h>
#include <sys/resource.h>

#include "user_client.h"

static struct got m;

static int setup(void **state)
{
	static struct world w;

	world_open(&w);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	world_close(*state);
	return 0;
}

static void open_full(struct client *c, struct world *w)
{
	assert_int_equal(client_open(c, w, FULL, ALL_CAPS, &m), 0);
	enable(c, &m);
}

/* ------------------------------------------------------------------ the stream */

/* Puts a message at @to; its end. */
static uint8_t *put(uint8_t *to, uint16_t id, uint16_t command, uint32_t flags, const void *data,
		    size_t size)
{
	struct user_header h = { id, command, (uint32_t)(sizeof(h) + size), flags, 0 };

	memcpy(to, &h, sizeof(h));
	if (size)
		memcpy(to + sizeof(h), data, size);
	return to + h.size;
}

static void test_byte_by_byte(void **state)
{
	struct vfio_irq_set set = { .argsz = sizeof(set),
				    .flags =
					    VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				    .index = VFIO_PCI_MSIX_IRQ_INDEX,
				    .count = 1 };
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint8_t data[64];
	uint64_t n;
	size_t size = (size_t)(put(data, 7, USER_SET_IRQS, 0, &set, sizeof(set)) - data);
	struct client c;

	open_full(&c, *state);
	c.id = 7;
	/* The descriptor with each of the bytes in turn. */
	for (size_t with = 0; with < size; with++) {
		for (size_t i = 0; i < size; i++)
			assert_true(send_raw(c.fd, data + i, 1, &efd, i == with));
		assert_int_equal(client_reply(&c, USER_SET_IRQS, &m), 0);
		pcif_irq_raise(((struct world *)*state)->x.full, 0);
		assert_int_equal(read(efd, &n, sizeof(n)), sizeof(n));
	}
	/* Cut in two, with the beginning of the next. */
	for (size_t cut = 1; cut < size; cut++) {
		uint8_t two[128];

		memcpy(two, data, size);
		memcpy(two + size, data, size);
		assert_true(send_raw(c.fd, two, cut, NULL, 0));
		assert_true(send_raw(c.fd, two + cut, size, NULL, 0));
		assert_true(send_raw(c.fd, two + cut + size, size - cut, NULL, 0));
		assert_int_equal(client_reply(&c, USER_SET_IRQS, &m), 0);
		assert_int_equal(client_reply(&c, USER_SET_IRQS, &m), 0);
	}
	close(efd);
	client_close(&c);
}

/* Many in one write, some that want no reply; descriptors with a message that others are before. */
static void test_several(void **state)
{
	static uint8_t data[KIB(64)];
	struct user_region_io io = { 0, VFIO_PCI_CONFIG_REGION_INDEX, 4 };
	struct {
		struct user_region_io io;
		uint32_t value;
	} wr = { { 0, 0, 4 }, 9 };
	struct model *model = pcif_state(((struct world *)*state)->x.full);
	uint8_t *end = data;
	struct client c;

	open_full(&c, *state);
	for (unsigned i = 0; i < 500; i++) {
		end = put(end, (uint16_t)i, USER_REGION_READ, 0, &io, sizeof(io));
		end = put(end, 5, USER_REGION_WRITE, USER_NO_REPLY, &wr, sizeof(io) + 4);
		/* One that fails says nothing either. */
		if (i % 10 == 0)
			end = put(end, 5, USER_REGION_READ, USER_NO_REPLY, &io, 3);
	}
	assert_true(send_raw(c.fd, data, (size_t)(end - data), NULL, 0));
	for (unsigned i = 0; i < 500; i++) {
		c.id = (uint16_t)i;
		assert_int_equal(client_reply(&c, USER_REGION_READ, &m), 0);
	}
	assert_int_equal(client_call(&c, USER_RESET, NULL, 0, &m), 0);
	assert_int_equal(model->writes, 500);
	client_close(&c);
}

/* Two messages of one write: the descriptors are the last one's. */
static void test_fds_of_several(void **state)
{
	struct vfio_irq_set set = { .argsz = sizeof(set),
				    .flags =
					    VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				    .index = VFIO_PCI_MSIX_IRQ_INDEX,
				    .count = 2 };
	int efd[2] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	uint8_t data[128], *end = put(data, 1, USER_RESET, 0, NULL, 0);
	struct client c;

	open_full(&c, *state);
	end = put(end, 2, USER_SET_IRQS, 0, &set, sizeof(set));
	for (unsigned i = 0; i < 10; i++) {
		assert_true(send_raw(c.fd, data, (size_t)(end - data), efd, 2));
		c.id = 1;
		assert_int_equal(client_reply(&c, USER_RESET, &m), 0);
		c.id = 2;
		assert_int_equal(client_reply(&c, USER_SET_IRQS, &m), 0);
	}
	close(efd[0]);
	close(efd[1]);
	client_close(&c);
}

/* What can be no message ends the connection, whatever came before. */
static void test_no_message(void **state)
{
	const struct user_header bad[] = { { 1, USER_RESET, 0, 0, 0 },
					   { 1, USER_RESET, 15, 0, 0 },
					   { 1, USER_RESET, USER_MESSAGE_MAX + 1, 0, 0 },
					   { 1, USER_RESET, ~0u, 0, 0 },
					   { 1, USER_RESET, 16, 2, 0 },
					   { 1, USER_RESET, 16, 15, 0 } };
	struct client c;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		open_full(&c, *state);
		assert_true(send_raw(c.fd, &bad[i], sizeof(bad[i]), NULL, 0));
		assert_false(receive_message(c.fd, &m));
		client_close(&c);
	}
	/* The rest of one that never comes; replies that nobody waits for; a lot of them. */
	open_full(&c, *state);
	for (unsigned i = 0; i < 2000; i++)
		send_message(c.fd, (uint16_t)i, USER_DMA_READ, USER_TYPE_REPLY, &c, 8, NULL, 0);
	assert_int_equal(client_call(&c, USER_RESET, NULL, 0, &m), 0);
	assert_true(send_raw(c.fd, &(struct user_header){ 1, 9, 64, 0, 0 }, 16, NULL, 0));
	client_close(&c);
}

/* More descriptors than a message can have, collected over its bytes. */
static void test_too_many_fds(void **state)
{
	struct world *w = *state;
	int none = open("/dev/null", O_RDWR | O_CLOEXEC), many[200];
	uint8_t data[64];
	struct client c;

	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = none;
	put(data, 1, USER_RESET, 0, many, 32);
	open_full(&c, w);
	assert_true(send_raw(c.fd, data, 8, many, ARRAY_SIZE(many)));
	(void)send_raw(c.fd, data + 8, 8, many, ARRAY_SIZE(many));
	assert_false(receive_message(c.fd, &m));
	client_close(&c);
	close(none);
}

/* Who takes no replies loses the connection; nobody else notices. */
static void test_never_reads(void **state)
{
	struct world *w = *state;
	struct user_region_io io = { 0, 2, KIB(64) };
	uint64_t start = time_mono_ns();
	struct client c, other;
	unsigned n = 0;

	w->door->limits.patience_ns = 200000000ull;
	open_full(&c, w);
	while (client_send(&c, USER_REGION_READ, &io, sizeof(io), NULL, 0) && n < 1000000)
		n++;
	assert_true(n < 1000000);
	assert_true(time_mono_ns() - start < 10000000000ull);
	assert_int_equal(client_open(&other, w, FULL, ALL_CAPS, &m), 0);
	client_close(&other);
	client_close(&c);
}

/* The same of one who takes a byte now and then. */
static void test_reads_slowly(void **state)
{
	struct world *w = *state;
	struct user_region_io io = { 0, 2, KIB(64) };
	uint64_t start = time_mono_ns();
	struct client c;
	uint8_t byte;

	w->door->limits.patience_ns = 300000000ull;
	open_full(&c, w);
	for (unsigned i = 0; i < 20; i++)
		(void)client_send(&c, USER_REGION_READ, &io, sizeof(io), NULL, 0);
	do {
		usleep(20000);
		assert_int_equal(recv(c.fd, &byte, 1, MSG_DONTWAIT), 1);
	} while (w->left != w->joined && time_mono_ns() - start < 10000000000ull);
	assert_int_equal(w->left, w->joined);
	client_close(&c);
}

/* ------------------------------------------------------------------ sockets */

static bool is_there(const struct world *w, const char *bdf)
{
	struct sockaddr_un addr;
	struct stat st;

	path_of(w, bdf, &addr);
	return !lstat(addr.sun_path, &st);
}

static void await_socket(const struct world *w, const char *bdf, bool there)
{
	uint64_t until = time_mono_ns() + 10000000000ull;

	while (is_there(w, bdf) != there) {
		assert_true(time_mono_ns() < until);
		usleep(5000);
	}
}

static void test_unbind(void **state)
{
	struct world *w = *state;
	struct pcif *f = w->x.full;
	struct client c;

	assert_true(is_there(w, FULL));
	assert_int_equal(bus_unbind(w->x.bus, NULL, pcif_bdf(f), NULL), 0);
	await_socket(w, FULL, false);
	assert_int_equal(client_try(&c, w, FULL), -ENOENT);
	assert_int_equal(bus_bind(w->x.bus, VFIO_PCI_DRIVER, pcif_bdf(f), NULL), 0);
	await_socket(w, FULL, true);
	assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0);
	client_close(&c);
	world_await_left(w);
	/* Faster than anybody looks. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(bus_unbind(w->x.bus, NULL, pcif_bdf(f), NULL), 0);
		assert_int_equal(bus_bind(w->x.bus, VFIO_PCI_DRIVER, pcif_bdf(f), NULL), 0);
		usleep(400000);
		assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0);
		client_close(&c);
		world_await_left(w);
	}
}

static int serve_in(struct world *w, const char *dir, struct door_error *err)
{
	struct door_user *door = NULL;
	int ret = door_user_new(w->x.v, dir, &world_ops, w, &door, err);

	door_user_free(door);
	return ret;
}

static void test_two_servers(void **state)
{
	struct world *w = *state;
	struct door_error err;
	struct client c, waiting[40];

	assert_int_equal(serve_in(w, w->dir, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "another process serves it"));
	assert_true(is_there(w, FULL));
	assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0);
	/* Also one that is too busy to answer. */
	for (unsigned i = 0; i < ARRAY_SIZE(waiting); i++)
		client_connect(&waiting[i], w, FULL);
	assert_int_equal(serve_in(w, w->dir, &err), -EADDRINUSE);
	for (unsigned i = 0; i < ARRAY_SIZE(waiting); i++)
		client_close(&waiting[i]);
	assert_int_equal(client_call(&c, USER_RESET, NULL, 0, &m), 0);
	client_close(&c);
}

/* One function's connections are not everybody's. */
static void test_many_clients(void **state)
{
	struct world *w = *state;
	struct client many[60], c;

	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		client_connect(&many[i], w, FULL);
	assert_int_equal(client_open(&c, w, TESTDEV, ALL_CAPS, &m), 0);
	client_close(&c);
	assert_true(w->joined <= 34);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		client_close(&many[i]);
	world_await_left(w);
	assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0);
	client_close(&c);
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Who cannot be taken for want of descriptors waits, and so does the door; then he is served. */
static void test_no_descriptors(void **state)
{
	struct world *w = *state;
	struct rlimit before, none;
	struct sockaddr_un addr;
	struct client c = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .twin = -1 };
	uint64_t start;
	int next = dup(c.fd);

	path_of(w, FULL, &addr);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(connect(c.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	start = cpu_ns();
	usleep(300000);
	start = cpu_ns() - start;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(start < 150000000);
	assert_int_equal(version_call(&c, 0, 1, NULL, 0, &m), 0);
	client_close(&c);
}

/* What a killed server left is replaced, what is no socket is not. */
static void test_in_the_way(void **state)
{
	struct world *w = *state;
	struct sockaddr_un addr;
	struct door_error err;
	struct stat st;
	int fd;

	door_user_free(w->door);
	w->door = NULL;
	path_of(w, FULL, &addr);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(serve_in(w, w->dir, &err), 0);
	fd = open(addr.sun_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "precious", 8), 8);
	close(fd);
	assert_int_equal(serve_in(w, w->dir, &err), -EEXIST);
	assert_int_equal(stat(addr.sun_path, &st), 0);
	assert_int_equal(st.st_size, 8);
	unlink(addr.sun_path);
	assert_int_equal(symlink("/nowhere", addr.sun_path), 0);
	assert_int_equal(serve_in(w, w->dir, &err), -EEXIST);
	unlink(addr.sun_path);
	assert_int_equal(mkdir(addr.sun_path, 0700), 0);
	assert_int_equal(serve_in(w, w->dir, &err), -EEXIST);
	rmdir(addr.sun_path);
	assert_int_equal(world_serve(w), 0);
	assert_int_equal(stat(addr.sun_path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
}

/* A file that somebody put in the place of the socket stays. */
static void test_replaced(void **state)
{
	struct world *w = *state;
	struct sockaddr_un addr;
	int fd;

	path_of(w, FULL, &addr);
	assert_int_equal(unlink(addr.sun_path), 0);
	fd = open(addr.sun_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	door_user_free(w->door);
	w->door = NULL;
	assert_int_equal(unlink(addr.sun_path), 0);
}

/* Who locks the folder is waited for, but not by the end of the door. */
static void test_locked(void **state)
{
	struct world *w = *state;
	int fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t start;

	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(bus_unbind(w->x.bus, NULL, pcif_bdf(w->x.full), NULL), 0);
	await_socket(w, FULL, false);
	assert_int_equal(bus_bind(w->x.bus, VFIO_PCI_DRIVER, pcif_bdf(w->x.full), NULL), 0);
	usleep(400000);
	assert_false(is_there(w, FULL));
	start = time_mono_ns();
	door_user_free(w->door);
	w->door = NULL;
	assert_true(time_mono_ns() - start < 4000000000ull);
	close(fd);
}

static void test_folder(void **state)
{
	struct world *w = *state;
	struct door_error err;
	char dir[128], deep[160];
	struct stat st;

	snprintf(dir, sizeof(dir), "%s/sub", w->dir);
	assert_int_equal(serve_in(w, dir, &err), 0); /* made */
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(chmod(dir, 0777), 0);
	assert_int_equal(serve_in(w, dir, &err), -EPERM);
	assert_non_null(strstr(err.text, "everybody may write"));
	assert_int_equal(chmod(dir, 01777), 0);
	assert_int_equal(serve_in(w, dir, &err), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(serve_in(w, dir, &err), 0);
	if (!geteuid()) {
		assert_int_equal(chown(dir, 12345, 12345), 0);
		assert_int_equal(serve_in(w, dir, &err), -EPERM);
		assert_non_null(strstr(err.text, "belongs to user 12345"));
	}
	snprintf(deep, sizeof(deep), "%s/a/b", dir);
	assert_int_equal(serve_in(w, deep, &err), -ENOENT);
	assert_int_equal(serve_in(w, "/dev/null", &err), -ENOTDIR);
	memset(deep, 'x', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	memcpy(deep, dir, strlen(dir));
	assert_int_equal(rmdir(dir), 0);
	deep[strlen(dir)] = 'y';
	assert_int_equal(serve_in(w, deep, &err), -ENAMETOOLONG);
	assert_int_equal(rmdir(deep), 0);
}

/* The door goes with all that is connected to it. */
static void test_end_of_door(void **state)
{
	struct world *w = *state;
	struct client c[4];

	open_full(&c[0], w);
	client_connect(&c[1], w, FULL);
	client_connect(&c[2], w, TESTDEV);
	assert_int_equal(client_open(&c[3], w, PLAIN, TWIN_CAPS, &m), 0);
	door_user_free(w->door);
	w->door = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
		assert_false(receive_message(c[i].fd, &m));
		client_close(&c[i]);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_byte_by_byte), TEST(test_several),	    TEST(test_fds_of_several),
		TEST(test_no_message),	 TEST(test_too_many_fds),   TEST(test_never_reads),
		TEST(test_reads_slowly), TEST(test_unbind),	    TEST(test_two_servers),
		TEST(test_many_clients), TEST(test_no_descriptors), TEST(test_in_the_way),
		TEST(test_replaced),	 TEST(test_locked),	    TEST(test_folder),
		TEST(test_end_of_door),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
