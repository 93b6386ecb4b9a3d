/* Any bytes as a .safetensors file. */
#include "tests/fuzz/tensors.hpp"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const auto file =
        parse(kd::nn::parse_safetensors, std::string(reinterpret_cast<const char *>(bytes), len));
    std::vector<std::string> elements;
    if (!file)
        return 0;
    const auto tensors = to_write(*file, &elements);
    check_again(
        *file, kd::nn::parse_safetensors, kd::nn::format_safetensors(tensors, file->metadata));
    return 0;
}
