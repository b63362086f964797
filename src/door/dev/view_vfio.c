/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What says where a device's own file is: the directory vfio-dev/vfioX of a function that is bound
 * to vfio-pci, and its link in the class vfio-dev. Source: vfio_init_device_cdev(),
 * vfio_device_devnode(), device_add().
 */
#include "door/dev/view_priv.h"

static unsigned index_of(const struct view_node *node)
{
	return (unsigned)(uintptr_t)node->data;
}

static int read_dev(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "%u:%u\n", VIEW_CDEV_MAJOR, index_of(node));
}

static int read_uevent(struct view_node *node, char **buf, size_t *size)
{
	return view_say(buf, size, "MAJOR=%u\nMINOR=%u\nDEVNAME=vfio/devices/vfio%u\n",
			VIEW_CDEV_MAJOR, index_of(node), index_of(node));
}

static const struct view_attr attrs[] = {
	{ "dev", 0444, read_dev, NULL },
	{ "uevent", 0644, read_uevent, view_write_uevent },
};

static void enter(struct view_fn *fn, unsigned index)
{
	struct view *v = fn->view;
	AUTO_FREE char *at = view_printf(v, "%s/vfio-dev/vfio%u", fn->path, index);
	AUTO_FREE char *target = view_printf(v, "../../%s/vfio-dev/vfio%u", fn->path, index);
	struct view_node *dir;
	char name[16];

	if (!at || !target)
		return;
	snprintf(name, sizeof(name), "vfio%u", index);
	fn->cdev = view_dir(v, fn->dir, "vfio-dev");
	if (!fn->cdev)
		return;
	fn->cdev->cdev = true;
	dir = view_dir(v, fn->cdev, name);
	view_attrs(v, dir, attrs, ARRAY_SIZE(attrs), (void *)(uintptr_t)index);
	view_power(v, dir);
	view_link_path(v, dir, "device", at, fn->path);
	view_link_path(v, dir, "subsystem", at, "class/vfio-dev");
	fn->of_cdev = view_link(v, v->class_cdev, name, target);
}

void view_cdev_leave(struct view_fn *fn)
{
	view_remove(fn->view, &fn->of_cdev);
	view_remove(fn->view, &fn->cdev);
}

/* Who was unbound and bound again in between may have another number. */
void view_cdev_follow(struct view_fn *fn)
{
	struct vfio_cdev cdev;
	bool is = fn->driver && vfio_cdev_of(fn->view->vfio, fn->f, &cdev);

	if (is && fn->cdev && fn->cdev_id == cdev.id)
		return;
	view_cdev_leave(fn);
	if (!is)
		return;
	fn->cdev_id = cdev.id;
	enter(fn, cdev.index);
}
