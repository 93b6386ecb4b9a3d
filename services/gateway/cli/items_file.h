/* services/gateway/cli/items_file.h: files that name the rows of a file of vectors, a line for
 * each: a JSON object with an item's fields (image_id or key, class_id, class_name, super_class_id,
 * super_class_name, uri, attributes), or an image's id, or else its key. */
#ifndef KD_CLI_ITEMS_FILE_H
#define KD_CLI_ITEMS_FILE_H

#include <stdio.h>

#include <jansson.h>

#include "kindred/v1/common.pb-c.h"
#include "lib/base/status.h"

typedef struct cli_items {
    FILE *stream;
    char *path;
    char *line; /* owned: getline's */
    size_t room;
    uint64_t number; /* of the line */
} cli_items;

/* *lines is how many there are. */
KD_MUST_CHECK kd_status cli_items_open(
    cli_items *items, const char *path, uint64_t *lines, kd_error *err);
void cli_items_close(cli_items *items); /* a {0} one is fine */

/* An item, and what it borrows from. */
typedef struct cli_item {
    Kindred__V1__Item message;
    json_t *json; /* owned, as the rest */
    char *key;
    Kindred__V1__Attribute *attributes; /* and the list of them */
    Kindred__V1__Attribute **list;
} cli_item;

void cli_item_init(cli_item *item);
void cli_item_clear(cli_item *item);

/* The next line's; cli_item_clear in any case. KD_INVALID_ARGUMENT names the line. */
KD_MUST_CHECK kd_status cli_items_next(cli_items *items, cli_item *item, kd_error *err);

#endif
