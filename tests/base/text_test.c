#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/hash.h"
#include "lib/base/html.h"
#include "lib/base/metrics.h"
#include "tests/support/check.h"

static kd_error g_err;

static void test_base_text__numbers_are_whole_strings(void **state)
{
    uint64_t n;
    double d;
    (void)state;
    CHECK(kd_parse_u64("18446744073709551615", 0, UINT64_MAX, &n) && n == UINT64_MAX);
    CHECK(!kd_parse_u64("18446744073709551616", 0, UINT64_MAX, &n));
    CHECK(!kd_parse_u64("", 0, 9, &n) && !kd_parse_u64("-1", 0, 9, &n) &&
          !kd_parse_u64(" 1", 0, 9, &n));
    CHECK(!kd_parse_u64("1x", 0, 9, &n) && !kd_parse_u64("10", 0, 9, &n));
    CHECK(kd_parse_double("-1.5e-3", -1, 1, &d) && d == -1.5e-3);
    CHECK(!kd_parse_double("nan", -1, 1, &d) && !kd_parse_double("2", -1, 1, &d) &&
          !kd_parse_double("", -1, 1, &d));
}

static void test_base_text__utf8_is_checked(void **state)
{
    (void)state;
    CHECK(kd_utf8_valid("naïve 😀", strlen("naïve 😀")));
    CHECK(!kd_utf8_valid("a\0b", 3));
    CHECK(!kd_utf8_valid("\xc3", 1) && !kd_utf8_valid("\xed\xa0\x80", 3) &&
          !kd_utf8_valid("\xf5\x80\x80\x80", 4));
}

static void test_base_text__errors_are_cut_and_pass(void **state)
{
    char large[2 * KD_ERROR_MESSAGE_MAX];
    (void)state;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    CHECK_INT(KD_DATA_LOSS, kd_error_set(&g_err, KD_DATA_LOSS, "%s", large));
    CHECK_INT(KD_ERROR_MESSAGE_MAX - 1, strlen(g_err.message));
    CHECK_INT(KD_INTERNAL, kd_error_set(NULL, KD_INTERNAL, "dropped"));
    CHECK_STR("UNAUTHENTICATED", kd_status_name(KD_UNAUTHENTICATED));
    CHECK_STR("UNKNOWN", kd_status_name((kd_status)99));
}

static void test_base_text__sha256_is_the_standards(void **state)
{
    uint8_t digest[KD_SHA256_BYTES];
    char text[KD_SHA256_TEXT];
    kd_hasher *hasher;
    (void)state;
    CHECK_OK(kd_sha256("abc", 3, digest, &g_err), g_err);
    kd_hex(digest, sizeof digest, text);
    CHECK_STR(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", text); /* FIPS 180-2 */
    CHECK_OK(kd_hasher_new(&hasher, &g_err), g_err);
    kd_hasher_update(hasher, "a", 1);
    kd_hasher_update(hasher, "bc", 2);
    kd_hasher_finish(hasher, digest);
    kd_hex(digest, sizeof digest, text);
    CHECK_STR("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", text);
}

static void test_base_text__crc32c_is_the_standards(void **state)
{
    uint8_t bytes[32] = {0};
    (void)state;
    CHECK_INT(0, kd_crc32c(0, NULL, 0));
    CHECK_INT(0xe3069283, kd_crc32c(0, "123456789", 9));
    CHECK_INT(0xe3069283, kd_crc32c(kd_crc32c(0, "1234", 4), "56789", 5));
    CHECK_INT(0x8a9136aa, kd_crc32c(0, bytes, sizeof bytes)); /* RFC 3720, B.4: zeros, ones, … */
    (void)memset(bytes, 0xff, sizeof bytes);
    CHECK_INT(0x62a8ab43, kd_crc32c(0, bytes, sizeof bytes));
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i; /* … counting */
    CHECK_INT(0x46dd794e, kd_crc32c(0, bytes, sizeof bytes));
}

static void test_base_text__html_is_escaped(void **state)
{
    kd_buf text = KD_BUF_INIT;
    (void)state;
    kd_html_text(&text, "<a href=\"x\">'é' & \x01\n</a>");
    kd_html_text(&text, NULL);
    CHECK_STR("&lt;a href=&quot;x&quot;&gt;&#39;é&#39; &amp; \xef\xbf\xbd\n&lt;/a&gt;",
        (const char *)text.data);
    kd_buf_free(&text);
}

static void look(void *arg)
{
    kd_gauge_set(kd_metrics_gauge(arg, "looks_total", "", "Looks"),
        kd_gauge_value(kd_metrics_gauge(arg, "looks_total", "", "Looks")) + 1);
}

static void test_base_text__metrics_print_as_prometheus_reads(void **state)
{
    kd_metrics *m;
    kd_buf text = KD_BUF_INIT;
    (void)state;
    CHECK_OK(kd_metrics_new(&m, &g_err), g_err);
    kd_counter_add(kd_metrics_counter(m, "jobs_total", "kind=\"a\"", "Jobs"), 2);
    kd_gauge_set(kd_metrics_gauge(m, "size", "", "Size"), 1.5);
    kd_counter_add(kd_metrics_counter(m, "jobs_total", "kind=\"b\"", "Jobs"), 1);
    kd_counter_add(kd_metrics_counter(m, "jobs_total", "kind=\"a\"", "Jobs"), 1);
    kd_histogram_observe(kd_metrics_histogram(m, "wait", "", "Wait"), 0.02);
    kd_histogram_observe(kd_metrics_sizes(m, "batch", "", "Batch"), 32);
    CHECK_OK(kd_metrics_on_print(m, look, m, &g_err), g_err);
    kd_metrics_print(m, &text);
    CHECK_HAS("# TYPE jobs_total counter\njobs_total{kind=\"a\"} 3\njobs_total{kind=\"b\"} 1\n",
        (char *)text.data);
    CHECK_HAS("size 1.5\n", (char *)text.data);
    CHECK_HAS("wait_bucket{le=\"0.01\"} 0\nwait_bucket{le=\"0.025\"} 1\n", (char *)text.data);
    CHECK_HAS("wait_bucket{le=\"+Inf\"} 1\n", (char *)text.data);
    CHECK_HAS("wait_count 1\n", (char *)text.data);
    CHECK_HAS("batch_bucket{le=\"16\"} 0\nbatch_bucket{le=\"32\"} 1\n", (char *)text.data);
    CHECK_HAS("# TYPE looks_total counter\nlooks_total 1\n", (char *)text.data);
    kd_buf_free(&text);
    kd_metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_text__numbers_are_whole_strings),
        cmocka_unit_test(test_base_text__utf8_is_checked),
        cmocka_unit_test(test_base_text__errors_are_cut_and_pass),
        cmocka_unit_test(test_base_text__sha256_is_the_standards),
        cmocka_unit_test(test_base_text__crc32c_is_the_standards),
        cmocka_unit_test(test_base_text__html_is_escaped),
        cmocka_unit_test(test_base_text__metrics_print_as_prometheus_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
