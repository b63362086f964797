/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs in a guest: what busybox has no tool for.
 *
 *   nettool send IF TO FROM N   sends N frames of EtherType 0x88b5 (IEEE: for experiments)
 *   nettool count IF SECONDS    says how many came, "@@frames N", once none came for SECONDS after
 * one; first "@@counts yes" nettool fetch IP PORT       what a TCP server sends, to standard output
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define TYPE 0x88b5
#define SIZE 200

static int fail(const char *what)
{
	printf("nettool: %s: %s\n", what, strerror(errno));
	return 1;
}

static int parse_mac(const char *text, uint8_t *mac)
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		      &mac[4], &mac[5]) == 6
		       ? 0
		       : -1;
}

static int send_frames(int fd, const char *to, const char *from, unsigned n)
{
	uint8_t frame[SIZE] = { 0 };

	if (parse_mac(to, frame) || parse_mac(from, frame + 6)) {
		printf("nettool: an address is six bytes, like 52:54:00:12:34:56\n");
		return 2;
	}
	frame[12] = TYPE >> 8;
	frame[13] = TYPE & 0xff;
	for (unsigned i = 0; i < n; i++)
		if (send(fd, frame, sizeof(frame), 0) != sizeof(frame))
			return fail("send");
	return 0;
}

static long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#define FIRST_MS 60000 /* so long until the first one */

static int count_frames(int fd, unsigned seconds)
{
	long end = now_ms() + FIRST_MS, left;
	struct pollfd p = { fd, POLLIN, 0 };
	uint8_t frame[SIZE];
	unsigned n = 0;

	printf("@@counts yes\n");
	fflush(stdout);
	while ((left = end - now_ms()) > 0)
		if (poll(&p, 1, (int)left) == 1 && recv(fd, frame, sizeof(frame), 0) > 0) {
			n++;
			end = now_ms() + 1000L * seconds;
		}
	printf("@@frames %u\n", n);
	return 0;
}

static int fetch(const char *ip, unsigned port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct timeval patience = { 60, 0 };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char buf[65536];
	ssize_t n;

	if (fd < 0 || inet_pton(AF_INET, ip, &to.sin_addr) != 1 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		fprintf(stderr, "nettool: %s: %s\n", ip, strerror(errno));
		return 1;
	}
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(STDOUT_FILENO, buf, (size_t)n) != n)
			return 1;
	return n < 0;
}

int main(int argc, char **argv)
{
	int send_it = argc == 6 && !strcmp(argv[1], "send");
	int count_it = argc == 4 && !strcmp(argv[1], "count");
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(TYPE) };
	int fd;

	if (argc == 4 && !strcmp(argv[1], "fetch"))
		return fetch(argv[2], (unsigned)atoi(argv[3]));
	if (!send_it && !count_it) {
		printf("usage: nettool send IF TO FROM N | count IF SECONDS | fetch IP PORT\n");
		return 2;
	}
	addr.sll_ifindex = (int)if_nametoindex(argv[2]);
	fd = socket(AF_PACKET, SOCK_RAW, htons(TYPE));
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fail(argv[2]);
	return send_it ? send_frames(fd, argv[3], argv[4], (unsigned)atoi(argv[5]))
		       : count_frames(fd, (unsigned)atoi(argv[3]));
}
