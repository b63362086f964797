/* SPDX-License-Identifier: BSD-3-Clause */
/* Uplinks of other kinds: their options, captures, tap interfaces; and the card with one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "fds.h"
#include "igb_client.h"
#include "net_test.h"

static void options(void **state)
{
	static const struct {
		const char *how, *word;
	} bad[] = {
		{ "", "give none" },
		{ "wire", "give none" },
		{ "sock:x", "give none" },
		{ "none:x", "give none" },
		{ "socket", "missing" },
		{ "socket:", "missing" },
		{ "tap:", "missing" },
		{ "tap:0123456789abcdef", "15 characters" },
		{ "tap:a/b", "15 characters" },
		{ "tap:t%d", "15 characters" },
		{ "pcap:/nowhere", "No such file" },
		{ "pcap:/tmp", "not a regular file" },
		{ "pcap:/dev/null", "not a regular file" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct pcif_reply_error err = { "" };
		struct owner *o;

		if (!owner_try(&o, bad[i].how, &err))
			fail_msg("uplink=%s is taken", bad[i].how);
		if (!strstr(err.text, bad[i].word))
			fail_msg("uplink=%s: %s", bad[i].how, err.text);
	}
}

/* ------------------------------------------------------------------ captures */

static void recorded_and_read(void **state)
{
	const char *path = net_path("", "r");
	struct pcif_reply_error err = { "" };
	struct netcapture *c = malloc(sizeof(*c));
	uint64_t before = time_real_ns();
	uint8_t data[NETUP_FRAME_MAX];
	struct netpcap *p;
	FILE *f;

	assert_int_equal(netpcap_new(path, &p, &err), 0);
	assert_int_equal(netpcap_start(p), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		frame_fill(data, 60 + i, i);
		netpcap_record(p, data, 60 + i);
	}
	assert_int_equal(netpcap_dropped(p), 0);
	netpcap_free(p);
	f = fopen(path, "r");
	assert_int_equal(netcapture_open(c, f), 0);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(netcapture_next(c), 0);
		assert_int_equal(c->len, 60 + i);
		frame_fill(data, 60 + i, i);
		assert_memory_equal(c->data, data, 60 + i);
		assert_in_range(c->time_ns, before, time_real_ns());
	}
	assert_int_equal(netcapture_next(c), -ENODATA);
	fclose(f);
	unlink(path);
	free(c);
	assert_int_equal(netpcap_new("/dev/full", &p, &err), -EINVAL);
	assert_int_equal(netpcap_new("/nowhere/x", &p, &err), -ENOENT);
	assert_non_null(strstr(err.text, "pcap=/nowhere/x"));
}

/* A capture of 32-bit words, in the order of bytes that is asked for. */
static size_t words(uint8_t *to, bool swap, const uint32_t *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t v = swap ? __builtin_bswap32(from[i]) : from[i];

		memcpy(to + 4 * i, &v, 4);
	}
	return 4ul * n;
}

static size_t capture_header(uint8_t *to, bool swap, uint32_t magic, uint32_t link)
{
	const uint32_t h[] = { magic, 0x00040002, 0, 0, 65535, link };

	return words(to, swap, h, 6);
}

static size_t capture_record(uint8_t *to, bool swap, uint32_t s, uint32_t fraction, uint32_t have,
			     uint32_t len)
{
	const uint32_t h[] = { s, fraction, have, len };

	return words(to, swap, h, 4);
}

static void captures_of_all_orders(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		bool swap = i & 1;
		struct netcapture *c = malloc(sizeof(*c));
		uint8_t *file = calloc(1, KIB(64));
		size_t size = capture_header(file, swap, i & 2 ? 0xa1b23c4d : 0xa1b2c3d4, 1);
		FILE *f;

		size += capture_record(file + size, swap, 3, 5, 60, 60);
		size += 60;
		size += capture_record(file + size, swap, 3, 5, 60, 1500); /* cut */
		size += 60;
		size += capture_record(file + size, swap, 3, 5, 0, 0);
		size += capture_record(file + size, swap, 3, 5, 20000, 20000); /* too long */
		size += 20000;
		size += capture_record(file + size, swap, 4, 0, 61, 61);
		size += 61;
		size += capture_record(file + size, swap, 4, 0, 61, 61); /* ends in it */
		size += 60;
		f = fmemopen(file, size, "r");
		assert_int_equal(netcapture_open(c, f), 0);
		assert_int_equal(netcapture_next(c), 0);
		assert_int_equal(c->len, 60);
		assert_int_equal(c->time_ns, 3000000000ull + (i & 2 ? 5 : 5000));
		assert_int_equal(netcapture_next(c), 0);
		assert_int_equal(c->len, 61);
		assert_int_equal(c->skipped, 3);
		assert_int_equal(netcapture_next(c), -EPROTO);
		fclose(f);
		free(file);
		free(c);
	}
}

static void broken_captures(void **state)
{
	static const struct {
		uint32_t magic, link;
		size_t cut;
		int ret;
	} bad[] = {
		{ 0xa1b2c3d4, 1, 23, -EPROTO },	  { 0xa1b2c3d4, 1, 0, -EPROTO },
		{ 0x12345678, 1, 24, -EPROTO },	  { 0x0a0d0d0a, 1, 24, -EOPNOTSUPP },
		{ 0xa1b2c3d4, 101, 24, -ENOTTY }, { 0xa1b2c3d4, 1 | BIT(26), 24, -ENOTTY },
	};
	static const uint32_t lengths[] = { 0x40001, 0x7fffffff, UINT32_MAX };
	struct netcapture *c = malloc(sizeof(*c));
	uint8_t file[256] = { 0 };
	FILE *f;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		capture_header(file, false, bad[i].magic, bad[i].link);
		f = fmemopen(file, MAX(bad[i].cut, 1ul), "r");
		assert_int_equal(netcapture_open(c, f), bad[i].ret);
		fclose(f);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		capture_header(file, false, 0xa1b2c3d4, 1);
		capture_record(file + 24, false, 0, 0, lengths[i], lengths[i]);
		f = fmemopen(file, sizeof(file), "r");
		assert_int_equal(netcapture_open(c, f), 0);
		assert_int_equal(netcapture_next(c), -EPROTO);
		fclose(f);
	}
	free(c);
}

static void replayed_once(void **state)
{
	const char *path = net_path("", "p"), *how = net_path("pcap:", "p");
	struct netup_counts counts;
	uint8_t file[1024] = { 0 };
	size_t size = capture_header(file, false, 0xa1b2c3d4, 1);
	struct owner *o;
	FILE *f;

	size += capture_record(file + size, false, 100, 0, 60, 60) + 60;
	size += capture_record(file + size, false, 100, 20000, 70, 70) + 70;
	size += capture_record(file + size, false, 1, 0, 71, 71) + 71; /* back in time */
	size += capture_record(file + size, false, 1, 0, 5, 5) + 5;
	/* Far in the future: not waited for. */
	size += capture_record(file + size, false, UINT32_MAX, UINT32_MAX, 72, 72) + 72;
	f = fopen(path, "w");
	fwrite(file, size, 1, f);
	fclose(f);
	o = owner_new(how);
	EVENTUALLY(netup_link(o->up));
	usleep(200000);
	assert_int_equal(owner_count(o), 0);
	netup_listen(o->up);
	EVENTUALLY(owner_count(o) == 4);
	usleep(100000);
	assert_int_equal(owner_count(o), 4);
	assert_int_equal(o->len[1], 70);
	assert_int_equal(o->len[3], 72);
	owner_send(o, 60, 1);
	netup_counts(o->up, &counts);
	assert_int_equal(counts.sent_dropped, 1);
	assert_int_equal(counts.received, 4);
	EVENTUALLY((netup_counts(o->up, &counts), counts.received_dropped == 1));
	owner_free(o);
	unlink(path);
}

/* ------------------------------------------------------------------ tap */

#define TAP "uvfio-test0"

/* In a child, in a network of its own. What fails names its line by the exit status. */
#define NEED(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			_exit(__LINE__ % 250 + 1);                                                 \
	} while (0)

/*
 * The thread sanitizer's runtime has a thread in every child that is forked: it can make no user
 * namespace then, nor start threads.
 */
#ifndef __SANITIZE_THREAD__
static int packet_socket(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htobe16(0x88b5));
	struct ifreq ifr = { 0 };
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htobe16(0x88b5) };

	strcpy(ifr.ifr_name, TAP);
	NEED(fd >= 0 && !ioctl(fd, SIOCGIFINDEX, &ifr));
	addr.sll_ifindex = ifr.ifr_ifindex;
	NEED(!bind(fd, (struct sockaddr *)&addr, sizeof(addr)));
	NEED(!ioctl(fd, SIOCGIFFLAGS, &ifr) && ifr.ifr_flags & IFF_UP);
	return fd;
}

/* What there is no room for stays in the interface's queue. */
static void tap_waits(struct owner *o, int fd, const uint8_t *frame, size_t size)
{
	unsigned before, many = 200;

	o->full = true;
	before = owner_count(o);
	for (unsigned i = 0; i < many; i++)
		NEED(send(fd, frame, size, 0) == (ssize_t)size);
	usleep(50000);
	NEED(owner_count(o) - before < many / 2);
	o->full = false;
	for (unsigned i = 0; i < 2000 && owner_count(o) - before < many; i++)
		usleep(2000);
	NEED(owner_count(o) - before >= many);
	owner_free(o);
	_exit(0);
}

static void tap_child(void)
{
	uint8_t frame[100], got[200];
	struct pcif_reply_error err = { "" };
	struct owner *o, *p;
	int fd, ret;

	ret = owner_try(&o, "tap:lo", &err);
	NEED(ret == -EINVAL && strstr(err.text, "not a tap"));
	o = owner_new("tap:" TAP);
	ret = owner_try(&p, "tap:" TAP, &err);
	NEED(ret == -EBUSY && strstr(err.text, "another program"));
	fd = packet_socket();
	frame_make(frame, sizeof(frame), (const uint8_t *)"\xff\xff\xff\xff\xff\xff",
		   (const uint8_t *)"\x52\x54\0\0\0\1", 0x88b5);
	netup_send(o->up, frame, sizeof(frame));
	NEED(recv(fd, got, sizeof(got), 0) == sizeof(frame) && !memcmp(got, frame, sizeof(frame)));
	NEED(send(fd, frame, sizeof(frame), 0) == sizeof(frame));
	for (unsigned i = 0; i < 2000; i++) {
		unsigned n = owner_count(o);

		for (unsigned k = 0; k < MIN(n, (unsigned)KEPT); k++)
			if (o->len[k] == sizeof(frame) && !memcmp(o->data[k], frame, sizeof(frame)))
				tap_waits(o, fd, frame, sizeof(frame));
		usleep(2000);
	}
	_exit(1);
}
#endif

static int wait_child(pid_t pid)
{
	int status = -1;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

#ifndef __SANITIZE_THREAD__
static void tap_interface(void **state)
{
	pid_t pid = fork();

	if (!pid) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
			_exit(errno == EPERM || errno == ENOSPC ? 251 : 252);
		tap_child();
	}
	switch (wait_child(pid)) {
	case 0:
		break;
	case 251:
		print_message("# no user namespaces here: a tap cannot be made in one\n");
		break;
	default:
		fail_msg("the tap does not work");
	}
}
#endif

static void tap_without_the_right(void **state)
{
	pid_t pid = fork();

	if (!pid) {
		struct pcif_reply_error err = { "" };
		struct owner *o;

		if (!geteuid() &&
		    (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
			_exit(1);
		NEED(owner_try(&o, "tap:" TAP, &err) < 0);
		NEED(strstr(err.text, "CAP_NET_ADMIN") || strstr(err.text, "/dev/net/tun"));
		NEED(strstr(err.text, "uplink=user"));
		_exit(0);
	}
	assert_int_equal(wait_child(pid), 0);
}

/* ------------------------------------------------------------------ the card */

static void card_with_a_peer(void **state)
{
	static const uint8_t stranger[6] = { 0x52, 0x54, 0, 9, 9, 9 };
	char keys[256];
	const char *path = net_path("", "c"), *record = net_path("", "c.pcap");
	struct netcapture *capture = malloc(sizeof(*capture));
	uint8_t out[200], in[IGB_FRAME_MAX];
	unsigned fds = open_fds();
	struct card *c;
	struct nic *vf;
	uint32_t status = 0;
	FILE *f;
	int fd;

	snprintf(keys, sizeof(keys), "vfs=2,mac=52:54:00:12:34:50,uplink=socket:%s,pcap=%s", path,
		 record);
	c = card_new(keys, 2);
	vf = &c->vfs[0];
	nic_start(&c->pf);
	nic_start(vf);
	nic_start(&c->vfs[1]);
	assert_false(reg_read(&c->pf, 0x8) & IGB_STATUS_LU);
	EVENTUALLY((fd = peer_connect(path)) >= 0);
	EVENTUALLY(reg_read(&c->pf, 0x8) & IGB_STATUS_LU);
	/* Out: what is for nobody on the card. */
	frame_make(out, sizeof(out), stranger, vf->mac, 0x88b5);
	nic_send(c, vf, out, sizeof(out));
	assert_int_equal(recv(fd, in, 4, MSG_WAITALL), 4);
	assert_memory_equal(in, "\0\0\0\xc8", 4);
	assert_int_equal(recv(fd, in, sizeof(out), MSG_WAITALL), sizeof(out));
	assert_memory_equal(in, out, sizeof(out));
	/* Between functions: not out. */
	frame_make(out, sizeof(out), c->vfs[1].mac, vf->mac, 0x88b5);
	nic_send(c, vf, out, sizeof(out));
	assert_int_equal(nic_receive(&c->vfs[1], in, &status), sizeof(out));
	assert_true(status & IGB_RXD_LB);
	assert_int_equal(recv(fd, in, 1, MSG_DONTWAIT), -1);
	/* In. */
	frame_make(out, sizeof(out), vf->mac, stranger, 0x88b5);
	peer_send(fd, sizeof(out), out, sizeof(out));
	EVENTUALLY(nic_receive(vf, in, &status) == sizeof(out));
	assert_memory_equal(in, out, sizeof(out));
	assert_false(status & IGB_RXD_LB);
	/* A spoofed one goes nowhere, and is no part of the record. */
	frame_make(out, sizeof(out), stranger, stranger, 0x88b5);
	nic_send(c, vf, out, sizeof(out));
	assert_int_equal(recv(fd, in, 1, MSG_DONTWAIT), -1);
	assert_int_equal(c->card->spoofed, 1);
	close(fd);
	EVENTUALLY(!(reg_read(&c->pf, 0x8) & IGB_STATUS_LU));
	card_free(c);
	f = fopen(record, "r");
	assert_int_equal(netcapture_open(capture, f), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(netcapture_next(capture), 0);
	assert_int_equal(netcapture_next(capture), -ENODATA);
	fclose(f);
	unlink(record);
	free(capture);
	assert_int_equal(open_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),
		cmocka_unit_test(recorded_and_read),
		cmocka_unit_test(captures_of_all_orders),
		cmocka_unit_test(broken_captures),
		cmocka_unit_test(replayed_once),
#ifndef __SANITIZE_THREAD__
		cmocka_unit_test(tap_interface),
#endif
		cmocka_unit_test(tap_without_the_right),
		cmocka_unit_test(card_with_a_peer),
	};

	return cmocka_run_group_tests(tests, net_folder_make, net_folder_remove);
}
