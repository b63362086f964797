/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What watchers ask, and the answers, free of any socket.
 *
 * A request is one JSON object: {"op": NAME, ...}. A reply is one JSON object with "ok": true and
 * what was asked for, or "ok": false and "error". Addresses are strings in hexadecimal, as JSON
 * numbers end at 2^63. Long answers come in pages, so that no reply grows with what a client maps.
 * Nothing that a watcher sent comes back in a reply.
 */
#include <errno.h>
#include <inttypes.h>

#include "cli/priv.h"

#define PAGE_MAPPINGS 1024u
#define PAGE_EVENTS 512u

static json_t *query_error(const char *text)
{
	return json_pack("{s:b,s:s}", "ok", 0, "error", text);
}

static json_t *hex(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

/* A number of the request: a JSON integer or a string in any base. False if it is neither. */
static bool request_number(const json_t *request, const char *key, uint64_t *value)
{
	const json_t *v = json_object_get(request, key);
	char *end;

	*value = 0;
	if (!v)
		return true;
	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		*value = (uint64_t)json_integer_value(v);
		return true;
	}
	if (!json_is_string(v) || !json_string_length(v))
		return false;
	errno = 0;
	*value = strtoull(json_string_value(v), &end, 0);
	return !errno && !*end;
}

/* Adds who uses something; null where nobody does. */
static void set_client(json_t *object, unsigned client)
{
	json_object_set_new(object, "client", client ? json_integer(client) : json_null());
}

/* ------------------------------------------------------------------ list */

static json_t *query_why(struct pcif *f)
{
	static const char *const reasons[] = {
		[PCIF_GROUP_BRIDGE] = "bridge",
		[PCIF_GROUP_PATH] = "path",
		[PCIF_GROUP_SLOT] = "slot",
		[PCIF_GROUP_ALIAS] = "alias",
	};
	char at[PCI_BDF_STRLEN];
	struct pci_bdf other;
	enum pcif_group_why why = pcif_group_why(f, &other);

	if (why == PCIF_GROUP_OWN)
		return json_null();
	return json_pack("{s:s,s:s}", "reason", reasons[why], "function",
			 pcif_bdf_format(other, at));
}

/* What it is in the tree, and where. */
static void set_place(json_t *object, struct pcif *f)
{
	struct pcif *parent = pcif_parent(f);
	char text[16];

	snprintf(text, sizeof(text), "%06x", pcif_desc(f)->class_code);
	json_object_set_new(object, "class", json_string(text));
	json_object_set_new(object, "type", json_string(pcif_type_name(f)));
	json_object_set_new(object, "bridge", json_boolean(pcif_is_bridge(f)));
	json_object_set_new(object, "acs", json_boolean(pcif_has_acs(f)));
	json_object_set_new(object, "parent",
			    parent ? json_string(pcif_name(parent)) : json_null());
	snprintf(text, sizeof(text), "%04x:%02x", pcif_bdf(f).domain & 0xffff, pcif_root_bus(f));
	json_object_set_new(object, "root_bus", json_string(text));
	json_object_set_new(object, "numa_node",
			    pcif_numa_node(f) < 0 ? json_null() : json_integer(pcif_numa_node(f)));
	json_object_set_new(object, "why", query_why(f));
	if (pcif_is_bridge(f)) {
		uint8_t secondary, subordinate;

		pcif_bridge_buses(f, &secondary, &subordinate);
		snprintf(text, sizeof(text), "%02x-%02x", secondary, subordinate);
		json_object_set_new(object, "buses", json_string(text));
	}
}

/* What the model counts; an empty object if it counts nothing. */
static json_t *query_counters(struct pcif *f)
{
	struct pcif_counter counters[PCIF_COUNTERS_MAX];
	unsigned n = pcif_counters(f, counters);
	json_t *object = json_object();

	for (unsigned i = 0; i < n; i++)
		json_object_set_new(object, counters[i].name,
				    json_integer((json_int_t)counters[i].value));
	return object;
}

static json_t *query_function(struct machine *m, struct pcif *f)
{
	const struct pcif_desc *desc = pcif_desc(f);
	struct iommu_space *space = vfio_function_space(machine_vfio(m), f);
	const struct bus_driver *driver = bus_driver_of(machine_bus(m), f);
	struct iommu_port_stats stats = { 0 };
	json_t *object;
	char id[16];

	if (!pcif_is_bridge(f))
		iommu_port_get_stats(pcif_iommu_port(f), &stats);
	snprintf(id, sizeof(id), "%04x:%04x", desc->vendor, desc->device);
	object = json_pack("{s:s,s:s,s:s,s:I,s:s?,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "bdf",
			   pcif_name(f), "model", pcif_model_name(f), "id", id, "group",
			   (json_int_t)pcif_group(f), "driver", driver ? driver->name : NULL,
			   "open", !pcif_is_bridge(f) && vfio_function_open(machine_vfio(m), f),
			   "attached", space != NULL, "mappings",
			   (json_int_t)(space ? iommu_space_count(space) : 0), "interrupts",
			   (json_int_t)pcif_irq_count(f), "resets", (json_int_t)pcif_reset_count(f),
			   "dma_read", (json_int_t)stats.read_bytes, "dma_write",
			   (json_int_t)stats.write_bytes, "faults", (json_int_t)stats.faults);
	iommu_space_put(space);
	json_object_set_new(object, "counters", query_counters(f));
	set_client(object, pcif_client(f));
	set_place(object, f);
	return object;
}

#define LIST_CLIENTS 1024u

json_t *query_clients(struct machine *m)
{
	struct machine_client *clients = calloc(LIST_CLIENTS, sizeof(*clients));
	json_t *list = json_array();
	unsigned n;

	n = clients ? machine_clients(m, clients, LIST_CLIENTS) : 0;
	for (unsigned i = 0; i < MIN(n, LIST_CLIENTS); i++)
		json_array_append_new(list, json_pack("{s:I,s:I,s:s,s:I}", "client",
						      (json_int_t)clients[i].number, "pid",
						      (json_int_t)clients[i].pid, "command",
						      clients[i].command, "since_ns",
						      (json_int_t)clients[i].since_ns));
	free(clients);
	return list;
}

json_t *query_functions(struct machine *m)
{
	struct pcim_list functions;
	json_t *list;

	if (pcim_list(machine_pci(m), &functions))
		return NULL;
	list = json_array();
	for (unsigned i = 0; i < functions.n; i++)
		json_array_append_new(list, query_function(m, functions.f[i]));
	pcim_list_free(&functions);
	return list;
}

static json_t *query_list(struct machine *m)
{
	json_t *list = query_functions(m);

	if (!list)
		return NULL;
	return json_pack("{s:b,s:i,s:s,s:s?,s:o,s:o}", "ok", 1, "pid", (int)getpid(), "version",
			 UVFIO_VERSION, "name", machine_name(m), "clients", query_clients(m),
			 "devices", list);
}

/* ------------------------------------------------------------------ iommu */

struct mapping_page {
	uint64_t from;
	struct iommu_mapping mappings[PAGE_MAPPINGS];
	unsigned n;
	bool more;
	uint64_t count, bytes, direct;
};

/* Under the space's lock: remember, and build the JSON later. */
static void on_mapping(void *data, const struct iommu_mapping *mapping)
{
	struct mapping_page *p = data;

	p->count++;
	p->bytes += mapping->last - mapping->first + 1;
	if (mapping->direct)
		p->direct += mapping->last - mapping->first + 1;
	if (mapping->first < p->from)
		return;
	if (p->n < PAGE_MAPPINGS)
		p->mappings[p->n++] = *mapping;
	else
		p->more = true;
}

static json_t *query_mapping(const struct iommu_mapping *m)
{
	char access[3] = { m->perm & IOMMU_READ ? 'r' : '-', m->perm & IOMMU_WRITE ? 'w' : '-', 0 };

	return json_pack("{s:o,s:o,s:o,s:s,s:b}", "first", hex(m->first), "last", hex(m->last),
			 "vaddr", hex(m->vaddr), "access", access, "direct", m->direct);
}

static json_t *query_iommu(struct machine *m, const json_t *request)
{
	const char *text = json_string_value(json_object_get(request, "bdf"));
	struct iommu_space *space;
	struct mapping_page *p;
	struct pci_bdf bdf;
	struct pcif *f;
	json_t *list, *reply;
	uint64_t from;

	if (!text || pcif_bdf_parse(text, &bdf) || !request_number(request, "from", &from))
		return query_error("not a device address: say DDDD:BB:DD.F");
	f = pcim_get(machine_pci(m), bdf);
	if (!f)
		return query_error("no such device in this machine (see `uvfio list`)");
	p = calloc(1, sizeof(*p));
	if (!p) {
		pcif_put(f);
		return NULL;
	}
	space = vfio_function_space(machine_vfio(m), f);
	p->from = from;
	if (space)
		iommu_space_for_each(space, on_mapping, p);
	list = json_array();
	for (unsigned i = 0; i < p->n; i++)
		json_array_append_new(list, query_mapping(&p->mappings[i]));
	reply = json_pack("{s:b,s:s,s:I,s:b,s:I,s:I,s:I,s:o}", "ok", 1, "bdf", pcif_name(f),
			  "group", (json_int_t)pcif_group(f), "attached", space != NULL, "count",
			  (json_int_t)p->count, "bytes", (json_int_t)p->bytes, "direct_bytes",
			  (json_int_t)p->direct, "mappings", list);
	if (reply && p->more)
		json_object_set_new(reply, "next", hex(p->mappings[p->n - 1].last + 1));
	pcif_put(f);
	iommu_space_put(space);
	free(p);
	return reply;
}

/* ------------------------------------------------------------------ events */

static json_t *query_client_event(const struct machine_event *e)
{
	return json_pack("{s:I,s:I,s:s,s:n,s:n,s:I,s:I,s:s}", "seq", (json_int_t)e->seq, "time_ns",
			 (json_int_t)e->time_ns, "type", machine_event_name(e->type), "bdf",
			 "group", "client", (json_int_t)e->client, "pid", (json_int_t)e->pid,
			 "command", e->command);
}

json_t *query_event(const struct machine_event *e)
{
	json_t *object;

	if (e->type == MACHINE_EVENT_JOIN || e->type == MACHINE_EVENT_LEAVE)
		return query_client_event(e);
	object = json_pack("{s:I,s:I,s:s,s:s?,s:I}", "seq", (json_int_t)e->seq, "time_ns",
			   (json_int_t)e->time_ns, "type", machine_event_name(e->type), "bdf",
			   *e->bdf ? e->bdf : NULL, "group", (json_int_t)e->group);
	set_client(object, e->client);
	if (!object || e->type != MACHINE_EVENT_FAULT)
		return object;
	json_object_set_new(object, "access",
			    json_string(e->access & IOMMU_WRITE ? "write" : "read"));
	json_object_set_new(object, "iova", hex(e->iova));
	json_object_set_new(object, "size", json_integer((json_int_t)e->size));
	json_object_set_new(object, "reason", json_string(iommu_reason_name(e->reason)));
	json_object_set_new(object, "repeat", json_integer((json_int_t)e->repeat));
	return object;
}

static json_t *query_events(struct machine *m, const json_t *request, struct query_follow *follow)
{
	struct machine_event *events;
	uint64_t after, last;
	json_t *list;
	unsigned n;

	if (!request_number(request, "after", &after))
		return query_error("\"after\" is not the number of an event");
	if (json_is_true(json_object_get(request, "follow"))) {
		follow->on = true;
		follow->after = after;
		return json_pack("{s:b,s:b}", "ok", 1, "follow", 1);
	}
	events = calloc(PAGE_EVENTS, sizeof(*events));
	if (!events)
		return NULL;
	n = machine_events(m, after, events, PAGE_EVENTS);
	list = json_array();
	/* The journal keeps the newest only; the gap says what has gone out of it. */
	if (n && events[0].seq > after + 1)
		json_array_append_new(
			list, json_pack("{s:I}", "lost", (json_int_t)(events[0].seq - after - 1)));
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, query_event(&events[i]));
	last = n ? events[n - 1].seq : after;
	free(events);
	return json_pack("{s:b,s:I,s:o}", "ok", 1, "last", (json_int_t)last, "events", list);
}

/* ------------------------------------------------------------------ requests */

json_t *query_answer(struct machine *m, const char *line, size_t size, struct query_follow *follow)
{
	json_t *request = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
	const char *op = json_string_value(json_object_get(request, "op"));
	json_t *reply;

	if (!json_is_object(request))
		reply = query_error("a request is one JSON object on one line");
	else if (!op)
		reply = query_error("the request has no \"op\"");
	else if (!strcmp(op, "list"))
		reply = query_list(m);
	else if (!strcmp(op, "iommu"))
		reply = query_iommu(m, request);
	else if (!strcmp(op, "events"))
		reply = query_events(m, request, follow);
	else
		reply = query_error("unknown \"op\": say list, iommu or events");
	json_decref(request);
	return reply;
}
