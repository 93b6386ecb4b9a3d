// gRPC's C++ asynchronous server of the echo service, as its documentation shows it
// (https://grpc.io/docs/languages/cpp/async/): a completion queue and a thread for each core, many
// calls asked for at a time. Prints its port, serves until standard input ends.
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "echo.grpc.pb.h"

using kindred::bench::v1::EchoRequest;
using kindred::bench::v1::EchoResponse;
using kindred::bench::v1::EchoService;

namespace {

constexpr int threads = 2;
constexpr int posted = 64; // calls asked for, by each thread

class Call {
public:
    Call(EchoService::AsyncService *service, grpc::ServerCompletionQueue *queue)
        : service_(service), queue_(queue), responder_(&context_)
    {
        service_->RequestEcho(&context_, &request_, &responder_, queue_, queue_, this);
    }

    void proceed(bool ok)
    {
        if (done_ || !ok) {
            delete this;
            return;
        }
        new Call(service_, queue_);
        response_.set_data(request_.data());
        done_ = true;
        responder_.Finish(response_, grpc::Status::OK, this);
    }

private:
    EchoService::AsyncService *service_;
    grpc::ServerCompletionQueue *queue_;
    grpc::ServerContext context_;
    EchoRequest request_;
    EchoResponse response_;
    grpc::ServerAsyncResponseWriter<EchoResponse> responder_;
    bool done_ = false;
};

void serve(EchoService::AsyncService *service, grpc::ServerCompletionQueue *queue)
{
    void *tag = nullptr;
    bool ok = false;
    for (int i = 0; i < posted; i++)
        new Call(service, queue);
    while (queue->Next(&tag, &ok))
        static_cast<Call *>(tag)->proceed(ok);
}

} // namespace

int main()
{
    EchoService::AsyncService service;
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues;
    for (int i = 0; i < threads; i++)
        queues.push_back(builder.AddCompletionQueue());
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    std::vector<std::thread> pool;
    for (const auto &queue : queues)
        pool.emplace_back(serve, &service, queue.get());
    std::printf("%d\n", port);
    std::fflush(stdout);
    while (std::getchar() != EOF)
        ;
    server->Shutdown();
    for (const auto &queue : queues)
        queue->Shutdown();
    for (std::thread &thread : pool)
        thread.join();
    return 0;
}
