/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ordered map of ranges that never overlap, as an AVL tree with embedded nodes.
 *
 * Because the ranges are disjoint, ordering them by first address also orders them by last address:
 * one comparison decides each step, and a range that collides with a new one is met on the way
 * down. No allocation, no lock: both are the caller's. The tree is at most 1.44 log2(n) deep.
 */
#include <errno.h>

#include "base/base.h"

static int node_height(const struct range_node *n)
{
	return n ? n->height : 0;
}

static void node_update(struct range_node *n)
{
	n->height = MAX(node_height(n->left), node_height(n->right)) + 1;
}

/* Puts @to where @from hangs. @to may be NULL. */
static void replace_child(struct range_map *map, struct range_node *from, struct range_node *to)
{
	struct range_node *parent = from->parent;

	if (!parent)
		map->root = to;
	else if (parent->left == from)
		parent->left = to;
	else
		parent->right = to;
	if (to)
		to->parent = parent;
}

static struct range_node *rotate_left(struct range_map *map, struct range_node *n)
{
	struct range_node *up = n->right;

	replace_child(map, n, up);
	n->right = up->left;
	if (n->right)
		n->right->parent = n;
	up->left = n;
	n->parent = up;
	node_update(n);
	node_update(up);
	return up;
}

static struct range_node *rotate_right(struct range_map *map, struct range_node *n)
{
	struct range_node *up = n->left;

	replace_child(map, n, up);
	n->left = up->right;
	if (n->left)
		n->left->parent = n;
	up->right = n;
	n->parent = up;
	node_update(n);
	node_update(up);
	return up;
}

/* Restores heights and balance from @n up to the root. */
static void rebalance(struct range_map *map, struct range_node *n)
{
	for (; n; n = n->parent) {
		int lean = node_height(n->left) - node_height(n->right);

		if (lean > 1) {
			if (node_height(n->left->left) < node_height(n->left->right))
				rotate_left(map, n->left);
			n = rotate_right(map, n);
		} else if (lean < -1) {
			if (node_height(n->right->right) < node_height(n->right->left))
				rotate_right(map, n->right);
			n = rotate_left(map, n);
		} else {
			node_update(n);
		}
	}
}

int range_map_insert(struct range_map *map, struct range_node *node)
{
	struct range_node **link = &map->root, *parent = NULL;

	while (*link) {
		parent = *link;
		if (node->last < parent->first)
			link = &parent->left;
		else if (node->first > parent->last)
			link = &parent->right;
		else
			return -EEXIST;
	}
	node->left = NULL;
	node->right = NULL;
	node->parent = parent;
	node->height = 1;
	*link = node;
	map->count++;
	rebalance(map, parent);
	return 0;
}

void range_map_remove(struct range_map *map, struct range_node *node)
{
	struct range_node *from;

	if (node->left && node->right) {
		struct range_node *heir = node->right;

		while (heir->left)
			heir = heir->left;
		/* The lowest node that loses a child is where the balance can break first. */
		from = heir->parent == node ? heir : heir->parent;
		replace_child(map, heir, heir->right);
		replace_child(map, node, heir);
		heir->left = node->left;
		heir->left->parent = heir;
		heir->right = node->right;
		if (heir->right)
			heir->right->parent = heir;
	} else {
		from = node->parent;
		replace_child(map, node, node->left ? node->left : node->right);
	}
	map->count--;
	rebalance(map, from);
	node->left = NULL;
	node->right = NULL;
	node->parent = NULL;
	node->height = 0;
}

struct range_node *range_map_find(const struct range_map *map, uint64_t addr)
{
	struct range_node *n = map->root;

	while (n) {
		if (addr < n->first)
			n = n->left;
		else if (addr > n->last)
			n = n->right;
		else
			return n;
	}
	return NULL;
}

struct range_node *range_map_lower(const struct range_map *map, uint64_t addr)
{
	struct range_node *n = map->root, *best = NULL;

	while (n) {
		if (n->last >= addr) {
			best = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

struct range_node *range_map_first(const struct range_map *map)
{
	struct range_node *n = map->root;

	while (n && n->left)
		n = n->left;
	return n;
}

struct range_node *range_map_next(const struct range_node *node)
{
	const struct range_node *n = node;

	if (n->right) {
		n = n->right;
		while (n->left)
			n = n->left;
		return (struct range_node *)n;
	}
	while (n->parent && n->parent->right == n)
		n = n->parent;
	return n->parent;
}
