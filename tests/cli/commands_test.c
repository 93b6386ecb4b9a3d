/* The commands that ask once: lists, search, embed, export, collections. */
#include <stdatomic.h>
#include <sys/stat.h>

#include "kindred/v1/embedder.pb-c.h"
#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "tests/cli/gateway.h"

static kd_server *g_gateway;
static kd_error g_err;
static char g_dir[] = "kd-commands-XXXXXX";
static atomic_uint g_deletes, g_busy;
static kd_buf g_jpeg = KD_BUF_INIT;

#define N_MODELS 2500u /* three pages */

/* The page token is the number of the first model. */
static void list_models(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__ListModelsRequest *const request = (const void *)message;
    Kindred__V1__ListModelsResponse response = KINDRED__V1__LIST_MODELS_RESPONSE__INIT;
    static Kindred__V1__Model models[1000], *pointers[1000];
    static char names[1000][24], next[24];
    (void)state;
    const unsigned first = (unsigned)strtoul(request->page_token, NULL, 10);
    const unsigned left = N_MODELS - first;
    const unsigned n = left < request->page_size ? left : request->page_size;
    for (unsigned i = 0; i < n; i++) {
        kindred__v1__model__init(&models[i]);
        (void)snprintf(names[i], sizeof names[i], "model-%u", first + i);
        models[i].name = models[i].id = names[i];
        pointers[i] = &models[i];
    }
    response.models = pointers;
    response.n_models = n;
    (void)snprintf(next, sizeof next, "%u", first + n);
    if (first + n < N_MODELS)
        response.next_page_token = next;
    kd_call_reply(call, &response.base);
}

static void export_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__ExportModelRequest *const request = (const void *)message;
    Kindred__V1__ExportModelResponse piece = KINDRED__V1__EXPORT_MODEL_RESPONSE__INIT;
    kd_error end = KD_ERROR_INIT;
    (void)state;
    piece.data = (ProtobufCBinaryData){strlen(request->format), (uint8_t *)request->format};
    piece.total_bytes = 2 * piece.data.len;
    for (int i = 0; i < (strcmp(request->model, "short") == 0 ? 1 : 2); i++)
        if (kd_call_write(call, &piece.base, true) != KD_OK)
            break;
    if (strcmp(request->model, "absent") == 0)
        (void)kd_error_set(&end, KD_NOT_FOUND, "no model 'absent'");
    kd_call_finish(call, &end);
}

static void search_products(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__SearchProductsRequest *const request = (const void *)message;
    Kindred__V1__SearchProductsResponse response = KINDRED__V1__SEARCH_PRODUCTS_RESPONSE__INIT;
    Kindred__V1__Hit hit = KINDRED__V1__HIT__INIT, *hits[] = {&hit};
    Kindred__V1__Item item = KINDRED__V1__ITEM__INIT;
    (void)state;
    if (request->k == 0) {
        refuse(call, KD_INVALID_ARGUMENT, "k is 0, allowed 1..1000");
        return;
    }
    item.image_id = request->query_case == KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_IMAGE_ID
                        ? request->image_id + 1
                        : request->k;
    item.class_name = (char *)(uintptr_t)"<chair>";
    item.super_class_name =
        request->n_super_classes > 1 ? request->super_classes[1] : (char *)(uintptr_t)"seats";
    item.uri = (char *)(uintptr_t)"/d/chair.jpg";
    hit.item = &item;
    hit.score = 0.9375f;
    if (request->thumbnail_size > 0)
        hit.thumbnail = (ProtobufCBinaryData){g_jpeg.len, g_jpeg.data};
    response.hits = hits;
    response.n_hits = 1;
    kd_call_reply(call, &response.base);
}

/* The embedding of an image is (its size, 1); the first call is shed. */
static void embed(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__EmbedRequest *const request = (const void *)message;
    Kindred__V1__EmbedResponse response = KINDRED__V1__EMBED_RESPONSE__INIT;
    Kindred__V1__Embedding rows[64], *pointers[64];
    Kindred__V1__Problem broken = KINDRED__V1__PROBLEM__INIT;
    float values[64][2];
    (void)state;
    if (strcmp(request->model, "absent") == 0) {
        refuse(call, KD_NOT_FOUND, "no model 'absent'");
        return;
    }
    if (atomic_fetch_add(&g_busy, 1) == 0) {
        refuse(call, KD_RESOURCE_EXHAUSTED, "the queue is full");
        return;
    }
    broken.code = KD_INVALID_ARGUMENT;
    broken.message = (char *)(uintptr_t)"not an image kindred reads";
    response.model_id = (char *)(uintptr_t)"00112233445566aa";
    response.dim = 2;
    for (size_t i = 0; i < request->n_images; i++) {
        kindred__v1__embedding__init(&rows[i]);
        pointers[i] = &rows[i];
        values[i][0] = (float)request->images[i].len;
        values[i][1] = 1;
        rows[i].values = values[i];
        rows[i].n_values = 2;
        if (request->images[i].data[0] == 'x') {
            rows[i].n_values = 0;
            rows[i].problem = &broken;
        }
    }
    response.embeddings = pointers;
    response.n_embeddings = request->n_images;
    kd_call_reply(call, &response.base);
}

static void delete_items(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__DeleteItemsRequest *const request = (const void *)message;
    Kindred__V1__DeleteItemsResponse response = KINDRED__V1__DELETE_ITEMS_RESPONSE__INIT;
    (void)state;
    atomic_fetch_add(&g_deletes, 1);
    response.deleted = request->n_image_ids;
    kd_call_reply(call, &response.base);
}

static void add_image(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__AddImageRequest *const request = (const void *)message;
    Kindred__V1__AddImageResponse response = KINDRED__V1__ADD_IMAGE_RESPONSE__INIT;
    (void)state;
    response.count = request->item->class_id * 100 + request->item->super_class_id;
    if (request->item->uri[0] != '/')
        response.count = 0;
    kd_call_reply(call, &response.base);
}

static int setup(void **state)
{
    static const kd_method trainer[] = {
        {"ListModels", list_models, true}, {"ExportModel", export_model, true}};
    static const kd_method gateway[] = {
        {"SearchProducts", search_products, true}, {"AddImage", add_image, true}};
    static const kd_method embedder[] = {{"Embed", embed, true}};
    static const kd_method indexer[] = {{"DeleteItems", delete_items, true}};
    const served services[] = {{&kindred__v1__trainer_service__descriptor, trainer, 2},
        {&kindred__v1__gateway_service__descriptor, gateway, 2},
        {&kindred__v1__embedder_service__descriptor, embedder, 1},
        {&kindred__v1__indexer_service__descriptor, indexer, 1}};
    kd_image image = KD_IMAGE_INIT;
    (void)state;
    CHECK_OK(kd_image_new(&image, 16, 12, &g_err), g_err);
    CHECK_OK(kd_image_encode_jpeg(&image, 90, &g_jpeg, &g_err), g_err);
    kd_image_free(&image);
    g_gateway = start_gateway(services, sizeof services / sizeof services[0]);
    return mkdtemp(g_dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    stop_gateway(g_gateway);
    kd_buf_free(&g_jpeg);
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

/* A file in the test's folder; the path lives until the next call but three. */
static const char *put(const char *name, const void *bytes, size_t len)
{
    static char paths[4][96];
    static unsigned turn;
    char *const path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", g_dir, name);
    if (bytes)
        CHECK_OK(kd_file_write(path, bytes, len, &g_err), g_err);
    return path;
}

static json_t *parse(const char *text)
{
    json_error_t fault;
    json_t *const value = json_loads(text, 0, &fault);
    if (!value)
        fail_msg("%s: %s", fault.text, text);
    return value;
}

/* ---- Lists ---- */

static void test_cli_list__follows_every_page(void **state)
{
    ran r;
    (void)state;
    RUN(&r, cmd_model, "model", "list", "--json");
    CHECK_INT(0, r.status);
    json_t *const object = parse(r.out);
    const json_t *const models = json_object_get(object, "models");
    CHECK_INT(N_MODELS, json_array_size(models));
    CHECK_STR("model-2499",
        json_string_value(json_object_get(json_array_get(models, N_MODELS - 1), "id")));
    json_decref(object);
    RUN(&r, cmd_model, "model", "list");
    CHECK_INT(0, r.status);
    CHECK_HAS("model-2499", r.out);
}

/* ---- Export ---- */

static void test_cli_export__takes_the_form_from_the_ending(void **state)
{
    ran r;
    kd_buf bytes = KD_BUF_INIT;
    const char *const path = put("m.pth", NULL, 0);
    (void)state;
    RUN(&r, cmd_model, "model", "export", "plain", path);
    CHECK_STR("", r.err);
    CHECK_INT(0, r.status);
    CHECK_OK(kd_file_read(path, 100, &bytes, &g_err), g_err);
    CHECK_STR("pthpth", (char *)bytes.data);
    kd_buf_free(&bytes);
    RUN(&r, cmd_model, "model", "export", "plain", path, "--format", "safetensors", "--json");
    json_t *const object = parse(r.out);
    CHECK_STR("safetensors", json_string_value(json_object_get(object, "format")));
    CHECK_INT(22, json_integer_value(json_object_get(object, "bytes")));
    json_decref(object);
}

static void test_cli_export__leaves_nothing_half_written(void **state)
{
    ran r;
    const char *const path = put("half.safetensors", NULL, 0);
    (void)state;
    RUN(&r, cmd_model, "model", "export", "short", path);
    CHECK_INT(1, r.status);
    CHECK_HAS("11 bytes of 22 came", r.err);
    CHECK(!kd_is_file(path));
    RUN(&r, cmd_model, "model", "export", "absent", path);
    CHECK_INT(1, r.status);
    CHECK_STR("kindred model export: no model 'absent'\n", r.err);
    CHECK(!kd_is_file(path));
}

/* ---- Search ---- */

static void test_cli_search__tables_json_and_page(void **state)
{
    ran r;
    kd_buf page = KD_BUF_INIT;
    const char *const photo = put("q.jpg", g_jpeg.data, g_jpeg.len);
    const char *const html = put("hits.html", NULL, 0);
    (void)state;
    RUN(&r, cmd_search, "search", photo, "--collection", "shop", "-k", "7");
    CHECK_STR("", r.err);
    CHECK_INT(0, r.status);
    CHECK_HAS("RANK   SCORE  CLASS    SUPER-CLASS  IMAGE  URI\n"
              "   1  0.9375  <chair>  seats            7  /d/chair.jpg\n",
        r.out);

    RUN(&r, cmd_search, "search", photo, "--collection", "shop", "--super-class", "a",
        "--super-class", "b", "--image-id", "41", "--html", html, "--json");
    CHECK_INT(0, r.status);
    json_t *const object = parse(r.out);
    const json_t *const results = json_object_get(object, "results");
    CHECK_INT(2, json_array_size(results));
    const json_t *const first = json_array_get(results, 0), *const second =
                                                                json_array_get(results, 1);
    CHECK_STR(photo, json_string_value(json_object_get(first, "query")));
    CHECK_INT(41, json_integer_value(json_object_get(second, "query")));
    const json_t *const hit = json_array_get(json_object_get(second, "hits"), 0);
    CHECK(!json_object_get(hit, "thumbnail"));
    const json_t *const item = json_object_get(hit, "item");
    CHECK_INT(42, json_integer_value(json_object_get(item, "image_id")));
    CHECK_STR("b", json_string_value(json_object_get(item, "super_class_name")));
    json_decref(object);

    CHECK_OK(kd_file_read(html, 1u << 20, &page, &g_err), g_err);
    CHECK_HAS("&lt;chair&gt;", (char *)page.data);
    CHECK(!strstr((char *)page.data, "<chair>"));
    CHECK_HAS("src=\"data:image/jpeg;base64,/9j/", (char *)page.data);
    CHECK_HAS("no picture", (char *)page.data); /* the query by id */
    kd_buf_free(&page);
}

static void test_cli_search__wrong_questions(void **state)
{
    ran r;
    const char *const photo = put("q.jpg", g_jpeg.data, g_jpeg.len);
    (void)state;
    RUN(&r, cmd_search, "search", photo, "--collection", "shop", "-k", "0");
    CHECK_INT(2, r.status);
    CHECK_STR("kindred search: k is 0, allowed 1..1000\n", r.err);
    RUN(&r, cmd_search, "search", "--collection", "shop");
    CHECK_INT(2, r.status);
    CHECK_HAS("an IMAGE, --image-id N, --key KEY or --like N is missing", r.err);
    RUN(&r, cmd_search, "search", photo);
    CHECK_INT(2, r.status);
    CHECK_HAS("--collection NAME is missing", r.err);
    RUN(&r, cmd_search, "search", "/no/photo.jpg", "--collection", "shop");
    CHECK_INT(1, r.status);
    CHECK_HAS("/no/photo.jpg", r.err);
    RUN(&r, cmd_search, "search", photo, "--collection", "shop", "--gateway", "127.0.0.1:1");
    CHECK_INT(3, r.status);
}

/* ---- Embed ---- */

/* A dataset of 100 images of which number 50 is broken and number 60 missing. */
static const char *put_dataset(void)
{
    static char dir[64];
    char path[96], pixel[200];
    kd_buf listing = KD_BUF_INIT;
    (void)snprintf(dir, sizeof dir, "%s/set", g_dir);
    CHECK_OK(kd_make_dirs(dir, &g_err), g_err);
    kd_buf_puts(&listing, "image_id class_id super_class_id path\n");
    memset(pixel, 'j', sizeof pixel);
    for (unsigned i = 1; i <= 100; i++) {
        kd_buf_printf(&listing, "%u %u 1 %u.jpg\n", i, (i + 1) / 2, i);
        (void)snprintf(path, sizeof path, "%s/%u.jpg", dir, i);
        pixel[0] = i == 50 ? 'x' : 'j';
        if (i != 60)
            CHECK_OK(kd_file_write(path, pixel, i, &g_err), g_err);
    }
    (void)snprintf(path, sizeof path, "%s/Ebay_test.txt", dir);
    CHECK_OK(kd_file_write(path, listing.data, listing.len, &g_err), g_err);
    kd_buf_free(&listing);
    return dir;
}

static void test_cli_embed__rows_are_in_listing_order(void **state)
{
    ran r;
    kd_buf rows = KD_BUF_INIT, ids = KD_BUF_INIT;
    const char *const dir = put_dataset(), *const out = put("e.npy", NULL, 0);
    (void)state;
    atomic_store(&g_busy, 0);
    RUN(&r, cmd_embed, "embed", dir, "--model", "m", "--out", out, "--split", "test");
    CHECK_INT(0, r.status);
    CHECK_HAS("skipped: ", r.err);
    CHECK_HAS("50.jpg: not an image kindred reads", r.err);
    CHECK_HAS("60.jpg", r.err);
    CHECK_HAS("98 images × 2 by model 00112233445566aa", r.out);
    CHECK_HAS("2 skipped", r.out);
    CHECK_OK(kd_file_read(out, 1u << 20, &rows, &g_err), g_err);
    CHECK_OK(kd_file_read(put("e.ids", NULL, 0), 1u << 20, &ids, &g_err), g_err);
    CHECK_INT(128 + 98 * 8, rows.len);
    const char *line = (const char *)ids.data;
    for (size_t i = 0; i < 98; i++) {
        float value;
        memcpy(&value, rows.data + 128 + i * 8, sizeof value);
        CHECK_INT(value, strtol(line, NULL, 10));
        line = strchr(line, '\n') + 1;
    }
    CHECK_STR("", line);
    kd_buf_free(&rows);
    kd_buf_free(&ids);
}

static void test_cli_embed__files_and_failures(void **state)
{
    ran r;
    kd_buf ids = KD_BUF_INIT;
    const char *const one = put("one.jpg", "jjj", 3), *const two = put("two.jpg", "xx", 2);
    const char *const out = put("f.npy", NULL, 0);
    (void)state;
    RUN(&r, cmd_embed, "embed", two, one, "--model", "m", "--out", out, "--json");
    CHECK_INT(0, r.status);
    json_t *const object = parse(r.out);
    CHECK_INT(1, json_integer_value(json_object_get(object, "rows")));
    CHECK_INT(1, json_integer_value(json_object_get(object, "skipped")));
    CHECK_OK(
        kd_file_read(json_string_value(json_object_get(object, "ids")), 999, &ids, &g_err), g_err);
    CHECK_INT(strlen(one) + 1, ids.len);
    CHECK(strncmp((char *)ids.data, one, strlen(one)) == 0);
    json_decref(object);
    kd_buf_free(&ids);

    (void)unlink(out);
    RUN(&r, cmd_embed, "embed", two, "--model", "m", "--out", out);
    CHECK_INT(1, r.status);
    CHECK_HAS("no image could be embedded", r.err);
    CHECK(!kd_is_file(out));
    RUN(&r, cmd_embed, "embed", one, "--model", "absent", "--out", out);
    CHECK_INT(1, r.status);
    CHECK_STR("kindred embed: no model 'absent'\n", r.err);
    CHECK(!kd_is_file(out));
    RUN(&r, cmd_embed, "embed", one, "--model", "m", "--out", out, "--gateway", "127.0.0.1:1");
    CHECK_INT(3, r.status);
    RUN(&r, cmd_embed, "embed", one, "--model", "m", "--out", out, "--split", "val");
    CHECK_INT(2, r.status);
}

/* ---- Collections ---- */

static void test_cli_collection__adds_and_deletes(void **state)
{
    ran r;
    const char *const photo = put("q.jpg", g_jpeg.data, g_jpeg.len);
    const char *ids[5004] = {"collection", "delete", "shop"};
    (void)state;
    RUN(&r, cmd_collection, "collection", "add", "shop", photo, "--image-id", "9", "--class-id",
        "3", "--super-class-id", "2");
    CHECK_STR("", r.err);
    CHECK_STR("image 9 is in shop, which holds 302 images\n", r.out);
    RUN(&r, cmd_collection, "collection", "add", "shop", photo, "--image-id", "9");
    CHECK_INT(2, r.status);
    CHECK_HAS("--class-id N is missing", r.err);

    for (size_t i = 3; i < 5003; i++)
        ids[i] = "17";
    atomic_store(&g_deletes, 0);
    run_argv(&r, cmd_collection, ids);
    CHECK_INT(0, r.status);
    CHECK_STR("5000 of 5000 removed from shop\n", r.out);
    CHECK_INT(2, atomic_load(&g_deletes));
    RUN(&r, cmd_collection, "collection", "delete", "shop", "17", "x");
    CHECK_INT(2, r.status);
    CHECK_INT(2, atomic_load(&g_deletes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_list__follows_every_page),
        cmocka_unit_test(test_cli_export__takes_the_form_from_the_ending),
        cmocka_unit_test(test_cli_export__leaves_nothing_half_written),
        cmocka_unit_test(test_cli_search__tables_json_and_page),
        cmocka_unit_test(test_cli_search__wrong_questions),
        cmocka_unit_test(test_cli_embed__rows_are_in_listing_order),
        cmocka_unit_test(test_cli_embed__files_and_failures),
        cmocka_unit_test(test_cli_collection__adds_and_deletes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
