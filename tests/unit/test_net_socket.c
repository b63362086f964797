/* SPDX-License-Identifier: BSD-3-Clause */
/* Uplinks over a stream: the framing, sockets and their peers, passt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/wait.h>

#include "fds.h"
#include "net_test.h"

/* ------------------------------------------------------------------ framing */

struct seen {
	unsigned n;
	uint32_t len[256];
	uint8_t first[256];
};

static void see(void *data, const struct netup_frame *frames, unsigned n)
{
	struct seen *s = data;

	for (unsigned i = 0; i < n; i++, s->n++) {
		s->len[s->n % 256] = frames[i].len;
		s->first[s->n % 256] = frames[i].data[0];
	}
}

/* Puts @size bytes in, @step at a time. */
static int feed(struct netstream *s, const uint8_t *data, size_t size, size_t step,
		struct seen *seen)
{
	int ret = 0;

	while (size && !ret) {
		uint32_t n = (uint32_t)MIN(size, step), room;
		uint8_t *to = netstream_room(s, &room);

		n = MIN(n, room);
		memcpy(to, data, n);
		ret = netstream_take(s, n, see, seen);
		data += n;
		size -= n;
	}
	return ret;
}

static size_t put(uint8_t *to, uint32_t len, uint8_t fill)
{
	uint32_t wire = htobe32(len);

	memcpy(to, &wire, 4);
	memset(to + 4, fill, len);
	return 4 + len;
}

static void framing(void **state)
{
	static const size_t steps[] = { 1, 3, 64, 1000, 1u << 20 };
	uint8_t *wire = malloc(MIB(1));

	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		struct netstream s = { .buf = malloc(NETSTREAM_BUF), .size = NETSTREAM_BUF };
		struct seen seen = { 0 };
		size_t size = 0;

		size += put(wire + size, 14, 1);
		size += put(wire + size, 0, 0);
		size += put(wire + size, 13, 2);
		size += put(wire + size, NETUP_FRAME_MAX, 3);
		size += put(wire + size, NETUP_FRAME_MAX + 1, 4);
		size += put(wire + size, NETSTREAM_LENGTH_MAX, 5);
		size += put(wire + size, 60, 6);
		for (unsigned k = 0; k < 2 * NETUP_BATCH; k++)
			size += put(wire + size, 60, (uint8_t)(7 + k));
		assert_int_equal(feed(&s, wire, size, steps[i], &seen), 0);
		assert_int_equal(seen.n, 3 + 2 * NETUP_BATCH);
		assert_int_equal(seen.len[0], 14);
		assert_int_equal(seen.len[1], NETUP_FRAME_MAX);
		assert_int_equal(seen.first[1], 3);
		for (unsigned k = 2; k < seen.n; k++)
			assert_int_equal(seen.first[k], k + 4);
		assert_int_equal(s.wrong, 4);
		assert_int_equal(s.have, 0);
		free(s.buf);
	}
	free(wire);
}

static void no_framing(void **state)
{
	static const uint32_t lengths[] = { NETSTREAM_LENGTH_MAX + 1, 0x7fffffff, 0x80000000,
					    UINT32_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct netstream s = { .buf = malloc(NETSTREAM_BUF), .size = NETSTREAM_BUF };
		struct seen seen = { 0 };
		uint8_t wire[80];
		size_t size = put(wire, 14, 1);
		uint32_t length = htobe32(lengths[i]);

		memcpy(wire + size, &length, 4);
		assert_int_equal(feed(&s, wire, sizeof(wire), sizeof(wire), &seen), -EPROTO);
		assert_int_equal(seen.n, 1);
		free(s.buf);
	}
}

/* ------------------------------------------------------------------ two of us */

static void pair_sends(struct owner *a, struct owner *b)
{
	unsigned n = owner_count(b);
	uint8_t want[NETUP_FRAME_MAX];

	owner_send(a, NETUP_FRAME_MAX, n);
	EVENTUALLY(owner_count(b) == n + 1);
	frame_fill(want, sizeof(want), n);
	assert_int_equal(b->len[n % KEPT], NETUP_FRAME_MAX);
	assert_memory_equal(b->data[n % KEPT], want, sizeof(want));
}

static void two_cards(void **state)
{
	const char *how = net_path("socket:", "a");
	unsigned fds = open_fds();
	struct owner *a = owner_new(how), *b, *c;
	uint8_t want[NETUP_PADDED] = { 0 };
	struct netup_counts counts;

	assert_false(netup_link(a->up));
	owner_send(a, 60, 1); /* to nobody */
	netup_counts(a->up, &counts);
	assert_int_equal(counts.sent_dropped, 1);
	b = owner_new(how);
	EVENTUALLY(netup_link(a->up) && netup_link(b->up));
	pair_sends(a, b);
	pair_sends(b, a);
	/* Short ones are padded by who receives them. */
	owner_send(a, 14, 5);
	EVENTUALLY(owner_count(b) == 2);
	frame_fill(want, 14, 5);
	assert_int_equal(b->len[1], NETUP_PADDED);
	assert_memory_equal(b->data[1], want, sizeof(want));
	/* A third one waits, and is next. */
	c = owner_new(how);
	usleep(600000);
	assert_false(netup_link(c->up));
	owner_free(b);
	EVENTUALLY(netup_link(a->up) && netup_link(c->up));
	pair_sends(a, c);
	/* Whoever listened goes; who is left is there for the next. */
	owner_free(a);
	EVENTUALLY(!netup_link(c->up));
	a = owner_new(how);
	EVENTUALLY(netup_link(a->up) && netup_link(c->up));
	pair_sends(c, a);
	assert_true(owner_links(a) >= 1 && owner_links(c) >= 3);
	owner_free(a);
	owner_free(c);
	assert_int_equal(open_fds(), fds);
}

static void stale_files(void **state)
{
	const char *path = net_path("", "s"), *how = net_path("socket:", "s");
	struct owner *a, *b;
	struct stat st;

	/* Left by somebody who died. */
	close(peer_listen(path));
	a = owner_new(how);
	EVENTUALLY(!stat(path, &st) && (st.st_mode & 07777) == 0600);
	/* Somebody tidies up: nobody would find us. */
	unlink(path);
	b = owner_new(how);
	EVENTUALLY(netup_link(a->up) && netup_link(b->up));
	pair_sends(b, a);
	owner_free(a);
	owner_free(b);
}

static void not_a_socket(void **state)
{
	const char *path = net_path("", "f"), *how = net_path("socket:", "f");
	struct pcif_reply_error err = { "" };
	struct owner *o;
	char text[8] = "";
	FILE *f = fopen(path, "w");

	fputs("dear", f);
	fclose(f);
	assert_int_equal(owner_try(&o, how, &err), -EEXIST);
	assert_non_null(strstr(err.text, "not a socket"));
	/* Nor is one that came later touched. */
	unlink(path);
	o = owner_new(how);
	EVENTUALLY(!access(path, F_OK));
	unlink(path);
	f = fopen(path, "w");
	fputs("dear", f);
	fclose(f);
	usleep(600000);
	owner_free(o);
	f = fopen(path, "r");
	assert_int_equal(fread(text, 1, 4, f), 4);
	fclose(f);
	assert_string_equal(text, "dear");
	unlink(path);
	assert_int_equal(owner_try(&o, "socket:/nowhere/at/all", &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/at"));
	memset(text, 'x', sizeof(text));
	assert_int_equal(
		owner_try(&o,
			  "socket:/tmp/01234567890123456789012345678901234567890123456789012345678"
			  "9012345678901234567890123456789012345678901234567890123456789",
			  &err),
		-ENAMETOOLONG);
}

/* ------------------------------------------------------------------ hostile peers */

static void hostile_peers(void **state)
{
	const char *path = net_path("", "h"), *how = net_path("socket:", "h");
	struct owner *o = owner_new(how);
	struct netup_counts counts;
	uint8_t data[100];
	char byte;
	int fd;

	frame_fill(data, sizeof(data), 1);
	/* A length of 4 GiB: hung up on. */
	EVENTUALLY((fd = peer_connect(path)) >= 0);
	peer_send(fd, 100, data, 100);
	peer_send(fd, UINT32_MAX, NULL, 0);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	/* One that goes in mid-frame: the next begins with a frame of its own. */
	EVENTUALLY((fd = peer_connect(path)) >= 0);
	EVENTUALLY(netup_link(o->up));
	peer_send(fd, 100, data, 50);
	close(fd);
	EVENTUALLY(!netup_link(o->up));
	EVENTUALLY((fd = peer_connect(path)) >= 0);
	peer_send(fd, 0, NULL, 0);
	peer_send(fd, 5, data, 5);
	peer_send(fd, 100, data, 100);
	EVENTUALLY(owner_count(o) == 2);
	assert_int_equal(o->len[0], 100);
	assert_int_equal(o->len[1], 100);
	assert_memory_equal(o->data[1], data, 100);
	netup_counts(o->up, &counts);
	assert_int_equal(counts.received, 2);
	assert_int_equal(counts.received_dropped, 2);
	close(fd);
	owner_free(o);
}

/* One that does not read: we never wait, and what is there for it is whole frames. */
static void deaf_peer(void **state)
{
	const char *path = net_path("", "d"), *how = net_path("socket:", "d");
	int listener = peer_listen(path), fd;
	struct owner *o = owner_new(how);
	struct netup_counts counts;
	uint64_t start, total = 0;
	uint32_t len;
	uint8_t data[NETUP_FRAME_MAX];

	fd = accept(listener, NULL, NULL);
	EVENTUALLY(netup_link(o->up));
	start = time_mono_ns();
	for (unsigned i = 0; i < 2000; i++)
		owner_send(o, 1000 + i, i);
	assert_true(time_mono_ns() - start < 5000000000ull);
	netup_counts(o->up, &counts);
	assert_int_equal(counts.sent + counts.sent_dropped, 2000);
	assert_true(counts.sent_dropped > 100 && counts.sent > 100);
	/* Now it does. */
	while (total < counts.sent) {
		assert_int_equal(recv(fd, &len, 4, MSG_WAITALL), 4);
		len = be32toh(len);
		assert_in_range(len, 1000, 2999);
		assert_int_equal(recv(fd, data, len, MSG_WAITALL), len);
		assert_int_equal(data[1], (uint8_t)(7 + len - 1000));
		total++;
	}
	owner_send(o, 60, 9);
	assert_int_equal(recv(fd, data, 64, MSG_WAITALL), 64);
	close(fd);
	close(listener);
	unlink(path);
	owner_free(o);
}

/* ------------------------------------------------------------------ passt */

static void fake_passt(const char *script)
{
	FILE *f = fopen(net_path("", "passt"), "w");

	fprintf(f, "#!/bin/sh\n%s\n", script);
	fchmod(fileno(f), 0700);
	fclose(f);
}

static void no_passt(void **state)
{
	struct pcif_reply_error err = { "" };
	struct owner *o;

	setenv("PATH", net_folder, 1);
	assert_int_equal(owner_try(&o, "user", &err), -ENOENT);
	assert_non_null(strstr(err.text, "install the package passt"));
	assert_int_equal(owner_try(&o, "user:x", &err), -EINVAL);
	setenv("PATH", "/usr/bin:/bin", 1);
}

static bool no_children(void)
{
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

/* passt of Debian 12 drops IPv4 packets that are shorter than their frame. */
static void passt_gets_no_padding(struct owner *o)
{
	uint8_t frame[60] = { [12] = 0x08, [14] = 0x45, [17] = 40 };
	unsigned n = owner_count(o), at = n % KEPT;

	/* What comes back has been padded again, with zeros. */
	memset(frame + 54, 0xaa, 6);
	netup_send(o->up, frame, sizeof(frame));
	netup_flush(o->up);
	EVENTUALLY(owner_count(o) == n + 1);
	assert_int_equal(o->len[at], 60);
	assert_memory_equal(o->data[at] + 54, "\0\0\0\0\0\0", 6);
	/* A length that cannot be, or another protocol: as it is. */
	frame[17] = 10;
	netup_send(o->up, frame, sizeof(frame));
	frame[17] = 40;
	frame[13] = 6;
	netup_send(o->up, frame, sizeof(frame));
	netup_flush(o->up);
	EVENTUALLY(owner_count(o) == n + 3);
	assert_int_equal(o->data[(n + 1) % KEPT][59], 0xaa);
	assert_int_equal(o->data[(n + 2) % KEPT][59], 0xaa);
}

/* A child that sends @n times 100 frames at once, and says when it has. */
static struct owner *burst(unsigned n)
{
	uint8_t frame[1000];
	char script[256];
	FILE *f = fopen(net_path("", "frames"), "w");
	struct owner *o;

	for (unsigned i = 0; i < 100; i++) {
		uint32_t wire = htobe32(sizeof(frame));

		frame_fill(frame, sizeof(frame), i);
		fwrite(&wire, 4, 1, f);
		fwrite(frame, sizeof(frame), 1, f);
	}
	fclose(f);
	snprintf(script, sizeof(script),
		 "cd %s; i=0; while [ $i -lt %u ]; do cat frames >&3; i=$((i + 1)); done\n"
		 "echo >done; exec cat <&3 >/dev/null",
		 net_folder, n);
	fake_passt(script);
	o = owner_new_full("user");
	EVENTUALLY(netup_link(o->up));
	return o;
}

static bool is_done(void)
{
	return !access(net_path("", "done"), F_OK);
}

/* passt drops what its socket does not take. So it is read all the time, up to a limit, and what
 * there is no room for is kept. */
static void passt_sends_at_once(void **state)
{
	unsigned fds = open_fds();
	uint8_t last[1000];
	char path[256];
	struct owner *o;

	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", net_folder);
	setenv("PATH", path, 1);
	for (unsigned n = 70; n <= 280; n += 210) {
		o = burst(n);
		if (n == 70)
			EVENTUALLY(is_done());
		else
			usleep(300000);
		assert_int_equal(is_done(), n == 70);
		assert_int_equal(owner_count(o), 0);
		o->full = false;
		EVENTUALLY(owner_count(o) == 100 * n && is_done());
		frame_fill(last, sizeof(last), 99);
		assert_memory_equal(o->data[(100 * n - 1) % KEPT], last, sizeof(last));
		unlink(net_path("", "done"));
		o->full = true; /* its end is seen all the same */
		owner_free(o);
		assert_true(no_children());
	}
	/* What it sent before it ended arrives. */
	fake_passt("head -c 1004 <&3 >&3");
	o = owner_new_full("user");
	EVENTUALLY(netup_link(o->up));
	owner_send(o, 1000, 0);
	EVENTUALLY(owner_links(o) >= 2);
	assert_int_equal(owner_count(o), 1);
	owner_free(o);
	unlink(net_path("", "passt"));
	unlink(net_path("", "frames"));
	setenv("PATH", "/usr/bin:/bin", 1);
	assert_int_equal(open_fds(), fds);
}

/* passt gives a guest a window of megabytes, and what is lost of it is sent again. */
static void passt_is_slow(void **state)
{
	struct netup_counts counts;
	char path[256];
	struct owner *o;

	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", net_folder);
	setenv("PATH", path, 1);
	fake_passt("exec sleep 100");
	o = owner_new("user");
	EVENTUALLY(netup_link(o->up));
	for (unsigned i = 0; i < 5000; i++)
		owner_send(o, 1514, i);
	netup_counts(o->up, &counts);
	assert_int_equal(counts.sent, 5000);
	for (unsigned i = 0; i < 10000; i++)
		owner_send(o, 1514, i);
	netup_counts(o->up, &counts);
	assert_true(counts.sent_dropped > 0);
	owner_free(o);
	assert_true(no_children());
	unlink(net_path("", "passt"));
	setenv("PATH", "/usr/bin:/bin", 1);
}

static void passt_is_a_child(void **state)
{
	unsigned fds = open_fds();
	char path[256];
	struct owner *o;

	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", net_folder);
	setenv("PATH", path, 1);
	fake_passt("exec cat <&3 >&3");
	o = owner_new("user");
	EVENTUALLY(netup_link(o->up));
	pair_sends(o, o);
	passt_gets_no_padding(o);
	owner_free(o);
	assert_true(no_children());
	/* It ends by itself, and is started again. */
	fake_passt("echo no route >&2; exit 3");
	o = owner_new("user");
	EVENTUALLY(owner_links(o) >= 4);
	owner_free(o);
	assert_true(no_children());
	/* It does not want to end. */
	fake_passt("exec sleep 100 3<&-");
	o = owner_new("user");
	EVENTUALLY(owner_links(o));
	owner_free(o);
	assert_true(no_children());
	unlink(net_path("", "passt"));
	setenv("PATH", "/usr/bin:/bin", 1);
	assert_int_equal(open_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(framing),	    cmocka_unit_test(no_framing),
		cmocka_unit_test(two_cards),	    cmocka_unit_test(stale_files),
		cmocka_unit_test(not_a_socket),	    cmocka_unit_test(hostile_peers),
		cmocka_unit_test(deaf_peer),	    cmocka_unit_test(no_passt),
		cmocka_unit_test(passt_is_a_child), cmocka_unit_test(passt_sends_at_once),
		cmocka_unit_test(passt_is_slow),
	};

	return cmocka_run_group_tests(tests, net_folder_make, net_folder_remove);
}
