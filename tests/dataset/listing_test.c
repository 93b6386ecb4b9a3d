#include "lib/base/clock.h"
#include "lib/dataset/dataset.h"
#include "tests/dataset/folder.h"

#define HEADER "image_id class_id super_class_id path\n"
#define CSV_HEADER "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int)\n"

static kd_dataset *open_ok(kd_split split)
{
    kd_dataset *dataset = NULL;
    CHECK_OK(kd_dataset_open(&dataset, g_dir, split, &g_err), g_err);
    return dataset;
}

static void check_fault(kd_split split, kd_status status, const char *sentence)
{
    kd_dataset *dataset = (kd_dataset *)&dataset;
    CHECK_FAILS(status, kd_dataset_open(&dataset, g_dir, split, &g_err), g_err);
    CHECK(dataset == NULL);
    CHECK_STR(sentence, g_err.message);
}

static void test_dataset_listing__reads_items_in_order(void **state)
{
    (void)state;
    put("Ebay_train.txt", HEADER "7 2 1 mug/b/1.jpg\n3 1 1 mug/a/with blank.jpg\n");
    put("Ebay_test.txt", HEADER "9 5 2 bowl/c/1.jpg\n");
    kd_dataset *dataset = open_ok(KD_SPLIT_ALL);
    size_t n;
    const kd_item *items = kd_dataset_items(dataset, &n);
    CHECK_INT(3, n);
    CHECK_INT(7, items[0].image_id);
    CHECK_INT(2, items[0].class_id);
    CHECK_INT(1, items[0].super_class_id);
    CHECK_STR("mug/b/1.jpg", kd_dataset_path(dataset, &items[0]));
    CHECK_STR("mug/a/with blank.jpg", kd_dataset_path(dataset, &items[1]));
    CHECK_INT(9, items[2].image_id);
    CHECK_INT(3, kd_dataset_class_count(dataset));
    CHECK_INT(2, kd_dataset_super_class_count(dataset));
    CHECK_INT(2, kd_dataset_train_count(dataset));
    CHECK_STR(g_dir, kd_dataset_dir(dataset));
    char *const full = kd_dataset_full_path(dataset, &items[2]);
    char *const expected = kd_format("%s/bowl/c/1.jpg", g_dir);
    CHECK_STR(expected, full);
    free(expected);
    free(full);
    kd_dataset_free(dataset);

    dataset = open_ok(KD_SPLIT_TEST);
    items = kd_dataset_items(dataset, &n);
    CHECK_INT(1, n);
    CHECK_INT(9, items[0].image_id);
    CHECK_INT(1, kd_dataset_class_count(dataset));
    CHECK_INT(0, kd_dataset_train_count(dataset));
    kd_dataset_free(dataset);
}

static void test_dataset_listing__takes_crlf_byte_order_mark_and_blank_end(void **state)
{
    (void)state;
    size_t n;
    put("Ebay_train.txt", "\xef\xbb\xbfimage_id class_id super_class_id path\r\n"
                          "1 1 1 a/1.jpg\r\n2 1 1\ta/2.jpg \r\n\r\n\n");
    kd_dataset *const dataset = open_ok(KD_SPLIT_TRAIN);
    const kd_item *const items = kd_dataset_items(dataset, &n);
    CHECK_INT(2, n);
    CHECK_STR("a/1.jpg", kd_dataset_path(dataset, &items[0]));
    CHECK_STR("a/2.jpg", kd_dataset_path(dataset, &items[1]));
    kd_dataset_free(dataset);
}

/* Each wrong listing with its one sentence. */
static void test_dataset_listing__names_file_and_line_of_each_fault(void **state)
{
    static const struct {
        const char *listing, *sentence;
    } cases[] = {
        {"", "Ebay_train.txt lists no image"},
        {HEADER, "Ebay_train.txt lists no image"},
        {HEADER "\n\n", "Ebay_train.txt lists no image"},
        {"1 1 1 a.jpg\n", "Ebay_train.txt:1: expected the header 'image_id class_id super_class_id "
                          "path', found '1 1 1 a.jpg'"},
        {"\n1 1 1 a.jpg\n", "Ebay_train.txt:1: expected the header 'image_id class_id "
                            "super_class_id path', found ''"},
        {HEADER "1 1 1 a.jpg\n2 1 1\n", "Ebay_train.txt:3: expected 4 fields, found 3"},
        {HEADER "1 1 1 a.jpg\n\n2 1 1 b.jpg\n", "Ebay_train.txt:3: the line is blank"},
        {HEADER "x 1 1 a.jpg\n",
            "Ebay_train.txt:2: image_id 'x' is not a number from 1 to 9223372036854775807"},
        {HEADER "0 1 1 a.jpg\n",
            "Ebay_train.txt:2: image_id '0' is not a number from 1 to 9223372036854775807"},
        {HEADER "9223372036854775808 1 1 a.jpg\n",
            "Ebay_train.txt:2: image_id '9223372036854775808' is not a number from 1 to "
            "9223372036854775807"},
        {HEADER "1 -1 1 a.jpg\n",
            "Ebay_train.txt:2: class_id '-1' is not a number from 1 to 4294967295"},
        {HEADER "1 1 4294967296 a.jpg\n",
            "Ebay_train.txt:2: super_class_id '4294967296' is not a number from 1 to 4294967295"},
        {HEADER "1 1 1 /etc/a.jpg\n", "Ebay_train.txt:2: path '/etc/a.jpg' is absolute, expected "
                                      "one relative to the listing"},
        {HEADER "1 1 1 a/../../b.jpg\n",
            "Ebay_train.txt:2: path 'a/../../b.jpg' climbs out of its folder with '..'"},
        {HEADER "1 1 1 ..\n", "Ebay_train.txt:2: path '..' climbs out of its folder with '..'"},
        {HEADER "1 1 1 a/\n", "Ebay_train.txt:2: path 'a/' is a folder"},
        {HEADER "1 1 1 a\xff.jpg\n", "Ebay_train.txt:2: the line is not valid UTF-8"},
        {HEADER "1 1 1 a\x01.jpg\n", "Ebay_train.txt:2: the line holds the control character 0x01"},
        {HEADER "1 1 1 a.jpg\n2 1 1 b.jpg\n1 1 1 c.jpg\n",
            "Ebay_train.txt:4: image_id 1 is on Ebay_train.txt:2 already"},
        {HEADER "1 1 1 a.jpg\n2 2 1 b.jpg\n3 2 1 c.jpg\n4 2 3 d.jpg\n",
            "Ebay_train.txt:5: class_id 2 is under super_class_id 3, but under 1 on "
            "Ebay_train.txt:3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put("Ebay_train.txt", cases[i].listing);
        check_fault(KD_SPLIT_TRAIN, KD_INVALID_ARGUMENT, cases[i].sentence);
    }
}

static void test_dataset_listing__refuses_a_path_over_the_limit(void **state)
{
    char path[KD_DATASET_MAX_PATH + 1];
    (void)state;
    memset(path, 'a', sizeof path);
    path[KD_DATASET_MAX_PATH] = '\0';
    char *text = kd_format(HEADER "1 1 1 %s\n", path);
    put("Ebay_train.txt", text);
    free(text);
    check_fault(
        KD_SPLIT_TRAIN, KD_INVALID_ARGUMENT, "Ebay_train.txt:2: path has 4096 bytes, allowed 4095");
    text = kd_format(HEADER "1 1 1 %s\n", path + 1);
    put("Ebay_train.txt", text);
    free(text);
    kd_dataset_free(open_ok(KD_SPLIT_TRAIN));
}

static void test_dataset_listing__checks_across_both_files(void **state)
{
    (void)state;
    put("Ebay_train.txt", HEADER "1 1 1 a.jpg\n2 2 1 b.jpg\n");
    put("Ebay_test.txt", HEADER "3 3 1 c.jpg\n2 3 1 d.jpg\n");
    check_fault(KD_SPLIT_ALL, KD_INVALID_ARGUMENT,
        "Ebay_test.txt:3: image_id 2 is on Ebay_train.txt:3 already");
    put("Ebay_test.txt", HEADER "3 1 2 c.jpg\n");
    check_fault(KD_SPLIT_ALL, KD_INVALID_ARGUMENT,
        "Ebay_test.txt:2: class_id 1 is under super_class_id 2, but under 1 on Ebay_train.txt:2");
    kd_dataset_free(open_ok(KD_SPLIT_TEST)); /* each file alone is right */
}

static void test_dataset_listing__says_what_is_not_there(void **state)
{
    (void)state;
    put("Ebay_train.txt", HEADER "1 1 1 a.jpg\n");
    char *sentence = kd_format("%s has no Ebay_test.txt, only Ebay_train.txt", g_dir);
    check_fault(KD_SPLIT_TEST, KD_NOT_FOUND, sentence);
    free(sentence);
    kd_dataset_free(open_ok(KD_SPLIT_ALL));

    kd_dataset *dataset;
    CHECK_FAILS(KD_NOT_FOUND, kd_dataset_open(&dataset, "/no/such", KD_SPLIT_ALL, &g_err), g_err);
    CHECK_STR("there is no folder /no/such", g_err.message);
    CHECK_FAILS(KD_NOT_FOUND, kd_dataset_open_listing(&dataset, "/no/such.txt", &g_err), g_err);
    CHECK_STR("there is no listing /no/such.txt", g_err.message);
}

static void test_dataset_listing__opens_one_listing_by_name(void **state)
{
    (void)state;
    size_t n;
    kd_dataset *dataset;
    put("gallery.txt", HEADER "4 1 1 a.jpg\n");
    char *const file = kd_format("%s/gallery.txt", g_dir);
    CHECK_OK(kd_dataset_open_listing(&dataset, file, &g_err), g_err);
    const kd_item *const items = kd_dataset_items(dataset, &n);
    CHECK_INT(1, n);
    char *const full = kd_dataset_full_path(dataset, items);
    CHECK(strncmp(full, g_dir, strlen(g_dir)) == 0 && strcmp(full + strlen(g_dir), "/a.jpg") == 0);
    free(full);
    kd_dataset_free(dataset);
    put("gallery.txt", HEADER "4 1\n");
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_dataset_open_listing(&dataset, file, &g_err), g_err);
    CHECK_STR("gallery.txt:2: expected 4 fields, found 2", g_err.message);
    free(file);
}

static void test_dataset_listing__a_subset_is_a_set_of_its_own(void **state)
{
    static const bool keep[4] = {false, true, false, true}, none[4] = {false};
    char hash[KD_SHA256_TEXT], expected[KD_SHA256_TEXT];
    kd_dataset *some = NULL, *same = NULL, *empty = NULL;
    size_t n;
    (void)state;
    put("Ebay_train.txt", HEADER "1 1 1 mug/a/1.jpg\n2 1 1 mug/a/2.jpg\n3 2 1 mug/b/3.jpg\n");
    put("Ebay_test.txt", HEADER "4 4 2 bowl/d/4.jpg\n");
    kd_dataset *const whole = open_ok(KD_SPLIT_ALL);
    CHECK_OK(kd_dataset_subset(&some, whole, keep, &g_err), g_err);
    CHECK_OK(kd_dataset_subset(&empty, whole, none, &g_err), g_err);
    kd_dataset_free(whole); /* nothing is borrowed of it */
    const kd_item *const items = kd_dataset_items(some, &n);
    CHECK_INT(2, n);
    CHECK_INT(2, items[0].image_id);
    CHECK_STR("mug/a/2.jpg", kd_dataset_path(some, &items[0]));
    CHECK_INT(4, items[1].image_id);
    CHECK_INT(1, kd_dataset_train_count(some));
    CHECK_INT(2, kd_dataset_class_count(some));
    CHECK_INT(2, kd_dataset_super_class_count(some));
    CHECK_STR("b", kd_dataset_class_name(some, 2)); /* names of the whole */
    CHECK_STR(g_dir, kd_dataset_dir(some));
    CHECK_OK(kd_dataset_hash(some, hash, &g_err), g_err);
    put("Ebay_train.txt", HEADER "2 1 1 mug/a/2.jpg\n");
    same = open_ok(KD_SPLIT_ALL);
    CHECK_OK(kd_dataset_hash(same, expected, &g_err), g_err);
    CHECK_STR(expected, hash);
    (void)kd_dataset_items(empty, &n);
    CHECK_INT(0, n);
    CHECK_INT(0, kd_dataset_class_count(empty));
    kd_dataset_free(empty);
    kd_dataset_free(same);
    kd_dataset_free(some);
}

static void test_dataset_listing__takes_names_from_classes_csv(void **state)
{
    (void)state;
    put("Ebay_train.txt", HEADER "1 1 1 x/1.jpg\n2 2 1 y/2.jpg\n3 4 2 z/3.jpg\n");
    put("classes.csv", CSV_HEADER "\"Big, \"\"red\"\" mug\",0,Mug,0\r\nSmall,1,Mug,0\n"
                                  "Other,2,Bowl,1\n\n");
    kd_dataset *const dataset = open_ok(KD_SPLIT_TRAIN);
    CHECK_STR("Big, \"red\" mug", kd_dataset_class_name(dataset, 1));
    CHECK_STR("Small", kd_dataset_class_name(dataset, 2));
    CHECK_STR("Other", kd_dataset_class_name(dataset, 3)); /* named, though no image has it */
    CHECK_STR("z", kd_dataset_class_name(dataset, 4));     /* not in the file: its folder */
    CHECK_STR("Mug", kd_dataset_super_class_name(dataset, 1));
    CHECK_STR("Bowl", kd_dataset_super_class_name(dataset, 2));
    CHECK_STR("unknown", kd_dataset_class_name(dataset, 99));
    CHECK_INT(3, kd_dataset_class_count(dataset));
    kd_dataset_free(dataset);
}

static void test_dataset_listing__names_the_line_of_a_fault_in_classes_csv(void **state)
{
    static const struct {
        const char *csv, *sentence;
    } cases[] = {
        {"", "classes.csv names no class"},
        {CSV_HEADER, "classes.csv names no class"},
        {"Class Name,Coarse Class Name,Coarse Class ID\n",
            "classes.csv:1: there is no column 'Class ID'"},
        {CSV_HEADER "A,0,S\n", "classes.csv:2: the line has too few fields"},
        {CSV_HEADER "A,zero,S,0\n",
            "classes.csv:2: the Class ID 'zero' is not a number from 0 to 4294967294"},
        {CSV_HEADER ",0,S,0\n", "classes.csv:2: the Class Name is empty"},
        {CSV_HEADER "\"A,0,S,0\n", "classes.csv:2: a quoted field has no closing quote"},
        {CSV_HEADER "A,0,S,0\n\xff,1,S,0\n", "classes.csv:3: the line is not valid UTF-8"},
        {CSV_HEADER "A,0,S,0\nB,0,S,0\n", "classes.csv:3: Class ID 0 is on line 2 already"},
        {CSV_HEADER "A,0,S,0\nB,1,T,0\n",
            "classes.csv:3: Coarse Class ID 0 is named 'T', but 'S' on line 2"},
        {CSV_HEADER "A,0,S,1\n",
            "classes.csv:2: class 0 is under coarse class 1, but class_id 1 is under "
            "super_class_id 1 on Ebay_train.txt:2 (ids of classes.csv count from 0, the listing's "
            "from 1)"},
    };
    (void)state;
    put("Ebay_train.txt", HEADER "1 1 1 x/1.jpg\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put("classes.csv", cases[i].csv);
        check_fault(KD_SPLIT_TRAIN, KD_INVALID_ARGUMENT, cases[i].sentence);
    }
}

static void test_dataset_listing__takes_names_from_folders(void **state)
{
    (void)state;
    /* SUPER/CLASS; two classes of one folder name keep their ids as names */
    put("Ebay_train.txt", HEADER "1 1 1 train/Apple/Pink/1.jpg\n2 2 1 train/Apple/Gala/1.jpg\n"
                                 "3 3 2 train/Pear/Red/1.jpg\n4 4 3 train/Plum/Red/1.jpg\n"
                                 "5 5 4 loose.jpg\n");
    kd_dataset *dataset = open_ok(KD_SPLIT_TRAIN);
    CHECK_STR("Pink", kd_dataset_class_name(dataset, 1));
    CHECK_STR("Gala", kd_dataset_class_name(dataset, 2));
    CHECK_STR("3", kd_dataset_class_name(dataset, 3));
    CHECK_STR("4", kd_dataset_class_name(dataset, 4));
    CHECK_STR("5", kd_dataset_class_name(dataset, 5));
    CHECK_STR("Apple", kd_dataset_super_class_name(dataset, 1));
    CHECK_STR("Plum", kd_dataset_super_class_name(dataset, 3));
    CHECK_STR("4", kd_dataset_super_class_name(dataset, 4));
    kd_dataset_free(dataset);

    /* as in Stanford Online Products: a folder for each super-class */
    put("Ebay_train.txt", HEADER "1 1 1 bicycle_final/1_0.JPG\n2 1 1 bicycle_final/1_1.JPG\n"
                                 "3 2 1 bicycle_final/2_0.JPG\n4 3 2 sofa_final/3_0.JPG\n"
                                 "5 4 2 sofa_final/4_0.JPG\n");
    dataset = open_ok(KD_SPLIT_TRAIN);
    CHECK_STR("bicycle_final", kd_dataset_super_class_name(dataset, 1));
    CHECK_STR("sofa_final", kd_dataset_super_class_name(dataset, 2));
    CHECK_STR("2", kd_dataset_class_name(dataset, 2));
    kd_dataset_free(dataset);
}

static void test_dataset_listing__hash_is_that_of_the_lines(void **state)
{
    char hash[KD_SHA256_TEXT], expected[KD_SHA256_TEXT], again[KD_SHA256_TEXT];
    static const char lines[] = "1 1 1 a.jpg\n2 2 1 b.jpg\n";
    uint8_t digest[KD_SHA256_BYTES];
    (void)state;
    put("Ebay_train.txt", HEADER "1 1 1 a.jpg\r\n2   2 1 b.jpg\n\n");
    kd_dataset *dataset = open_ok(KD_SPLIT_TRAIN);
    CHECK_OK(kd_dataset_hash(dataset, hash, &g_err), g_err);
    kd_dataset_free(dataset);
    CHECK_OK(kd_sha256(lines, strlen(lines), digest, &g_err), g_err);
    kd_hex(digest, sizeof digest, expected);
    CHECK_STR(expected, hash);

    put("Ebay_train.txt", HEADER "1 1 1 a.jpg\n2 3 1 b.jpg\n");
    dataset = open_ok(KD_SPLIT_TRAIN);
    CHECK_OK(kd_dataset_hash(dataset, again, &g_err), g_err);
    kd_dataset_free(dataset);
    CHECK(strcmp(hash, again) != 0);
}

/* As many images as Stanford Online Products has, in no order. */
static void test_dataset_listing__opens_120000_images_fast(void **state)
{
    const uint32_t n = 120000;
    kd_buf text = KD_BUF_INIT;
    size_t count;
    (void)state;
    kd_buf_puts(&text, HEADER);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t id = (uint32_t)((uint64_t)i * 7919 % n); /* 7919 is prime: a permutation */
        kd_buf_printf(&text, "%u %u %u super_%u_final/11108%u_%u.JPG\n", id + 1, id / 5 + 1,
            id / 10000 + 1, id / 10000, id / 5, id % 5);
    }
    CHECK(kd_buf_ok(&text));
    put("Ebay_train.txt", (const char *)text.data);
    kd_buf_free(&text);

    const int64_t start = kd_mono_ns();
    kd_dataset *const dataset = open_ok(KD_SPLIT_TRAIN);
    const int64_t took_ms = (kd_mono_ns() - start) / 1000000;
    (void)kd_dataset_items(dataset, &count);
    CHECK_INT(n, count);
    CHECK_INT(24000, kd_dataset_class_count(dataset));
    CHECK_INT(12, kd_dataset_super_class_count(dataset));
    CHECK_STR("super_11_final", kd_dataset_super_class_name(dataset, 12));
    kd_dataset_free(dataset);
    print_message("120,000 images in %lld ms\n", (long long)took_ms);
    CHECK(took_ms < 5000); /* about 100 ms; far above it, so that a busy machine passes */
}

static void test_dataset_listing__parses_split_words(void **state)
{
    kd_split split = KD_SPLIT_TRAIN;
    (void)state;
    CHECK(kd_split_parse("all", &split) && split == KD_SPLIT_ALL);
    CHECK(kd_split_parse("test", &split) && split == KD_SPLIT_TEST);
    CHECK(kd_split_parse("train", &split) && split == KD_SPLIT_TRAIN);
    CHECK(!kd_split_parse("val", &split));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_dataset_listing__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_items_in_order),
        TEST(takes_crlf_byte_order_mark_and_blank_end),
        TEST(names_file_and_line_of_each_fault),
        TEST(refuses_a_path_over_the_limit),
        TEST(checks_across_both_files),
        TEST(says_what_is_not_there),
        TEST(opens_one_listing_by_name),
        TEST(takes_names_from_classes_csv),
        TEST(a_subset_is_a_set_of_its_own),
        TEST(names_the_line_of_a_fault_in_classes_csv),
        TEST(takes_names_from_folders),
        TEST(hash_is_that_of_the_lines),
        TEST(opens_120000_images_fast),
        TEST(parses_split_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
