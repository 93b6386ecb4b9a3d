/* kindred search: the nearest products to photographs, or to an indexed image. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/image/image.h"
#include "services/gateway/cli/attributes.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"
#include "services/gateway/cli/search_page.h"

#define DEFAULT_K 5u
#define MOST_K 1000u
#define REPEATS_MAX 100u /* of an option, as many as the server takes */

enum {
    OPTION_SUPER_CLASS = 1,
    OPTION_CLASS,
    OPTION_LIKE,
    OPTION_UNLIKE,
    OPTION_LIKE_KEY,
    OPTION_UNLIKE_KEY,
    OPTION_WHERE
};

/* An option's values. */
typedef struct words {
    char *texts[REPEATS_MAX]; /* borrowed from argv */
    size_t n;
} words;

typedef struct ids {
    uint64_t numbers[REPEATS_MAX];
    size_t n;
} ids;

typedef struct request {
    const char *command, *collection, *k_text, *id_text, *key, *min_text, *html;
    words super_classes, classes;
    ids like, unlike;
    words like_keys, unlike_keys;
    cli_conditions conditions;
    int by_class, exact;
    bool all; /* that reach the lowest score */
    Kindred__V1__Real min_score;
    uint32_t k;
    uint64_t image_id;
    const cli_common *common;
    kd_channel *channel;
    json_t *results; /* owned; with --json */
    kd_buf page;     /* with --html */
    size_t queries;  /* all that were asked for */
} request;

static bool too_many(const request *r, const char *option)
{
    (void)cli_usage(r->command, "%s is given more than %u times", option, REPEATS_MAX);
    return false;
}

static bool take_word(const request *r, words *to, const char *option, const char *value)
{
    if (to->n == REPEATS_MAX)
        return too_many(r, option);
    to->texts[to->n++] = (char *)(uintptr_t)value;
    return true;
}

static bool take_id(const request *r, ids *to, const char *option, const char *value)
{
    if (to->n == REPEATS_MAX)
        return too_many(r, option);
    return cli_number(r->command, option, value, 0, UINT64_MAX, &to->numbers[to->n++]);
}

static bool on_option(void *arg, int val, const char *value)
{
    request *const r = arg;
    switch (val) {
    case OPTION_SUPER_CLASS:
        return take_word(r, &r->super_classes, "--super-class", value);
    case OPTION_CLASS:
        return take_word(r, &r->classes, "--class", value);
    case OPTION_LIKE:
        return take_id(r, &r->like, "--like", value);
    case OPTION_UNLIKE:
        return take_id(r, &r->unlike, "--unlike", value);
    case OPTION_LIKE_KEY:
        return take_word(r, &r->like_keys, "--like-key", value);
    case OPTION_UNLIKE_KEY:
        return take_word(r, &r->unlike_keys, "--unlike-key", value);
    default:
        return cli_conditions_add(&r->conditions, r->command, value);
    }
}

static void print_hits(
    const request *r, const char *title, const Kindred__V1__SearchProductsResponse *answer)
{
    static const char *const heads[] = {"RANK", "SCORE", "CLASS", "SUPER-CLASS", "IMAGE", "URI"};
    if (r->queries > 1)
        printf("%s\n", title);
    if (answer->n_hits == 0) {
        puts("nothing found");
        return;
    }
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < answer->n_hits; i++) {
        const Kindred__V1__Hit *const hit = answer->hits[i];
        const Kindred__V1__Item *const item = hit->item;
        char rank[CLI_TEXT], score[CLI_TEXT], image[CLI_TEXT];
        (void)snprintf(score, sizeof score, "%.4f", (double)hit->score);
        cli_table_row(table, (const char *const[]){cli_count(i + 1, rank), score,
                                 item ? item->class_name : "", item ? item->super_class_name : "",
                                 item ? cli_image_name(item, image) : "", item ? item->uri : ""});
    }
    cli_table_print(table);
    if (r->queries > 1)
        putchar('\n');
}

/* {"query": …, "hits": […], "model_id", "embed_ms", "search_ms"}; pictures are left out. */
static void add_result(request *r, json_t *query, const Kindred__V1__SearchProductsResponse *answer)
{
    json_t *const result = cli_must(kd_message_json(&answer->base));
    size_t i;
    json_t *hit;
    json_array_foreach(json_object_get(result, "hits"), i, hit)(void)
        json_object_del(hit, "thumbnail");
    (void)json_object_set_new(result, "query", query);
    (void)json_array_append_new(r->results, result);
}

/* Asks and shows. picture: the query's file; NULL for indexed images. query: it in JSON, taken
 * over. */
static kd_status ask(request *r, Kindred__V1__SearchProductsRequest *search, const char *title,
    const kd_buf *picture, json_t *query, kd_error *err)
{
    Kindred__V1__SearchProductsResponse *answer = NULL;
    kd_buf thumbnail = KD_BUF_INIT;
    search->collection = (char *)(uintptr_t)r->collection;
    search->k = r->k;
    search->super_classes = r->super_classes.texts;
    search->n_super_classes = r->super_classes.n;
    search->classes = r->classes.texts;
    search->n_classes = r->classes.n;
    search->conditions = r->conditions.list;
    search->n_conditions = r->conditions.n;
    search->by_class = r->by_class != 0;
    search->exact = r->exact != 0;
    search->min_score = r->min_text ? &r->min_score : NULL;
    search->thumbnail_size = r->html ? SEARCH_PICTURE : 0;
    kd_status status = cli_call(
        r->channel, CLI_GATEWAY, "SearchProducts", &search->base, CLI_CALL_MS, &answer, err);
    if (status == KD_OK && r->html) {
        /* A page without the query's picture is still a page. */
        if (picture && kd_image_thumbnail(
                           picture->data, picture->len, SEARCH_PICTURE, &thumbnail, NULL) != KD_OK)
            kd_buf_free(&thumbnail);
        search_page_row(&r->page, title, &thumbnail, answer);
    }
    if (status == KD_OK && r->all && answer->n_hits == r->k)
        (void)fprintf(stderr,
            "kindred %s: %s: these are the %u best, there may be more that reach %s\n", r->command,
            title, r->k, r->min_text);
    if (status == KD_OK && r->results)
        add_result(r, json_incref(query), answer);
    else if (status == KD_OK)
        print_hits(r, title, answer);
    json_decref(query);
    kd_buf_free(&thumbnail);
    kd_message_free(answer);
    return status;
}

static bool is_image(const kd_buf *file)
{
    kd_image image = KD_IMAGE_INIT;
    const bool decoded = kd_image_decode(&image, file->data, file->len, NULL) == KD_OK;
    kd_image_free(&image);
    return decoded;
}

static kd_status ask_by_file(request *r, const char *path, kd_error *err)
{
    Kindred__V1__SearchProductsRequest search = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__INIT;
    kd_buf image = KD_BUF_INIT;
    kd_error fault = KD_ERROR_INIT;
    kd_status status = cli_read_image(path, &image, &fault);
    if (status == KD_OK) {
        search.query_case = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_IMAGE;
        search.image = (ProtobufCBinaryData){image.len, image.data};
        status = ask(r, &search, path, &image, cli_json_text(path), &fault);
    }
    /* The photograph that is at fault must be told: one of several, or one that is no image. */
    const bool at_fault = r->queries > 1 || (status == KD_INVALID_ARGUMENT && !is_image(&image));
    if (status != KD_OK && at_fault && !strstr(fault.message, path))
        (void)kd_error_set(err, status, "%s: %s", path, fault.message);
    else if (status != KD_OK)
        *err = fault;
    kd_buf_free(&image);
    return status;
}

static kd_status ask_by_id(request *r, kd_error *err)
{
    Kindred__V1__SearchProductsRequest search = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__INIT;
    char title[CLI_TEXT];
    (void)snprintf(title, sizeof title, "image %llu", (unsigned long long)r->image_id);
    search.query_case = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_IMAGE_ID;
    search.image_id = r->image_id;
    return ask(r, &search, title, NULL, json_integer((json_int_t)r->image_id), err);
}

static kd_status ask_by_key(request *r, kd_error *err)
{
    Kindred__V1__SearchProductsRequest search = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__INIT;
    char title[CLI_TEXT];
    (void)snprintf(title, sizeof title, "image %s", r->key);
    search.query_case = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_KEY;
    search.key = (char *)(uintptr_t)r->key;
    return ask(r, &search, title, NULL, cli_json_text(r->key), err);
}

/* Numbers, then keys. */
static json_t *names_json(const ids *numbers, const words *keys)
{
    json_t *const names = cli_must(json_array());
    for (size_t i = 0; i < numbers->n; i++)
        (void)json_array_append_new(names, json_integer((json_int_t)numbers->numbers[i]));
    for (size_t i = 0; i < keys->n; i++)
        (void)json_array_append_new(names, cli_json_text(keys->texts[i]));
    return names;
}

/* {"like": [N or KEY, …], "unlike": [N or KEY, …]} */
static json_t *examples_json(const request *r)
{
    return cli_must(json_pack("{s: o, s: o}", "like", names_json(&r->like, &r->like_keys), "unlike",
        names_json(&r->unlike, &r->unlike_keys)));
}

static kd_status ask_by_examples(request *r, kd_error *err)
{
    Kindred__V1__SearchProductsRequest search = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__INIT;
    Kindred__V1__Examples like = KINDRED__V1__EXAMPLES__INIT;
    like.positive_image_ids = r->like.numbers;
    like.n_positive_image_ids = r->like.n;
    like.negative_image_ids = r->unlike.numbers;
    like.n_negative_image_ids = r->unlike.n;
    like.positive_keys = r->like_keys.texts;
    like.n_positive_keys = r->like_keys.n;
    like.negative_keys = r->unlike_keys.texts;
    like.n_negative_keys = r->unlike_keys.n;
    search.query_case = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_LIKE;
    search.like = &like;
    return ask(r, &search, "the examples", NULL, examples_json(r), err);
}

static kd_status write_page(request *r, kd_error *err)
{
    search_page_end(&r->page);
    if (!kd_buf_ok(&r->page))
        return kd_error_memory(err, r->html);
    const kd_status status = kd_file_write(r->html, r->page.data, r->page.len, err);
    if (status == KD_OK && !r->results)
        printf("wrote %s\n", r->html);
    return status;
}

static int search(request *r, const char *const *images)
{
    kd_error err = KD_ERROR_INIT;
    kd_status status = cli_connect(r->common, &r->channel, &err);
    if (r->common->json)
        r->results = cli_must(json_array());
    search_page_begin(&r->page, r->collection);
    for (size_t i = 0; images[i] && status == KD_OK; i++)
        status = ask_by_file(r, images[i], &err);
    if (status == KD_OK && r->id_text)
        status = ask_by_id(r, &err);
    if (status == KD_OK && r->key)
        status = ask_by_key(r, &err);
    if (status == KD_OK && r->like.n + r->like_keys.n > 0)
        status = ask_by_examples(r, &err);
    if (status == KD_OK && r->html)
        status = write_page(r, &err);
    cli_disconnect(r->channel);
    kd_buf_free(&r->page);
    if (status != KD_OK) {
        json_decref(r->results);
        return cli_error(r->common, r->command, &err);
    }
    if (r->results)
        cli_print_json(json_pack("{s: o}", "results", r->results));
    return EXIT_DONE;
}

int cmd_search(int argc, const char **argv)
{
    const char **args = NULL;
    cli_common common;
    uint64_t k = DEFAULT_K;
    request r = {.command = argv[0],
        .common = &common,
        .page = KD_BUF_INIT,
        .min_score = KINDRED__V1__REAL__INIT};
    const struct poptOption options[] = {{"collection", 0, POPT_ARG_STRING, &r.collection, 0,
                                             "where to look, by name or alias", "NAME"},
        {"k", 'k', POPT_ARG_STRING, &r.k_text, 0,
            "hits for each image, 1 to 1000 (5; with --min-score 1000)", "N"},
        {"super-class", 0, POPT_ARG_STRING, NULL, OPTION_SUPER_CLASS,
            "only this super-class, by name or id (repeatable)", "NAME"},
        {"class", 0, POPT_ARG_STRING, NULL, OPTION_CLASS,
            "only this class, by name or id (repeatable)", "NAME"},
        {"where", 0, POPT_ARG_STRING, NULL, OPTION_WHERE,
            "only images whose attribute is VALUE; also NAME>=N, NAME<=N (repeatable)",
            "NAME=VALUE"},
        {"by-class", 0, POPT_ARG_NONE, &r.by_class, 0, "of each class only the best image", NULL},
        {"exact", 0, POPT_ARG_NONE, &r.exact, 0, "exactly, whatever the collection's index is",
            NULL},
        {"min-score", 0, POPT_ARG_STRING, &r.min_text, 0, "leave out what scores lower, -1 to 1",
            "X"},
        {"image-id", 0, POPT_ARG_STRING, &r.id_text, 0, "ask by an image of the collection", "N"},
        {"key", 0, POPT_ARG_STRING, &r.key, 0, "ask by an image of the collection that has a key",
            "KEY"},
        {"like", 0, POPT_ARG_STRING, NULL, OPTION_LIKE,
            "ask for what is like this image of the collection (repeatable)", "N"},
        {"unlike", 0, POPT_ARG_STRING, NULL, OPTION_UNLIKE,
            "and unlike this one (repeatable, beside --like)", "N"},
        {"like-key", 0, POPT_ARG_STRING, NULL, OPTION_LIKE_KEY, "as --like, by key", "KEY"},
        {"unlike-key", 0, POPT_ARG_STRING, NULL, OPTION_UNLIKE_KEY, "as --unlike, by key", "KEY"},
        {"html", 0, POPT_ARG_STRING, &r.html, 0, "write a page of picture rows", "FILE"},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "IMAGE... --collection NAME [OPTION...]",
        "Finds the products that look like the one in a photograph.\n"
        "Example: kindred search photo.jpg --collection shop -k 5 --html hits.html",
        options, on_option, &r, 0, -1, &common, &args);
    while (exit_status == -1 && args[r.queries])
        r.queries++;
    if (r.id_text)
        r.queries++;
    if (r.key)
        r.queries++;
    if (r.like.n + r.like_keys.n > 0)
        r.queries++;
    if (exit_status == -1 && !r.collection)
        exit_status = cli_usage(argv[0], "--collection NAME is missing");
    else if (exit_status == -1 && r.queries == 0)
        exit_status =
            cli_usage(argv[0], "an IMAGE, --image-id N, --key KEY or --like N is missing");
    else if (exit_status == -1 && r.unlike.n + r.unlike_keys.n > 0 && r.like.n + r.like_keys.n == 0)
        exit_status = cli_usage(argv[0], "--unlike N goes with --like N");
    if (exit_status == -1 &&
        ((r.k_text && !cli_number(argv[0], "-k", r.k_text, 0, UINT32_MAX, &k)) ||
            (r.id_text &&
                !cli_number(argv[0], "--image-id", r.id_text, 0, UINT64_MAX, &r.image_id))))
        exit_status = EXIT_USAGE;
    if (exit_status == -1 && r.min_text && !kd_parse_double(r.min_text, -1, 1, &r.min_score.value))
        exit_status =
            cli_usage(argv[0], "--min-score '%.100s' is not a number from -1 to 1", r.min_text);
    r.all = r.min_text && !r.k_text;
    r.k = r.all ? MOST_K : (uint32_t)k;
    if (exit_status == -1)
        exit_status = search(&r, args);
    cli_conditions_clear(&r.conditions);
    free(args);
    return exit_status;
}
