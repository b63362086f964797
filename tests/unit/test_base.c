/* SPDX-License-Identifier: BSD-3-Clause */
/* base: ranges, files, descriptor passing, event loop, threads, guarded access. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/base.h"
#include "fds.h"

static int count_fds(void **state)
{
	*state = (void *)(uintptr_t)open_fds();
	return 0;
}

static int same_fds(void **state)
{
	return open_fds() == (unsigned)(uintptr_t)*state ? 0 : -1;
}

static void ranges(void **state)
{
	uint64_t last = 7;

	assert_int_equal(range_last(0, 0, &last), -EOVERFLOW);
	assert_int_equal(range_last(UINT64_MAX, 2, &last), -EOVERFLOW);
	assert_int_equal(last, 7);
	assert_int_equal(range_last(UINT64_MAX, 1, &last), 0);
	assert_true(last == UINT64_MAX);
	assert_int_equal(range_last(0x1000, 0x1000, &last), 0);
	assert_true(last == 0x1fff);
	assert_true(ranges_overlap(0, 10, 10, 20));
	assert_false(ranges_overlap(0, 9, 10, 20));
}

static void files(void **state)
{
	AUTO_CLOSE int fd = memfd_create("test", MFD_CLOEXEC);
	AUTO_FREE char *text = NULL;
	char path[64], buf[8];
	size_t size;

	assert_int_equal(fd_write_all(fd, "hello", 5), 0);
	assert_int_equal(fd_pwrite_all(fd, "J", 1, 0), 0);
	assert_int_equal(fd_pread_all(fd, buf, 5, 0), 0);
	assert_memory_equal(buf, "Jello", 5);
	assert_int_equal(fd_pread_all(fd, buf, 6, 0), -ENODATA);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(file_read_all(path, 4, &text, &size), -EFBIG);
	assert_int_equal(file_read_all(path, 5, &text, &size), 0);
	assert_int_equal(size, 5);
	assert_string_equal(text, "Jello");
	assert_int_equal(file_read_all("/nonexistent", 5, &text, &size), -ENOENT);
}

static void fd_passing(void **state)
{
	int sk[2], fds[4], got_fds[2];
	unsigned n = 2;
	size_t got;
	char buf[8];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sk), 0);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = dup(0);
	/* More than the receiver expects: the rest is closed, not leaked. */
	assert_int_equal(fdpass_send(sk[0], fds, 4, "x", 1), 0);
	assert_int_equal(fdpass_recv(sk[1], got_fds, &n, buf, sizeof(buf), &got), 0);
	assert_int_equal(n, 2);
	assert_int_equal(got, 1);
	assert_true(fcntl(got_fds[0], F_GETFD) & FD_CLOEXEC);
	close(got_fds[0]);
	close(got_fds[1]);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	assert_int_equal(fdpass_send(sk[0], NULL, 0, "", 0), -EINVAL);
	close(sk[0]);
	n = 2;
	assert_int_equal(fdpass_recv(sk[1], got_fds, &n, buf, sizeof(buf), &got), 0);
	assert_int_equal(got, 0);
	close(sk[1]);
}

struct loop_test {
	struct loop *loop;
	struct loop_source *a, *b, *timer;
	int sk[2];
	unsigned calls, ticks;
};

/* Frees its neighbour, whose event is in the same batch, and itself. */
static void on_readable(void *data, uint32_t events)
{
	struct loop_test *t = data;

	t->calls++;
	loop_source_free(t->a);
	loop_source_free(t->b);
}

static void on_tick(void *data, uint32_t events)
{
	struct loop_test *t = data;

	if (++t->ticks == 3) {
		loop_source_free(t->timer);
		loop_stop(t->loop, 42);
	}
}

static void on_post(void *data)
{
	struct loop_test *t = data;

	t->calls += 100;
}

static void *poster(void *data)
{
	struct loop_test *t = data;

	for (int i = 0; i < 10; i++)
		loop_post(t->loop, on_post, t);
	return NULL;
}

static void event_loop(void **state)
{
	struct loop_test t = { 0 };
	pthread_t thread;

	assert_int_equal(loop_new(&t.loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, t.sk), 0);
	assert_int_equal(loop_fd_add(t.loop, t.sk[0], EPOLLIN, on_readable, &t, &t.a), 0);
	assert_int_equal(loop_fd_add(t.loop, t.sk[1], EPOLLIN, on_readable, &t, &t.b), 0);
	assert_int_equal(write(t.sk[0], "x", 1), 1);
	assert_int_equal(write(t.sk[1], "x", 1), 1);
	pthread_create(&thread, NULL, poster, &t);
	pthread_join(thread, NULL);
	assert_int_equal(loop_timer_add(t.loop, 0, 1000000, on_tick, &t, &t.timer), 0);
	assert_int_equal(loop_run(t.loop), 42);
	assert_int_equal(t.calls, 1001);
	assert_int_equal(t.ticks, 3);
	/* What was posted and never run is freed. */
	assert_int_equal(loop_post(t.loop, on_post, &t), 0);
	loop_free(t.loop);
	close(t.sk[0]);
	close(t.sk[1]);
}

static void *look_at_mask(void *data)
{
	pthread_sigmask(SIG_BLOCK, NULL, data);
	return NULL;
}

static void *say_done(void *data)
{
	uint64_t one = 1;

	return write(*(int *)data, &one, sizeof(one)) == sizeof(one) ? data : NULL;
}

static void threads(void **state)
{
	AUTO_CLOSE int fd = eventfd(0, EFD_CLOEXEC);
	sigset_t mine, after, theirs;
	pthread_t thread;
	uint64_t n;

	pthread_sigmask(SIG_BLOCK, NULL, &mine);
	assert_int_equal(thread_start(&thread, 0, look_at_mask, &theirs), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_sigmask(SIG_BLOCK, NULL, &after);
	for (int sig = 1; sig < NSIG; sig++) {
		bool fault = sig == SIGBUS || sig == SIGSEGV || sig == SIGILL || sig == SIGFPE;
		/* KILL and STOP cannot be blocked, and two are the C library's own. */
		bool blocked = !fault && sig != SIGKILL && sig != SIGSTOP && sig != 32 && sig != 33;

		assert_int_equal(sigismember(&theirs, sig), blocked);
		assert_int_equal(sigismember(&after, sig), sigismember(&mine, sig));
	}
	/* Detached, with little stack; less than the least is refused. */
	assert_int_equal(thread_start(NULL, KIB(128), say_done, &fd), 0);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(thread_start(NULL, 1, say_done, &fd), -EINVAL);
}

static void guarded(void **state)
{
	AUTO_CLOSE int fd = memfd_create("test", MFD_CLOEXEC);
	char buf[UVF_PAGE_SIZE];
	char *p;

	assert_int_equal(guard_init(), 0);
	assert_int_equal(guard_init(), 0);
	assert_int_equal(ftruncate(fd, UVF_PAGE_SIZE), 0);
	p = mmap(NULL, UVF_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(guard_copy(p, "abc", 4), 0);
	assert_int_equal(guard_copy(buf, p, sizeof(buf)), 0);
	assert_string_equal(buf, "abc");
	assert_int_equal(ftruncate(fd, 0), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(guard_copy(buf, p, sizeof(buf)), -EFAULT);
		assert_int_equal(guard_copy(p, buf, sizeof(buf)), -EFAULT);
	}
	munmap(p, UVF_PAGE_SIZE);
}

static void limits(void **state)
{
	struct log_limit l = { 0 };
	unsigned ok = 0;

	for (int i = 0; i < 1000; i++)
		ok += log_limit_ok(&l);
	assert_in_range(ok, 10, 20);
}

/* ------------------------------------------------------------------ ordered range map */

static int check_tree(const struct range_node *n, const struct range_node *parent)
{
	int left, right;

	if (!n)
		return 0;
	assert_ptr_equal(n->parent, parent);
	left = check_tree(n->left, n);
	right = check_tree(n->right, n);
	assert_true(left - right >= -1 && left - right <= 1);
	assert_int_equal(n->height, MAX(left, right) + 1);
	return n->height;
}

static void range_map_rules(void **state)
{
	struct range_node a = { .first = 10, .last = 19 }, b = { .first = 30, .last = UINT64_MAX };
	struct range_node c = { .first = 19, .last = 20 }, d = { .first = 0, .last = 0 };
	struct range_map map = { 0 };

	assert_null(range_map_first(&map));
	assert_null(range_map_lower(&map, 0));
	assert_int_equal(range_map_insert(&map, &a), 0);
	assert_int_equal(range_map_insert(&map, &b), 0);
	assert_int_equal(range_map_insert(&map, &c), -EEXIST);
	assert_int_equal(range_map_insert(&map, &d), 0);
	assert_int_equal(map.count, 3);
	assert_ptr_equal(range_map_find(&map, 10), &a);
	assert_ptr_equal(range_map_find(&map, 19), &a);
	assert_null(range_map_find(&map, 20));
	assert_ptr_equal(range_map_find(&map, UINT64_MAX), &b);
	assert_ptr_equal(range_map_lower(&map, 1), &a);
	assert_ptr_equal(range_map_lower(&map, 20), &b);
	assert_ptr_equal(range_map_first(&map), &d);
	assert_ptr_equal(range_map_next(&d), &a);
	assert_null(range_map_next(&b));
	range_map_remove(&map, &b);
	assert_null(range_map_lower(&map, 20));
}

/* One node a slot of 16 addresses; the model is which slots are in. */
static void range_map_random(void **state)
{
	static struct range_node node[512];
	static bool in[ARRAY_SIZE(node)];
	struct range_map map = { 0 };
	uint32_t r = 1;
	size_t count = 0;

	memset(in, 0, sizeof(in));
	for (unsigned step = 0; step < 20000; step++) {
		size_t i, j;

		r = r * 1664525u + 1013904223u;
		i = (r >> 8) % ARRAY_SIZE(node);
		if (in[i]) {
			range_map_remove(&map, &node[i]);
			count--;
		} else {
			node[i].first = i * 16 + r % 4;
			node[i].last = i * 16 + 8 + r % 8;
			assert_int_equal(range_map_insert(&map, &node[i]), 0);
			count++;
		}
		in[i] = !in[i];
		assert_int_equal(map.count, count);
		i = (r >> 18) % ARRAY_SIZE(node);
		for (j = i; j < ARRAY_SIZE(node) && !in[j]; j++)
			;
		assert_ptr_equal(range_map_lower(&map, i * 16),
				 j < ARRAY_SIZE(node) ? &node[j] : NULL);
		assert_ptr_equal(range_map_find(&map, i * 16 + 5), in[i] ? &node[i] : NULL);
		if (step % 64 == 0) {
			struct range_node *n = range_map_first(&map);

			check_tree(map.root, NULL);
			for (j = 0; j < ARRAY_SIZE(node); j++) {
				if (!in[j])
					continue;
				assert_ptr_equal(n, &node[j]);
				n = range_map_next(n);
			}
			assert_null(n);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges),
		cmocka_unit_test_setup_teardown(files, count_fds, same_fds),
		cmocka_unit_test_setup_teardown(fd_passing, count_fds, same_fds),
		cmocka_unit_test_setup_teardown(event_loop, count_fds, same_fds),
		cmocka_unit_test_setup_teardown(threads, count_fds, same_fds),
		cmocka_unit_test_setup_teardown(guarded, count_fds, same_fds),
		cmocka_unit_test(limits),
		cmocka_unit_test(range_map_rules),
		cmocka_unit_test(range_map_random),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
