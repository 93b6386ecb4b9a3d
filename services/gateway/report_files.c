/* The files of an evaluation's report. */
#include <stdio.h>
#include <string.h>

#include "services/gateway/rows.h"

#define FOLDER "rows/"
#define ENDING ".png"
#define MOST 40u /* letters of a name */

/* Not isalnum, which asks the locale. */
static bool is_fit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* "-" and the fit letters of name, a single "-" where others stood between; nothing when it has
 * none. Returns the new end; there is room for MOST + 1 more. */
static char *put_name(char *at, const char *name)
{
    bool gap = true;
    for (size_t n = 0; name && *name && n < MOST; name++) {
        if (!is_fit(*name)) {
            gap = true;
            continue;
        }
        if (gap) {
            *at++ = '-';
            n++;
        }
        gap = false;
        *at++ = *name;
        n++;
    }
    return at;
}

void strip_name(char out[STRIP_NAME], const char *protocol, size_t model, const char *model_name,
    size_t row, const char *super_class_name, const char *class_name)
{
    char text[4][MOST + 2] = {"", "", "", ""};
    const char *const names[4] = {protocol, model_name, super_class_name, class_name};
    /* "mug-2" of "mug" says it already. */
    const bool said = super_class_name && class_name &&
                      strncmp(class_name, super_class_name, strlen(super_class_name)) == 0;
    for (size_t i = 0; i < 4; i++)
        if (i != 2 || !said)
            *put_name(text[i], names[i]) = '\0';
    (void)snprintf(out, STRIP_NAME, FOLDER "%.*s-%zu%s-%03zu%s%s" ENDING, (int)MOST,
        text[0][0] ? text[0] + 1 : "all", model, text[1], row, text[2], text[3]);
}

bool is_strip_name(const char *name)
{
    const size_t len = strlen(name), around = strlen(FOLDER) + strlen(ENDING);
    if (len <= around || len >= STRIP_NAME || strncmp(name, FOLDER, strlen(FOLDER)) != 0 ||
        strcmp(name + len - strlen(ENDING), ENDING) != 0)
        return false;
    for (size_t i = strlen(FOLDER); i < len - strlen(ENDING); i++)
        if (!is_fit(name[i]) && name[i] != '-')
            return false;
    return true;
}

const char *report_file_type(const char *name)
{
    if (strcmp(name, "report.html") == 0)
        return "text/html; charset=utf-8";
    if (strcmp(name, "report.json") == 0)
        return "application/json";
    return is_strip_name(name) ? "image/png" : NULL;
}
