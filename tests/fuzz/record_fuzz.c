/* Any bytes as a model's model.json. */
#include <string.h>

#include "lib/base/file.h"
#include "lib/models/record.h"
#include "tests/fuzz/fuzz.h"

#define ID "0123456789abcdef"

static kd_status read_back(const void *bytes, size_t len, kd_model *model, kd_error *err)
{
    fuzz_write(ID "/model.json", bytes, len);
    return kd_model_record_read(fuzz_folder(), ID, model, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static bool ready = false;
    kd_error err = KD_ERROR_INIT;
    kd_model model = {0}, again = {0};
    char *text = NULL;
    if (!ready) {
        char *const folder = kd_format("%s/" ID, fuzz_folder());
        FUZZ_CHECK(folder && kd_make_dirs(folder, &err) == KD_OK);
        fuzz_write(ID "/model.safetensors", "weights", 7);
        free(folder);
        ready = true;
    }
    kd_status status = read_back(bytes, len, &model, &err);
    fuzz_said_why(status, &err);
    if (status != KD_OK) {
        FUZZ_CHECK(status == KD_DATA_LOSS || status == KD_FAILED_PRECONDITION);
        FUZZ_CHECK(!model.training && model.id[0] == '\0');
        return 0;
    }
    /* What was read can be written, and reads the same. */
    FUZZ_CHECK(kd_model_record_print(&model, &text, &err) == KD_OK);
    FUZZ_CHECK(read_back(text, strlen(text), &again, &err) == KD_OK);
    FUZZ_CHECK(strcmp(model.training, again.training) == 0);
    free(text);
    free(model.training);
    free(again.training);
    model.training = again.training = NULL;
    FUZZ_CHECK(strcmp(model.name, again.name) == 0 && model.created_ms == again.created_ms);
    FUZZ_CHECK(strcmp(model.preprocess_hash, again.preprocess_hash) == 0);
    return 0;
}
