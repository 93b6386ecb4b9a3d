/* Each allocation of lib/dataset failing in turn. */
#include "lib/dataset/dataset.h"
#include "tests/dataset/folder.h"
#include "tests/support/alloc.h"

static kd_status hash(const kd_dataset *dataset, char text[KD_SHA256_TEXT], kd_error *err)
{
    const kd_status status = kd_dataset_hash(dataset, text, err);
    CHECK((text[0] == '\0') == (status != KD_OK));
    return status;
}

static kd_status full_path(
    const kd_dataset *dataset, const kd_item *item, char **path, kd_error *err)
{
    *path = kd_dataset_full_path(dataset, item);
    return *path ? KD_OK : kd_error_memory(err, "a path");
}

/* Opened by the caller: asks everything that needs memory, and frees it. */
static void use(kd_dataset *dataset, kd_status *first, kd_error *err)
{
    char text[KD_SHA256_TEXT];
    char *path = NULL;
    size_t n;
    const kd_item *const items = kd_dataset_items(dataset, &n);
    static const bool keep[4096] = {true}; /* the first alone */
    kd_dataset *some = NULL;
    CHECK(n <= sizeof keep);
    RUN(first, kd_dataset_subset(&some, dataset, keep, err), err);
    CHECK_INT(1, kd_dataset_class_count(some));
    kd_dataset_free(some);
    RUN(first, hash(dataset, text, err), err);
    RUN(first, full_path(dataset, &items[0], &path, err), err);
    CHECK_HAS(g_dir, path);
    free(path);
    kd_dataset_free(dataset);
}

static void check_name(const kd_dataset *dataset, uint32_t id, const char *name, const char *super)
{
    size_t n;
    const kd_item *const items = kd_dataset_items(dataset, &n);
    CHECK_STR(name, kd_dataset_class_name(dataset, id));
    CHECK(n > 0);
    CHECK_STR(super, kd_dataset_super_class_name(dataset, items[0].super_class_id));
}

/* ---- Folders ---- */

static kd_status run_folders(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_dataset *dataset = NULL;
    (void)arg;
    RUN_NEW(&first, &dataset, kd_dataset_open(&dataset, g_dir, KD_SPLIT_ALL, err), err);
    check_name(dataset, 1, "apple", "fruit");
    use(dataset, &first, err);
    return first;
}

static void test_dataset_alloc__folders(void **state)
{
    (void)state;
    put("train/fruit/apple/1.jpg", "");
    put("train/fruit/pear/1.jpg", "");
    put("test/fruit/apple/2.jpg", "");
    put("test/wheel/1.png", "");
    alloc_replay(&(alloc_scenario){.name = "folders", .run = run_folders});
}

/* ---- Listings ---- */

static const char train[] = "image_id class_id super_class_id path\n"
                            "1 1 1 fruit/apple/1.jpg\n2 2 1 fruit/pear 2/2.jpg\n";
static const char test[] = "image_id class_id super_class_id path\n3 3 2 wheel/big/3.jpg\n";

static kd_status run_listings(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_dataset *dataset = NULL;
    const char *const *const names = arg; /* of class 1 and its super-class */
    RUN_NEW(&first, &dataset, kd_dataset_open(&dataset, g_dir, KD_SPLIT_ALL, err), err);
    check_name(dataset, 1, names[0], names[1]);
    use(dataset, &first, err);
    return first;
}

static kd_status run_one_listing(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_dataset *dataset = NULL;
    RUN_NEW(&first, &dataset, kd_dataset_open_listing(&dataset, arg, err), err);
    check_name(dataset, 3, "big", "wheel");
    use(dataset, &first, err);
    return first;
}

static void test_dataset_alloc__listings(void **state)
{
    const char *by_folder[] = {"apple", "fruit"}, *by_csv[] = {"An apple", "Fruit, \"fresh\""};
    char path[128];
    (void)state;
    put("Ebay_train.txt", train);
    put("Ebay_test.txt", test);
    alloc_replay(
        &(alloc_scenario){.name = "listings", .run = run_listings, .arg = (void *)by_folder});
    (void)snprintf(path, sizeof path, "%s/Ebay_test.txt", g_dir);
    alloc_replay(&(alloc_scenario){.name = "one listing", .run = run_one_listing, .arg = path});
    put("classes.csv",
        "Class Name,Class ID,Coarse Class Name,Coarse Class ID\n"
        "An apple,0,\"Fruit, \"\"fresh\"\"\",0\nA pear,1,\"Fruit, \"\"fresh\"\"\",0\n");
    alloc_replay(
        &(alloc_scenario){.name = "names by csv", .run = run_listings, .arg = (void *)by_csv});
}

/* Memory that runs out while much is there: lists that have grown before. */
static void test_dataset_alloc__a_listing_that_grows(void **state)
{
    const char *names[] = {"c1", "s1"};
    kd_buf text = KD_BUF_INIT;
    (void)state;
    kd_buf_puts(&text, "image_id class_id super_class_id path\n");
    for (int i = 1; i <= 1100; i++)
        kd_buf_printf(&text, "%d %d %d s%d/c%d/%d.jpg\n", i, i, (i + 9) / 10, (i + 9) / 10, i, i);
    CHECK(kd_buf_ok(&text));
    put("Ebay_train.txt", (const char *)text.data);
    kd_buf_free(&text);
    alloc_replay(
        &(alloc_scenario){.name = "1100 images", .run = run_listings, .arg = (void *)names});
}

/* ---- Sampler ---- */

static kd_status run_sampler(void *arg, kd_error *err)
{
    static const uint32_t labels[] = {1, 1, 2, 2, 2, 3, 4, 4}, groups[] = {1, 1, 1, 1, 1, 2, 2, 2};
    const kd_sampler_options options = {.kind = *(const kd_sampler_kind *)arg,
        .labels = labels,
        .groups = groups,
        .n = 8,
        .p = 2,
        .k = 2,
        .batch = 4,
        .seed = 7};
    kd_status first = KD_OK;
    kd_sampler *sampler = NULL;
    uint32_t images[2 * 2];
    size_t lone = 9;
    RUN_NEW(&first, &sampler, kd_sampler_new(&sampler, &options, &lone, err), err);
    CHECK_INT(1, lone);
    CHECK(kd_sampler_epoch(sampler, 1) > 0);
    CHECK_INT(4, kd_sampler_batch(sampler, 0, images));
    kd_sampler_free(sampler);
    return first;
}

static void test_dataset_alloc__sampler(void **state)
{
    static const char *const names[] = {"classes", "balanced", "shuffled"};
    (void)state;
    for (kd_sampler_kind kind = KD_SAMPLER_CLASSES; kind <= KD_SAMPLER_SHUFFLED; kind++)
        alloc_replay(&(alloc_scenario){.name = names[kind], .run = run_sampler, .arg = &kind});
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_dataset_alloc__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(folders),
        TEST(listings),
        TEST(a_listing_that_grows),
        TEST(sampler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
