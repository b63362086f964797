/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the NVMe controller says of itself, field by field: identify structures, log pages and their
 * counters, features. On a manual controller.
 */
#include "nvme_test.h"

/* ------------------------------------------------------------------ features */

static uint16_t set_feature(struct client *cl, uint32_t nsid, uint32_t dw10, uint32_t dw11)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_SET_FEATURES,
				 .nsid = le32_make(nsid),
				 .cdw10 = le32_make(dw10),
				 .cdw11 = le32_make(dw11) };

	return client_do(cl, 0, cmd, NULL);
}

static uint16_t get_feature(struct client *cl, uint32_t nsid, uint32_t dw10, uint32_t dw11)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_GET_FEATURES,
				 .nsid = le32_make(nsid),
				 .cdw10 = le32_make(dw10),
				 .cdw11 = le32_make(dw11) };

	return client_do(cl, 0, cmd, NULL);
}

static uint32_t feature(struct client *cl, unsigned fid, unsigned select, uint32_t dw11)
{
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_GET_FEATURES,
				 .cdw10 = le32_make(fid | select << 8),
				 .cdw11 = le32_make(dw11) };
	uint32_t dw0 = 0xdeadbeef;

	assert_int_equal(client_do(cl, 0, cmd, &dw0), 0);
	return dw0;
}

static void features(void **state)
{
	char options[128];
	struct client *cl;
	struct nvmed_sqe cmd = { .opcode = NVMED_ADMIN_SET_FEATURES, .cdw10 = le32_make(6) };

	make_image(MIB(8));
	snprintf(options, sizeof(options), "disk=%s,queues=2", image_path);
	cl = open_client(options, true);
	assert_true(client_enable(cl, 32));
	assert_int_equal(feature(cl, 6, 0, 0), 1);
	assert_int_equal(feature(cl, 6, 3, 0), 4);
	assert_int_equal(feature(cl, 7, 0, 0), 1 << 16 | 1);
	assert_int_equal(feature(cl, 4, 0, 0), 343);
	assert_int_equal(feature(cl, 4, 0, 1 << 20), 0);
	assert_int_equal(feature(cl, 9, 0, 2), 2);
	/* Write cache off: writes are durable by themselves, and still correct. */
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	assert_int_equal(feature(cl, 6, 0, 0), 0);
	assert_int_equal(feature(cl, 6, 1, 0), 1);
	assert_int_equal(client_create_queue(cl, 1, 64), 0);
	random_io(cl, 1, 9, MIB(8), 30);
	cmd = (struct nvmed_sqe){ .opcode = NVMED_ADMIN_GET_LOG,
				  .prp1 = le64_make(DATA),
				  .nsid = le32_make(~0u),
				  .cdw10 = le32_make(NVMED_LOG_SMART | 127 << 16) };
	assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	struct nvmed_smart *smart = client_ptr(cl, DATA);

	assert_true(le64_get(smart->host_writes[0]) > 0);
	assert_true(le64_get(smart->data_units_written[0]) > 0);
	assert_int_equal(smart->temperature[0] | smart->temperature[1] << 8, NVMED_TEMPERATURE);
	for (unsigned lid = 3; lid <= 5; lid += 2) {
		cmd.cdw10 = le32_make(lid | 127 << 16);
		assert_int_equal(client_do(cl, 0, cmd, NULL), 0);
	}
	assert_int_equal(le32_get(((le32 *)smart)[NVMED_ADMIN_IDENTIFY]), 1);
	assert_true(client_disable(cl));
	assert_true(client_enable(cl, 32));
	assert_int_equal(feature(cl, 6, 0, 0), 1);
	client_free(cl);
	unlink(image_path);
}

/* Which namespace may be named where. */
static void feature_scope(void **state)
{
	struct client *cl = open_client("mem=8M", true);

	assert_true(client_enable(cl, 32));
	for (unsigned fid = 0; fid < 256; fid++) {
		bool known = fid && fid < 0x0c && fid != 3, ns = fid == 5;
		/* A value that each of them takes. */
		uint32_t v = fid == 4 ? 343 : 0;
		uint16_t bad = NVMED_INVALID_FIELD | DNR;

#define STATUS(fine, other) (!known ? bad : (fine) ? NVMED_OK : (other) | DNR)
		assert_int_equal(get_feature(cl, 0, fid, 0), STATUS(!ns, NVMED_INVALID_NAMESPACE));
		assert_int_equal(get_feature(cl, 1, fid, 0), STATUS(true, 0));
		assert_int_equal(get_feature(cl, 2, fid, 0),
				 STATUS(false, NVMED_INVALID_NAMESPACE));
		assert_int_equal(get_feature(cl, ~0u, fid, 0),
				 STATUS(!ns, NVMED_INVALID_NAMESPACE));
		assert_int_equal(set_feature(cl, 0, fid, v), STATUS(!ns, NVMED_INVALID_NAMESPACE));
		assert_int_equal(set_feature(cl, 1, fid, v),
				 STATUS(ns, NVMED_FEATURE_NOT_NS_SPECIFIC));
		assert_int_equal(set_feature(cl, 2, fid, v),
				 STATUS(false, NVMED_INVALID_NAMESPACE));
		assert_int_equal(set_feature(cl, ~0u, fid, v), STATUS(true, 0));
		for (unsigned select = 1; select < 8; select++)
			assert_int_equal(get_feature(cl, 1, fid | select << 8, 0),
					 STATUS(select < 4, NVMED_INVALID_FIELD));
#undef STATUS
	}
	client_free(cl);
}

/* Each sensor has thresholds of its own, with defaults of their own. */
static void thresholds(void **state)
{
	struct client *cl = open_client("mem=8M", true);
	struct nvmed_sqe aer = { .opcode = NVMED_ADMIN_ASYNC_EVENT };
	struct nvmed_sqe log = { .opcode = NVMED_ADMIN_GET_LOG,
				 .prp1 = le64_make(DATA),
				 .cdw10 = le32_make(NVMED_LOG_SMART | 127 << 16) };
	struct nvmed_smart *smart = client_ptr(cl, DATA);
	const uint32_t sensor1 = 1 << 16, all = 15 << 16, under = 1 << 20;
	struct nvmed_cqe cqe;

	assert_true(client_enable(cl, 32));
	for (unsigned select = 0; select < 3; select++) {
		assert_int_equal(feature(cl, 4, select, 0), 343);
		assert_int_equal(feature(cl, 4, select, under), 0);
		assert_int_equal(feature(cl, 4, select, sensor1), 0xffff);
		assert_int_equal(feature(cl, 4, select, sensor1 | under), 0);
		assert_int_equal(get_feature(cl, 0, 4 | select << 8, 2 << 16),
				 NVMED_INVALID_FIELD | DNR);
		assert_int_equal(get_feature(cl, 0, 4 | select << 8, all),
				 NVMED_INVALID_FIELD | DNR);
		assert_int_equal(get_feature(cl, 0, 4 | select << 8, 2 << 20),
				 NVMED_INVALID_FIELD | DNR);
	}
	assert_int_equal(set_feature(cl, 0, 4, 2 << 16), NVMED_INVALID_FIELD | DNR);
	assert_int_equal(set_feature(cl, 0, 4, 3 << 20), NVMED_INVALID_FIELD | DNR);
	assert_int_equal(set_feature(cl, 0, 4, 350), 0);
	assert_int_equal(feature(cl, 4, 0, 0), 350);
	assert_int_equal(feature(cl, 4, 0, sensor1), 0xffff);
	assert_int_equal(set_feature(cl, 0, 4, sensor1 | 300), 0);
	assert_int_equal(feature(cl, 4, 0, 0), 350);
	assert_int_equal(feature(cl, 4, 0, sensor1), 300);
	assert_int_equal(feature(cl, 4, 1, sensor1), 0xffff);

	/* Crossed now, but nobody has asked to be told; whoever does is told at once. */
	assert_int_equal(client_do(cl, 0, log, NULL), 0);
	assert_int_equal(smart->critical_warning, BIT(1));
	client_queue_cmd(cl, 0, aer);
	client_ring(cl, 0);
	client_pump(cl);
	assert_false(client_poll(cl, 0, &cqe));
	client_queue_cmd(cl, 0,
			 (struct nvmed_sqe){ .opcode = NVMED_ADMIN_SET_FEATURES,
					     .cdw10 = le32_make(0x0b),
					     .cdw11 = le32_make(2) });
	client_ring(cl, 0);
	assert_true(client_wait(cl, 0, &cqe) && client_wait(cl, 0, &cqe));
	assert_int_equal(le32_get(cqe.dw0), 0x20101);

	assert_int_equal(set_feature(cl, 0, 4, all | 360), 0);
	assert_int_equal(feature(cl, 4, 0, 0), 360);
	assert_int_equal(feature(cl, 4, 0, sensor1), 360);
	assert_int_equal(client_do(cl, 0, log, NULL), 0);
	assert_int_equal(smart->critical_warning, 0);
	/* The default of a vector names the vector, as its value does. */
	assert_int_equal(set_feature(cl, 0, 9, 1 << 16 | 3), 0);
	assert_int_equal(feature(cl, 9, 0, 3), 1 << 16 | 3);
	assert_int_equal(feature(cl, 9, 1, 3), 3);
	assert_int_equal(get_feature(cl, 0, 9 | 1 << 8, 17), NVMED_INVALID_FIELD | DNR);
	client_free(cl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features),
		cmocka_unit_test(feature_scope),
		cmocka_unit_test(thresholds),
	};

	return cmocka_run_group_tests_name("nvme_admin", tests, NULL, NULL);
}
