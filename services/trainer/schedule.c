#include "services/trainer/schedule.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* PyTorch's defaults. */
#define CYCLE_RISE 0.3 /* share of the steps */
#define CYCLE_START (1 / 25.0)
#define CYCLE_END (CYCLE_START / 1e4)
#define PLATEAU_THRESHOLD 1e-4
#define PLATEAU_LEAST 1e-8 /* a fall by less is none */

static const char *const names[] = {[SCHEDULE_COSINE] = "cosine",
    [SCHEDULE_ONE_CYCLE] = "one-cycle",
    [SCHEDULE_STEP] = "step",
    [SCHEDULE_PLATEAU] = "plateau",
    [SCHEDULE_CONSTANT] = "constant"};

bool train_schedule_parse(const char *word, train_schedule *out)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(word, names[i]) == 0) {
            *out = (train_schedule)i;
            return true;
        }
    }
    return false;
}

const char *train_schedule_name(train_schedule kind)
{
    return names[kind];
}

/* Half a cosine from `from` at share 0 to `to` at share 1. */
static double anneal(double from, double to, double share)
{
    return to + (from - to) * 0.5 * (1 + cos(M_PI * share));
}

/* PyTorch's places: the peak is the last step of the rise, counted from 0 and not always whole. */
static double one_cycle(double step, double total)
{
    const double top = CYCLE_RISE * total - 1, end = total - 1;
    if (step <= top)
        return anneal(CYCLE_START, 1, top > 0 ? step / top : 1);
    return anneal(1, CYCLE_END, (step - top) / (end - top));
}

static uint64_t warm_steps(const train_schedule_options *o, uint64_t total)
{
    if (o->warmup <= 0 || o->kind == SCHEDULE_ONE_CYCLE)
        return 0;
    const double steps = o->warmup * (double)total + 1e-9; /* 0.07 × 100 is 7 */
    return steps < 1 ? 1 : (uint64_t)steps;
}

static uint32_t falls(const train_schedule_options *o, uint32_t epoch)
{
    assert(o->step_epochs > 0);
    return epoch / o->step_epochs;
}

double train_schedule_rate(const train_schedule_options *options, uint64_t step,
    uint64_t total_steps, uint32_t epoch, const train_plateau *plateau)
{
    assert(step < total_steps && options->kind <= SCHEDULE_CONSTANT);
    const uint64_t warm = warm_steps(options, total_steps);
    double share = 1; /* of the peak */
    switch (options->kind) {
    case SCHEDULE_COSINE:
        if (step >= warm && total_steps > warm)
            share = anneal(1, options->floor, (double)(step - warm) / (double)(total_steps - warm));
        break;
    case SCHEDULE_ONE_CYCLE:
        share = one_cycle((double)step, (double)total_steps);
        break;
    case SCHEDULE_STEP:
        share = pow(options->factor, falls(options, epoch));
        break;
    case SCHEDULE_PLATEAU:
        share = plateau ? plateau->factor : 1;
        break;
    case SCHEDULE_CONSTANT:
        break;
    }
    if (step < warm)
        share *= (double)(step + 1) / (double)warm;
    return options->peak * share;
}

bool train_plateau_note(
    train_plateau *plateau, const train_schedule_options *options, double metric)
{
    if (metric > plateau->best * (1 + PLATEAU_THRESHOLD)) {
        plateau->best = metric;
        plateau->bad = 0;
        return false;
    }
    if (++plateau->bad <= options->patience)
        return false;
    plateau->bad = 0;
    const double lower = plateau->factor * options->factor;
    if (options->peak * (plateau->factor - lower) <= PLATEAU_LEAST)
        return false;
    plateau->factor = lower;
    return true;
}
