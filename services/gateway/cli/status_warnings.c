/* What `kindred status` warns of. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "services/gateway/cli/doctor.h"
#include "services/gateway/cli/status.h"

/* With so many live queries chance moves the recall by less than the slack. */
#define LIVE_QUERIES 100u
#define SLACK 0.01

/* Takes both texts over. */
static void warn(status_facts *f, bool grave, char *what, char *advice)
{
    f->warnings = cli_must(reallocarray(f->warnings, f->n_warnings + 1, sizeof *f->warnings));
    f->warnings[f->n_warnings++] = (status_warning){grave, cli_must(what), cli_must(advice)};
}

bool status_is_grave(const status_facts *f)
{
    bool grave = false;
    for (size_t i = 0; i < f->n_warnings; i++)
        grave |= f->warnings[i].grave;
    return grave;
}

/* ---- Services ---- */

static void judge_service(status_facts *f, const Kindred__V1__ServiceStatus *one)
{
    char since[CLI_TEXT];
    if (one->serving)
        return;
    char *const advice = doctor_restart_advice(f->is_local ? f->data : NULL, one->name);
    if (one->away_since_unix_ms > 0)
        (void)cli_duration(kd_wall_ms() - one->away_since_unix_ms, since);
    warn(f, true,
        kd_format("%s is away%s%s: %s", one->name, one->away_since_unix_ms > 0 ? " for " : "",
            one->away_since_unix_ms > 0 ? since : "", one->detail),
        advice);
}

static void judge_versions(status_facts *f)
{
    for (size_t i = 0; i < f->stack->n_services; i++) {
        const Kindred__V1__ServiceStatus *const one = f->stack->services[i];
        if (!one->serving || strcmp(one->name, "redis") == 0 ||
            strcmp(one->version, f->stack->version) == 0)
            continue;
        warn(f, false,
            kd_format("%s is of version %s, the gateway of %s", one->name,
                one->version[0] ? one->version : "unknown", f->stack->version),
            kd_format("Install one version of kindred everywhere and start the services again."));
    }
}

static void judge_disk(status_facts *f)
{
    char free_text[CLI_TEXT], total[CLI_TEXT];
    const Kindred__V1__ServiceStatus *const least = doctor_least_disk(f->stack);
    const doctor_state state = least ? doctor_disk_state(least) : DOCTOR_OK;
    if (state != DOCTOR_OK)
        warn(f, state == DOCTOR_FAIL,
            kd_format("the disk is nearly full: %s of %s free for %s (%s)",
                cli_bytes(least->disk_free_bytes, free_text),
                cli_bytes(least->disk_total_bytes, total), least->disk_path, least->name),
            kd_format("%s", DOCTOR_DISK_ADVICE));
}

/* ---- Jobs ---- */

static void judge_jobs(status_facts *f)
{
    char some[CLI_TEXT];
    if (f->dead > 0)
        warn(f, false,
            kd_format("%s given up in the last week, %s the newest",
                cli_some(f->dead, "job was", "jobs were", some), f->dead_id),
            kd_format("See `kindred job list --dead` and `kindred job show ID`; `kindred job retry "
                      "ID` tries one again."));
}

/* ---- Collections ---- */

bool status_recall(const Kindred__V1__Collection *c, double *recall)
{
    const Kindred__V1__IndexState *const state = c->index_state;
    if (!state || state->approximate_segments == 0)
        return false;
    *recall = (double)(state->live_queries > 0 ? state->live_recall : state->recall);
    return true;
}

static void judge_collection(void *arg, const Kindred__V1__Collection *c)
{
    status_facts *const f = arg;
    const Kindred__V1__IndexState *const state = c->index_state;
    const double target = c->index_settings ? (double)c->index_settings->target_recall : 0;
    double recall;
    if (c->damage[0] != '\0') {
        warn(f, true, kd_format("collection %s is damaged: %s", c->name, c->damage),
            kd_format("Restore a snapshot with `kindred collection restore`, or delete the "
                      "collection and index the dataset again."));
        return;
    }
    if (state && state->problem[0] != '\0')
        warn(f, false, kd_format("the index of collection %s: %s", c->name, state->problem),
            kd_format("It is tried again; see the indexer's log if it stays."));
    if (!status_recall(c, &recall))
        return;
    const bool enough = state->live_queries == 0 || state->live_queries >= LIVE_QUERIES;
    if (enough && recall < target - SLACK)
        warn(f, false,
            kd_format("collection %s finds %.3f of the ten nearest, it is to find %.3f", c->name,
                recall, target),
            kd_format("`kindred collection index %s` can ask for another index, target or storage.",
                c->name));
}

void status_judge(status_facts *f)
{
    for (size_t i = 0; i < f->stack->n_services; i++)
        judge_service(f, f->stack->services[i]);
    judge_versions(f);
    judge_disk(f);
    judge_jobs(f);
    status_each_collection(f, judge_collection, f);
}
