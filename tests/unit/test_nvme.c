/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void nothing_yet(void **state)
{
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_yet) };

	return cmocka_run_group_tests_name("nvme", tests, NULL, NULL);
}
