/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text form of PCI addresses, parameters of a SPEC, and error texts for the person who wrote it.
 * Pure functions; nothing here knows a function or a tree.
 */
#include <errno.h>
#include <stdarg.h>

#include "priv.h"

/* Reads exactly @digits hexadecimal digits; -1 if there are fewer. */
static int hex_digits(const char **p, unsigned digits, uint32_t *value)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < digits; i++) {
		char c = (*p)[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint32_t)(c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			v = v << 4 | (uint32_t)(c - 'A' + 10);
		else
			return -1;
	}
	*p += digits;
	*value = v;
	return 0;
}

/**
 * pcif_bdf_parse() - "DDDD:BB:DD.F", or "BB:DD.F" in domain 0.
 * Exactly these numbers of hexadecimal digits, device at most 1f, function at most 7, and nothing
 * after them. -EINVAL otherwise. Any thread.
 */
int pcif_bdf_parse(const char *text, struct pci_bdf *bdf)
{
	uint32_t domain = 0, bus, dev, fn;
	const char *p = text;

	if (strlen(text) == 12) {
		if (hex_digits(&p, 4, &domain) || *p++ != ':')
			return -EINVAL;
	} else if (strlen(text) != 7) {
		return -EINVAL;
	}
	if (hex_digits(&p, 2, &bus) || *p++ != ':' || hex_digits(&p, 2, &dev) || *p++ != '.' ||
	    hex_digits(&p, 1, &fn) || *p)
		return -EINVAL;
	if (dev > 0x1f || fn > 7)
		return -EINVAL;
	*bdf = (struct pci_bdf){ domain, (uint8_t)bus, (uint8_t)dev, (uint8_t)fn };
	return 0;
}

const char *pcif_bdf_format(struct pci_bdf bdf, char out[PCI_BDF_STRLEN])
{
	snprintf(out, PCI_BDF_STRLEN, "%04x:%02x:%02x.%x", bdf.domain & 0xffff, bdf.bus,
		 bdf.dev & 0x1f, bdf.fn & 7);
	return out;
}

/**
 * pcif_error() - note why, and give @errnum back (negative).
 * @err may be NULL. Texts that do not fit are cut.
 */
int pcif_error(struct pcif_reply_error *err, int errnum, const char *fmt, ...)
{
	if (err) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return errnum;
}

/* ------------------------------------------------------------------ parameters */

struct param {
	char *key, *value;
};

struct pcif_params {
	struct param *list;
	size_t n;
};

int pcim_params_new(struct pcif_params **params)
{
	struct pcif_params *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*params = p;
	return 0;
}

void pcim_params_free(struct pcif_params *params)
{
	if (!params)
		return;
	for (size_t i = 0; i < params->n; i++) {
		free(params->list[i].key);
		free(params->list[i].value);
	}
	free(params->list);
	free(params);
}

/**
 * pcim_params_set() - add @key with @value, both copied.
 * -EEXIST if @key was given before, -ENOMEM.
 */
int pcim_params_set(struct pcif_params *params, const char *key, const char *value)
{
	struct param *list;

	if (pcif_param(params, key))
		return -EEXIST;
	list = realloc(params->list, (params->n + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	params->list = list;
	list[params->n] = (struct param){ strdup(key), strdup(value) };
	if (!list[params->n].key || !list[params->n].value) {
		free(list[params->n].key);
		free(list[params->n].value);
		return -ENOMEM;
	}
	params->n++;
	return 0;
}

/* Borrowed until the parameters are freed. @params may be NULL: nothing is given. */
const char *pcif_param(const struct pcif_params *params, const char *key)
{
	for (size_t i = 0; params && i < params->n; i++)
		if (!strcmp(params->list[i].key, key))
			return params->list[i].value;
	return NULL;
}

int pcif_param_number(const struct pcif_params *params, const char *key, unsigned min, unsigned max,
		      unsigned *value, struct pcif_reply_error *err)
{
	const char *text = pcif_param(params, key);
	unsigned long n;
	char *end;

	if (!text)
		return 0;
	errno = 0;
	n = strtoul(text, &end, 10);
	/* strtoul() would take white space and signs. */
	if (*text < '0' || *text > '9' || *end || errno || n < min || n > max)
		return pcif_error(err, -EINVAL, "%s=%s: give a number from %u to %u", key, text,
				  min, max);
	*value = (unsigned)n;
	return 0;
}

int pcif_param_choice(const struct pcif_params *params, const char *key, const char *const *choices,
		      unsigned *value, struct pcif_reply_error *err)
{
	const char *text = pcif_param(params, key);
	char all[128] = "";

	if (!text)
		return 0;
	for (unsigned i = 0; choices[i]; i++) {
		size_t used = strlen(all);

		if (!strcmp(text, choices[i])) {
			*value = i;
			return 0;
		}
		snprintf(all + used, sizeof(all) - used, "%s%s=%s", i ? " or " : "", key,
			 choices[i]);
	}
	return pcif_error(err, -EINVAL, "%s=%s: say %s", key, text, all);
}
