/* The most that each thing may be is taken, one more is refused with the number that is allowed. */
#include "services/indexer/attributes.h"
#include "tests/indexer/room.h"

static kd_error g_err;

static collection *made(size_t dim)
{
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("hats"), "hats", MODEL, dim, NULL, &g_err), g_err);
    return c;
}

static void refused(kd_status status, const char *says)
{
    CHECK_FAILS(KD_INVALID_ARGUMENT, status, g_err);
    CHECK_HAS(says, g_err.message);
}

static void test_limits__of_a_collection(void **state)
{
    (void)state;
    collection *c = NULL;
    collection_release(made(KD_VECTOR_MAX_DIM));
    const size_t dims[] = {0, KD_VECTOR_MAX_DIM + 1};
    for (size_t i = 0; i < 2; i++)
        refused(collection_create(&c, room_path("caps"), "caps", MODEL, dims[i], NULL, &g_err),
            "dimensions, allowed are 1 to 4096");
}

static void test_limits__of_a_change(void **state)
{
    (void)state;
    collection *c = made(DIM);
    static uint64_t ids[COLLECTION_MAX_BATCH + 1];
    size_t removed;
    CHECK_OK(put_images(c, 0, COLLECTION_MAX_BATCH, 1, &g_err), g_err);
    refused(put_images(c, 0, COLLECTION_MAX_BATCH + 1, 1, &g_err),
        "4097 images, allowed are 1 to 4096");
    refused(put_images(c, 0, 0, 1, &g_err), "0 images, allowed are 1 to 4096");
    CHECK_OK(collection_remove(c, ids, COLLECTION_MAX_BATCH, &removed, &g_err), g_err);
    refused(collection_remove(c, ids, COLLECTION_MAX_BATCH + 1, &removed, &g_err),
        "allowed are 1 to 4096");
    collection_release(c);
}

static void check_text(const char **field, size_t most, const char *says, image *one, collection *c)
{
    char *const text = calloc(most + 2, 1);
    const char *const before = *field;
    memset(text, 'x', most);
    *field = text;
    CHECK_OK(collection_upsert(c, MODEL, &one->row, 1, NULL, &g_err), g_err);
    text[most] = 'x';
    refused(collection_upsert(c, MODEL, &one->row, 1, NULL, &g_err), says);
    *field = before;
    free(text);
}

static void test_limits__of_an_image(void **state)
{
    (void)state;
    collection *c = made(DIM);
    image one;
    image_make(&one, 7, 1);
    collection_item *const item = &one.row.item;
    check_text(&item->class_name, COLLECTION_MAX_LABEL, "allowed are 256", &one, c);
    check_text(&item->super_class_name, COLLECTION_MAX_LABEL, "allowed are 256", &one, c);
    check_text(&item->uri, COLLECTION_MAX_URI, "allowed are 4096", &one, c);
    check_text(&item->key, COLLECTION_MAX_KEY, "allowed are 256", &one, c);
    item->image_id = (uint64_t)COLLECTION_MAX_ID;
    CHECK_OK(collection_upsert(c, MODEL, &one.row, 1, NULL, &g_err), g_err);
    item->image_id++;
    refused(collection_upsert(c, MODEL, &one.row, 1, NULL, &g_err),
        "over the limit of 9223372036854775807");
    collection_release(c);
}

static void test_limits__of_attributes(void **state)
{
    (void)state;
    char *text = NULL, long_text[COLLECTION_MAX_LABEL + 2] = "";
    json_t *const members = json_object();
    for (size_t i = 0; i <= COLLECTION_MAX_ATTRIBUTES; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "n%zu", i);
        (void)json_object_set_new(members, name, json_real(1));
        if (i + 1 < COLLECTION_MAX_ATTRIBUTES)
            continue;
        const kd_status status = attributes_write(&text, members, "image 7", &g_err);
        free(text);
        if (i + 1 == COLLECTION_MAX_ATTRIBUTES)
            CHECK_OK(status, g_err);
        else
            refused(status, "image 7 has 33 attributes, allowed are 32");
    }
    (void)json_object_clear(members);
    memset(long_text, 'x', COLLECTION_MAX_LABEL + 1);
    (void)json_object_set_new(members, "brand", json_string(long_text));
    refused(attributes_write(&text, members, "image 7", &g_err), "257 bytes, allowed are 256");
    (void)json_object_set_new(members, "brand", json_string(long_text + 1));
    CHECK_OK(attributes_write(&text, members, "image 7", &g_err), g_err);
    free(text);
    json_decref(members);
}

/* Each field of a search at its most, and beyond. */
static void test_limits__of_a_search(void **state)
{
    (void)state;
    collection *c = made(DIM);
    CHECK_OK(put_images(c, 0, 300, 1, &g_err), g_err);
    static collection_row queries[COLLECTION_MAX_QUERIES + 1];
    static const char *words[COLLECTION_MAX_FILTER + 1], *texts[COLLECTION_MAX_FILTER + 1];
    static uint64_t ids[COLLECTION_MAX_IDS + 1];
    static collection_condition conditions[COLLECTION_MAX_CONDITIONS + 1];
    image query;
    image_make(&query, 3, 1);
    for (size_t i = 0; i <= COLLECTION_MAX_QUERIES; i++)
        queries[i] = query.row;
    for (size_t i = 0; i <= COLLECTION_MAX_FILTER; i++) {
        words[i] = "1";
        texts[i] = "b1";
    }
    for (size_t i = 0; i <= COLLECTION_MAX_IDS; i++)
        ids[i] = i;
    for (size_t i = 0; i <= COLLECTION_MAX_CONDITIONS; i++)
        conditions[i] = (collection_condition){.name = "price", .min = 0, .max = 1000};
    collection_condition one = {.name = "brand", .texts = texts};
    collection_examples like = {.positive = ids, .negative = ids + 150};
    collection_search s = {.model_id = MODEL,
        .queries = queries,
        .n_queries = 1,
        .k = 5,
        .filter = {.super_classes = words,
            .classes = words,
            .image_ids = ids,
            .conditions = conditions},
        .exclude = ids};
    const struct {
        size_t *field;
        size_t most;
        const char *says;
    } fields[] = {
        {&s.n_queries, COLLECTION_MAX_QUERIES, "a search has 257 queries, allowed are 1 to 256"},
        {&s.k, KD_VECTOR_MAX_K, "k is 1001, allowed are 1 to 1000"},
        {&s.filter.n_super_classes, COLLECTION_MAX_FILTER, "super-classes: 101, allowed are 100"},
        {&s.filter.n_classes, COLLECTION_MAX_FILTER, "classes: 101, allowed are 100"},
        {&s.filter.n_image_ids, COLLECTION_MAX_IDS, "look among: 10001, allowed are 10000"},
        {&s.filter.n_conditions, COLLECTION_MAX_CONDITIONS, "conditions: 17, allowed are 16"},
        {&s.n_exclude, COLLECTION_MAX_EXCLUDE, "leaves out images: 1001, allowed are 1000"},
        {&one.n_texts, COLLECTION_MAX_FILTER, "has 101 texts, allowed are 100"},
        {&like.n_positive, COLLECTION_MAX_EXAMPLES, "wanted examples: 101, allowed are 100"},
        {&like.n_negative, COLLECTION_MAX_EXAMPLES, "unwanted examples: 101, allowed are 100"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        collection_found found;
        const size_t before = *fields[i].field;
        const bool examples = i > 7;
        collection_search asked = s;
        if (fields[i].field == &like.n_negative)
            like.n_positive = 1;
        for (size_t more = 0; more < 2; more++) {
            *fields[i].field = fields[i].most + more;
            asked = s;
            if (i == 7) {
                asked.filter.conditions = &one;
                asked.filter.n_conditions = 1;
            }
            if (examples) {
                asked.like = &like;
                asked.n_queries = 0;
            }
            const kd_status status = collection_search_run(c, &asked, &found, &g_err);
            if (more == 0) {
                CHECK_OK(status, g_err);
                collection_found_free(&found);
            } else {
                refused(status, fields[i].says);
            }
        }
        *fields[i].field = before;
    }
    collection_found found;
    refused(
        collection_list(c, 0, COLLECTION_MAX_PAGE + 1, &found, &g_err), "allowed are 1 to 1000");
    collection_release(c);
}

static void test_limits__vectors_have_length_1(void **state)
{
    (void)state;
    static const float bad[][2] = {{NAN, 0}, {INFINITY, 0}, {0, 0}, {2, 0}, {0.99f, 0}};
    collection *c = made(2);
    float values[2] = {1, 0};
    image one;
    image_make(&one, 7, 1);
    one.row.values = values;
    one.row.n_values = 2;
    CHECK_OK(collection_upsert(c, MODEL, &one.row, 1, NULL, &g_err), g_err);
    const collection_search s = {.model_id = MODEL, .queries = &one.row, .n_queries = 1, .k = 1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        collection_found found;
        memcpy(values, bad[i], sizeof values);
        refused(collection_upsert(c, MODEL, &one.row, 1, NULL, &g_err), "the vector of image 7");
        refused(collection_search_run(c, &s, &found, &g_err), "query 1");
    }
    CHECK_INT(1, count_of(c));
    collection_release(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_limits__of_a_collection),
        ROOM_TEST(test_limits__of_a_change),
        ROOM_TEST(test_limits__of_an_image),
        ROOM_TEST(test_limits__of_attributes),
        ROOM_TEST(test_limits__of_a_search),
        ROOM_TEST(test_limits__vectors_have_length_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
