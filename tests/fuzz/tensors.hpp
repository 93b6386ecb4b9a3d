/* tests/fuzz/tensors.hpp: what the fuzz targets of lib/nn's file readers share. They are C++
 * because the readers are: through lib/nn's C functions each input would build a network. */
#ifndef KD_TESTS_FUZZ_TENSORS_HPP
#define KD_TESTS_FUZZ_TENSORS_HPP

#include <cstring>
#include <memory>
#include <string>

#include "lib/nn/fault.hpp"
#include "lib/nn/tensors.hpp"
#include "tests/fuzz/fuzz.h"

using Parser = void (*)(const char *path, kd::nn::TensorFile *out);

/* The file's tensors, or NULL when it was refused with a sentence. */
inline std::unique_ptr<kd::nn::TensorFile> parse(Parser parser, std::string bytes)
{
    auto file = std::make_unique<kd::nn::TensorFile>();
    file->bytes = std::move(bytes);
    try {
        parser("x", file.get());
    } catch (const kd::nn::Fault &fault) {
        const kd_status status = fault.error().status;
        FUZZ_CHECK(status == KD_INVALID_ARGUMENT || status == KD_DATA_LOSS);
        FUZZ_CHECK(fault.what()[0] != '\0');
        return nullptr;
    }
    return file;
}

/* Every element in row-major order, as the network's loader takes them. */
inline std::string elements_of(const kd::nn::StoredTensor &tensor)
{
    uint64_t count = 0;
    FUZZ_CHECK(kd::nn::count_elements(tensor.shape, &count));
    FUZZ_CHECK(tensor.strides.size() == tensor.shape.size());
    std::string elements(count * kd::nn::dtype_size(tensor.dtype), '\0');
    kd::nn::copy_elements(tensor, elements.data());
    return elements;
}

/* What was read, written by the writer and read again, is the same. */
inline void check_again(const kd::nn::TensorFile &file, Parser parser, const std::string &again)
{
    const auto second = parse(parser, again);
    FUZZ_CHECK(second && second->tensors.size() == file.tensors.size());
    FUZZ_CHECK(second->metadata == file.metadata);
    for (const kd::nn::StoredTensor &tensor : file.tensors) {
        const kd::nn::StoredTensor *const found = second->find(tensor.name);
        FUZZ_CHECK(found && found->dtype == tensor.dtype && found->shape == tensor.shape);
        FUZZ_CHECK(elements_of(*found) == elements_of(tensor));
    }
}

/* The tensors for a writer; *elements keeps their bytes. */
inline std::vector<kd::nn::TensorToWrite> to_write(
    const kd::nn::TensorFile &file, std::vector<std::string> *elements)
{
    std::vector<kd::nn::TensorToWrite> tensors;
    elements->reserve(file.tensors.size());
    for (const kd::nn::StoredTensor &tensor : file.tensors) {
        elements->push_back(elements_of(tensor));
        tensors.push_back({tensor.name, tensor.dtype, tensor.shape, elements->back().data()});
    }
    return tensors;
}

/* A pickle tells sizes in 31 bits, which is all that the writer is for. */
inline bool fits_pth(const kd::nn::TensorFile &file)
{
    for (const kd::nn::StoredTensor &tensor : file.tensors)
        for (const int64_t size : tensor.shape)
            if (size > INT32_MAX)
                return false;
    return true;
}

inline void look_at_pth(std::string bytes)
{
    const auto file = parse(kd::nn::parse_pth, std::move(bytes));
    std::vector<std::string> elements;
    if (!file)
        return;
    const auto tensors = to_write(*file, &elements);
    if (fits_pth(*file))
        check_again(*file, kd::nn::parse_pth, kd::nn::format_pth(tensors));
}

#endif
