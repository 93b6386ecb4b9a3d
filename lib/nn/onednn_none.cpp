/* In place of onednn.cpp where there is no oneDNN, as on a GPU machine that builds lib/nn alone. */
#include "lib/nn/fault.hpp"
#include "lib/nn/onednn.hpp"

namespace kd::nn
{

class OneDnnNet::Plan
{
};
struct OneDnnNet::Buffers {
};

OneDnnNet::OneDnnNet(const NetWeights &, int64_t, const std::vector<int64_t> &, bool)
{
    fail(KD_FAILED_PRECONDITION, "this build has no oneDNN, which a forward on the CPU needs");
}

OneDnnNet::~OneDnnNet() = default;

void OneDnnNet::run(const float *, int64_t, int64_t, float *)
{
}

bool onednn_has_bfloat16()
{
    return false;
}

const char *onednn_describe()
{
    return "no oneDNN";
}

} // namespace kd::nn
