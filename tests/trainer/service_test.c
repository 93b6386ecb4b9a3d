/* kindred.v1.TrainerService of the real program. */
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/models/models.h"
#include "tests/trainer/room.h"

#define TRAINER &kindred__v1__trainer_service__descriptor

static const kd_call_options patience = {.timeout_ms = WAIT_MS};

static kd_status call(room *r, const char *method, const void *request, void *response)
{
    return kd_channel_call(
        r->channel, TRAINER, method, request, &patience, (ProtobufCMessage **)response, &r->err);
}

static kd_status import(
    room *r, const Kindred__V1__ImportModelRequest *request, char id[KD_MODEL_ID_TEXT], bool *had)
{
    Kindred__V1__ImportModelResponse *response = NULL;
    const kd_status status = call(r, "ImportModel", request, &response);
    if (status == KD_OK) {
        (void)snprintf(id, KD_MODEL_ID_TEXT, "%s", response->model->id);
        *had = response->existed;
        CHECK_INT(512, response->model->dim);
    }
    kd_message_free(response);
    return status;
}

static void import_random(room *r, uint64_t seed, const char *name, char id[KD_MODEL_ID_TEXT])
{
    Kindred__V1__ImportModelRequest request = KINDRED__V1__IMPORT_MODEL_REQUEST__INIT;
    bool had;
    request.random = true;
    request.seed = seed;
    request.name = (char *)name;
    request.image_size = 64;
    CHECK_OK(import(r, &request, id, &had), r->err);
}

/* The whole of an export. */
static kd_status export(room *r, const char *model, const char *format, kd_buf *out)
{
    Kindred__V1__ExportModelRequest request = KINDRED__V1__EXPORT_MODEL_REQUEST__INIT;
    kd_stream *stream = NULL;
    ProtobufCMessage *message = NULL;
    bool waiting;
    request.model = (char *)model;
    request.format = (char *)format;
    CHECK_OK(kd_stream_open(
                 &stream, r->channel, TRAINER, "ExportModel", &request.base, &patience, &r->err),
        r->err);
    kd_status status;
    while ((status = kd_stream_read(stream, -1, &message, &waiting, &r->err)) == KD_OK && message) {
        const Kindred__V1__ExportModelResponse *const piece = (const void *)message;
        CHECK(piece->data.len > 0 && piece->data.len <= 1u << 20);
        CHECK(piece->total_bytes > 0);
        kd_buf_append(out, piece->data.data, piece->data.len);
        kd_message_free(message);
    }
    kd_stream_close(stream);
    return status;
}

static void test_trainer_service__random_weights_become_a_model(void **state)
{
    room *const r = *state;
    char id[KD_MODEL_ID_TEXT];
    Kindred__V1__GetModelRequest request = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *response = NULL;
    import_random(r, 1, "first", id);
    request.model = (char *)"first";
    CHECK_OK(call(r, "GetModel", &request, &response), r->err);
    CHECK_STR(id, response->model->id);
    CHECK_STR("init", response->model->source);
    CHECK_STR("resnet18", response->model->architecture);
    CHECK_INT(64, response->model->image_size);
    kd_message_free(response);
    request.model = (char *)"nobody";
    CHECK_FAILS(KD_NOT_FOUND, call(r, "GetModel", &request, &response), r->err);
}

static void test_trainer_service__exports_can_be_imported_again(void **state)
{
    room *const r = *state;
    static const char *const formats[] = {"", "pth"};
    char id[KD_MODEL_ID_TEXT], back[KD_MODEL_ID_TEXT], path[192];
    import_random(r, 2, "there-and-back", id);
    for (size_t i = 0; i < 2; i++) {
        Kindred__V1__ImportModelRequest request = KINDRED__V1__IMPORT_MODEL_REQUEST__INIT;
        kd_buf bytes = KD_BUF_INIT;
        bool had = false;
        CHECK_OK(export(r, "there-and-back", formats[i], &bytes), r->err);
        CHECK(bytes.len > 40u << 20);
        (void)snprintf(path, sizeof path, "%s/weights", r->dataset);
        CHECK_OK(kd_file_write(path, bytes.data, bytes.len, &r->err), r->err);
        kd_buf_free(&bytes);
        request.path = path;
        request.image_size = 64;
        CHECK_OK(import(r, &request, back, &had), r->err);
        CHECK_STR(id, back);
        CHECK(had);
    }
}

static void test_trainer_service__refuses_an_import_from_elsewhere(void **state)
{
    room *const r = *state;
    Kindred__V1__ImportModelRequest request = KINDRED__V1__IMPORT_MODEL_REQUEST__INIT;
    char id[KD_MODEL_ID_TEXT];
    bool had;
    request.path = (char *)"/etc/passwd";
    CHECK_FAILS(KD_PERMISSION_DENIED, import(r, &request, id, &had), r->err);
    CHECK_HAS(r->dataset, r->err.message);
    request.path = (char *)"";
    CHECK_FAILS(KD_INVALID_ARGUMENT, import(r, &request, id, &had), r->err);
    request.random = true;
    request.image_size = 31;
    CHECK_FAILS(KD_INVALID_ARGUMENT, import(r, &request, id, &had), r->err);
    CHECK_HAS("image_size is 31", r->err.message);
}

static void test_trainer_service__pages_hold_every_model_once(void **state)
{
    room *const r = *state;
    Kindred__V1__ListModelsRequest request = KINDRED__V1__LIST_MODELS_REQUEST__INIT;
    char ids[3][KD_MODEL_ID_TEXT], token[64] = "";
    int seen[3] = {0};
    for (uint64_t i = 0; i < 3; i++)
        import_random(r, 100 + i, "", ids[i]);
    request.page_size = 1;
    request.page_token = token;
    do {
        Kindred__V1__ListModelsResponse *response = NULL;
        CHECK_OK(call(r, "ListModels", &request, &response), r->err);
        CHECK_INT(1, response->n_models);
        for (size_t i = 0; i < 3; i++)
            seen[i] += strcmp(ids[i], response->models[0]->id) == 0;
        (void)snprintf(token, sizeof token, "%s", response->next_page_token);
        kd_message_free(response);
    } while (token[0] != '\0');
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(1, seen[i]);
}

static void test_trainer_service__a_removed_model_is_gone(void **state)
{
    room *const r = *state;
    Kindred__V1__DeleteModelRequest request = KINDRED__V1__DELETE_MODEL_REQUEST__INIT;
    Kindred__V1__DeleteModelResponse *response = NULL;
    char id[KD_MODEL_ID_TEXT];
    kd_buf bytes = KD_BUF_INIT;
    import_random(r, 200, "short-lived", id);
    request.model = (char *)"short-lived";
    CHECK_OK(call(r, "DeleteModel", &request, &response), r->err);
    CHECK_STR(id, response->model->id);
    kd_message_free(response);
    CHECK_FAILS(KD_NOT_FOUND, export(r, id, "", &bytes), r->err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, export(r, id, "onnx", &bytes), r->err);
    kd_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_service__random_weights_become_a_model),
        cmocka_unit_test(test_trainer_service__exports_can_be_imported_again),
        cmocka_unit_test(test_trainer_service__refuses_an_import_from_elsewhere),
        cmocka_unit_test(test_trainer_service__pages_hold_every_model_once),
        cmocka_unit_test(test_trainer_service__a_removed_model_is_gone),
    };
    return cmocka_run_group_tests(tests, room_start, room_stop);
}
