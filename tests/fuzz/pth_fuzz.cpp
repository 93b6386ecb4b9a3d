/* Any bytes as PyTorch's zip form. The checksums of its entries keep most changes of the pickle
 * from being read: pickle_fuzz.cpp is for that. */
#include "tests/fuzz/tensors.hpp"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    look_at_pth(std::string(reinterpret_cast<const char *>(bytes), len));
    return 0;
}
