/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why the door cannot be opened here, in words for the person at the terminal: what is missing and
 * what to do about it. Each function looks at the system for the likeliest cause.
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "door/dev/priv.h"

int explain_text(struct door_error *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return errnum;
}

/* A sysctl's number, or @absent where the kernel does not have it. */
static long sysctl_value(const char *path, long absent)
{
	AUTO_FREE char *text = NULL;
	size_t size;

	if (file_read_all(path, 64, &text, &size))
		return absent;
	return strtol(text, NULL, 10);
}

/* Is what our caller sees as /dev/vfio already ours? */
bool door_is_nested(void)
{
	AUTO_FREE char *text = NULL;
	size_t size;

	return !file_read_all("/proc/self/mountinfo", MIB(16), &text, &size) &&
	       strstr(text, " - fuse.uvfio ");
}

int explain_nested(struct door_error *err)
{
	return explain_text(
		err, -EBUSY,
		"already inside 'uvfio run': a second one cannot be nested in it. Give the "
		"outer one all the devices, or start this one from outside");
}

int explain_fuse_open(struct door_error *err, int errnum)
{
	struct stat st;

	if (errnum == -ENOENT || errnum == -ENODEV || errnum == -ENXIO)
		return explain_text(
			err, errnum,
			"/dev/fuse is missing: load FUSE with 'sudo modprobe fuse'; in a "
			"container, start that with '--device /dev/fuse'");
	if (!stat("/dev/fuse", &st) && (st.st_mode & 0666) != 0666)
		return explain_text(
			err, errnum,
			"/dev/fuse may not be opened by this user (mode %04o): "
			"'sudo chmod 666 /dev/fuse', which is how most distributions ship it",
			st.st_mode & 07777);
	return explain_text(err, errnum,
			    "/dev/fuse cannot be opened: %s. In a container, start that with "
			    "'--device /dev/fuse'",
			    strerror(-errnum));
}

int explain_fuse_mount(struct door_error *err, int errnum, bool userns)
{
	if (errnum == -ENODEV)
		return explain_text(err, errnum,
				    "the kernel has no FUSE file system: 'sudo modprobe fuse'");
	if (errnum == -EINVAL)
		return explain_text(
			err, errnum,
			"/dev/fuse is not the FUSE device (a container that puts another "
			"file there?): start the container with '--device /dev/fuse'");
	return explain_mount(err, errnum, "a FUSE file system", userns);
}

/* @what: it has; @remedy: it needs. */
int explain_old_kernel(struct door_error *err, const char *what, const char *remedy)
{
	struct utsname u;

	uname(&u);
	return explain_text(err, -EOPNOTSUPP, "this kernel (Linux %s) has %s: that needs %s",
			    u.release, what, remedy);
}

/* Nothing is mounted at what we take for the root. Where the root of a chroot is a mount, this does
 * not tell. */
static bool in_chroot(void)
{
	AUTO_FREE char *text = NULL;
	size_t size;

	/* "ID PARENT MAJ:MIN ROOT MOUNTPOINT ..." */
	if (file_read_all("/proc/self/mountinfo", MIB(16), &text, &size))
		return false;
	for (const char *line = text; line; line = strchr(line, '\n')) {
		char at[3];

		line += *line == '\n';
		if (sscanf(line, "%*d %*d %*s %*s %2s", at) == 1 && !strcmp(at, "/"))
			return false;
	}
	return true;
}

int explain_userns(struct door_error *err, int errnum)
{
	if (sysctl_value("/proc/sys/kernel/unprivileged_userns_clone", 1) == 0)
		return explain_text(
			err, errnum,
			"user namespaces are switched off for ordinary users: "
			"'sudo sysctl kernel.unprivileged_userns_clone=1', or run as root");
	if (sysctl_value("/proc/sys/user/max_user_namespaces", 1) == 0)
		return explain_text(err, errnum,
				    "user namespaces are switched off: "
				    "'sudo sysctl user.max_user_namespaces=15000', or run as root");
	if (sysctl_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
		return explain_text(
			err, errnum,
			"AppArmor restricts user namespaces of ordinary users: 'sudo sysctl "
			"kernel.apparmor_restrict_unprivileged_userns=0', or run as root");
	if (errnum == -EINVAL || errnum == -ENOSYS)
		return explain_text(
			err, errnum,
			"the kernel has no user namespaces (CONFIG_USER_NS): run as root");
	if (errnum == -EPERM && in_chroot())
		return explain_text(err, errnum,
				    "in a chroot the kernel lets ordinary users make no user "
				    "namespaces: run outside of it, or as root");
	return explain_text(err, errnum,
			    "cannot make a user namespace: %s. In a container, start that with "
			    "'--security-opt seccomp=unconfined', or as root with "
			    "'--cap-add SYS_ADMIN'; in a chroot there are none, run outside of it "
			    "or as root; if no more are allowed, raise user.max_user_namespaces",
			    strerror(-errnum));
}

int explain_mount(struct door_error *err, int errnum, const char *what, bool userns)
{
	if (userns &&
	    sysctl_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1)
		return explain_userns(err, errnum);
	if (errnum == -EPERM || errnum == -EACCES)
		return explain_text(
			err, errnum,
			"may not mount %s%s: a container or a security module forbids it. "
			"Start the container with '--security-opt seccomp=unconfined "
			"--security-opt apparmor=unconfined --security-opt "
			"systempaths=unconfined'",
			what, userns ? ", not even in a user namespace" : "");
	return explain_text(err, errnum, "cannot mount %s: %s%s", what, strerror(-errnum),
			    errnum == -ENOSPC ? " (raise the sysctl fs.mount-max)" : "");
}

int explain_seccomp(struct door_error *err, int errnum)
{
	if (errnum == -EBUSY)
		return explain_text(
			err, errnum,
			"another program answers seccomp notifications here (an outer "
			"'uvfio run', or a container manager): there can be one only. Run "
			"outside of it");
	return explain_text(
		err, errnum,
		"cannot install a seccomp filter with user notification: %s. A container "
		"may forbid it (start that with '--security-opt seccomp=unconfined'), or "
		"the kernel has none (CONFIG_SECCOMP_FILTER)",
		strerror(-errnum));
}

int explain_process(struct door_error *err, int errnum)
{
	return explain_text(err, errnum, "cannot start a process: %s", strerror(-errnum));
}

int explain_own_use(struct door_error *err, int errnum)
{
	if (errnum != -EACCES)
		return explain_text(err, errnum, "cannot use the file system that it serves: %s",
				    strerror(-errnum));
	return explain_text(err, errnum,
			    "may not use the file system that it serves to the command, which was "
			    "started in another user namespace (a container, 'unshare') or with "
			    "another group ('newgrp') than the machine: start both alike");
}

int explain_reach(struct door_error *err, int errnum, const char *call, bool child)
{
	if (!child && sysctl_value("/proc/sys/kernel/yama/ptrace_scope", 0) == 1)
		return explain_text(
			err, errnum,
			"may not look into the command (%s: %s), which is no descendant of the "
			"machine: Yama forbids it to a root without CAP_SYS_PTRACE. 'sudo sysctl "
			"kernel.yama.ptrace_scope=0', or give the machine that capability",
			call, strerror(-errnum));
	if (sysctl_value("/proc/sys/kernel/yama/ptrace_scope", 0) > 1)
		return explain_text(
			err, errnum,
			"may not look into the command (%s: %s): Yama forbids it. 'sudo "
			"sysctl kernel.yama.ptrace_scope=1' (after a boot, if it is 3)",
			call, strerror(-errnum));
	return explain_text(err, errnum,
			    "may not look into the command (%s: %s): a container forbids it. Start "
			    "that with '--cap-add SYS_PTRACE' or '--security-opt "
			    "seccomp=unconfined'",
			    call, strerror(-errnum));
}
