/* Each allocation of lib/base failing in turn. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/base/metrics.h"
#include "lib/base/thread.h"
#include "tests/support/alloc.h"

/* ---- What allocates inside shared libraries ---- */

int __real_pthread_create(
    pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(
    pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(
    pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    return alloc_refuse() ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

int __real_nftw(const char *path, __nftw_func_t call, int fds, int flags);
int __wrap_nftw(const char *path, __nftw_func_t call, int fds, int flags);
int __wrap_nftw(const char *path, __nftw_func_t call, int fds, int flags)
{
    return alloc_refuse() ? -1 : __real_nftw(path, call, fds, flags);
}

EVP_MD_CTX *__real_EVP_MD_CTX_new(void);
EVP_MD_CTX *__wrap_EVP_MD_CTX_new(void);
EVP_MD_CTX *__wrap_EVP_MD_CTX_new(void)
{
    return alloc_refuse() ? NULL : __real_EVP_MD_CTX_new();
}

int __real_EVP_DigestInit_ex(EVP_MD_CTX *context, const EVP_MD *type, ENGINE *engine);
int __wrap_EVP_DigestInit_ex(EVP_MD_CTX *context, const EVP_MD *type, ENGINE *engine);
int __wrap_EVP_DigestInit_ex(EVP_MD_CTX *context, const EVP_MD *type, ENGINE *engine)
{
    return alloc_refuse() ? 0 : __real_EVP_DigestInit_ex(context, type, engine);
}

int __real_EVP_Digest(const void *data, size_t len, unsigned char *digest, unsigned *size,
    const EVP_MD *type, ENGINE *engine);
int __wrap_EVP_Digest(const void *data, size_t len, unsigned char *digest, unsigned *size,
    const EVP_MD *type, ENGINE *engine);
int __wrap_EVP_Digest(const void *data, size_t len, unsigned char *digest, unsigned *size,
    const EVP_MD *type, ENGINE *engine)
{
    return alloc_refuse() ? 0 : __real_EVP_Digest(data, len, digest, size, type, engine);
}

/* ---- Buffers ---- */

static kd_status fill_buf(kd_buf *buf, kd_error *err)
{
    char *const text = kd_format("%s %d", "formatted", 7);
    const bool formatted = text != NULL;
    kd_buf_free(buf);
    for (int i = 0; i < 40; i++)
        kd_buf_printf(buf, "%d ", i);
    const size_t len = buf->len;
    kd_buf_puts(buf, "a text that is longer than what the buffer began with, so that it must grow");
    /* What does not fit leaves the buffer as it was. */
    CHECK(kd_buf_ok(buf) || buf->len == len);
    uint8_t *const room = kd_buf_reserve(buf, 1000);
    CHECK((room != NULL) == kd_buf_ok(buf));
    free(text);
    return formatted && kd_buf_ok(buf) ? KD_OK : kd_error_memory(err, "a buffer");
}

static kd_status run_buf(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_buf buf = KD_BUF_INIT;
    (void)arg;
    RUN(&first, fill_buf(&buf, err), err);
    CHECK_HAS("38 39 a text", (const char *)buf.data);
    kd_buf_free(&buf);
    return first;
}

static void test_base_alloc__buffers(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "buffers", .run = run_buf});
}

/* ---- Files, locks, paths ---- */

static void check_file(const char *path, const char *expected)
{
    char text[64] = "";
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(read(fd, text, sizeof text - 1) >= 0);
    (void)close(fd);
    CHECK_STR(expected, text);
}

/* Writes new over old; a failure leaves the old. */
static kd_status replace_file(const char *path, const char *old, const char *new, kd_error *err)
{
    const kd_status status = kd_file_write(path, new, strlen(new), err);
    check_file(path, status == KD_OK ? new : old);
    return status;
}

static kd_status read_file(const char *path, const char *expected, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    const kd_status status = kd_file_read(path, 1000, &bytes, err);
    if (status == KD_OK)
        CHECK_STR(expected, (const char *)bytes.data);
    kd_buf_free(&bytes);
    return status;
}

static kd_status run_files(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    (void)arg;
    RUN(&first, kd_make_dirs("kd-alloc/a/b", err), err);
    RUN(&first, kd_file_write("kd-alloc/a/file", "old", 3, err), err);
    RUN(&first, replace_file("kd-alloc/a/file", "old", "new", err), err);
    RUN(&first, read_file("kd-alloc/a/file", "new", err), err);
    RUN(&first, kd_copy_file("kd-alloc/a/file", "kd-alloc/a/b/copy", err), err);
    RUN(&first, kd_move_file("kd-alloc/a/b/copy", "kd-alloc/moved", err), err);
    check_file("kd-alloc/moved", "new");
    RUN(&first, kd_fsync_path("kd-alloc", err), err);
    RUN(&first, kd_remove_tree("kd-alloc", err), err);
    CHECK(!kd_is_dir("kd-alloc"));
    return first;
}

static void test_base_alloc__files(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "files", .run = run_files});
}

static kd_status denied(kd_error *err)
{
    static const char *const roots[] = {"/usr/lib", "/proc"};
    char *real = NULL;
    const kd_status status = kd_path_under("/etc", roots, 2, &real, err);
    CHECK(!real);
    if (status != KD_PERMISSION_DENIED)
        return status;
    CHECK_HAS("/usr/lib, /proc", err->message);
    return KD_OK;
}

static kd_status run_paths(void *arg, kd_error *err)
{
    static const char *const roots[] = {"/usr/lib", "/etc"};
    kd_status first = KD_OK;
    kd_lock *lock = NULL;
    char *real = NULL;
    (void)arg;
    RUN_NEW(&first, &real, kd_path_under("/etc/passwd", roots, 2, &real, err), err);
    CHECK_STR("/etc/passwd", real);
    free(real);
    RUN(&first, denied(err), err);
    RUN_NEW(&first, &lock, kd_lock_acquire(&lock, "kd-alloc.lock", err), err);
    kd_lock_release(lock);
    (void)unlink("kd-alloc.lock");
    return first;
}

static void test_base_alloc__paths_and_locks(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "paths and locks", .run = run_paths});
}

/* ---- Queue and pool ---- */

static kd_status run_queue(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_queue *queue = NULL;
    int item;
    (void)arg;
    RUN_NEW(&first, &queue, kd_queue_new(&queue, 2, err), err);
    CHECK(kd_queue_try_push(queue, &item) && kd_queue_push(queue, &item));
    CHECK(kd_queue_pop(queue, 0) == &item && kd_queue_len(queue) == 1);
    kd_queue_free(queue);
    return first;
}

static void test_base_alloc__queue(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "queue", .run = run_queue});
}

static void count_one(void *arg)
{
    atomic_fetch_add((atomic_size_t *)arg, 1);
}

static void count_each(void *arg, size_t i)
{
    atomic_fetch_add((atomic_size_t *)arg, i);
}

static kd_status try_run(kd_pool *pool, atomic_size_t *count, kd_error *err)
{
    /* The queue has room for more than we hand in: only memory can be missing. */
    return kd_pool_try_run(pool, count_one, count) ? KD_OK : kd_error_memory(err, "a task");
}

static kd_status run_pool(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_pool *pool = NULL;
    atomic_size_t count = 0;
    (void)arg;
    RUN_NEW(&first, &pool, kd_pool_new(&pool, "alloc", 3, 8, err), err);
    RUN(&first, try_run(pool, &count, err), err);
    RUN(&first, try_run(pool, &count, err), err);
    kd_pool_free(pool);
    CHECK_INT(2, atomic_load(&count));
    return first;
}

static void test_base_alloc__pool(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "pool", .run = run_pool});
}

static kd_status run_loop(void *arg, kd_error *err)
{
    kd_pool *pool = NULL;
    atomic_size_t sum = 0;
    (void)arg;
    const kd_status status = kd_pool_new(&pool, "alloc", 3, 8, err);
    if (status != KD_OK)
        return status;
    kd_pool_for(pool, 20, count_each, &sum);
    kd_pool_free(pool);
    CHECK_INT(190, atomic_load(&sum));
    return KD_OK;
}

static void test_base_alloc__pool_loop(void **state)
{
    (void)state;
    /* Only sharing a loop's work needs memory, for itself and for each of three helpers: without
     * it the caller does more of it alone. */
    alloc_replay(&(alloc_scenario){.name = "pool loop", .run = run_loop, .forgiven = 4});
}

/* ---- Metrics ---- */

static kd_status run_registry(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_metrics *metrics = NULL;
    (void)arg;
    RUN_NEW(&first, &metrics, kd_metrics_new(&metrics, err), err);
    kd_metrics_free(metrics);
    return first;
}

static kd_status print(kd_metrics *metrics, kd_buf *out, kd_error *err)
{
    kd_buf_free(out);
    kd_metrics_print(metrics, out);
    return kd_buf_ok(out) ? KD_OK : kd_error_memory(err, "the metrics");
}

static kd_status run_print(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_buf out = KD_BUF_INIT;
    RUN(&first, print(arg, &out, err), err);
    CHECK_HAS("seconds_count 1\n", (const char *)out.data);
    kd_buf_free(&out);
    return first;
}

static kd_status run_metrics(void *arg, kd_error *err)
{
    kd_metrics *metrics = arg;
    kd_counter *const counter = kd_metrics_counter(metrics, "calls", "a=\"b\"", "Calls.");
    kd_gauge *const gauge = kd_metrics_gauge(metrics, "depth", NULL, "Depth.");
    kd_histogram *const histogram = kd_metrics_histogram(metrics, "seconds", NULL, "Time.");
    (void)err;
    kd_counter_add(counter, 1);
    kd_gauge_set(gauge, 2);
    kd_histogram_observe(histogram, 0.01);
    return KD_OK;
}

static kd_status run_all_metrics(void *arg, kd_error *err)
{
    kd_metrics *metrics = NULL;
    kd_status status = kd_metrics_new(&metrics, err);
    if (status == KD_OK)
        status = run_metrics(metrics, err);
    kd_metrics_free(metrics);
    (void)arg;
    return status;
}

static void test_base_alloc__metrics(void **state)
{
    kd_error err = KD_ERROR_INIT;
    kd_metrics *metrics = NULL;
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "registry", .run = run_registry});
    /* A metric without memory counts where nobody looks (each has itself and three texts): the
     * work that it measures must not fail for it. The registry itself can't be had without. */
    alloc_replay(&(alloc_scenario){.name = "metrics", .run = run_all_metrics, .forgiven = 3 * 4});
    CHECK_OK(kd_metrics_new(&metrics, &err), err);
    CHECK_OK(run_metrics(metrics, &err), err);
    alloc_replay(&(alloc_scenario){.name = "metrics print", .run = run_print, .arg = metrics});
    kd_metrics_free(metrics);
}

/* ---- Hashes ---- */

static kd_status hash_file(kd_hasher *hasher, const char *path, kd_error *err)
{
    return kd_hasher_file(hasher, path, err);
}

static kd_status run_hashes(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    uint8_t once[KD_SHA256_BYTES], pieces[KD_SHA256_BYTES];
    kd_hasher *hasher = NULL;
    RUN(&first, kd_sha256("text", 4, once, err), err);
    RUN_NEW(&first, &hasher, kd_hasher_new(&hasher, err), err);
    RUN(&first, hash_file(hasher, arg, err), err);
    kd_hasher_finish(hasher, pieces);
    assert_memory_equal(once, pieces, sizeof once);
    return first;
}

static void test_base_alloc__hashes(void **state)
{
    kd_error err = KD_ERROR_INIT;
    char path[] = "kd-alloc-hash";
    (void)state;
    CHECK_OK(kd_file_write(path, "text", 4, &err), err);
    alloc_replay(&(alloc_scenario){.name = "hashes", .run = run_hashes, .arg = path});
    (void)unlink(path);
}

/* ---- Log ---- */

static kd_status run_log(void *arg, kd_error *err)
{
    const int *const file = arg;
    char line[512];
    (void)err;
    CHECK(ftruncate(*file, 0) == 0 && lseek(*file, 0, SEEK_SET) == 0);
    const int stderr_was = dup(STDERR_FILENO);
    CHECK(stderr_was >= 0 && dup2(*file, STDERR_FILENO) >= 0);
    KD_LOG(KD_LOG_INFO, "alloc", KD_STR("text", "with \"quotes\" and a length that makes it grow"),
        KD_INT("number", 7), KD_REAL("real", 0.5));
    CHECK(dup2(stderr_was, STDERR_FILENO) >= 0);
    (void)close(stderr_was);
    /* A line is whole or not there. */
    const ssize_t len = pread(*file, line, sizeof line - 1, 0);
    CHECK(len >= 0);
    line[len] = '\0';
    if (len > 0)
        CHECK_HAS("number=7 real=0.5\n", line);
    return KD_OK;
}

/* Whoever logs has something else to do: a line for which there is no memory is left out. */
static void test_base_alloc__log(void **state)
{
    char path[] = "kd-alloc-log-XXXXXX";
    int file = mkostemp(path, O_CLOEXEC);
    (void)state;
    CHECK(file >= 0);
    alloc_replay(
        &(alloc_scenario){.name = "log", .run = run_log, .arg = &file, .forgiven = ALLOC_ALL});
    (void)close(file);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_alloc__buffers),
        cmocka_unit_test(test_base_alloc__files),
        cmocka_unit_test(test_base_alloc__paths_and_locks),
        cmocka_unit_test(test_base_alloc__queue),
        cmocka_unit_test(test_base_alloc__pool),
        cmocka_unit_test(test_base_alloc__pool_loop),
        cmocka_unit_test(test_base_alloc__metrics),
        cmocka_unit_test(test_base_alloc__hashes),
        cmocka_unit_test(test_base_alloc__log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
