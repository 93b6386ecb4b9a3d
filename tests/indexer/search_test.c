/* What a search lets through, against a model: every image, scored and sorted. */
#include "services/indexer/labels.h"
#include "tests/indexer/room.h"

enum { N = 300 };

static collection *filled(void)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("shoes"), "shoes", MODEL, DIM, NULL, &err), err);
    CHECK_OK(put_images(c, 0, N, 1, &err), err);
    return c;
}

/* Of the images that pass, in order of their scores; with by_class each class once. */
typedef bool (*passes)(uint64_t id);

typedef struct scored {
    uint64_t id;
    float score;
} scored;

static int best_first(const void *left, const void *right)
{
    const scored *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static size_t model(const float *query, passes pass, const collection_search *how, scored *out)
{
    size_t n = 0, kept = 0;
    bool seen[10] = {false};
    for (uint64_t id = 0; id < N; id++) {
        image i;
        image_make(&i, id, 1);
        const float score = kd_dot(query, i.values, DIM);
        if (pass(id) && !(how->min_score && score < *how->min_score))
            out[n++] = (scored){id, score};
    }
    qsort(out, n, sizeof *out, best_first);
    for (size_t i = 0; i < n && kept < how->k; i++) {
        if (how->by_class && seen[out[i].id % 10])
            continue;
        seen[out[i].id % 10] = true;
        out[kept++] = out[i];
    }
    return kept;
}

static void check_rows(collection *c, const collection_search *how, const float *query, passes pass)
{
    static scored expected[N];
    kd_error err = KD_ERROR_INIT;
    collection_found found;
    const size_t n = model(query, pass, how, expected);
    CHECK_OK(collection_search_run(c, how, &found, &err), err);
    CHECK_INT(n, found.counts[0]);
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(expected[i].id, found.hits[i].item.image_id);
        assert_memory_equal(&expected[i].score, &found.hits[i].score, sizeof(float));
    }
    collection_found_free(&found);
}

static void check_search(collection *c, uint64_t like, collection_search how, passes pass)
{
    image query;
    image_make(&query, like, 2); /* not one of them */
    how.model_id = MODEL;
    how.queries = &query.row;
    how.n_queries = 1;
    check_rows(c, &how, query.values, pass);
}

static bool any(uint64_t id)
{
    (void)id;
    return true;
}

static bool of_classes(uint64_t id)
{
    return id % 10 == 4 || id % 10 == 7;
}

static bool of_classes_and_kind(uint64_t id)
{
    return of_classes(id) && id % 3 == 1;
}

static bool listed(uint64_t id)
{
    return id == 3 || id == 250 || id == 44;
}

static bool listed_and_of_class(uint64_t id)
{
    return id == 44;
}

static void test_collection_search__passes_what_each_filter_lets_through(void **state)
{
    (void)state;
    collection *c = filled();
    static const char *const classes[] = {"product 4", "7"}, *const kinds[] = {"kind 1"};
    static const uint64_t ids[] = {3, 250, 44, 100000, 3};
    const collection_filter by_class = {.classes = classes, .n_classes = 2};
    for (uint64_t like = 0; like < 20; like++) {
        check_search(c, like, (collection_search){.k = 7, .filter = by_class}, of_classes);
        collection_filter both = by_class;
        both.super_classes = kinds;
        both.n_super_classes = 1;
        check_search(c, like, (collection_search){.k = 50, .filter = both}, of_classes_and_kind);
        collection_filter list = {.image_ids = ids, .n_image_ids = 5};
        check_search(c, like, (collection_search){.k = 9, .filter = list}, listed);
        list.classes = classes;
        list.n_classes = 1;
        check_search(c, like, (collection_search){.k = 9, .filter = list}, listed_and_of_class);
    }
    collection_release(c);
}

static void test_collection_search__gives_each_class_once_and_cuts_off(void **state)
{
    (void)state;
    collection *c = filled();
    static const char *const kinds[] = {"kind 1"};
    static const float least[] = {-0.2f, 0.1f, 0.4f, 0.99f};
    for (uint64_t like = 0; like < 20; like++) {
        collection_search how = {.k = 4, .by_class = true};
        check_search(c, like, how, any);
        how.k = 30; /* more than there are classes */
        check_search(c, like, how, any);
        how.min_score = &least[like % 4];
        check_search(c, like, how, any);
        how.by_class = false;
        check_search(c, like, how, any);
        how.by_class = true;
        how.filter = (collection_filter){.super_classes = kinds, .n_super_classes = 1};
        how.min_score = NULL;
        collection_search narrow = how;
        static scored expected[N];
        image query;
        image_make(&query, like, 2);
        narrow.k = 10;
        CHECK_INT(10, model(query.values, any, &narrow, expected));
        narrow.model_id = MODEL;
        narrow.queries = &query.row;
        narrow.n_queries = 1;
        kd_error err = KD_ERROR_INIT;
        collection_found found;
        CHECK_OK(collection_search_run(c, &narrow, &found, &err), err);
        CHECK_INT(10, found.counts[0]); /* each class has images of each kind */
        for (size_t i = 0; i < 10; i++)
            CHECK_INT(1, found.hits[i].item.super_class_id);
        collection_found_free(&found);
    }
    collection_release(c);
}

static bool of_brands(uint64_t id)
{
    return id % 3 != 0 && (id % 4 == 1 || id % 4 == 2);
}

static bool priced(uint64_t id) /* version 1: id + 1.5 */
{
    return id % 3 != 0 && id >= 20 && id <= 180;
}

static bool priced_and_of_brands(uint64_t id)
{
    return priced(id) && of_brands(id);
}

static bool none(uint64_t id)
{
    (void)id;
    return false;
}

static void check_condition(collection *c, const collection_condition *tests, size_t n, passes pass)
{
    const collection_filter filter = {.conditions = tests, .n_conditions = n};
    check_search(c, 5, (collection_search){.k = 300, .filter = filter}, pass);
    check_search(c, 6, (collection_search){.k = 4, .filter = filter, .by_class = true}, pass);
}

static void test_collection_search__filters_by_attributes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = filled();
    static const char *const brands[] = {"b1", "b2", "b9"}, *const absent[] = {"b7"};
    const collection_condition tests[] = {
        {.name = "brand", .texts = brands, .n_texts = 3},
        {.name = "price", .min = 21.5, .max = 181.5},
        {.name = "price", .min = 30, .max = INFINITY},
        {.name = "brand", .min = -INFINITY, .max = INFINITY}, /* a text is no number */
        {.name = "price", .texts = brands, .n_texts = 3},     /* nor the other way round */
        {.name = "brand", .texts = absent, .n_texts = 1},
    };
    check_condition(c, &tests[0], 1, of_brands);
    check_condition(c, &tests[1], 1, priced);
    check_condition(c, tests, 2, priced_and_of_brands);
    for (size_t i = 3; i < 6; i++)
        check_condition(c, &tests[i], 1, none);

    image query;
    collection_found found;
    image_make(&query, 1, 1);
    static const collection_condition bad[] = {
        {.name = "colour", .min = 0, .max = 1}, {.name = "price", .min = 2, .max = 1}};
    static const kd_status statuses[] = {KD_NOT_FOUND, KD_INVALID_ARGUMENT};
    for (size_t i = 0; i < 2; i++) {
        const collection_search how = {.model_id = MODEL,
            .queries = &query.row,
            .n_queries = 1,
            .k = 3,
            .filter = {.conditions = &bad[i], .n_conditions = 1}};
        CHECK_FAILS(statuses[i], collection_search_run(c, &how, &found, &err), err);
        CHECK_HAS(i ? "'price' is from 2 to 1" : "has no attribute 'colour'", err.message);
    }
    /* A name that the last image loses is gone. */
    size_t removed;
    uint64_t ids[N];
    for (uint64_t id = 0; id < N; id++)
        ids[id] = id;
    CHECK_OK(collection_remove(c, ids, N, &removed, &err), err);
    CHECK_OK(put_images(c, 3, 1, 1, &err), err);
    const collection_search how = {.model_id = MODEL,
        .queries = &query.row,
        .n_queries = 1,
        .k = 3,
        .filter = {.conditions = tests, .n_conditions = 1}};
    CHECK_FAILS(KD_NOT_FOUND, collection_search_run(c, &how, &found, &err), err);
    collection_release(c);
}

static void test_collection_upsert__limits_the_names_of_attributes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("shoes"), "shoes", MODEL, DIM, NULL, &err), err);
    for (uint64_t id = 0; id <= COLLECTION_MAX_COLUMNS; id++) {
        image one;
        image_make(&one, id * 3, 1);
        (void)snprintf(one.attributes, sizeof one.attributes, "{\"name%u\":1.0}", (unsigned)id);
        const kd_status status = collection_upsert(c, MODEL, &one.row, 1, NULL, &err);
        CHECK_INT(id < COLLECTION_MAX_COLUMNS ? KD_OK : KD_INVALID_ARGUMENT, status);
    }
    CHECK_HAS("65 names of attributes, allowed are 64", err.message);
    CHECK_INT(COLLECTION_MAX_COLUMNS, count_of(c));
    CHECK_OK(put_images(c, 0, 1, 1, &err), err); /* name0 goes */
    image one;
    image_make(&one, 999, 1);
    (void)snprintf(one.attributes, sizeof one.attributes, "{\"other\":1.0}");
    CHECK_OK(collection_upsert(c, MODEL, &one.row, 1, NULL, &err), err);
    collection_release(c);
}

/* What a place of the memory's tables holds changes when images come and go. */
static void test_collection_search__filters_hold_after_changes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = filled();
    static const char *const classes[] = {"product 4", "7"};
    const collection_filter by_class = {.classes = classes, .n_classes = 2};
    uint64_t ids[N / 2];
    size_t removed;
    for (size_t i = 0; i < N / 2; i++)
        ids[i] = i * 2;
    for (int round = 0; round < 3; round++) {
        CHECK_OK(collection_remove(c, ids, N / 2, &removed, &err), err);
        CHECK_INT(N / 2, removed);
        CHECK_OK(put_images(c, 1000, 70, 1, &err), err);
        for (size_t i = 0; i < 70; i++)
            ids[i] = 1000 + i;
        CHECK_OK(collection_remove(c, ids, 70, &removed, &err), err);
        for (uint64_t id = 0; id < N; id += 2)
            CHECK_OK(put_images(c, N - 2 - id, 1, 1, &err), err);
        check_search(c, 5, (collection_search){.k = 60, .filter = by_class}, of_classes);
        check_search(c, 5, (collection_search){.k = 60, .by_class = true}, any);
        for (size_t i = 0; i < N / 2; i++)
            ids[i] = i * 2;
    }
    collection_release(c);
}

static bool not_examples(uint64_t id)
{
    return id != 7 && id != 19 && id != 30 && id != 31;
}

static bool not_seven(uint64_t id)
{
    return id != 7;
}

static void test_collection_search__by_examples(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = filled();
    static const uint64_t wanted[] = {7, 19}, unwanted[] = {30, 31};
    image images[4];
    float query[DIM];
    double sum[DIM], squares = 0;
    image_make(&images[0], 7, 1);
    image_make(&images[1], 19, 1);
    image_make(&images[2], 30, 1);
    image_make(&images[3], 31, 1);
    for (size_t i = 0; i < DIM; i++) {
        sum[i] = 2 * (0.5 * images[0].values[i] + 0.5 * images[1].values[i]) -
                 (0.5 * images[2].values[i] + 0.5 * images[3].values[i]);
        squares += sum[i] * sum[i];
    }
    for (size_t i = 0; i < DIM; i++)
        query[i] = (float)(sum[i] / sqrt(squares));
    const collection_examples both = {wanted, 2, unwanted, 2};
    check_rows(c, &(collection_search){.k = 20, .like = &both}, query, not_examples);
    const collection_examples one = {wanted, 1, NULL, 0};
    check_rows(c, &(collection_search){.k = 20, .like = &one}, images[0].values, not_seven);

    collection_found found;
    static const uint64_t absent[] = {4000};
    const struct {
        collection_examples like;
        kd_status status;
        const char *says;
    } bad[] = {
        {{NULL, 0, unwanted, 2}, KD_INVALID_ARGUMENT, "none that is wanted"},
        {{absent, 1, NULL, 0}, KD_NOT_FOUND, "collection 'shoes' has no image 4000"},
        {{wanted, 2, absent, 1}, KD_NOT_FOUND, "collection 'shoes' has no image 4000"},
        {{wanted, COLLECTION_MAX_EXAMPLES + 1, NULL, 0}, KD_INVALID_ARGUMENT, "allowed are 100"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const collection_search how = {.k = 3, .like = &bad[i].like};
        CHECK_FAILS(bad[i].status, collection_search_run(c, &how, &found, &err), err);
        CHECK_HAS(bad[i].says, err.message);
    }
    collection_release(c);
}

static size_t ids_of(const labels *all, const char *name)
{
    const label_name *const of = labels_find_name(all, name);
    size_t n = 0;
    for (const label *l = of ? of->ids : NULL; l; l = l->same, n++)
        CHECK(labels_find(all, l->id) != NULL);
    return n;
}

static void test_labels__are_found_by_id_and_by_name(void **state)
{
    (void)state;
    labels all = {0};
    label *used[6];
    for (uint32_t i = 0; i < 4; i++) /* the name of four ids, none */
        used[i] = labels_take(&all, i, "");
    used[4] = labels_take(&all, 1, "chair"); /* a second name */
    used[5] = labels_take(&all, 1, "chair"); /* used twice */
    CHECK(used[4] == used[5]);
    CHECK_INT(4, ids_of(&all, ""));
    CHECK_INT(1, ids_of(&all, "chair"));
    CHECK_INT(0, ids_of(&all, "table"));
    static const size_t order[] = {1, 3, 0, 4, 2};
    static const size_t left[] = {3, 2, 1, 1, 0};
    for (size_t i = 0; i < 5; i++) {
        labels_drop(&all, used[order[i]]);
        CHECK_INT(left[i], ids_of(&all, ""));
        CHECK_INT(1, ids_of(&all, "chair"));
        CHECK((labels_find(&all, (uint32_t)order[i]) != NULL) == (order[i] == 1));
    }
    labels_drop(&all, used[5]);
    CHECK_INT(0, ids_of(&all, "chair"));
    CHECK(!all.by_id && !all.by_name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_collection_search__passes_what_each_filter_lets_through),
        ROOM_TEST(test_collection_search__gives_each_class_once_and_cuts_off),
        ROOM_TEST(test_collection_search__filters_by_attributes),
        ROOM_TEST(test_collection_upsert__limits_the_names_of_attributes),
        ROOM_TEST(test_collection_search__filters_hold_after_changes),
        ROOM_TEST(test_collection_search__by_examples),
        cmocka_unit_test(test_labels__are_found_by_id_and_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
