/* Files of vectors, against FAISS itself; what NumPy makes of ours and we of its, e2e.collections
 * looks at. */
#include <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/index_io_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/MetaIndexes_c.h>

#include "lib/base/file.h"
#include "services/gateway/cli/items_file.h"
#include "services/gateway/cli/vectors.h"
#include "tests/support/check.h"

enum { N = 5, DIM = 3 };
static const float vectors[N][DIM] = {
    {1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {0.6f, 0.8f, 0}, {0, 0.6f, -0.8f}};
static const int64_t ids[N] = {7, 3, 4503599627370496, 12, 0};

static kd_error g_err;
static char g_dir[32];

static int setup(void **state)
{
    (void)state;
    (void)strcpy(g_dir, "kd-vectors-XXXXXX");
    return mkdtemp(g_dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

static const char *path_of(const char *name)
{
    static char path[64];
    (void)snprintf(path, sizeof path, "%s/%s", g_dir, name);
    return path;
}

static void test_faiss__reads_what_is_written(void **state)
{
    (void)state;
    cli_faiss f;
    CHECK_OK(cli_faiss_begin(&f, path_of("x.faiss"), DIM, &g_err), g_err);
    for (size_t i = 0; i < N; i++)
        CHECK_OK(cli_faiss_row(&f, (uint64_t)ids[i], vectors[i], &g_err), g_err);
    CHECK_OK(cli_faiss_commit(&f, &g_err), g_err);

    FaissIndex *index = NULL;
    CHECK_INT(0, faiss_read_index_fname(path_of("x.faiss"), 0, &index));
    CHECK_INT(N, faiss_Index_ntotal(index));
    CHECK_INT(DIM, faiss_Index_d(index));
    CHECK_INT(METRIC_INNER_PRODUCT, faiss_Index_metric_type(index));
    assert_non_null(faiss_IndexIDMap2_cast(index));
    float scores[N], values[DIM];
    int64_t found[N];
    for (size_t i = 0; i < N; i++) {
        CHECK_INT(0, faiss_Index_search(index, 1, vectors[i], 2, scores, found));
        CHECK_INT(ids[i], found[0]);
        CHECK_INT(0, faiss_Index_reconstruct(index, ids[i], values));
        assert_memory_equal(vectors[i], values, sizeof values);
    }
    faiss_Index_free(index);
}

static void check_read(bool with_ids)
{
    cli_vectors v;
    float values[N][DIM];
    CHECK_OK(cli_vectors_open(&v, path_of("y.index"), &g_err), g_err);
    CHECK_INT(N, v.rows);
    CHECK_INT(DIM, v.dim);
    CHECK_OK(cli_vectors_read(&v, values[0], 2, &g_err), g_err);
    CHECK_OK(cli_vectors_read(&v, values[2], N - 2, &g_err), g_err);
    assert_memory_equal(vectors, values, sizeof values);
    CHECK(with_ids == (v.ids != NULL));
    for (size_t i = 0; with_ids && i < N; i++)
        CHECK_INT(ids[i], v.ids[i]);
    cli_vectors_close(&v);
}

static void write_with_faiss(FaissIndex *index)
{
    CHECK_INT(0, faiss_write_index_fname(index, path_of("y.index")));
}

static void test_faiss__what_it_writes_is_read(void **state)
{
    (void)state;
    static const FaissMetricType metrics[] = {METRIC_INNER_PRODUCT, METRIC_L2};
    for (size_t m = 0; m < 2; m++) {
        FaissIndexFlat *flat = NULL;
        FaissIndexIDMap *map = NULL;
        FaissIndexIDMap2 *map2 = NULL;
        CHECK_INT(0, faiss_IndexFlat_new_with(&flat, DIM, metrics[m]));
        CHECK_INT(0, faiss_IndexIDMap_new(&map, flat));
        CHECK_INT(0, faiss_Index_add_with_ids(map, N, vectors[0], ids));
        write_with_faiss(map);
        check_read(true);
        write_with_faiss(flat);
        check_read(false);
        faiss_Index_reset(map);
        CHECK_INT(0, faiss_IndexIDMap2_new(&map2, flat));
        CHECK_INT(0, faiss_Index_add_with_ids(map2, N, vectors[0], ids));
        write_with_faiss(map2);
        check_read(true);
        faiss_Index_free(map2);
        faiss_Index_free(map);
        faiss_Index_free(flat);
    }
}

static void refused(const char *name, const char *says)
{
    cli_vectors v;
    CHECK_FAILS(KD_INVALID_ARGUMENT, cli_vectors_open(&v, path_of(name), &g_err), g_err);
    CHECK_HAS(says, g_err.message);
    assert_null(v.stream);
}

static void test_vectors__others_are_refused_by_what_they_are(void **state)
{
    (void)state;
    FaissIndex *graph = NULL;
    CHECK_INT(0, faiss_index_factory(&graph, DIM, "HNSW8", METRIC_INNER_PRODUCT));
    CHECK_INT(0, faiss_Index_add(graph, N, vectors[0]));
    CHECK_INT(0, faiss_write_index_fname(graph, path_of("graph.index")));
    faiss_Index_free(graph);
    refused("graph.index", "its kind is 'IHNf', and only a flat one holds the vectors");
    refused("nothing.npy", "there is no file");

    /* Cut anywhere, ours is refused; so is one with a number changed in its head. */
    test_faiss__reads_what_is_written(NULL);
    kd_buf whole = KD_BUF_INIT;
    CHECK_OK(kd_file_read(path_of("x.faiss"), 4096, &whole, &g_err), g_err);
    for (size_t len = 0; len < whole.len; len++) {
        cli_vectors v;
        CHECK_OK(kd_file_write(path_of("cut.faiss"), whole.data, len, &g_err), g_err);
        CHECK_FAILS(KD_INVALID_ARGUMENT, cli_vectors_open(&v, path_of("cut.faiss"), &g_err), g_err);
    }
    static const size_t counts[] = {4, 8, 15, 33, 41, 45, 52, 74, 81, 142};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        cli_vectors v;
        whole.data[counts[i]] ^= 0x40;
        CHECK_OK(kd_file_write(path_of("bad.faiss"), whole.data, whole.len, &g_err), g_err);
        CHECK_FAILS(KD_INVALID_ARGUMENT, cli_vectors_open(&v, path_of("bad.faiss"), &g_err), g_err);
        whole.data[counts[i]] ^= 0x40;
    }
    kd_buf_free(&whole);
}

static void npy_refused(const char *header, const char *says)
{
    kd_buf file = KD_BUF_INIT;
    const uint8_t len[2] = {(uint8_t)strlen(header), 0};
    kd_buf_append(&file, "\x93NUMPY\x01\x00", 8);
    kd_buf_append(&file, len, 2);
    kd_buf_puts(&file, header);
    kd_buf_append(&file, vectors, sizeof vectors);
    CHECK_OK(kd_file_write(path_of("x.npy"), file.data, file.len, &g_err), g_err);
    kd_buf_free(&file);
    refused("x.npy", says);
}

static void test_npy__others_are_refused_by_what_they_are(void **state)
{
    (void)state;
    npy_refused("{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3), }", "float32");
    npy_refused("{'descr': '<f4', 'fortran_order': True, 'shape': (5, 3), }", "Fortran order");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (15,), }", "rows of vectors");
    npy_refused(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3, 1), }", "rows of vectors");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (6, 3), }", "should have");
    npy_refused("{'descr': '<f4'}", "no header of a NumPy array");
}

static void test_items__name_rows(void **state)
{
    (void)state;
    static const char text[] =
        "{\"image_id\": 7, \"key\": \"\", \"class_id\": 3, \"class_name\": \"mug\", "
        "\"uri\": \"/x.jpg\", \"attributes\": {\"brand\": \"Acme\", \"price\": 9}}\n"
        "{\"key\": \"chair-7\"}\n12\nphotos/a b.jpg\n{\"class_id\": 3}\n{\"image_id\": -1}\n\n{";
    cli_items items;
    cli_item item;
    uint64_t lines = 0;
    CHECK_OK(kd_file_write(path_of("x.jsonl"), text, strlen(text), &g_err), g_err);
    CHECK_OK(cli_items_open(&items, path_of("x.jsonl"), &lines, &g_err), g_err);
    CHECK_INT(8, lines);
    CHECK_OK(cli_items_next(&items, &item, &g_err), g_err);
    CHECK_INT(7, item.message.image_id);
    CHECK_STR("", item.message.key);
    CHECK_INT(3, item.message.class_id);
    CHECK_STR("mug", item.message.class_name);
    CHECK_INT(2, item.message.n_attributes);
    CHECK_STR("Acme", item.message.attributes[0]->text);
    CHECK_NEAR(9, item.message.attributes[1]->number, 0);
    cli_item_clear(&item);
    static const char *const keys[] = {"chair-7", "", "photos/a b.jpg"};
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(cli_items_next(&items, &item, &g_err), g_err);
        CHECK_STR(keys[i], item.message.key);
        CHECK_INT(i == 1 ? 12 : 0, item.message.image_id);
        cli_item_clear(&item);
    }
    static const char *const says[] = {"line 5: it has neither an image_id nor a key",
        "line 6: image_id is not a number", "line 7: it is empty", "line 8: it is no JSON object"};
    for (size_t i = 0; i < 4; i++) {
        CHECK_FAILS(KD_INVALID_ARGUMENT, cli_items_next(&items, &item, &g_err), g_err);
        CHECK_HAS(says[i], g_err.message);
        cli_item_clear(&item);
    }
    cli_items_close(&items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faiss__reads_what_is_written),
        cmocka_unit_test(test_faiss__what_it_writes_is_read),
        cmocka_unit_test(test_vectors__others_are_refused_by_what_they_are),
        cmocka_unit_test(test_npy__others_are_refused_by_what_they_are),
        cmocka_unit_test(test_items__name_rows),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
