/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes the n-th call of a kind fail, once. See inject.c.
 */
#ifndef UVFIO_TESTS_INJECT_H
#define UVFIO_TESTS_INJECT_H

#include <stdbool.h>

enum inject_kind { INJECT_NONE, INJECT_MEMORY, INJECT_SYSTEM };

/* The @n-th call from now on (1: the next), on whatever thread, fails. */
void inject_arm(enum inject_kind kind, unsigned long n);
/* Nothing fails from now on. */
void inject_disarm(void);
/* Whether it has come to pass; *@name: of the call. */
bool inject_fired(const char **name);

#endif
