/* tests/indexer/room.h: a folder that goes when the test is over, and images made from numbers. */
#ifndef KD_TESTS_INDEXER_ROOM_H
#define KD_TESTS_INDEXER_ROOM_H

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "services/indexer/registry.h"
#include "tests/support/check.h"

enum { DIM = 16 };
#define MODEL "aaaabbbbccccdddd"

static char room_dir[64];

static inline int room_enter(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    (void)kd_copy(room_dir, sizeof room_dir, "kindred-indexer-XXXXXX");
    return mkdtemp(room_dir) && kd_vector_init(&err) == KD_OK ? 0 : 1;
}

static inline int room_leave(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    return kd_remove_tree(room_dir, &err) == KD_OK ? 0 : 1;
}

#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, room_enter, room_leave)

/* DIR/name, in a buffer that the next four calls leave alone. */
static inline const char *room_path(const char *name)
{
    static char paths[4][256];
    static size_t turn;
    char *const path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", room_dir, name);
    return path;
}

/* An image whose every field follows from id and version; super-class id % 3, class id % 10; each
 * third has no attributes. */
typedef struct image {
    float values[DIM];
    char class_name[32], super_class_name[32], uri[64], attributes[64];
    collection_row row;
} image;

static inline void image_make(image *out, uint64_t id, unsigned version)
{
    double squares = 0;
    uint64_t mixed = (id + 1) * 0x9e3779b97f4a7c15u + version;
    for (size_t i = 0; i < DIM; i++) {
        mixed ^= mixed >> 29;
        mixed *= 0xbf58476d1ce4e5b9u;
        out->values[i] = (float)(mixed >> 40) / 8388608.0f - 1.0f;
        squares += (double)out->values[i] * (double)out->values[i];
    }
    for (size_t i = 0; i < DIM; i++)
        out->values[i] = (float)((double)out->values[i] / sqrt(squares));
    (void)snprintf(out->class_name, sizeof out->class_name, "product %u", (unsigned)(id % 10));
    (void)snprintf(
        out->super_class_name, sizeof out->super_class_name, "kind %u", (unsigned)(id % 3));
    (void)snprintf(
        out->uri, sizeof out->uri, "/photographs/%u/%llu.jpg", version, (unsigned long long)id);
    if (id % 3 != 0)
        (void)snprintf(out->attributes, sizeof out->attributes,
            "{\"brand\":\"b%u\",\"price\":%u.5}", (unsigned)(id % 4), (unsigned)(id + version));
    else
        out->attributes[0] = '\0';
    out->row = (collection_row){.item = {.image_id = id,
                                    .class_id = (uint32_t)(id % 10),
                                    .super_class_id = (uint32_t)(id % 3),
                                    .class_name = out->class_name,
                                    .super_class_name = out->super_class_name,
                                    .uri = out->uri,
                                    .attributes = out->attributes},
        .values = out->values,
        .n_values = DIM};
}

/* Puts images from..from+n in one change. */
static inline kd_status put_images(
    collection *c, uint64_t from, size_t n, unsigned version, kd_error *err)
{
    image *const images = calloc(n, sizeof *images);
    collection_row *const rows = calloc(n, sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        image_make(&images[i], from + i, version);
        rows[i] = images[i].row;
    }
    const kd_status status = collection_upsert(c, MODEL, rows, n, NULL, err);
    free(rows);
    free(images);
    return status;
}

/* The image is there with exactly the fields of that version. */
static inline void check_image(collection *c, uint64_t id, unsigned version)
{
    kd_error err = KD_ERROR_INIT;
    image expected;
    collection_found found;
    float values[DIM];
    image_make(&expected, id, version);
    CHECK_OK(collection_get(c, id, &found, values, &err), err);
    const collection_item *const item = &found.hits[0].item;
    CHECK_INT(id, item->image_id);
    CHECK_INT(id % 10, item->class_id);
    CHECK_INT(id % 3, item->super_class_id);
    CHECK_STR(expected.class_name, item->class_name);
    CHECK_STR(expected.super_class_name, item->super_class_name);
    CHECK_STR(expected.uri, item->uri);
    CHECK_STR(expected.attributes, item->attributes);
    assert_memory_equal(expected.values, values, sizeof values);
    collection_found_free(&found);
}

static inline uint64_t count_of(collection *c)
{
    collection_info info;
    collection_describe(c, &info);
    return info.count;
}

/* The registry of the room's collections. */
static inline registry *opened(void)
{
    kd_error err = KD_ERROR_INIT;
    registry *r = NULL;
    CHECK_OK(registry_open(&r, room_path("data/collections"), NULL, &err), err);
    return r;
}

static inline collection *create(registry *r, const char *name)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    bool created = false;
    CHECK_OK(registry_create(r, name, MODEL, DIM, NULL, false, &c, &created, &err), err);
    CHECK(created);
    return c;
}

static inline uint64_t count_by_name(registry *r, const char *name)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(registry_find(r, name, &c, &err), err);
    const uint64_t count = count_of(c);
    collection_release(c);
    return count;
}

#endif
