// SPDX-License-Identifier: BSD-3-Clause
/*
 * The first message: version and capabilities. What a client does not say has the protocol's
 * default. The answer has no capability that the client did not name, as it is to be a subset.
 */
#include <errno.h>
#include <jansson.h>

#include "door/user/priv.h"

#define VERSION_MAJOR 0
#define VERSION_MINOR 1
#define DEFAULT_DATA ((json_int_t)MIB(1))
#define MAPS_MAX 65535

/* A number that may be there, at least @min. */
static int number(json_t *caps, const char *key, json_int_t fallback, json_int_t min, json_int_t *n,
		  bool *there)
{
	json_t *value = json_object_get(caps, key);

	*there = value != NULL;
	*n = value ? json_integer_value(value) : fallback;
	return value && (!json_is_integer(value) || *n < min) ? -EINVAL : 0;
}

static int capabilities(struct user_session *s, json_t *caps)
{
	struct user_wish *wish = &s->wish;
	json_int_t data, fds, n;

	if (caps && !json_is_object(caps))
		return -EINVAL;
	if (number(caps, "max_data_xfer_size", DEFAULT_DATA, 1, &data, &wish->data) ||
	    number(caps, "max_msg_fds", 1, 0, &fds, &wish->fds) ||
	    number(caps, "max_dma_maps", MAPS_MAX, 0, &n, &wish->maps) ||
	    number(caps, "pgsizes", UVF_PAGE_SIZE, 1, &n, &wish->pages))
		return -EINVAL;
	if (!(n & UVF_PAGE_SIZE))
		return -EINVAL; /* pages are what we both have to map */
	s->max_data = (uint32_t)MIN(data, (json_int_t)USER_DATA_MAX);
	s->max_fds = (uint32_t)MIN(fds, (json_int_t)USER_FDS_MAX);
	wish->multi = json_is_true(json_object_get(caps, "write_multiple"));
	wish->twin =
		json_is_true(json_object_get(json_object_get(caps, "twin_socket"), "supported"));
	return 0;
}

/* 0; -EINVAL; -EOPNOTSUPP: another protocol than ours. */
int version_negotiate(struct user_session *s, const struct message *m)
{
	struct user_version v;
	const char *text;
	json_t *json;
	size_t size;
	int ret;

	s->wish = (struct user_wish){ .minor = 0 };
	if (m->size < sizeof(v))
		return -EINVAL;
	memcpy(&v, m->data, sizeof(v));
	if (v.major != VERSION_MAJOR)
		return -EOPNOTSUPP;
	s->wish.minor = MIN(v.minor, (uint16_t)VERSION_MINOR);
	text = (const char *)m->data + sizeof(v);
	size = m->size - sizeof(v);
	if (!size)
		return capabilities(s, NULL);
	if (text[size - 1])
		return -EINVAL;
	json = json_loads(text, 0, NULL);
	ret = json_is_object(json) ? capabilities(s, json_object_get(json, "capabilities"))
				   : -EINVAL;
	json_decref(json);
	return ret;
}

/*
 * What we take is what the kernel passes; but QEMU (11.1) takes a number above 16 for nonsense, and
 * whoever wants to send more says that he takes more himself.
 */
static json_int_t fds_taken(const struct user_session *s)
{
	return MAX(s->max_fds, 16u);
}

static json_t *answer(const struct user_session *s, bool twin)
{
	const struct user_wish *wish = &s->wish;
	json_t *caps = json_object();

	if (wish->data)
		json_object_set_new(caps, "max_data_xfer_size", json_integer(USER_DATA_MAX));
	if (wish->fds)
		json_object_set_new(caps, "max_msg_fds", json_integer(fds_taken(s)));
	if (wish->maps)
		json_object_set_new(caps, "max_dma_maps", json_integer(MAPS_MAX));
	if (wish->pages)
		json_object_set_new(caps, "pgsizes", json_integer(UVF_PAGE_SIZE));
	if (wish->multi)
		json_object_set_new(caps, "write_multiple", json_true());
	if (twin)
		json_object_set_new(caps, "twin_socket",
				    json_pack("{s:b,s:i}", "supported", 1, "fd_index", 0));
	return json_pack("{s:o}", "capabilities", caps);
}

/* @twin_fd: for our commands, -1: they come the same way. */
int version_reply(struct user_session *s, const struct message *m, int twin_fd)
{
	struct user_version v = { VERSION_MAJOR, s->wish.minor };
	json_t *json = answer(s, twin_fd >= 0);
	AUTO_FREE char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	struct iovec data[2];

	json_decref(json);
	if (!text)
		return -ENOMEM;
	data[0] = (struct iovec){ &v, sizeof(v) };
	data[1] = (struct iovec){ text, strlen(text) + 1 };
	return session_reply(s, m, 0, data, 2, &twin_fd, twin_fd >= 0);
}
