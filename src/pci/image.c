/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guarded single accesses to a BAR image. Each costs a few nanoseconds more than the plain one, for
 * saving what a jump out of SIGBUS needs; code that looks at many words in a row does so inside
 * one guard_call() of its own, as pcif_regs_scan() does.
 */
#include <errno.h>

#include "priv.h"

struct image_access {
	uint32_t *p;
	uint32_t value, expected;
	bool done;
};

static void image_load(void *data)
{
	struct image_access *a = data;

	a->value = __atomic_load_n(a->p, __ATOMIC_ACQUIRE);
}

static void image_store(void *data)
{
	struct image_access *a = data;

	__atomic_store_n(a->p, a->value, __ATOMIC_RELEASE);
}

static void image_xchg(void *data)
{
	struct image_access *a = data;

	a->value = __atomic_exchange_n(a->p, a->value, __ATOMIC_SEQ_CST);
}

static void image_cas(void *data)
{
	struct image_access *a = data;

	a->done = __atomic_compare_exchange_n(a->p, &a->expected, a->value, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_ACQUIRE);
}

int pcif_image_load32(const void *p, uint32_t *value)
{
	/* Only loaded from. */
	struct image_access a = { .p = (uint32_t *)(uintptr_t)p };
	int rc = guard_call(image_load, &a);

	if (!rc)
		*value = a.value;
	return rc;
}

int pcif_image_store32(void *p, uint32_t value)
{
	struct image_access a = { .p = p, .value = value };

	return guard_call(image_store, &a);
}

int pcif_image_xchg32(void *p, uint32_t value, uint32_t *old)
{
	struct image_access a = { .p = p, .value = value };
	int rc = guard_call(image_xchg, &a);

	if (!rc)
		*old = a.value;
	return rc;
}

int pcif_image_cas32(void *p, uint32_t expected, uint32_t value, bool *done)
{
	struct image_access a = { .p = p, .value = value, .expected = expected };
	int rc = guard_call(image_cas, &a);

	if (!rc)
		*done = a.done;
	return rc;
}
