/* services/gateway/cli/doctor.h: what the checks of `kindred doctor` share. Each says one line;
 * doctor.c runs them and prints, doctor_services.c, doctor_models.c and doctor_collections.c look.
 */
#ifndef KD_CLI_DOCTOR_H
#define KD_CLI_DOCTOR_H

#include "kindred/v1/embedder.pb-c.h"
#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"
#include "lib/base/buf.h"
#include "services/gateway/cli/jobs.h"

#define DOCTOR_MS 60000        /* for each question: a model may have to be loaded for it */
#define DOCTOR_LIMIT 8u        /* models and collections that are looked at, unless told */
#define DOCTOR_TOLERANCE 1e-3f /* of a length of 1 and a score of 1 */

#define DOCTOR_EMBEDDER (&kindred__v1__embedder_service__descriptor)
#define DOCTOR_GATEWAY (&kindred__v1__gateway_service__descriptor)

typedef enum doctor_state { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL, DOCTOR_SKIP } doctor_state;

typedef struct doctor {
    const cli_common *common;
    kd_channel *channel;
    uint64_t limit;   /* models, and collections */
    const char *data; /* the local stack's folder; NULL: the stack runs elsewhere */
    Kindred__V1__GetStatusResponse *stack;
    bool embedder, indexer, trainer, redis; /* it serves */
    bool colour;
    json_t *checks; /* with --json */
    unsigned failed;
} doctor;

/* ---- doctor.c ---- */
/* One check's outcome. advice is a sentence, NULL where there is nothing to do. */
void doctor_say(doctor *d, doctor_state state, const char *name, const char *advice,
    const char *format, ...) KD_PRINTF(5, 6);
/* A check that a call has ended: a failure, or a warning when the peer was only busy. */
void doctor_say_error(doctor *d, const char *name, const char *advice, const kd_error *err);
/* The line for people, without its end; name NULL: detail says it. A new string (free), never NULL.
 */
char *doctor_line(
    doctor_state state, const char *name, const char *detail, const char *advice, bool colour);
KD_MUST_CHECK kd_status doctor_ask(doctor *d, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, void *response, kd_error *err);
/* Embeds one image; *out is owned by the caller, with one embedding without a problem. */
KD_MUST_CHECK kd_status doctor_embed(doctor *d, const char *model, const kd_buf *image,
    Kindred__V1__EmbedResponse **out, kd_error *err);
/* Finite, and of length 1? Otherwise KD_DATA_LOSS, what says whose values they are. *length is
 * theirs. */
KD_MUST_CHECK kd_status doctor_vector(
    const char *what, const float *values, size_t n, double *length, kd_error *err);

/* ---- doctor_services.c ---- */
void doctor_services(doctor *d); /* the services, their versions, the queue, the disk */
void doctor_jobs(doctor *d);
/* What to do about a service that doesn't serve: a new string (free), never NULL. data: the local
 * stack's folder, or NULL. */
char *doctor_restart_advice(const char *data, const char *name);
/* Services share a disk or have each their own: the one with the least room; NULL: none says. */
const Kindred__V1__ServiceStatus *doctor_least_disk(const Kindred__V1__GetStatusResponse *stack);
doctor_state doctor_disk_state(const Kindred__V1__ServiceStatus *one); /* of that room */
#define DOCTOR_DISK_ADVICE                                                                         \
    "Make room: remove models (`kindred model rm`), collections (`kindred collection delete`), "   \
    "old snapshots, runs and reports, or move the folder to a larger disk."

/* ---- doctor_models.c ---- */
void doctor_models(doctor *d); /* and the cache */

/* ---- doctor_collections.c ---- */
void doctor_collections(doctor *d);

#endif
