/* http URL DIM LIST: photographs to an HTTP server, each the body of a POST, which answers with DIM
 * little-endian floats. As many connections as are in flight, kept open, all from one thread by
 * libcurl. load.h says what it is told by standard input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "bench/embedder/load.h"
#include "lib/base/clock.h"

#define MAX_DIM 4096u
#define POLL_MS 1000

static const char *const code_names[LOAD_CODES] = {
    NULL, "1xx", "OK", "3xx", "4xx", "5xx", [LOAD_CODES - 1] = "failed"};

typedef struct one {
    CURL *curl;
    uint8_t body[MAX_DIM * sizeof(float)];
    size_t len;
    kd_buf photo; /* a copy: libcurl reads it while other requests are made */
    int64_t begun_ns;
} one;

typedef struct load {
    CURLM *multi;
    struct curl_slist *headers;
    const char *url;
    uint32_t dim;
    one *all[LOAD_MAX_IN_FLIGHT];
    load_photos photos;
    load_run run;
    bool cached;
    size_t flying;
} load;

static size_t receive(char *bytes, size_t size, size_t n, void *arg)
{
    one *const o = arg;
    const size_t len = size * n;
    if (len > sizeof o->body - o->len)
        return 0;
    memcpy(o->body + o->len, bytes, len);
    o->len += len;
    return len;
}

static one *make(const load *l)
{
    one *const o = calloc(1, sizeof *o);
    if (!o || !(o->curl = curl_easy_init()))
        load_die("no memory");
    (void)curl_easy_setopt(o->curl, CURLOPT_URL, l->url);
    (void)curl_easy_setopt(o->curl, CURLOPT_HTTPHEADER, l->headers);
    (void)curl_easy_setopt(o->curl, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(o->curl, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(o->curl, CURLOPT_TCP_NODELAY, 1L);
    (void)curl_easy_setopt(o->curl, CURLOPT_WRITEFUNCTION, receive);
    (void)curl_easy_setopt(o->curl, CURLOPT_WRITEDATA, o);
    (void)curl_easy_setopt(o->curl, CURLOPT_PRIVATE, o);
    return o;
}

static void begin(load *l, one *o)
{
    const kd_buf *const photo = load_photos_next(&l->photos, l->cached);
    o->photo.len = 0;
    kd_buf_append(&o->photo, photo->data, photo->len);
    if (!kd_buf_ok(&o->photo))
        load_die("no memory");
    o->len = 0;
    o->begun_ns = kd_mono_ns();
    (void)curl_easy_setopt(o->curl, CURLOPT_POSTFIELDS, o->photo.data);
    (void)curl_easy_setopt(o->curl, CURLOPT_POSTFIELDSIZE, (long)o->photo.len);
    if (curl_multi_add_handle(l->multi, o->curl) != CURLM_OK)
        load_die("libcurl takes no request");
    l->flying++;
}

static void end(load *l, one *o, CURLcode result)
{
    long status = 0;
    (void)curl_easy_getinfo(o->curl, CURLINFO_RESPONSE_CODE, &status);
    load_count(&l->run, result == CURLE_OK ? (unsigned)status / 100 : LOAD_CODES - 1);
    if (result == CURLE_OK && status == 200) {
        float values[MAX_DIM];
        load_good(&l->run, o->begun_ns);
        if (o->len != l->dim * sizeof(float))
            load_die("an answer is not an embedding");
        memcpy(values, o->body, o->len);
        load_check(values, l->dim);
    }
    (void)curl_multi_remove_handle(l->multi, o->curl);
    l->flying--;
}

static void closed(load *l, const load_order *order)
{
    const int64_t until = l->run.begun_ns + (int64_t)((order->warm + order->seconds) * 1e9);
    for (uint32_t i = 0; i < order->in_flight; i++) {
        if (!l->all[i])
            l->all[i] = make(l);
        begin(l, l->all[i]);
    }
    while (l->flying > 0) {
        int running = 0, left = 0;
        if (curl_multi_perform(l->multi, &running) != CURLM_OK)
            load_die("libcurl failed");
        const size_t before = l->flying;
        size_t ended = 0;
        for (CURLMsg *message; (message = curl_multi_info_read(l->multi, &left)) != NULL; ended++) {
            one *o = NULL;
            const CURLcode result = message->data.result;
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&o);
            end(l, o, result);
            if (kd_mono_ns() < until)
                begin(l, o);
        }
        if (ended == 0 && before > 0)
            (void)curl_multi_poll(l->multi, NULL, 0, POLL_MS, NULL);
    }
}

int main(int argc, char **argv)
{
    static load l;
    load_order order;
    if (argc != 4)
        load_die("usage: URL DIM LIST");
    l.url = argv[1];
    l.dim = (uint32_t)strtoul(argv[2], NULL, 10);
    if (l.dim == 0 || l.dim > MAX_DIM)
        load_die("a number is out of range");
    load_photos_read(&l.photos, argv[3]);
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    l.multi = curl_multi_init();
    l.headers = curl_slist_append(NULL, "Content-Type: application/octet-stream");
    l.headers = curl_slist_append(l.headers, "Expect:"); /* no question before the body */
    if (!l.multi || !l.headers)
        load_die("no memory");
    (void)curl_multi_setopt(l.multi, CURLMOPT_MAXCONNECTS, (long)LOAD_MAX_IN_FLIGHT);
    printf("{\"ready\": \"%s, %zu photographs\"}\n", curl_version(), l.photos.n);
    (void)fflush(stdout);
    while (load_next_order(&order, false)) {
        l.cached = order.cached;
        load_begin(&l.run);
        closed(&l, &order);
        load_report(&l.run, order.warm, order.warm + order.seconds, code_names);
    }
    for (size_t i = 0; i < LOAD_MAX_IN_FLIGHT && l.all[i]; i++) {
        curl_easy_cleanup(l.all[i]->curl);
        kd_buf_free(&l.all[i]->photo);
        free(l.all[i]);
    }
    load_run_free(&l.run);
    load_photos_free(&l.photos);
    (void)curl_multi_cleanup(l.multi);
    curl_slist_free_all(l.headers);
    curl_global_cleanup();
    return 0;
}
