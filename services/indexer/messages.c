#include "services/indexer/messages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "services/indexer/attributes.h"

/* ---- In ---- */

static kd_status add_member(
    json_t *members, const Kindred__V1__Attribute *attribute, const char *image, kd_error *err)
{
    json_t *value = NULL;
    if (json_object_get(members, attribute->name))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s has the attribute '%.100s' twice", image,
            attribute->name);
    switch (attribute->value_case) {
    case KINDRED__V1__ATTRIBUTE__VALUE_TEXT:
        value = json_string(attribute->text);
        break;
    case KINDRED__V1__ATTRIBUTE__VALUE_NUMBER:
        if (!isfinite(attribute->number))
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "attribute '%.100s' of %s is not a finite number", attribute->name, image);
        value = json_real(attribute->number);
        break;
    default:
        return kd_error_set(err, KD_INVALID_ARGUMENT, "attribute '%.100s' of %s has no value",
            attribute->name, image);
    }
    return json_object_set_new(members, attribute->name, value) == 0
               ? KD_OK
               : kd_error_memory(err, "an image's attributes");
}

kd_status item_from_message(const Kindred__V1__Item *message, collection_item *item, kd_error *err)
{
    char image[COLLECTION_LABEL_SIZE];
    *item = (collection_item){.image_id = message->image_id,
        .key = *message->key ? message->key : NULL,
        .class_id = message->class_id,
        .super_class_id = message->super_class_id,
        .class_name = message->class_name,
        .super_class_name = message->super_class_name,
        .uri = message->uri};
    (void)collection_label(item, image);
    json_t *const members = json_object();
    kd_status status = members ? KD_OK : kd_error_memory(err, "an image's attributes");
    for (size_t i = 0; status == KD_OK && i < message->n_attributes; i++)
        status = add_member(members, message->attributes[i], image, err);
    char *text = NULL;
    if (status == KD_OK)
        status = attributes_write(&text, members, image, err);
    item->attributes = text;
    json_decref(members);
    return status;
}

static double end_of(const Kindred__V1__Real *end, double open)
{
    return end ? end->value : open;
}

kd_status conditions_from_messages(
    Kindred__V1__Condition *const *messages, size_t n, collection_condition *out, kd_error *err)
{
    if (n > COLLECTION_MAX_CONDITIONS)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "a search has %zu conditions, allowed are %u",
            n, COLLECTION_MAX_CONDITIONS);
    for (size_t i = 0; i < n; i++) {
        const Kindred__V1__Condition *const m = messages[i];
        out[i] = (collection_condition){.name = m->name, .min = -INFINITY, .max = INFINITY};
        if (m->test_case == KINDRED__V1__CONDITION__TEST_ANY_OF && m->any_of->n_texts > 0) {
            out[i].texts = (const char *const *)m->any_of->texts;
            out[i].n_texts = m->any_of->n_texts;
        } else if (m->test_case == KINDRED__V1__CONDITION__TEST_RANGE) {
            out[i].min = end_of(m->range->min, -INFINITY);
            out[i].max = end_of(m->range->max, INFINITY);
        } else {
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "the condition on '%.100s' has neither texts nor a range", m->name);
        }
    }
    return KD_OK;
}

kd_status named_ids_find(named_ids *out, collection *c, uint64_t *ids, size_t n_ids,
    char *const *keys, size_t n_keys, kd_error *err)
{
    *out = (named_ids){.all = ids, .n = n_ids};
    if (n_keys == 0)
        return KD_OK;
    if (n_keys > COLLECTION_MAX_IDS)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "a request names %zu keys, allowed are %u",
            n_keys, COLLECTION_MAX_IDS);
    out->all = malloc((n_ids + n_keys) * sizeof *out->all);
    out->owned = true;
    out->n = out->all ? n_ids + n_keys : 0;
    if (!out->all)
        return kd_error_memory(err, "the images that a request names");
    if (n_ids)
        memcpy(out->all, ids, n_ids * sizeof *ids);
    return collection_find_keys(c, (const char *const *)keys, n_keys, out->all + n_ids, err);
}

void named_ids_clear(named_ids *ids)
{
    if (ids->owned)
        free(ids->all);
    *ids = (named_ids){0};
}

/* ---- Out ---- */

/* An item's attributes; the message points to list, and so to the whole. */
typedef struct told {
    Kindred__V1__Attribute *list[COLLECTION_MAX_ATTRIBUTES];
    Kindred__V1__Attribute all[COLLECTION_MAX_ATTRIBUTES];
    json_t *members; /* owned: what the texts are borrowed from */
} told;

static bool add_attributes(const char *text, Kindred__V1__Item *out)
{
    const char *name;
    json_t *value;
    if (*text == '\0')
        return true;
    told *const t = malloc(sizeof *t);
    json_t *const members = attributes_read(text);
    if (!t || !members) {
        free(t);
        json_decref(members);
        return false;
    }
    t->members = members;
    out->attributes = t->list;
    json_object_foreach(members, name, value)
    {
        Kindred__V1__Attribute *const a = &t->all[out->n_attributes];
        kindred__v1__attribute__init(a);
        a->name = (char *)(uintptr_t)name;
        if (json_is_string(value)) {
            a->value_case = KINDRED__V1__ATTRIBUTE__VALUE_TEXT;
            a->text = (char *)(uintptr_t)json_string_value(value);
        } else {
            a->value_case = KINDRED__V1__ATTRIBUTE__VALUE_NUMBER;
            a->number = json_number_value(value);
        }
        t->list[out->n_attributes++] = a;
    }
    return true;
}

bool item_to_message(const collection_item *item, Kindred__V1__Item *out)
{
    kindred__v1__item__init(out);
    out->image_id = item->image_id;
    if (item->key)
        out->key = (char *)(uintptr_t)item->key;
    out->class_id = item->class_id;
    out->super_class_id = item->super_class_id;
    out->class_name = (char *)(uintptr_t)item->class_name;
    out->super_class_name = (char *)(uintptr_t)item->super_class_name;
    out->uri = (char *)(uintptr_t)item->uri;
    return add_attributes(item->attributes, out);
}

void item_message_clear(Kindred__V1__Item *out)
{
    if (out->n_attributes == 0)
        return;
    told *const t = (told *)out->attributes;
    json_decref(t->members);
    free(t);
    out->n_attributes = 0;
}
