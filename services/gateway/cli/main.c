/* `kindred`: everything that people do with the stack. */
#include <signal.h>

#include "services/gateway/cli/cli.h"

static const cli_command commands[] = {
    {"up", cmd_up, "start the local stack"},
    {"down", cmd_down, "stop it"},
    {"status", cmd_status, "how the stack is"},
    {"doctor", cmd_doctor, "check the whole stack, and say what to do"},
    {"health", cmd_health, "whether one service serves"},
    {"dataset", cmd_dataset, "check a dataset"},
    {"model", cmd_model, "import, list, export and remove models"},
    {"train", cmd_train, "train an embedding"},
    {"embed", cmd_embed, "write the embeddings of images to a NumPy file"},
    {"index", cmd_index, "embed a dataset into a collection"},
    {"search", cmd_search, "find the nearest products to a photograph"},
    {"evaluate", cmd_evaluate, "measure models on a dataset"},
    {"reproduce", cmd_reproduce, "train and measure the five systems that kindred began from"},
    {"job", cmd_job, "list, watch, cancel and retry jobs"},
    {"log-level", cmd_log_level, "what the services log"},
    {"key", cmd_key, "make, list and revoke API keys"},
    {"collection", cmd_collection, "list, fill, copy and remove collections"},
};

int main(int argc, const char **argv)
{
    (void)signal(
        SIGPIPE, SIG_IGN); /* gRPC's sockets; a closed standard output is seen on writing */
    return cli_dispatch(argc, argv, NULL, "Visual product search: train, index, search, evaluate.",
        commands, sizeof commands / sizeof commands[0]);
}
