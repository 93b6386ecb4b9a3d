/* The safetensors form: eight bytes with the header's length, a JSON header that gives each
 * tensor's type, shape and place, the tensors' bytes. */
#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <memory>
#include <optional>

#include <jansson.h>

#include "lib/nn/fault.hpp"
#include "lib/nn/tensors.hpp"

namespace kd::nn
{
namespace
{

constexpr uint64_t max_header = 4u << 20; /* a thousand times ResNet18's tensors */
constexpr size_t max_dims = 8;

struct JsonFree {
    void operator()(json_t *json) const
    {
        json_decref(json);
    }
};
using Json = std::unique_ptr<json_t, JsonFree>;

struct Span {
    uint64_t begin, end; /* in the bytes behind the header */
    std::string name;
};

uint64_t get_length(const std::string &bytes)
{
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    return length;
}

Json parse_header(const char *path, const std::string &bytes)
{
    if (bytes.size() < 9)
        fail(KD_DATA_LOSS, "%s has %zu bytes, too few for a safetensors file", path, bytes.size());
    const uint64_t length = get_length(bytes);
    if (bytes[8] != '{')
        fail(KD_INVALID_ARGUMENT, "%s is neither a safetensors file nor PyTorch's zip form", path);
    if (length > max_header)
        fail(KD_INVALID_ARGUMENT, "%s claims a header of %" PRIu64 " bytes, allowed are %" PRIu64,
            path, length, max_header);
    if (length > bytes.size() - 8)
        fail(KD_DATA_LOSS, "%s is cut off inside its header (%" PRIu64 " bytes, %zu are there)",
            path, length, bytes.size() - 8);
    json_error_t where;
    Json header(json_loadb(bytes.data() + 8, length, JSON_REJECT_DUPLICATES, &where));
    if (!header)
        fail(KD_INVALID_ARGUMENT, "%s: header, byte %d: %s", path, where.position, where.text);
    return header;
}

std::optional<Dtype> dtype_from(const char *name)
{
    for (int i = 0; i <= static_cast<int>(Dtype::boolean); i++)
        if (std::strcmp(name, dtype_name(static_cast<Dtype>(i))) == 0)
            return static_cast<Dtype>(i);
    return std::nullopt;
}

/* A JSON list of counts, at most max of them. */
std::vector<int64_t> get_counts(
    const char *path, const char *tensor, const json_t *entry, const char *key, size_t max)
{
    const json_t *const list = json_object_get(entry, key);
    if (!json_is_array(list) || json_array_size(list) > max)
        fail(KD_INVALID_ARGUMENT, "%s: tensor %s: %s is no list of at most %zu numbers", path,
            tensor, key, max);
    std::vector<int64_t> counts;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const item = json_array_get(list, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0)
            fail(KD_INVALID_ARGUMENT, "%s: tensor %s: %s holds something that is no count", path,
                tensor, key);
        counts.push_back(json_integer_value(item));
    }
    return counts;
}

std::vector<int64_t> row_major_strides(const std::vector<int64_t> &shape)
{
    std::vector<int64_t> strides(shape.size(), 1);
    /* Without an element no step is ever made, and the product of the other sizes may be of any
     * size. */
    if (std::find(shape.begin(), shape.end(), 0) != shape.end())
        return strides;
    for (size_t d = shape.size(); d-- > 1;)
        strides[d - 1] = strides[d] * shape[d];
    return strides;
}

StoredTensor parse_entry(const char *path, const char *name, const json_t *entry,
    const std::string &bytes, uint64_t data_at, Span *span)
{
    const char *const dtype_text = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype_text)
        fail(KD_INVALID_ARGUMENT, "%s: tensor %s has no dtype", path, name);
    const std::optional<Dtype> dtype = dtype_from(dtype_text);
    if (!dtype)
        fail(KD_INVALID_ARGUMENT, "%s: tensor %s has the unknown dtype %.40s", path, name,
            dtype_text);
    std::vector<int64_t> shape = get_counts(path, name, entry, "shape", max_dims);
    const std::vector<int64_t> offsets = get_counts(path, name, entry, "data_offsets", 2);
    if (offsets.size() != 2 || offsets[0] > offsets[1])
        fail(KD_INVALID_ARGUMENT, "%s: tensor %s: data_offsets are no begin and end", path, name);
    *span = {static_cast<uint64_t>(offsets[0]), static_cast<uint64_t>(offsets[1]), name};
    if (span->end > bytes.size() - data_at)
        fail(KD_DATA_LOSS,
            "%s is cut off: tensor %s ends at byte %" PRIu64 " of the data, %" PRIu64 " are there",
            path, name, span->end, bytes.size() - data_at);
    uint64_t count = 0;
    if (!count_elements(shape, &count) || count > bytes.size() ||
        count * dtype_size(*dtype) != span->end - span->begin)
        fail(KD_INVALID_ARGUMENT,
            "%s: tensor %s: shape %s of %s does not fill its %" PRIu64 " bytes", path, name,
            shape_text(shape).c_str(), dtype_text, span->end - span->begin);
    std::vector<int64_t> strides = row_major_strides(shape);
    return {name, *dtype, std::move(shape), std::move(strides),
        reinterpret_cast<const uint8_t *>(bytes.data()) + data_at + span->begin};
}

void parse_metadata(const char *path, const json_t *object, TensorFile *out)
{
    const char *key = nullptr;
    json_t *value = nullptr;
    if (!json_is_object(object))
        fail(KD_INVALID_ARGUMENT, "%s: __metadata__ is no object", path);
    json_object_foreach(const_cast<json_t *>(object), key, value)
    {
        if (!json_is_string(value))
            fail(KD_INVALID_ARGUMENT, "%s: __metadata__ holds something that is no text: %.80s",
                path, key);
        out->metadata[key] = std::string(json_string_value(value), json_string_length(value));
    }
}

/* The format wants the tensors' bytes to lie one behind the other without a gap, so that a file has
 * no hidden part. */
void check_layout(const char *path, std::vector<Span> spans, uint64_t data_bytes)
{
    std::sort(spans.begin(), spans.end(), [](const Span &a, const Span &b) {
        return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    uint64_t at = 0;
    for (const Span &span : spans) {
        if (span.begin < at)
            fail(KD_INVALID_ARGUMENT, "%s: tensor %s overlaps another", path, span.name.c_str());
        if (span.begin > at)
            fail(KD_INVALID_ARGUMENT, "%s: %" PRIu64 " bytes before tensor %s belong to none", path,
                span.begin - at, span.name.c_str());
        at = span.end;
    }
    if (at != data_bytes)
        fail(KD_INVALID_ARGUMENT, "%s: the last %" PRIu64 " bytes belong to no tensor", path,
            data_bytes - at);
}

/* Stores value under key in object and gives up the reference; throws for lack of memory or text
 * that is no UTF-8. */
void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        fail(KD_INVALID_ARGUMENT, "'%.80s' can't be written as JSON", key);
}

json_t *counts_to_json(const std::vector<int64_t> &counts)
{
    Json list(json_array());
    for (const int64_t count : counts)
        if (json_array_append_new(list.get(), json_integer(count)) != 0)
            fail(KD_RESOURCE_EXHAUSTED, "no memory for a safetensors header");
    return list.release();
}

std::string format_header(const std::vector<TensorToWrite> &tensors,
    const std::map<std::string, std::string> &metadata, size_t *data_bytes)
{
    Json header(json_object());
    Json texts(json_object());
    for (const auto &[key, text] : metadata)
        put(texts.get(), key.c_str(), json_stringn(text.data(), text.size()));
    if (!metadata.empty())
        put(header.get(), "__metadata__", texts.release());
    int64_t at = 0;
    for (const TensorToWrite &tensor : tensors) {
        uint64_t count = 0;
        (void)count_elements(tensor.shape, &count);
        const int64_t end = at + static_cast<int64_t>(count * dtype_size(tensor.dtype));
        Json entry(json_object());
        put(entry.get(), "dtype", json_string(dtype_name(tensor.dtype)));
        put(entry.get(), "shape", counts_to_json(tensor.shape));
        put(entry.get(), "data_offsets", counts_to_json({at, end}));
        put(header.get(), tensor.name.c_str(), entry.release());
        at = end;
    }
    *data_bytes = static_cast<size_t>(at);
    const std::unique_ptr<char, void (*)(void *)> text(
        json_dumps(header.get(), JSON_COMPACT | JSON_SORT_KEYS), std::free);
    if (!text)
        fail(KD_RESOURCE_EXHAUSTED, "no memory for a safetensors header");
    std::string result = text.get();
    result.append((8 - result.size() % 8) % 8, ' '); /* the data begins aligned */
    return result;
}

} // namespace

void parse_safetensors(const char *path, TensorFile *out)
{
    const Json header = parse_header(path, out->bytes);
    const uint64_t data_at = 8 + get_length(out->bytes);
    std::vector<Span> spans;
    const char *name = nullptr;
    json_t *entry = nullptr;
    json_object_foreach(header.get(), name, entry)
    {
        if (std::strcmp(name, "__metadata__") == 0) {
            parse_metadata(path, entry, out);
            continue;
        }
        Span span;
        out->tensors.push_back(parse_entry(path, name, entry, out->bytes, data_at, &span));
        spans.push_back(std::move(span));
    }
    check_layout(path, std::move(spans), out->bytes.size() - data_at);
}

std::string format_safetensors(
    std::vector<TensorToWrite> tensors, const std::map<std::string, std::string> &metadata)
{
    std::sort(tensors.begin(), tensors.end(),
        [](const TensorToWrite &a, const TensorToWrite &b) { return a.name < b.name; });
    size_t data_bytes = 0;
    const std::string header = format_header(tensors, metadata, &data_bytes);
    const uint64_t length = header.size();
    std::string file;
    file.reserve(sizeof length + header.size() + data_bytes);
    file.append(reinterpret_cast<const char *>(&length), sizeof length);
    file += header;
    for (const TensorToWrite &tensor : tensors) {
        uint64_t count = 0;
        (void)count_elements(tensor.shape, &count);
        file.append(static_cast<const char *>(tensor.data), count * dtype_size(tensor.dtype));
    }
    return file;
}

} // namespace kd::nn
