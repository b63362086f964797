/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mount work in the command's own mount namespace.
 *
 * A directory that is missing where the host has no place for it (/dev/vfio, a host bridge below
 * /sys/devices) is made by covering the nearest existing parent with an empty tmpfs and attaching
 * the parent's old entries there: links are copied, all else is cloned and moved over. The old
 * directory stays reachable by a descriptor from before it was covered, so nothing is staged
 * anywhere and nothing of the host changes.
 *
 * It runs in the forked child, which is single-threaded.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "door/dev/priv.h"

#define MAX_GRAFTS 16

static char *grafted[MAX_GRAFTS]; /* of this process, which ends in exec */
static unsigned n_grafted;

static bool is_grafted(const char *path)
{
	unsigned i;

	for (i = 0; i < n_grafted; i++)
		if (!strcmp(grafted[i], path))
			return true;
	return false;
}

/* A detached copy of a tree of mounts, or -errno. */
int graft_clone(int dirfd, const char *path)
{
	int fd = open_tree(dirfd, path,
			   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE |
				   AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT);

	return fd < 0 ? -errno : fd;
}

/* @tree stays the caller's. */
int graft_attach(int tree, const char *path)
{
	return move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) ? -errno : 0;
}

/* One entry of the old directory appears in the new one. */
static int take_over(int old_dir, int new_dir, const char *name)
{
	AUTO_CLOSE int tree = -1;
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;
	int r;

	if (fstatat(old_dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
		return -errno;
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(old_dir, name, target, sizeof(target) - 1);
		if (n < 0)
			return -errno;
		target[n] = 0;
		return symlinkat(target, new_dir, name) ? -errno : 0;
	}
	tree = graft_clone(old_dir, name);
	if (tree < 0)
		return tree;
	r = S_ISDIR(st.st_mode) ? mkdirat(new_dir, name, 0755)
				: mknodat(new_dir, name, S_IFREG | 0600, 0);
	if (!r)
		r = move_mount(tree, "", new_dir, name, MOVE_MOUNT_F_EMPTY_PATH);
	return r ? -errno : 0;
}

static int graft(const char *path)
{
	AUTO_CLOSE int new_dir = -1;
	struct dirent *e;
	DIR *old;
	int r;

	if (n_grafted == MAX_GRAFTS)
		return -ENOSPC;
	old = opendir(path);
	if (!old)
		return -errno;
	if (mount("uvfio", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755"))
		goto err;
	new_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (new_dir < 0)
		goto err;
	while ((e = readdir(old))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		/* An entry that we may not reach is one that the command could not use either. */
		r = take_over(dirfd(old), new_dir, e->d_name);
		if (r)
			log_debug("door: %s/%s is not shown to the command: %s", path, e->d_name,
				  strerror(-r));
	}
	closedir(old);
	grafted[n_grafted] = strdup(path);
	return grafted[n_grafted++] ? 0 : -ENOMEM;
err:
	r = -errno;
	closedir(old);
	return r;
}

/**
 * graft_ensure_dir() - makes sure that the absolute @path is a directory to mount on.
 * Returns 0, -ENOTDIR, -ENOENT (it would have to be made in the root directory), or what the mounts
 * gave.
 */
int graft_ensure_dir(const char *path)
{
	AUTO_FREE char *parent = NULL;
	struct stat st;
	char *slash;
	int r;

	if (!stat(path, &st))
		return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
	if (errno != ENOENT)
		return -errno;
	parent = strdup(path);
	if (!parent)
		return -ENOMEM;
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return -ENOENT;
	*slash = 0;
	r = graft_ensure_dir(parent);
	if (!r && !is_grafted(parent))
		r = graft(parent);
	if (!r && mkdir(path, 0755))
		r = -errno;
	return r;
}

/* The same for a file. -EISDIR. */
int graft_ensure_file(const char *path)
{
	AUTO_FREE char *parent = strdup(path);
	struct stat st;
	char *slash;
	int r;

	if (!parent)
		return -ENOMEM;
	if (!stat(path, &st))
		return S_ISDIR(st.st_mode) ? -EISDIR : 0;
	if (errno != ENOENT)
		return -errno;
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return -ENOENT;
	*slash = 0;
	r = graft_ensure_dir(parent);
	if (!r && !is_grafted(parent))
		r = graft(parent);
	if (!r && mknod(path, S_IFREG | 0600, 0))
		r = -errno;
	return r;
}
