/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a fuzz target over the files of the folders and files named, without libFuzzer. */
#include <dirent.h>
#include <sys/stat.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned count;

static int run_path(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return 0;
	if (S_ISDIR(st.st_mode)) {
		DIR *dir = opendir(path);
		struct dirent *e;

		while (dir && (e = readdir(dir))) {
			char sub[4096];

			if (e->d_name[0] == '.')
				continue;
			snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name);
			if (run_path(sub))
				return 1;
		}
		if (dir)
			closedir(dir);
		return 0;
	}

	char *text;
	size_t size;

	if (file_read_all(path, MIB(16), &text, &size)) {
		fprintf(stderr, "cannot read %s\n", path);
		return 1;
	}
	LLVMFuzzerTestOneInput((const uint8_t *)text, size);
	free(text);
	count++;
	return 0;
}

int main(int argc, char **argv)
{
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++)
		if (run_path(argv[i]))
			return 1;
	printf("%u inputs\n", count);
	return 0;
}
