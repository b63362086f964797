// SPDX-License-Identifier: BSD-3-Clause
/* vfio-user: the first message, and who may have the function. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "user_client.h"

static struct got m;

static int setup(void **state)
{
	static struct world w;

	world_open(&w);
	*state = &w;
	return 0;
}

static int teardown(void **state)
{
	world_close(*state);
	return 0;
}

/* What the first message of a new client is answered with; -ECONNRESET: nothing. */
static int first(struct world *w, uint16_t major, uint16_t minor, const char *json, size_t size)
{
	struct client c;
	int ret;

	client_connect(&c, w, FULL);
	ret = version_call(&c, major, minor, json, size, &m);
	got_close(&m);
	/* Who was refused is refused for good. */
	if (ret)
		assert_int_equal(client_call(&c, USER_RESET, NULL, 0, &m), -ECONNRESET);
	client_close(&c);
	return ret;
}

static int first_text(struct world *w, const char *json)
{
	return first(w, 0, 1, json, strlen(json) + 1);
}

static void test_versions(void **state)
{
	struct world *w = *state;
	const struct {
		uint16_t major, minor;
		int ret, answer;
	} tries[] = {
		{ 0, 0, 0, 0 },	     { 0, 1, 0, 1 },	       { 0, 2, 0, 1 },
		{ 0, 0xffff, 0, 1 }, { 1, 0, -EOPNOTSUPP, 0 }, { 0xffff, 1, -EOPNOTSUPP, 0 }
	};

	for (unsigned i = 0; i < ARRAY_SIZE(tries); i++) {
		assert_int_equal(first(w, tries[i].major, tries[i].minor, NULL, 0), tries[i].ret);
		if (tries[i].ret)
			continue;
		assert_int_equal(((struct user_version *)m.data)->major, 0);
		assert_int_equal(((struct user_version *)m.data)->minor, tries[i].answer);
	}
}

static json_t *caps(const char *json)
{
	json_t *whole, *c;

	assert_int_equal(m.data[m.size - 1], 0);
	assert_int_equal(strlen((char *)m.data + sizeof(struct user_version)) + 1,
			 m.size - sizeof(struct user_version));
	whole = json_loads((char *)m.data + sizeof(struct user_version), 0, NULL);
	c = json_incref(json_object_get(whole, "capabilities"));
	json_decref(whole);
	assert_true(json_is_object(c));
	return c;
}

/* The answer names what the client named, and nothing else. */
static void test_subset(void **state)
{
	struct world *w = *state;
	const char *const keys[] = { "max_msg_fds", "max_data_xfer_size", "max_dma_maps",
				     "pgsizes" };
	const long long answers[] = { 16, 1048576, 65535, 4096 };
	json_t *c;

	assert_int_equal(first(w, 0, 1, NULL, 0), 0);
	c = caps("");
	assert_int_equal(json_object_size(c), 0);
	json_decref(c);
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		char text[128];

		snprintf(text, sizeof(text), "{\"capabilities\":{\"%s\":4096}}", keys[i]);
		assert_int_equal(first_text(w, text), 0);
		c = caps(text);
		assert_int_equal(json_object_size(c), 1);
		/* Of descriptors it takes as many as the client, if the kernel passes them. */
		assert_int_equal(json_integer_value(json_object_get(c, keys[i])),
				 i ? answers[i] : USER_FDS_MAX);
		json_decref(c);
	}
	assert_int_equal(first_text(w, ALL_CAPS), 0);
	c = caps(ALL_CAPS);
	assert_int_equal(json_object_size(c), 5);
	assert_int_equal(json_integer_value(json_object_get(c, "max_msg_fds")), 16);
	assert_true(json_is_true(json_object_get(c, "write_multiple")));
	json_decref(c);
	assert_int_equal(first_text(w, "{\"capabilities\":{\"write_multiple\":false}}"), 0);
	c = caps("");
	assert_int_equal(json_object_size(c), 0);
	json_decref(c);
}

static void test_bad_data(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = {
		"",
		"x",
		"[]",
		"1",
		"\"x\"",
		"null",
		"{",
		"{}}",
		"{\"capabilities\":1}",
		"{\"capabilities\":null}",
		"{\"capabilities\":[]}",
		"{\"capabilities\":{\"max_msg_fds\":\"1\"}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":1.5}}",
		"{\"capabilities\":{\"max_msg_fds\":99999999999999999999}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"max_data_xfer_size\":null}}",
		"{\"capabilities\":{\"max_dma_maps\":[]}}",
		"{\"capabilities\":{\"pgsizes\":0}}",
		"{\"capabilities\":{\"pgsizes\":8192}}",
		"{\"capabilities\":{\"pgsizes\":{}}}",
		"{\"capabilities\":{\"\xff\xfe\":1}}",
	};
	static char deep[KIB(8)];

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(first_text(w, bad[i]), -EINVAL);
	assert_int_equal(first(w, 0, 1, "{}", 2), -EINVAL); /* no NUL */
	memset(deep, '[', sizeof(deep) - 1);
	assert_int_equal(first_text(w, deep), -EINVAL);
	memset(deep, ' ', sizeof(deep) - 1);
	assert_int_equal(first_text(w, deep), -EINVAL);
	/* Nobody is in the way of the next one. */
	assert_int_equal(first_text(w, "{}"), 0);
	assert_int_equal(first_text(w, "{\"capabilities\":{}}"), 0);
	assert_int_equal(first_text(w, "{\"capabilities\":{\"later\":{\"a\":[1]}},\"b\":2}"), 0);
	assert_int_equal(first(w, 0, 1, "{}\0\0\0", 6), 0);
}

/* What cannot begin a connection ends it. */
static void test_not_a_version(void **state)
{
	struct world *w = *state;
	struct user_version v = { 0, 1 };
	struct client c;

	for (unsigned command = 0; command < 40; command++) {
		client_connect(&c, w, FULL);
		if (command != USER_VERSION)
			assert_int_equal(client_call(&c, command, &v, sizeof(v), &m), -ECONNRESET);
		client_close(&c);
	}
	client_connect(&c, w, FULL);
	send_message(c.fd, 1, USER_VERSION, USER_NO_REPLY, &v, sizeof(v), NULL, 0);
	assert_false(receive_message(c.fd, &m));
	client_close(&c);
	for (size_t size = 0; size < sizeof(v); size++) {
		client_connect(&c, w, FULL);
		assert_int_equal(client_call(&c, USER_VERSION, &v, size, &m), -EINVAL);
		client_close(&c);
	}
	/* A second one is nothing that there is. */
	assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0);
	assert_int_equal(version_call(&c, 0, 1, NULL, 0, &m), -EOPNOTSUPP);
	assert_int_equal(client_call(&c, USER_RESET, NULL, 0, &m), 0);
	client_close(&c);
}

/* Who has nothing yet gets little room. */
static void test_large_first(void **state)
{
	struct world *w = *state;
	struct user_header h = { 1, USER_VERSION, USER_FIRST_MAX + 1, 0, 0 };
	static char json[USER_FIRST_MAX - sizeof(h) - sizeof(struct user_version)];
	struct client c;

	client_connect(&c, w, FULL);
	assert_true(send_raw(c.fd, &h, sizeof(h), NULL, 0));
	assert_false(receive_message(c.fd, &m));
	client_close(&c);
	memset(json, ' ', sizeof(json) - 1);
	json[0] = '{';
	json[1] = '}';
	assert_int_equal(first(w, 0, 1, json, sizeof(json)), 0);
}

static void test_twin(void **state)
{
	struct world *w = *state;
	static const char *const without[] = {
		"{\"capabilities\":{\"twin_socket\":{\"supported\":false}}}",
		"{\"capabilities\":{\"twin_socket\":{}}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
		"{\"capabilities\":{\"twin_socket\":true}}",
		"{\"capabilities\":{\"twin_socket\":[]}}",
		"{\"capabilities\":{\"max_msg_fds\":0,\"twin_socket\":{\"supported\":true}}}",
	};
	struct client c;
	json_t *twin, *all;

	for (unsigned i = 0; i < ARRAY_SIZE(without); i++) {
		assert_int_equal(client_open(&c, w, FULL, without[i], &m), 0);
		assert_int_equal(c.twin, -1);
		all = caps(without[i]);
		assert_null(json_object_get(all, "twin_socket"));
		json_decref(all);
		client_close(&c);
	}
	assert_int_equal(client_open(&c, w, FULL, TWIN_CAPS, &m), 0);
	assert_true(c.twin >= 0);
	all = caps(TWIN_CAPS);
	twin = json_object_get(all, "twin_socket");
	assert_true(json_is_true(json_object_get(twin, "supported")));
	assert_int_equal(json_integer_value(json_object_get(twin, "fd_index")), 0);
	json_decref(all);
	/* Its end is nothing to who does not use it. */
	base_cleanup_close(&c.twin);
	assert_int_equal(client_call(&c, USER_RESET, NULL, 0, &m), 0);
	client_close(&c);
}

/* ------------------------------------------------------------------ who has it */

static void test_busy(void **state)
{
	struct world *w = *state;
	struct client a, b, c;
	uint32_t number = pcif_group(find(&w->x, PLAIN));

	assert_int_equal(client_open(&a, w, PLAIN, ALL_CAPS, &m), 0);
	assert_int_equal(client_open(&b, w, PLAIN, ALL_CAPS, &m), -EBUSY);
	client_close(&b);
	if (pcif_group(find(&w->x, PLAIN2)) == number) {
		assert_int_equal(client_open(&b, w, PLAIN2, ALL_CAPS, &m), -EBUSY);
		client_close(&b);
	}
	assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0); /* another */
	assert_int_equal(get32(&a, VFIO_PCI_CONFIG_REGION_INDEX, 0, &m), 0x00011234);
	client_close(&a);
	client_close(&c);
	world_await_left(w);
	/* A client of another door. */
	assert_int_equal(vfio_open_group(w->x.v, pcif_group(w->x.full), &w->x.group), 0);
	assert_int_equal(client_open(&b, w, FULL, ALL_CAPS, &m), -EBUSY);
	client_close(&b);
	vfio_obj_put(w->x.group);
	w->x.group = NULL;
}

/* Who comes again at once waits for his own end; also where that was another function's. */
static void test_again(void **state)
{
	struct world *w = *state;
	struct client c;

	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(client_open(&c, w, i % 3 ? PLAIN : PLAIN2, ALL_CAPS, &m), 0);
		client_close(&c);
	}
}

/* Those who left before they were let in are in nobody's way, nor in each other's. */
static void test_crowd(void **state)
{
	struct world *w = *state;
	struct user_version v = { 0, 1 };
	uint64_t start = time_mono_ns();
	struct client c;

	for (unsigned i = 0; i < 20; i++) {
		client_connect(&c, w, FULL);
		assert_true(client_send(&c, USER_VERSION, &v, sizeof(v), NULL, 0));
		client_close(&c);
	}
	assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0);
	assert_true(time_mono_ns() - start < w->door->limits.gone_ns);
	client_close(&c);
}

static void test_sent_away(void **state)
{
	struct world *w = *state;
	struct client c;

	w->refuse = -ENOMEM;
	client_connect(&c, w, FULL);
	assert_int_equal(version_call(&c, 0, 1, NULL, 0, &m), -ECONNRESET);
	client_close(&c);
	w->refuse = 0;
	assert_int_equal(client_open(&c, w, FULL, ALL_CAPS, &m), 0);
	client_close(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_versions),	  TEST(test_subset),	  TEST(test_bad_data),
		TEST(test_not_a_version), TEST(test_large_first), TEST(test_twin),
		TEST(test_busy),	  TEST(test_again),	  TEST(test_crowd),
		TEST(test_sent_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
