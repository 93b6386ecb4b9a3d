// The reference: the echo service of ours.c on gRPC's C++ asynchronous API, written for speed.
// Completion queues with threads of their own, several calls posted on each, call objects used
// again instead of freed. As many queues as ours has (on two cores one is the fastest for both).
// Prints its port, serves until standard input ends.
//
//   bench_rpc_peer [QUEUES [THREADS_PER_QUEUE [POSTED_PER_QUEUE]]]
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "echo.grpc.pb.h"

namespace
{

using Service = kindred::bench::v1::EchoService::AsyncService;

std::atomic<bool> ending = false;

// One call at a time, for the server's life. Its address is the tag of whatever it waits for.
class Call
{
  public:
    Call(Service &service, grpc::ServerCompletionQueue &queue) : service_(service), queue_(queue)
    {
    }

    void post()
    {
        responder_.reset(); // it refers to the context
        context_.emplace();
        responder_.emplace(&*context_);
        answering_ = false;
        service_.RequestEcho(&*context_, &request_, &*responder_, &queue_, &queue_, this);
    }

    void proceed(bool ok)
    {
        if (answering_ && !ending) // as well when it could not be sent: the client has gone
            return post();
        if (answering_ || !ok)
            return; // the server ends
        answering_ = true;
        response_.mutable_data()->swap(*request_.mutable_data());
        responder_->Finish(response_, grpc::Status::OK, this);
    }

  private:
    Service &service_;
    grpc::ServerCompletionQueue &queue_;
    std::optional<grpc::ServerContext> context_;
    std::optional<grpc::ServerAsyncResponseWriter<kindred::bench::v1::EchoResponse>> responder_;
    kindred::bench::v1::EchoRequest request_;
    kindred::bench::v1::EchoResponse response_;
    bool answering_ = false;
};

void take_events(grpc::ServerCompletionQueue &queue)
{
    void *tag;
    bool ok;
    while (queue.Next(&tag, &ok))
        static_cast<Call *>(tag)->proceed(ok);
}

int argument(int argc, char **argv, int i, int otherwise)
{
    return argc > i ? std::atoi(argv[i]) : otherwise;
}

} // namespace

int main(int argc, char **argv)
{
    const int n_queues = argument(argc, argv, 1, std::thread::hardware_concurrency() > 4 ? 2 : 1);
    const int n_threads = argument(argc, argv, 2, 1);
    const int n_posted = argument(argc, argv, 3, 64);
    if (n_queues < 1 || n_threads < 1 || n_posted < 1) {
        std::fprintf(stderr, "bench_rpc_peer: the numbers are 1 and more\n");
        return 2;
    }

    Service service;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
    for (int i = 0; i < n_queues; i++)
        queues.push_back(builder.AddCompletionQueue());
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server) {
        std::fprintf(stderr, "bench_rpc_peer: cannot listen\n");
        return 1;
    }

    std::vector<std::unique_ptr<Call>> calls;
    std::vector<std::thread> threads;
    for (const auto &queue : queues) {
        for (int i = 0; i < n_posted; i++) {
            calls.push_back(std::make_unique<Call>(service, *queue));
            calls.back()->post();
        }
        for (int i = 0; i < n_threads; i++)
            threads.emplace_back(take_events, std::ref(*queue));
    }
    std::printf("%d\n", port);
    std::fflush(stdout);

    while (std::getchar() != EOF)
        ;
    ending = true;
    server->Shutdown();
    for (const auto &queue : queues)
        queue->Shutdown();
    for (std::thread &thread : threads)
        thread.join();
    return 0;
}
