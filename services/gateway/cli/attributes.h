/* services/gateway/cli/attributes.h: attributes and conditions as they are typed, and how an image
 * is called. A value that reads as a number is one, unless it stands in double quotes. */
#ifndef KD_CLI_ATTRIBUTES_H
#define KD_CLI_ATTRIBUTES_H

#include "kindred/v1/gateway.pb-c.h"

#include "services/gateway/cli/cli.h"

#define CLI_MAX_ATTRIBUTES 32u /* as many as the server takes */
#define CLI_MAX_CONDITIONS 16u
#define CLI_MAX_TEXTS 100u

typedef struct cli_attributes {
    Kindred__V1__Attribute all[CLI_MAX_ATTRIBUTES];
    Kindred__V1__Attribute *list[CLI_MAX_ATTRIBUTES];
    size_t n;
} cli_attributes;
/* NAME=VALUE. False: wrong, which was said. */
bool cli_attributes_add(cli_attributes *a, const char *command, const char *text);
void cli_attributes_clear(cli_attributes *a); /* {0} is fine */

typedef struct cli_conditions {
    Kindred__V1__Condition all[CLI_MAX_CONDITIONS];
    Kindred__V1__Condition *list[CLI_MAX_CONDITIONS];
    Kindred__V1__Texts texts[CLI_MAX_CONDITIONS];
    char *words[CLI_MAX_CONDITIONS][CLI_MAX_TEXTS];
    Kindred__V1__Range ranges[CLI_MAX_CONDITIONS];
    Kindred__V1__Real ends[CLI_MAX_CONDITIONS][2];
    size_t n;
} cli_conditions;
/* NAME=VALUE, NAME>=NUMBER or NAME<=NUMBER; texts of one name count as any of them, ends of one
 * name as one range. False: wrong, which was said. */
bool cli_conditions_add(cli_conditions *c, const char *command, const char *text);
void cli_conditions_clear(cli_conditions *c); /* {0} is fine */

/* Its key, else its number. */
const char *cli_image_name(const Kindred__V1__Item *item, char text[CLI_TEXT]);

#endif
