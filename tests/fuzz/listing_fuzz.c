/* A folder's Ebay_train.txt, Ebay_test.txt and classes.csv, cut by FUZZ_CUT. */
#include <string.h>

#include "lib/base/buf.h"
#include "lib/dataset/dataset.h"
#include "tests/fuzz/fuzz.h"

static void check_name(const char *name)
{
    FUZZ_CHECK(name && name[0] != '\0' && kd_utf8_valid(name, strlen(name)));
}

/* What the header promises of an opened dataset, whatever stood in the files. */
static void check_items(const kd_dataset *dataset)
{
    size_t n = 0;
    const kd_item *const items = kd_dataset_items(dataset, &n);
    FUZZ_CHECK(n > 0);
    FUZZ_CHECK(kd_dataset_class_count(dataset) >= kd_dataset_super_class_count(dataset));
    for (size_t i = 0; i < n; i++) {
        const char *const path = kd_dataset_path(dataset, &items[i]);
        FUZZ_CHECK(items[i].image_id > 0 && items[i].class_id > 0 && items[i].super_class_id > 0);
        FUZZ_CHECK(path[0] != '/' && strncmp(path, "../", 3) != 0 && !strstr(path, "/../"));
        FUZZ_CHECK(strlen(path) < KD_DATASET_MAX_PATH);
        check_name(path);
        check_name(kd_dataset_class_name(dataset, items[i].class_id));
        check_name(kd_dataset_super_class_name(dataset, items[i].super_class_id));
    }
    check_name(kd_dataset_class_name(dataset, 0));
}

static void sample(const kd_dataset *dataset, kd_sampler_kind kind)
{
    kd_error err = KD_ERROR_INIT;
    size_t n = 0, lone = 0;
    const kd_item *const items = kd_dataset_items(dataset, &n);
    uint32_t *const labels = calloc(n, sizeof *labels), *const groups = calloc(n, sizeof *groups);
    uint32_t batch[2 * 3 + 1];
    kd_sampler *sampler = NULL;
    FUZZ_CHECK(labels && groups);
    for (size_t i = 0; i < n; i++) {
        labels[i] = items[i].class_id;
        groups[i] = items[i].super_class_id;
    }
    const kd_sampler_options options = {.kind = kind,
        .labels = labels,
        .groups = groups,
        .n = n,
        .p = 2,
        .k = 3,
        .batch = 6,
        .seed = n};
    const kd_status status = kd_sampler_new(&sampler, &options, &lone, &err);
    fuzz_said_why(status, &err);
    for (uint32_t epoch = 0; sampler && epoch < 2; epoch++) {
        const size_t n_batches = kd_sampler_epoch(sampler, epoch);
        for (size_t b = 0; b < n_batches; b++) {
            const size_t got = kd_sampler_batch(sampler, b, batch);
            FUZZ_CHECK(got >= 2 && got <= kd_sampler_max_batch(sampler));
            for (size_t i = 0; i < got; i++)
                FUZZ_CHECK(batch[i] < n);
        }
    }
    kd_sampler_free(sampler);
    free(labels);
    free(groups);
}

static void look_at(kd_dataset *dataset, kd_status status, kd_error *err)
{
    char hash[KD_SHA256_TEXT];
    fuzz_said_why(status, err);
    FUZZ_CHECK((dataset != NULL) == (status == KD_OK));
    FUZZ_CHECK(kd_utf8_valid(err->message, strlen(err->message)));
    if (!dataset)
        return;
    check_items(dataset);
    for (kd_sampler_kind kind = KD_SAMPLER_CLASSES; kind <= KD_SAMPLER_SHUFFLED; kind++)
        sample(dataset, kind);
    FUZZ_CHECK(kd_dataset_hash(dataset, hash, err) == KD_OK);
    kd_dataset_free(dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const char *const files[] = {"Ebay_train.txt", "Ebay_test.txt", "classes.csv"};
    const char *const dir = fuzz_folder();
    fuzz_part rest = {bytes, len};
    for (size_t i = 0; i < 3; i++) {
        const bool there = rest.len > 0;
        const fuzz_part part = fuzz_next_part(&rest);
        if (there)
            fuzz_write(files[i], part.bytes, part.len);
        else
            fuzz_remove(files[i]);
    }
    for (int split = KD_SPLIT_TRAIN; split <= KD_SPLIT_ALL; split++) {
        kd_error err = KD_ERROR_INIT;
        kd_dataset *dataset = NULL;
        const kd_status status = kd_dataset_open(&dataset, dir, (kd_split)split, &err);
        look_at(dataset, status, &err);
    }
    return 0;
}
