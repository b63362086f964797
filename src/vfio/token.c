/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tokens between who has a PF and who has its VFs. The driver of a PF can spoil everything for the
 * VFs, and they for it, so each has to show that it knows the other: a UUID that the owner of the
 * PF sets, and that everybody who opens a VF gives. It goes with the name of the device.
 *
 * All of it under vfio.lock. Source: vfio_pci_core_match(), vfio_pci_validate_vf_token(),
 * vfio_pci_core_feature_token(), vfio_pci_vf_init().
 */
#include <sys/random.h>

#include "vfio/priv.h"

#define UUID_TEXT 36u
#define TOKEN_OPTION "vf_token="

int token_init(struct vdev *d)
{
	if (!pcif_desc(d->f)->sriov.total_vfs)
		return 0;
	/* Nobody knows it: until the owner has set another, no VF can be opened. */
	if (getrandom(d->token, sizeof(d->token), 0) != (ssize_t)sizeof(d->token))
		return -EIO;
	d->has_token = true;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Source: uuid_parse(). What follows is not looked at. */
static int uuid_read(const char *text, uint8_t uuid[TOKEN_SIZE])
{
	unsigned n = 0;

	for (unsigned i = 0; i < UUID_TEXT; i++) {
		int high, low;

		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text[i] != '-')
				return -EINVAL;
			continue;
		}
		high = hex_digit(text[i++]);
		low = high < 0 ? -1 : hex_digit(text[i]);
		if (low < 0)
			return -EINVAL;
		uuid[n++] = high << 4 | low;
	}
	return 0;
}

/* What follows the address: blanks, and the token at most once. */
static int options_read(const char *text, bool *given, uint8_t uuid[TOKEN_SIZE])
{
	*given = false;
	while (*text) {
		if (*text == ' ') {
			text++;
			continue;
		}
		if (*given || strncmp(text, TOKEN_OPTION, strlen(TOKEN_OPTION)))
			return -EINVAL;
		text += strlen(TOKEN_OPTION);
		if (uuid_read(text, uuid))
			return -EINVAL;
		text += UUID_TEXT;
		*given = true;
	}
	return 0;
}

int token_check(struct vdev *d, const uint8_t *uuid)
{
	/* Of a VF: whoever made it through vfio-pci. */
	struct vdev *pf = pcif_is_vf(d->f) ? d->pf : d->has_token ? d : NULL;

	if (!pf) {
		if (uuid)
			log_debug("%s: takes no VF token: neither it nor its PF is VFIO's to "
				  "share",
				  pcif_name(d->f));
		return uuid ? -EINVAL : 0;
	}
	if (pf == d && !d->token_users) {
		if (uuid)
			memcpy(d->token, uuid, TOKEN_SIZE);
		return 0;
	}
	if (uuid && !memcmp(uuid, pf->token, TOKEN_SIZE))
		return 0;
	log_debug("%s: %s VF token: give the one that %s was opened with, vf_token=UUID",
		  pcif_name(d->f), uuid ? "wrong" : "no", pcif_name(pf->f));
	return -EACCES;
}

int token_match(struct vdev *d, const char *name)
{
	const char *bdf = pcif_name(d->f);
	size_t n = strlen(bdf);
	uint8_t uuid[TOKEN_SIZE];
	bool given;
	int ret;

	if (strncmp(name, bdf, n) || (name[n] && name[n] != ' '))
		return 0;
	ret = options_read(name + n, &given, uuid);
	if (!ret)
		ret = token_check(d, given ? uuid : NULL);
	return ret ? ret : 1;
}

void token_use(struct vdev *d, int by)
{
	if (d->pf)
		d->pf->token_users += by;
}
