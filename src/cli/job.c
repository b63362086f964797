/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests of the control socket that may have to wait for a client of the machine: a function that
 * somebody has open is asked back, and comes when it comes. Each runs on a thread of its own and
 * says what it waits for; it is cancelled when who asked has gone, and then all is as it was.
 */
#include <errno.h>

#include "cli/priv.h"

struct job {
	struct machine *machine;
	json_t *request;
	const struct job_kind *kind;
	struct pci_bdf bdf;
	void (*tell)(void *data);
	void *data;
	pthread_t thread;
	atomic_bool cancel;

	pthread_mutex_t lock;
	json_t *said; /* array of lines that nobody has taken yet */
	bool done;
};

struct job_kind {
	const char *op;
	json_t *(*run)(struct job *job); /* NULL: out of memory */
};

static json_t *job_error(const char *text)
{
	return json_pack("{s:b,s:s}", "ok", 0, "error", text);
}

static void job_say(struct job *job, json_t *line, bool last)
{
	pthread_mutex_lock(&job->lock);
	if (line)
		json_array_append_new(job->said, line);
	job->done = last;
	pthread_mutex_unlock(&job->lock);
	job->tell(job->data);
}

/* Says which functions of the group somebody has open: those are what will be waited for. */
static void tell_users(struct job *job, unsigned group)
{
	struct pcim_list list;

	if (pcim_list(machine_pci(job->machine), &list))
		return;
	for (unsigned i = 0; i < list.n; i++)
		if (pcif_group(list.f[i]) == group &&
		    vfio_function_open(machine_vfio(job->machine), list.f[i]))
			job_say(job, json_pack("{s:s}", "waiting", pcif_name(list.f[i])), false);
	pcim_list_free(&list);
}

/* ------------------------------------------------------------------ bind, unbind */

static json_t *group_state(struct machine *m, unsigned group)
{
	json_t *devices = json_array();
	struct pcim_list list;

	if (pcim_list(machine_pci(m), &list)) {
		json_decref(devices);
		return NULL;
	}
	for (unsigned i = 0; i < list.n; i++) {
		const struct bus_driver *d = bus_driver_of(machine_bus(m), list.f[i]);

		if (pcif_group(list.f[i]) != group)
			continue;
		json_array_append_new(devices, json_pack("{s:s,s:s?}", "bdf", pcif_name(list.f[i]),
							 "driver", d ? d->name : NULL));
	}
	pcim_list_free(&list);
	return json_pack("{s:b,s:I,s:o}", "ok", 1, "group", (json_int_t)group, "devices", devices);
}

static json_t *job_change(struct job *job, const char *driver)
{
	struct bus *bus = machine_bus(job->machine);
	struct pcif_reply_error err = { "" };
	struct pcif *f = pcim_get(machine_pci(job->machine), job->bdf);
	unsigned group;
	json_t *reply;
	int ret;

	if (!f)
		return job_error("no such device in this machine (see `uvfio list`)");
	group = pcif_group(f); /* a VF may be gone afterwards, with its PF's driver */
	tell_users(job, group);
	ret = driver ? bus_group_bind(bus, job->bdf, driver, &job->cancel, &err)
		     : bus_group_return(bus, job->bdf, &job->cancel, &err);
	if (ret)
		reply = job_error(*err.text ? err.text : strerror(-ret));
	else
		reply = group_state(job->machine, group);
	pcif_put(f);
	return reply;
}

static json_t *job_bind(struct job *job)
{
	const char *driver = json_string_value(json_object_get(job->request, "driver"));

	return job_change(job, driver ? driver : VFIO_PCI_DRIVER);
}

static json_t *job_unbind(struct job *job)
{
	return job_change(job, NULL);
}

/* ------------------------------------------------------------------ sriov */

/* Says which VFs of @pf somebody has open. */
static void tell_vf_users(struct job *job, struct pcif *pf)
{
	for (unsigned i = 0; i < pcif_num_vfs(pf); i++) {
		struct pcif *vf = pcim_vf(pf, i);

		if (vf && vfio_function_open(machine_vfio(job->machine), vf))
			job_say(job, json_pack("{s:s}", "waiting", pcif_name(vf)), false);
		pcif_put(vf);
	}
}

static json_t *sriov_state(struct machine *m, struct pcif *pf)
{
	json_t *vfs = json_array();
	unsigned n = pcif_num_vfs(pf);

	for (unsigned i = 0; i < n; i++) {
		struct pcif *vf = pcim_vf(pf, i);
		const struct bus_driver *d = vf ? bus_driver_of(machine_bus(m), vf) : NULL;

		if (vf)
			json_array_append_new(vfs, json_pack("{s:s,s:I,s:s?}", "bdf", pcif_name(vf),
							     "group", (json_int_t)pcif_group(vf),
							     "driver", d ? d->name : NULL));
		pcif_put(vf);
	}
	return json_pack("{s:b,s:s,s:I,s:I,s:o}", "ok", 1, "bdf", pcif_name(pf), "total_vfs",
			 (json_int_t)pcif_desc(pf)->sriov.total_vfs, "num_vfs", (json_int_t)n,
			 "vfs", vfs);
}

static json_t *sriov_error(struct job *job, struct pcif *pf, unsigned n, int err)
{
	const struct bus_driver *d = bus_driver_of(machine_bus(job->machine), pf);
	const char *name = pcif_name(pf);
	char text[256];

	switch (err) {
	case -ERANGE:
		snprintf(text, sizeof(text), "%s can have at most %u virtual functions", name,
			 pcif_desc(pf)->sriov.total_vfs);
		break;
	case -EBUSY:
		snprintf(text, sizeof(text),
			 "%s has %u virtual functions: end them first (uvfio sriov %s 0)", name,
			 pcif_num_vfs(pf), name);
		break;
	case -ENOENT:
		snprintf(text, sizeof(text),
			 "%s: %s%s makes no virtual functions: bind it to its host driver or to "
			 "vfio-pci (uvfio bind %s)",
			 name, d ? "the driver " : "it has no driver, which", d ? d->name : "",
			 name);
		break;
	case -EINTR:
		snprintf(text, sizeof(text),
			 "%s: the user of a virtual function has not given it back", name);
		break;
	default:
		snprintf(text, sizeof(text), "%s: cannot have %u virtual functions: %s", name, n,
			 strerror(-err));
	}
	return job_error(text);
}

static json_t *job_sriov(struct job *job)
{
	json_t *count = json_object_get(job->request, "count"), *reply;
	struct pcif *pf = pcim_get(machine_pci(job->machine), job->bdf);
	char text[128];
	int ret = 0;

	if (!pf)
		return job_error("no such device in this machine (see `uvfio list`)");
	if (!pcif_desc(pf)->sriov.total_vfs) {
		snprintf(text, sizeof(text),
			 "%s has no virtual functions: it was made without them (key vfs=N)",
			 pcif_name(pf));
		reply = job_error(text);
	} else if (count && (!json_is_integer(count) || json_integer_value(count) < 0 ||
			     json_integer_value(count) > 65535)) {
		reply = job_error("\"count\" is not a number of virtual functions");
	} else {
		unsigned n = count ? (unsigned)json_integer_value(count) : 0;

		if (count && n < pcif_num_vfs(pf))
			tell_vf_users(job, pf);
		if (count)
			ret = bus_sriov_set(machine_bus(job->machine), pf, n, &job->cancel);
		reply = ret ? sriov_error(job, pf, n, ret) : sriov_state(job->machine, pf);
	}
	pcif_put(pf);
	return reply;
}

/* ------------------------------------------------------------------ life */

static const struct job_kind kinds[] = {
	{ "bind", job_bind },
	{ "unbind", job_unbind },
	{ "sriov", job_sriov },
};

static const struct job_kind *kind_find(const char *op)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].op, op))
			return &kinds[i];
	return NULL;
}

static void *job_main(void *data)
{
	struct job *job = data;

	job_say(job, job->kind->run(job), true);
	return NULL;
}

static void job_destroy(struct job *job)
{
	json_decref(job->request);
	json_decref(job->said);
	pthread_mutex_destroy(&job->lock);
	free(job);
}

int job_start(struct machine *m, const char *line, size_t size, void (*tell)(void *data),
	      void *data, struct job **out)
{
	json_t *request = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
	const char *op = json_string_value(json_object_get(request, "op"));
	const char *bdf = json_string_value(json_object_get(request, "bdf"));
	const struct job_kind *kind = op ? kind_find(op) : NULL;
	struct job *job;
	int ret = -ENOMEM;

	if (!kind || !bdf) {
		json_decref(request);
		return kind ? -EINVAL : -ENOENT;
	}
	job = calloc(1, sizeof(*job));
	if (!job) {
		json_decref(request);
		return -ENOMEM;
	}
	pthread_mutex_init(&job->lock, NULL);
	job->machine = m;
	job->request = request;
	job->kind = kind;
	job->tell = tell;
	job->data = data;
	job->said = json_array();
	if (pcif_bdf_parse(bdf, &job->bdf))
		ret = -EINVAL;
	else if (job->said)
		ret = thread_start(&job->thread, 0, job_main, job);
	if (ret) {
		job_destroy(job);
		return ret;
	}
	*out = job;
	return 0;
}

json_t *job_take(struct job *job, bool *done)
{
	json_t *lines, *fresh = json_array();

	pthread_mutex_lock(&job->lock);
	lines = job->said;
	job->said = fresh;
	*done = job->done;
	pthread_mutex_unlock(&job->lock);
	return lines;
}

void job_cancel(struct job *job)
{
	atomic_store(&job->cancel, true);
}

void job_free(struct job *job)
{
	if (!job)
		return;
	job_cancel(job);
	pthread_join(job->thread, NULL);
	job_destroy(job);
}
