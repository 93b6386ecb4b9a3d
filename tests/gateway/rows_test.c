/* Which queries are shown. */
#include "services/gateway/rows.h"
#include "tests/dataset/folder.h"

#define CLASSES 130u /* of super-class 1 */
#define MANY 25u     /* queries of class 1; the others have two */

/* Super-class 1, "mug", has the classes 1 ("mug-1") to CLASSES; super-class 7, "7", has class 900,
 * "sofa", alone; super-class 2 is called "mug-1" as a class is, and has class 950. Image ids count
 * the items. */
static kd_dataset *drawn(void)
{
    kd_buf listing = KD_BUF_INIT, names = KD_BUF_INIT;
    kd_dataset *dataset = NULL;
    unsigned id = 0;
    kd_buf_puts(&listing, "image_id class_id super_class_id path\n");
    kd_buf_puts(&names, "Class Name,Class ID,Coarse Class Name,Coarse Class ID\n");
    for (unsigned i = 0; i < 3; i++, id++)
        kd_buf_printf(&listing, "%u 900 7 s/%u.jpg\n", id + 1, i);
    for (unsigned c = 1; c <= CLASSES; c++) {
        for (unsigned i = 0; i < (c == 1 ? MANY : 2); i++, id++)
            kd_buf_printf(&listing, "%u %u 1 m/%u_%u.jpg\n", id + 1, c, c, i);
        kd_buf_printf(&names, "mug-%u,%u,mug,0\n", c, c - 1);
    }
    kd_buf_printf(&listing, "%u 950 2 t/1.jpg\n", id + 1);
    kd_buf_puts(&names, "sofa,899,7,6\nteapot,949,mug-1,1\n");
    put("Ebay_test.txt", (const char *)listing.data);
    put("classes.csv", (const char *)names.data);
    kd_buf_free(&names);
    kd_buf_free(&listing);
    CHECK_OK(kd_dataset_open(&dataset, g_dir, KD_SPLIT_TEST, &g_err), g_err);
    return dataset;
}

/* Chooses among all items, or among every other one. */
static shown choose(
    const kd_dataset *dataset, size_t step, const char *const *show, size_t n_show, size_t most)
{
    shown out;
    size_t n, kept = 0;
    (void)kd_dataset_items(dataset, &n);
    size_t *const rows = calloc(n, sizeof *rows);
    for (size_t i = 0; i < n; i += step)
        rows[kept++] = i;
    CHECK_OK(rows_choose(&out, dataset, rows, kept, show, n_show, most, &g_err), g_err);
    free(rows);
    return out;
}

static const kd_item *item(const kd_dataset *dataset, const shown *s, size_t row)
{
    size_t n;
    CHECK(row < s->n);
    return &kd_dataset_items(dataset, &n)[s->items[row]];
}

static void test_gateway_rows__one_of_each_super_class(void **state)
{
    kd_dataset *const dataset = drawn();
    (void)state;
    shown s = choose(dataset, 1, NULL, 0, 100);
    CHECK_INT(3, s.n);
    CHECK_INT(0, s.left_out);
    CHECK_INT(4, item(dataset, &s, 0)->image_id); /* by the super-class's id, the first listed */
    CHECK_INT(2, item(dataset, &s, 1)->super_class_id);
    CHECK_INT(1, item(dataset, &s, 2)->image_id);
    shown_free(&s);
    s = choose(dataset, 1, NULL, 0, 2);
    CHECK_INT(2, s.n);
    CHECK_INT(1, s.left_out);
    shown_free(&s);
    s = choose(dataset, 2, NULL, 0, 100); /* item 3, the first of super-class 1, was broken */
    CHECK_INT(5, item(dataset, &s, 0)->image_id);
    shown_free(&s);
    kd_dataset_free(dataset);
}

static void test_gateway_rows__of_a_class_its_queries(void **state)
{
    const char *few[] = {"mug-2", "sofa"}, *many[] = {"1"};
    kd_dataset *const dataset = drawn();
    (void)state;
    shown s = choose(dataset, 1, few, 2, 100);
    CHECK_INT(2 + 3, s.n);
    CHECK_INT(0, s.left_out);
    CHECK_INT(4 + MANY, item(dataset, &s, 0)->image_id);
    CHECK_INT(5 + MANY, item(dataset, &s, 1)->image_id);
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(1 + i, item(dataset, &s, 2 + i)->image_id);
    shown_free(&s);

    /* By its id, which super-class 1 has too: of that one query of each of its classes. */
    s = choose(dataset, 1, many, 1, 1000);
    CHECK_INT(SHOW_QUERIES + SHOW_CLASSES - 1, s.n);
    CHECK_INT(MANY + CLASSES - 1 - s.n, s.left_out);
    for (size_t i = 0; i < SHOW_QUERIES; i++)
        CHECK_INT(4 + i * MANY / SHOW_QUERIES, item(dataset, &s, i)->image_id);
    for (size_t i = SHOW_QUERIES; i < s.n; i++)
        CHECK(item(dataset, &s, i)->class_id > 1);
    shown_free(&s);
    kd_dataset_free(dataset);
}

static void test_gateway_rows__of_a_super_class_one_of_each_class(void **state)
{
    const char *one[] = {"mug"}, *named_like_an_id[] = {"7"};
    kd_dataset *const dataset = drawn();
    (void)state;
    shown s = choose(dataset, 1, one, 1, 1000);
    CHECK_INT(SHOW_CLASSES, s.n);
    CHECK_INT(CLASSES - SHOW_CLASSES, s.left_out);
    for (size_t i = 0; i < s.n; i++)
        CHECK_INT(1 + i * CLASSES / SHOW_CLASSES, item(dataset, &s, i)->class_id);
    shown_free(&s);
    s = choose(dataset, 1, one, 1, 10);
    CHECK_INT(10, s.n);
    CHECK_INT(CLASSES - 10, s.left_out);
    CHECK_INT(1, item(dataset, &s, 0)->class_id);
    CHECK(item(dataset, &s, 9)->class_id > CLASSES * 8 / 10);
    shown_free(&s);
    s = choose(dataset, 1, named_like_an_id, 1, 100); /* not class 7 */
    CHECK_INT(1, s.n);
    CHECK_INT(900, item(dataset, &s, 0)->class_id);
    shown_free(&s);
    kd_dataset_free(dataset);
}

static void test_gateway_rows__of_both_and_each_query_once(void **state)
{
    const char *both[] = {"mug-1", "mug-1", "teapot"};
    kd_dataset *const dataset = drawn();
    (void)state;
    shown s = choose(dataset, 1, both, 3, 100);
    CHECK_INT(SHOW_QUERIES + 1, s.n);
    CHECK_INT(MANY - SHOW_QUERIES, s.left_out);
    CHECK_INT(1, item(dataset, &s, 0)->class_id);
    CHECK_INT(950, item(dataset, &s, SHOW_QUERIES)->class_id);
    shown_free(&s);
    kd_dataset_free(dataset);
}

static void test_gateway_rows__refuses_unknown_names(void **state)
{
    const char *wrong[] = {"mug", "nope"}, *words[SHOW_MAX + 1];
    const size_t rows[] = {0};
    kd_dataset *const dataset = drawn();
    shown s;
    (void)state;
    CHECK_FAILS(KD_NOT_FOUND, show_check(dataset, wrong, 2, &g_err), g_err);
    CHECK_HAS("class or super-class 'nope'", g_err.message);
    CHECK_FAILS(KD_NOT_FOUND, rows_choose(&s, dataset, rows, 1, wrong, 2, 9, &g_err), g_err);
    CHECK(s.items == NULL);
    wrong[1] = "3000";
    CHECK_FAILS(KD_NOT_FOUND, show_check(dataset, wrong, 2, &g_err), g_err);
    wrong[1] = "";
    CHECK_FAILS(KD_NOT_FOUND, show_check(dataset, wrong, 2, &g_err), g_err);
    for (size_t i = 0; i <= SHOW_MAX; i++)
        words[i] = "mug";
    CHECK_OK(show_check(dataset, words, SHOW_MAX, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, show_check(dataset, words, SHOW_MAX + 1, &g_err), g_err);
    CHECK_HAS("65 classes", g_err.message);

    /* Asked for and known, but no image of it could be embedded. */
    wrong[0] = "teapot";
    CHECK_OK(rows_choose(&s, dataset, rows, 1, wrong, 1, 9, &g_err), g_err);
    CHECK_INT(0, s.n);
    shown_free(&s);
    CHECK_OK(rows_choose(&s, dataset, rows, 0, NULL, 0, 9, &g_err), g_err);
    CHECK_INT(0, s.n);
    shown_free(&s);
    kd_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gateway_rows__one_of_each_super_class),
        cmocka_unit_test(test_gateway_rows__of_a_class_its_queries),
        cmocka_unit_test(test_gateway_rows__of_a_super_class_one_of_each_class),
        cmocka_unit_test(test_gateway_rows__of_both_and_each_query_once),
        cmocka_unit_test(test_gateway_rows__refuses_unknown_names),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
