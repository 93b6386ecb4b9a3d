#include "lib/service/vitals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/clock.h"

uint64_t kd_resident_bytes(void)
{
    char line[128] = "";
    FILE *const file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    /* In pages: the whole, then what is resident. */
    const char *const second = fgets(line, sizeof line, file) ? strchr(line, ' ') : NULL;
    (void)fclose(file);
    return second ? strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void look(void *arg)
{
    const kd_process *const process = arg;
    kd_metrics *const m = process->metrics;
    unsigned in_flight;
    size_t waiting;
    kd_server_load(process->server, &in_flight, &waiting);
    kd_gauge_set(kd_metrics_gauge(m, "kindred_rpc_in_flight", "", "Calls in work"), in_flight);
    kd_gauge_set(kd_metrics_gauge(
                     m, "kindred_rpc_queue_calls", "", "Calls that wait for one of the workers"),
        (double)waiting);
    /* The names that Prometheus's own clients give these. */
    kd_gauge_set(kd_metrics_gauge(m, "process_resident_memory_bytes", "", "Resident memory"),
        (double)kd_resident_bytes());
    kd_gauge_set(
        kd_metrics_gauge(m, "process_cpu_seconds_total", "", "Processor time, of user and system"),
        cpu_seconds());
}

kd_status kd_vitals_add(kd_process *process, kd_error *err)
{
    char labels[64];
    (void)snprintf(
        labels, sizeof labels, "service=\"%s\",version=\"%s\"", process->name, KD_VERSION);
    kd_gauge_set(kd_metrics_gauge(process->metrics, "kindred_build_info", labels,
                     "Always 1: which service this is, and its version"),
        1);
    kd_gauge_set(kd_metrics_gauge(process->metrics, "process_start_time_seconds", "",
                     "When the process began, seconds since 1970"),
        (double)process->started_ms / 1e3);
    return kd_metrics_on_print(process->metrics, look, process, err);
}
