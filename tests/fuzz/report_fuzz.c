/* Any text in a report: the page stays a page, the JSON stays JSON. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/eval/report.h"
#include "tests/fuzz/fuzz.h"

#define TEXTS 8

/* Cut at the first NUL; NULL for an empty part, so that absent texts come up too. */
static char *text_of(fuzz_part part)
{
    char *const text = part.len ? strndup((const char *)part.bytes, part.len) : NULL;
    FUZZ_CHECK(text || part.len == 0);
    return text;
}

/* The page of a report made of these texts; false when it is refused. */
static bool page_of(char *const texts[TEXTS], double number, kd_buf *html, kd_buf *json)
{
    kd_error err = KD_ERROR_INIT;
    const char *const skipped[] = {texts[7]};
    kd_report_row row = {.query = {.path = texts[2], .class_name = texts[3], .picture = texts[6]},
        .n_hits = 1,
        .strip = texts[4]};
    row.hits[0] = (kd_report_hit){.path = texts[4],
        .class_name = texts[5],
        .super_class_name = texts[3],
        .picture = texts[6],
        .score = (float)number};
    kd_report_label label = {.name = texts[3], .queries = 2, .map_at_5 = number};
    kd_report_confusion confused = {.truth = texts[4], .vote = texts[5], .count = 1};
    kd_report_point points[] = {{0, 0, 0}, {1, 1, 1}};
    uint32_t matrix[] = {1, 2, 3, 4};
    const char *names[] = {texts[2], texts[6]};
    const kd_report_details details = {.supers = &label,
        .n_supers = 1,
        .hardest = &label,
        .n_hardest = 1,
        .matrix = matrix,
        .matrix_names = names,
        .n_matrix = 2,
        .confused = &confused,
        .n_confused = 1,
        .map = {.points = points, .n = 2, .groups = {texts[7]}, .n_groups = 1}};
    const kd_report_finding finding = {.name = texts[1],
        .title = texts[2],
        .count = 1,
        .examples = skipped,
        .n_examples = texts[7] ? 1 : 0};
    const kd_report_findings findings = {.at = &finding, .n = 1};
    const kd_report_model model = {.id = "m",
        .name = texts[1],
        .of = {{.means = {.values = {[KD_MAP_AT_5] = number}, .queries = 1}}},
        .rows = &row,
        .n_rows = 1,
        .misses = &row,
        .n_misses = 1,
        .details = &details};
    const kd_report report = {.title = texts[0],
        .dataset = texts[1],
        .protocol = "sop",
        .skipped_names = skipped,
        .n_skipped_names = texts[7] ? 1 : 0,
        .show = skipped,
        .n_show = texts[7] ? 1 : 0,
        .findings = &findings,
        .models = &model,
        .n_models = 1};
    const kd_status status = kd_report_html(&report, html, &err);
    fuzz_said_why(status, &err);
    FUZZ_CHECK(kd_report_json(&report, json, &err) == status);
    FUZZ_CHECK(status == KD_OK || status == KD_INVALID_ARGUMENT);
    return status == KD_OK;
}

static size_t count(const kd_buf *text, char c)
{
    size_t n = 0;
    for (size_t i = 0; i < text->len; i++)
        n += text->data[i] == (uint8_t)c;
    return n;
}

static void make_tame(char *text)
{
    for (; text && *text; text++)
        if (strchr("<>&\"'", *text))
            *text = 'x';
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char *texts[TEXTS];
    double number = 0;
    kd_buf html = KD_BUF_INIT, json = KD_BUF_INIT, tame = KD_BUF_INIT, tame_json = KD_BUF_INIT;
    fuzz_part rest = {bytes, len};
    const fuzz_part first = fuzz_next_part(&rest);
    memcpy(&number, first.bytes ? first.bytes : (const uint8_t *)"", first.len < 8 ? first.len : 8);
    for (size_t i = 0; i < TEXTS; i++)
        texts[i] = text_of(fuzz_next_part(&rest));
    if (page_of(texts, number, &html, &json)) {
        json_t *const root = json_loadb((const char *)json.data, json.len, 0, NULL);
        FUZZ_CHECK(json_is_object(root));
        json_decref(root);
        FUZZ_CHECK(kd_utf8_valid(html.data, html.len));
        /* No text opens a tag or ends an attribute: a page of harmless texts has as many. */
        for (size_t i = 0; i < TEXTS; i++)
            make_tame(texts[i]);
        FUZZ_CHECK(page_of(texts, number, &tame, &tame_json));
        FUZZ_CHECK(count(&html, '<') == count(&tame, '<'));
        FUZZ_CHECK(count(&html, '>') == count(&tame, '>'));
        FUZZ_CHECK(count(&html, '"') == count(&tame, '"'));
    }
    for (size_t i = 0; i < TEXTS; i++)
        free(texts[i]);
    kd_buf_free(&html);
    kd_buf_free(&json);
    kd_buf_free(&tame);
    kd_buf_free(&tame_json);
    return 0;
}
