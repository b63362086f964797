// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every allocation, or every system call, fails in its turn while a machine is made of a file with
 * trees of bridges, and while a part of it is removed and found again.
 *
 * Making it says so in words, or makes a machine without what failed (a thread that can be started
 * later). What was removed is found by the next rescan. Nothing is left in the end: no descriptor
 * and, under the address sanitizer, no memory.
 */
#include <dirent.h>

#include "inject.h"
#include "machine/machine.h"

#define MAX_CALLS 5000ul

static const char file[] =
	"{\"root_buses\": [{\"devices\": ["
	"{\"model\": \"root-port\", \"slot\": 1, \"devices\": [{\"model\": \"upstream-port\", "
	"\"devices\": ["
	"{\"model\": \"downstream-port\", \"acs\": false, \"devices\": [{\"model\": \"testdev\"}]},"
	"{\"model\": \"downstream-port\", \"devices\": [{\"model\": \"nvme\", \"mem\": "
	"\"1M\"}]}]}]},"
	"{\"model\": \"root-port\", \"devices\": [{\"model\": \"pcie-to-pci-bridge\", \"devices\": "
	"["
	"{\"model\": \"dummy\", \"conventional\": true, \"driver\": \"none\"}]}]}]},"
	"{\"bus\": \"0001:00\", \"devices\": [{\"model\": \"dummy\", \"class\": "
	"\"host-bridge\"}]}],"
	"\"devices\": [{\"model\": \"testdev\", \"driver\": \"vfio-pci\"}, {\"model\": "
	"\"dummy\"}]}";
#define FUNCTIONS 14u

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static const char *move(struct machine *m)
{
	struct pcif *port = pcim_get(machine_pci(m), (struct pci_bdf){ 0, 0, 0, 0 });
	int r = bus_remove(machine_bus(m), port, NULL);

	pcif_put(port);
	if (r)
		(void)bus_rescan(machine_bus(m), NULL, NULL);
	r = bus_rescan(machine_bus(m), NULL, NULL);
	inject_disarm();
	if (r < 0 || pcim_count(machine_pci(m)) != FUNCTIONS)
		(void)bus_rescan(machine_bus(m), NULL, NULL);
	return pcim_count(machine_pci(m)) == FUNCTIONS ? NULL : "not all is found again";
}

/* What is wrong, or NULL. */
static const char *live(enum inject_kind kind, unsigned long n)
{
	struct machine_error err = { "" };
	const char *wrong = NULL;
	struct machine *m;
	int r;

	inject_arm(kind, n);
	r = machine_new(&m);
	if (r) {
		inject_disarm();
		return NULL;
	}
	r = machine_add_json(m, "tree", file, sizeof(file) - 1, &err);
	if (!r)
		r = machine_start(m, &err);
	if (r && !*err.text)
		wrong = "an error without words";
	else if (r && !inject_fired(NULL))
		wrong = "an error without a cause";
	else if (!r)
		wrong = move(m);
	inject_disarm();
	if (wrong && *err.text)
		printf("# %s\n", err.text);
	machine_free(m);
	return wrong;
}

int main(int argc, char **argv)
{
	static const char *const names[] = {
		[INJECT_MEMORY] = "allocation", [INJECT_SYSTEM] = "system call"
	};
	unsigned bad = 0;

	log_set_level(argc > 1 ? LOG_DEBUG : LOG_ERROR);
	for (unsigned kind = INJECT_MEMORY; kind <= INJECT_SYSTEM; kind++) {
		unsigned long n = 1, fired = 0;
		unsigned wrong = 0;

		for (bool more = true; more && n < MAX_CALLS; n++) {
			unsigned fds = open_fds();
			const char *what = live((enum inject_kind)kind, n);

			more = inject_fired(NULL);
			fired += more;
			if (!what && open_fds() == fds)
				continue;
			wrong++;
			printf("# %s %lu: %s\n", names[kind], n,
			       what ? what : "descriptors are left");
		}
		printf("# %lu calls\n", fired);
		printf("%s %u - no %s that fails leaves a tree half done\n",
		       wrong || !fired ? "not ok" : "ok", kind, names[kind]);
		bad += wrong || !fired;
	}
	printf("1..2\n");
	return bad ? 1 : 0;
}
