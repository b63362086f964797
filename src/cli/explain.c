/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio run --explain`: what this kernel gives to a command, and what it costs.
 *
 * The answers are not looked up by the kernel's version: a machine without devices is made and
 * everything is done that `uvfio run` does, but for the command. What fails there fails here, with
 * the same words.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "cli/priv.h"

/* The ABI of Linux 6.9, which our headers may lack. */
#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

/* ------------------------------------------------------------------ words */

static const struct line {
	const char *key, *what, *fuse, *memfd;
} lines[] = {
	{ "device_file", "device file", "a FUSE file",
	  "a sparse memfd; what is done with it is trapped by a seccomp filter" },
	{ "mapped_pages", "mapped BAR pages",
	  "the file's page cache; a first touch is a FUSE request",
	  "the memfd's own; a first touch costs what memory costs" },
	{ "trapped_access", "trapped access",
	  "a FUSE request: some 7 us, 30 us where both sides wake another core",
	  "a seccomp notification: some 10 us, 35 us where both sides wake another core" },
	{ "dma_mappings", "DMA mappings", "a FUSE request each",
	  "a FUSE request each, and a notification before that of VFIO_IOMMU_MAP_DMA" },
	{ "other_calls", "other system calls", "ioctl passes a filter: some 50 ns",
	  "ioctl, mmap, lseek, pread and pwrite pass a filter: some 50 ns; beyond 1 TiB of any "
	  "file they wait for us: some 10 us" },
	{ "differences", "differences", "docs/door-dev.md",
	  "region 0 of a device is not at file offset 0; others: docs/door-dev.md" },
};

/* What a kernel or its settings can lack. */
static const struct lack {
	const char *name, *since, *effect;
} lacks[] = {
	{ "FUSE_DIRECT_IO_ALLOW_MMAP", "Linux 6.6",
	  "device files are memfds, and /dev/vfio/devices has no pages to map" },
	{ "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "Linux 5.19",
	  "a signal in the very moment of an answer makes a trapped access be done twice" },
	{ "PIDFD_THREAD", "Linux 6.9",
	  "eventfds are looked for in the table of a process, not in that of the thread that "
	  "names them" },
	{ "PROCMAP_QUERY", "Linux 6.11",
	  "VFIO_IOMMU_MAP_DMA takes longer in processes with thousands of mappings" },
	{ "an inotify instance", "fs.inotify.max_user_instances",
	  "closed devices are noticed after up to 20 ms" },
};

static bool has_pidfd_thread(void)
{
	int fd = (int)syscall(SYS_pidfd_open, (int)syscall(SYS_gettid), PIDFD_THREAD);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void find_lacks(const struct door_report *r, bool is[ARRAY_SIZE(lacks)])
{
	is[0] = r->memfd && !r->forced;
	is[1] = r->restarts;
	is[2] = !has_pidfd_thread();
	is[3] = !iommu_has_procmap_query();
	is[4] = r->looking;
}

/* ------------------------------------------------------------------ for people, for programs */

static void say(const char *what, const char *text)
{
	printf("%-20s%s\n", what, text);
}

static void say_all(const struct door_report *r, const struct utsname *u)
{
	bool is[ARRAY_SIZE(lacks)];
	unsigned i, n = 0;

	printf("%-20s%s %s\n", "kernel", u->sysname, u->release);
	say("privilege", r->userns ? "none: the command is in a user namespace"
				   : "enough to mount: the command is in a mount namespace");
	if (r->forced)
		say("forced", "by UVFIO_DOOR in the environment, not by this kernel");
	for (i = 0; i < ARRAY_SIZE(lines); i++)
		say(lines[i].what, r->memfd ? lines[i].memfd : lines[i].fuse);
	find_lacks(r, is);
	for (i = 0; i < ARRAY_SIZE(lacks); i++)
		if (is[i])
			printf("%-20s%s (%s): %s\n", n++ ? "" : "missing", lacks[i].name,
			       lacks[i].since, lacks[i].effect);
	if (!n)
		say("missing", "nothing");
}

static void print_all(const struct door_report *r, const struct utsname *u)
{
	json_t *costs = json_object(), *missing = json_array(), *all;
	bool is[ARRAY_SIZE(lacks)];
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(lines); i++)
		json_object_set_new(costs, lines[i].key,
				    json_string(r->memfd ? lines[i].memfd : lines[i].fuse));
	find_lacks(r, is);
	for (i = 0; i < ARRAY_SIZE(lacks); i++)
		if (is[i])
			json_array_append_new(
				missing, json_pack("{s:s,s:s,s:s}", "name", lacks[i].name, "since",
						   lacks[i].since, "effect", lacks[i].effect));
	all = json_pack("{s:s,s:s,s:b,s:b,s:o,s:o}", "kernel", u->release, "device_files",
			r->memfd ? "memfd" : "fuse", "forced", r->forced, "user_namespace",
			r->userns, "what", costs, "missing", missing);
	reply_print(all, false);
	json_decref(all);
}

/* ------------------------------------------------------------------ the trial */

/* Returns 0 with the report, or -errno with @err. */
static int try_door(struct machine *m, struct door_report *report, struct door_error *err)
{
	struct door_peer peer = { .child = true, .give_up = { -1, -1 } };
	struct door_launch launch;
	struct attend attend;
	int ret = door_launch(NULL, getpid(), false, &launch, err);

	if (ret)
		return ret;
	peer.sock = launch.sock;
	peer.pid = launch.pid;
	ret = attend_begin(&attend, m, &peer, "explain", err);
	if (ret)
		return door_launch_undo(&launch, ret, err);
	door_dev_report(attend.door, report);
	close(launch.sock);
	while (waitpid(launch.pid, NULL, 0) < 0 && errno == EINTR)
		;
	attend_end(&attend);
	return 0;
}

/**
 * explain_run() - to standard output; @json: for programs
 * Returns an exit status.
 */
int explain_run(bool json)
{
	struct door_report report = { 0 };
	struct machine_error why = { "" };
	struct door_error err = { "" };
	struct machine *m = NULL;
	struct utsname u;
	int ret = guard_init();

	if (!ret)
		ret = machine_new(&m);
	if (!ret)
		ret = machine_start(m, &why);
	if (ret)
		snprintf(err.text, sizeof(err.text), "%s", *why.text ? why.text : strerror(-ret));
	else
		ret = try_door(m, &report, &err);
	machine_free(m);
	if (ret)
		return cli_fail(&cli_run, CLI_RUN_FAILED, "%s",
				*err.text ? err.text : strerror(-ret));
	uname(&u);
	if (json)
		print_all(&report, &u);
	else
		say_all(&report, &u);
	return 0;
}
