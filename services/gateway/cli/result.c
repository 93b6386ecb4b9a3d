/* What jobs are and bring, in words. */
#include <stdio.h>
#include <string.h>

#include "services/gateway/cli/jobs.h"

static const char *const states[] = {"any", "queued", "running", "done", "failed", "cancelled"};

const char *cli_state_name(Kindred__V1__JobState state)
{
    const size_t i = (size_t)state;
    return i < sizeof states / sizeof states[0] ? states[i] : "unknown";
}

bool cli_state_parse(const char *word, Kindred__V1__JobState *out)
{
    for (size_t i = 1; i < sizeof states / sizeof states[0]; i++) {
        if (strcmp(word, states[i]) == 0) {
            *out = (Kindred__V1__JobState)i;
            return true;
        }
    }
    return false;
}

static void print_skipped(const Kindred__V1__JobResult *result)
{
    char text[CLI_TEXT];
    if (result->skipped == 0)
        return;
    (void)fflush(stdout);
    (void)fprintf(
        stderr, "%s could not be read:\n", cli_some(result->skipped, "image", "images", text));
    for (size_t i = 0; i < result->n_skipped_names; i++) {
        char *const name = cli_clean(result->skipped_names[i]);
        (void)fprintf(stderr, "  %s\n", name);
        free(name);
    }
    if (result->skipped > result->n_skipped_names)
        (void)fprintf(stderr, "  and %llu more\n",
            (unsigned long long)(result->skipped - result->n_skipped_names));
}

static void metrics_row(
    cli_table *table, const char *model, const char *labels, const Kindred__V1__Metrics *metrics)
{
    char text[7][CLI_TEXT], queries[CLI_TEXT];
    if (!metrics)
        return;
    const double values[7] = {metrics->recall_at_1, metrics->recall_at_5, metrics->map_at_5,
        metrics->accuracy, metrics->precision, metrics->recall, metrics->f1};
    for (size_t i = 0; i < 7; i++)
        (void)snprintf(text[i], sizeof text[i], "%.4f", values[i]);
    cli_table_row(table, (const char *const[]){model, labels, text[0], text[1], text[2], text[3],
                             text[4], text[5], text[6], cli_count(metrics->queries, queries)});
}

static void print_protocol(
    const char *protocol, uint64_t gallery, Kindred__V1__ModelMetrics *const *metrics, size_t n)
{
    static const char *const heads[] = {"MODEL", "LABELS", "R@1", "R@5", "MAP@5", "ACCURACY",
        "PRECISION", "RECALL", "F1", "QUERIES"};
    char text[CLI_TEXT];
    printf(
        "protocol %s, %s in the gallery\n", protocol, cli_some(gallery, "image", "images", text));
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < n; i++) {
        metrics_row(table, metrics[i]->model_name, "class", metrics[i]->by_class);
        metrics_row(table, metrics[i]->model_name, "super-class", metrics[i]->by_super_class);
    }
    cli_table_print(table);
    /* The same queries for each model. */
    const Kindred__V1__Metrics *const first = n > 0 ? metrics[0]->by_class : NULL;
    if (first && first->without_positives > 0)
        printf("left out: %s whose class is not in the gallery\n",
            cli_some(first->without_positives, "query", "queries", text));
}

static void print_metrics(const Kindred__V1__JobResult *result)
{
    print_protocol(result->protocol, result->gallery, result->metrics, result->n_metrics);
    for (size_t i = 0; i < result->n_also; i++)
        print_protocol(result->also[i]->protocol, result->also[i]->gallery,
            result->also[i]->metrics, result->also[i]->n_metrics);
    if (*result->collection)
        printf("collection %s: its searches found %.4f of the ten nearest\n", result->collection,
            result->index_recall);
    if (*result->report)
        printf("report: %s\n", result->report);
}

static void print_training(const Kindred__V1__TrainSummary *t)
{
    if (!t)
        return;
    printf("epoch %u of %u:", t->best_epoch, t->epochs);
    if (t->recall_at_1 || t->map_at_5 || t->accuracy)
        printf(" on the validation images");
    if (t->recall_at_1)
        printf(" R@1 %.4f,", t->recall_at_1->value);
    if (t->map_at_5)
        printf(" MAP@5 %.4f,", t->map_at_5->value);
    if (t->accuracy)
        printf(" accuracy %.4f,", t->accuracy->value);
    printf(" last loss %.4f, %.1f images/s\n", t->loss, t->images_per_second);
    for (size_t i = 0; i < t->n_fixes; i++)
        printf("collapsed and fixed: %s\n", t->fixes[i]);
}

void cli_print_result(const Kindred__V1__Job *job)
{
    const Kindred__V1__JobResult *const result = job->result;
    char text[CLI_TEXT];
    if (!result) {
        printf("job %s is done\n", job->id);
        return;
    }
    if (strcmp(job->kind, "train") == 0) {
        printf("model %s (%s)\n", result->model_id, result->model_name);
        print_training(result->training);
    } else if (strcmp(job->kind, "index") == 0) {
        printf("collection %s: %s indexed with model %s\n", result->collection,
            cli_some(result->images, "image", "images", text), result->model_name);
    } else {
        print_metrics(result);
    }
    print_skipped(result);
}
