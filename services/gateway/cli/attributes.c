#include "services/gateway/cli/attributes.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"

/* NAME OP VALUE, taken apart. */
typedef struct term {
    char *name; /* owned, as text */
    char op[3]; /* "=", ">=" or "<=" */
    char *text; /* NULL: it is a number */
    double number;
} term;

static void term_clear(term *t)
{
    free(t->name);
    free(t->text);
}

static void take_value(term *t, const char *value)
{
    const size_t len = strlen(value);
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"')
        t->text = cli_must(strndup(value + 1, len - 2));
    else if (!kd_parse_double(value, -DBL_MAX, DBL_MAX, &t->number))
        t->text = cli_must(strdup(value));
}

/* False: there is no operator, or no name. */
static bool take_apart(const char *text, term *t)
{
    const size_t name = strcspn(text, "<>=");
    const bool longer = text[name] != '\0' && text[name] != '=';
    *t = (term){.name = NULL};
    if (name == 0 || text[name] == '\0' || (longer && text[name + 1] != '='))
        return false;
    memcpy(t->op, text + name, longer ? 2 : 1);
    t->name = cli_must(strndup(text, name));
    take_value(t, text + name + (longer ? 2 : 1));
    return true;
}

/* ---- Attributes ---- */

bool cli_attributes_add(cli_attributes *a, const char *command, const char *text)
{
    term t;
    if (!take_apart(text, &t) || t.op[0] != '=') {
        term_clear(&t);
        (void)cli_usage(command, "'%.100s' is not NAME=VALUE", text);
        return false;
    }
    if (a->n == CLI_MAX_ATTRIBUTES) {
        term_clear(&t);
        (void)cli_usage(command, "more than %u attributes", CLI_MAX_ATTRIBUTES);
        return false;
    }
    Kindred__V1__Attribute *const to = &a->all[a->n];
    kindred__v1__attribute__init(to);
    to->name = t.name;
    if (t.text) {
        to->value_case = KINDRED__V1__ATTRIBUTE__VALUE_TEXT;
        to->text = t.text;
    } else {
        to->value_case = KINDRED__V1__ATTRIBUTE__VALUE_NUMBER;
        to->number = t.number;
    }
    a->list[a->n++] = to;
    return true;
}

void cli_attributes_clear(cli_attributes *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->all[i].name);
        if (a->all[i].value_case == KINDRED__V1__ATTRIBUTE__VALUE_TEXT)
            free(a->all[i].text);
    }
    a->n = 0;
}

/* ---- Conditions ---- */

/* The condition of that name and kind, a new one if need be; NULL when there are too many. Takes
 * the name over. */
static Kindred__V1__Condition *of(cli_conditions *c, char *name, bool texts)
{
    const Kindred__V1__Condition__TestCase kind =
        texts ? KINDRED__V1__CONDITION__TEST_ANY_OF : KINDRED__V1__CONDITION__TEST_RANGE;
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->all[i].name, name) == 0 && c->all[i].test_case == kind) {
            free(name);
            return &c->all[i];
        }
    if (c->n == CLI_MAX_CONDITIONS) {
        free(name);
        return NULL;
    }
    const size_t at = c->n++;
    Kindred__V1__Condition *const fresh = c->list[at] = &c->all[at];
    kindred__v1__condition__init(fresh);
    kindred__v1__texts__init(&c->texts[at]);
    kindred__v1__range__init(&c->ranges[at]);
    kindred__v1__real__init(&c->ends[at][0]);
    kindred__v1__real__init(&c->ends[at][1]);
    c->texts[at].texts = c->words[at];
    fresh->name = name;
    fresh->test_case = kind;
    if (texts)
        fresh->any_of = &c->texts[at];
    else
        fresh->range = &c->ranges[at];
    return fresh;
}

/* Narrows the range. */
static void add_end(cli_conditions *c, size_t at, const char *op, double number)
{
    Kindred__V1__Range *const range = &c->ranges[at];
    Kindred__V1__Real *const min = &c->ends[at][0], *const max = &c->ends[at][1];
    if (op[0] != '<') {
        min->value = range->min && min->value > number ? min->value : number;
        range->min = min;
    }
    if (op[0] != '>') {
        max->value = range->max && max->value < number ? max->value : number;
        range->max = max;
    }
}

bool cli_conditions_add(cli_conditions *c, const char *command, const char *text)
{
    term t;
    if (!take_apart(text, &t) || (t.text && t.op[0] != '=')) {
        term_clear(&t);
        (void)cli_usage(command, "'%.100s' is not NAME=VALUE, NAME>=NUMBER or NAME<=NUMBER", text);
        return false;
    }
    const Kindred__V1__Condition *const to = of(c, t.name, t.text != NULL);
    if (!to || (t.text && to->any_of->n_texts == CLI_MAX_TEXTS)) {
        free(t.text);
        (void)cli_usage(command, "more than %u conditions, or %u texts of one", CLI_MAX_CONDITIONS,
            CLI_MAX_TEXTS);
        return false;
    }
    if (t.text)
        to->any_of->texts[to->any_of->n_texts++] = t.text;
    else
        add_end(c, (size_t)(to - c->all), t.op, t.number);
    return true;
}

void cli_conditions_clear(cli_conditions *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->all[i].name);
        for (size_t j = 0; j < c->texts[i].n_texts; j++)
            free(c->words[i][j]);
    }
    c->n = 0;
}

const char *cli_image_name(const Kindred__V1__Item *item, char text[CLI_TEXT])
{
    return *item->key ? item->key : cli_count(item->image_id, text);
}
