/* PyTorch's zip form: archive/data.pkl is a pickle of the state dict, archive/data/KEY holds the
 * bytes of each storage. Tensors are views (offset, sizes, strides) into storages. */
#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <memory>
#include <set>

#include <zip.h>

#include "lib/nn/fault.hpp"
#include "lib/nn/pickle.hpp"
#include "lib/nn/tensors.hpp"

namespace kd::nn
{
namespace
{

constexpr uint64_t max_pickle = 1u << 20; /* fifty times ResNet18's */
constexpr size_t max_dims = 8;

struct StorageType {
    const char *global;
    Dtype dtype;
};
constexpr StorageType storage_types[] = {{"torch.DoubleStorage", Dtype::f64},
    {"torch.FloatStorage", Dtype::f32}, {"torch.HalfStorage", Dtype::f16},
    {"torch.BFloat16Storage", Dtype::bf16}, {"torch.LongStorage", Dtype::i64},
    {"torch.IntStorage", Dtype::i32}, {"torch.ShortStorage", Dtype::i16},
    {"torch.CharStorage", Dtype::i8}, {"torch.ByteStorage", Dtype::u8},
    {"torch.BoolStorage", Dtype::boolean}};

/* ---- The archive ---- */

class Archive
{
  public:
    Archive(const char *path, const std::string &bytes);
    ~Archive()
    {
        zip_discard(zip_);
    }
    Archive(const Archive &) = delete;
    Archive &operator=(const Archive &) = delete;
    /* The content of prefix/name, at most max bytes. */
    std::string read(const std::string &name, uint64_t max);

  private:
    void find_prefix();

    const char *path_;
    zip_t *zip_ = nullptr;
    std::string prefix_;
    uint64_t left_; /* entries may share bytes: together they are never longer than the file */
};

Archive::Archive(const char *path, const std::string &bytes) : path_(path), left_(bytes.size())
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *const source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
    if (source)
        zip_ = zip_open_from_source(source, ZIP_RDONLY, &error);
    if (!zip_) {
        const std::string why = zip_error_strerror(&error);
        zip_error_fini(&error);
        if (source)
            zip_source_free(source);
        fail(KD_DATA_LOSS, "%s is a damaged or cut off zip archive: %s", path, why.c_str());
    }
    zip_error_fini(&error);
    try {
        find_prefix();
    } catch (...) {
        zip_discard(zip_);
        throw;
    }
}

void Archive::find_prefix()
{
    static constexpr std::string_view pickle = "/data.pkl";
    const zip_int64_t n = zip_get_num_entries(zip_, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *const entry = zip_get_name(zip_, static_cast<zip_uint64_t>(i), 0);
        const std::string_view name = entry ? entry : "";
        if (name.ends_with(pickle) && name.find('/') == name.size() - pickle.size()) {
            prefix_ = name.substr(0, name.size() - pickle.size() + 1);
            return;
        }
    }
    fail(KD_INVALID_ARGUMENT, "%s is a zip archive, but not one that torch.save wrote", path_);
}

std::string Archive::read(const std::string &name, uint64_t max)
{
    const std::string entry = prefix_ + name;
    zip_stat_t info;
    if (zip_stat(zip_, entry.c_str(), 0, &info) != 0)
        fail(KD_INVALID_ARGUMENT, "%s has no entry %.120s", path_, entry.c_str());
    if (!(info.valid & ZIP_STAT_SIZE) || info.size > max || info.size > left_)
        fail(KD_INVALID_ARGUMENT, "%s: entry %.120s is too large", path_, entry.c_str());
    left_ -= info.size;
    const std::unique_ptr<zip_file_t, int (*)(zip_file_t *)> file(
        zip_fopen(zip_, entry.c_str(), 0), zip_fclose);
    if (!file)
        fail(KD_DATA_LOSS, "%s: cannot read entry %.120s: %s", path_, entry.c_str(),
            zip_strerror(zip_));
    std::string content(info.size + 1, '\0');
    /* One byte more than it should have: libzip checks the CRC when it meets the end. */
    uint64_t have = 0;
    for (;;) {
        const zip_int64_t got = zip_fread(file.get(), content.data() + have, content.size() - have);
        if (got < 0)
            fail(KD_DATA_LOSS, "%s: entry %.120s is damaged: %s", path_, entry.c_str(),
                zip_file_strerror(file.get()));
        have += static_cast<uint64_t>(got);
        if (got == 0 || have == content.size())
            break;
    }
    if (have != info.size)
        fail(KD_DATA_LOSS, "%s: entry %.120s has %" PRIu64 " bytes instead of %" PRIu64, path_,
            entry.c_str(), have, static_cast<uint64_t>(info.size));
    content.resize(have);
    return content;
}

/* ---- From pickled values to tensors ---- */

class StateDict
{
  public:
    StateDict(const char *path, Archive *archive, TensorFile *out)
        : path_(path), archive_(archive), out_(out)
    {
    }
    void add_all(const Value &top);

  private:
    void add(const std::string &name, const Value &value);
    const std::string &storage(const std::string &name, const Value &value, Dtype *dtype);
    std::vector<int64_t> counts(const std::string &name, const Value &value);
    [[noreturn]] void bad(const std::string &name, const char *what) const
    {
        fail(KD_INVALID_ARGUMENT, "%s: tensor %.120s %s", path_, name.c_str(), what);
    }

    const char *path_;
    Archive *archive_;
    TensorFile *out_;
    std::map<std::string, size_t> loaded_; /* storage key to its place in out_->storages */
};

std::vector<int64_t> StateDict::counts(const std::string &name, const Value &value)
{
    if (value.kind != Value::Kind::tuple || value.items.size() > max_dims)
        bad(name, "has sizes or strides that are no tuple of at most 8");
    std::vector<int64_t> numbers;
    for (const Value *const item : value.items) {
        if (item->kind != Value::Kind::integer || item->integer < 0)
            bad(name, "has a size or stride that is no count");
        numbers.push_back(item->integer);
    }
    return numbers;
}

/* ('storage', torch.FloatStorage, '0', 'cpu', 9408) */
const std::string &StateDict::storage(const std::string &name, const Value &value, Dtype *dtype)
{
    const Value *const id = value.kind == Value::Kind::persistent ? value.items[0] : &value;
    if (id->kind != Value::Kind::tuple || id->items.size() != 5 ||
        id->items[1]->kind != Value::Kind::global || id->items[2]->kind != Value::Kind::text ||
        id->items[4]->kind != Value::Kind::integer)
        bad(name, "has no storage");
    const auto type = std::find_if(std::begin(storage_types), std::end(storage_types),
        [id](const StorageType &t) { return id->items[1]->is_global(t.global); });
    if (type == std::end(storage_types))
        bad(name, "has a storage of an unknown type");
    *dtype = type->dtype;
    const std::string &key = id->items[2]->text;
    auto found = loaded_.find(key);
    if (found == loaded_.end()) {
        out_->storages.push_back(archive_->read("data/" + key, UINT64_MAX));
        found = loaded_.emplace(key, out_->storages.size() - 1).first;
    }
    const std::string &bytes = out_->storages[found->second];
    const uint64_t elements = bytes.size() / dtype_size(*dtype);
    if (id->items[4]->integer < 0 || static_cast<uint64_t>(id->items[4]->integer) != elements ||
        bytes.size() % dtype_size(*dtype) != 0)
        bad(name, "names a storage of another length than the file's");
    return bytes;
}

void StateDict::add(const std::string &name, const Value &value)
{
    const Value *call = &value;
    if (call->kind == Value::Kind::call &&
        call->items[0]->is_global("torch._utils._rebuild_parameter") &&
        !call->items[1]->items.empty())
        call = call->items[1]->items[0];
    if (call->kind != Value::Kind::call ||
        !call->items[0]->is_global("torch._utils._rebuild_tensor_v2") ||
        call->items[1]->items.size() < 6)
        bad(name, "is no tensor: only a plain state dict can be read");
    const std::vector<const Value *> &arguments = call->items[1]->items;
    StoredTensor tensor = {name, Dtype::f32, {}, {}, nullptr};
    const std::string &bytes = storage(name, *arguments[0], &tensor.dtype);
    tensor.shape = counts(name, *arguments[2]);
    tensor.strides = counts(name, *arguments[3]);
    if (tensor.shape.size() != tensor.strides.size() ||
        arguments[1]->kind != Value::Kind::integer || arguments[1]->integer < 0)
        bad(name, "has sizes, strides and offset that do not fit each other");
    /* The last element touched must lie inside the storage, and a tensor that repeats elements
     * (stride 0) must not be larger than what it repeats. */
    const uint64_t elements = bytes.size() / dtype_size(tensor.dtype);
    const auto offset = static_cast<uint64_t>(arguments[1]->integer);
    uint64_t count = 0;
    uint64_t last = offset;
    bool inside = count_elements(tensor.shape, &count) && count <= elements && last <= elements;
    for (size_t d = 0; inside && count > 0 && d < tensor.shape.size(); d++) {
        const auto steps = static_cast<uint64_t>(tensor.shape[d] - 1);
        const auto stride = static_cast<uint64_t>(tensor.strides[d]);
        inside = steps == 0 || stride <= elements / steps;
        last += inside ? steps * stride : 0;
    }
    if (!inside || (count > 0 && last >= elements))
        bad(name, "reaches beyond its storage");
    tensor.data =
        reinterpret_cast<const uint8_t *>(bytes.data()) + offset * dtype_size(tensor.dtype);
    out_->tensors.push_back(std::move(tensor));
}

void StateDict::add_all(const Value &top)
{
    if (top.kind != Value::Kind::dict)
        fail(KD_INVALID_ARGUMENT, "%s holds no state dict", path_);
    /* Views point into the strings, which must not move: there are at most as many as tensors. */
    out_->storages.reserve(top.items.size() / 2);
    std::set<std::string> names;
    for (size_t i = 0; i + 1 < top.items.size(); i += 2) {
        const Value &key = *top.items[i];
        if (key.kind != Value::Kind::text)
            fail(KD_INVALID_ARGUMENT, "%s: the state dict has a key that is no text", path_);
        if (!names.insert(key.text).second)
            bad(key.text, "is there twice");
        add(key.text, *top.items[i + 1]);
    }
}

/* ---- Writing ---- */

void put_number(std::string *out, char op, uint32_t number)
{
    *out += op;
    out->append(reinterpret_cast<const char *>(&number), sizeof number);
}

void put_text(std::string *out, const std::string &text)
{
    put_number(out, 'X', static_cast<uint32_t>(text.size()));
    *out += text;
}

void put_counts(std::string *out, const std::vector<int64_t> &counts)
{
    *out += '(';
    for (const int64_t count : counts)
        put_number(out, 'J', static_cast<uint32_t>(count));
    *out += 't';
}

/* An OrderedDict of _rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()). */
std::string format_pickle(const std::vector<TensorToWrite> &tensors)
{
    static constexpr const char *ordered_dict = "ccollections\nOrderedDict\n)R";
    std::string out = "\x80\x02";
    out += ordered_dict;
    out += '(';
    for (size_t i = 0; i < tensors.size(); i++) {
        const TensorToWrite &tensor = tensors[i];
        uint64_t count = 0;
        (void)count_elements(tensor.shape, &count);
        std::vector<int64_t> strides(tensor.shape.size(), 1);
        for (size_t d = strides.size(); d-- > 1;)
            strides[d - 1] = strides[d] * tensor.shape[d];
        const auto type = std::find_if(std::begin(storage_types), std::end(storage_types),
            [&tensor](const StorageType &t) { return t.dtype == tensor.dtype; });
        std::string global = type->global;
        global[global.find('.')] = '\n';
        put_text(&out, tensor.name);
        out += "ctorch._utils\n_rebuild_tensor_v2\n((";
        put_text(&out, "storage");
        out += 'c' + global + '\n';
        put_text(&out, std::to_string(i));
        put_text(&out, "cpu");
        put_number(&out, 'J', static_cast<uint32_t>(count));
        out += "tQ";
        put_number(&out, 'J', 0);
        put_counts(&out, tensor.shape);
        put_counts(&out, strides);
        out += '\x89';
        out += ordered_dict;
        out += "tR";
    }
    return out + "u.";
}

struct ZipWriter {
    zip_error_t error;
    zip_source_t *target = nullptr; /* kept open beside zip, to read the archive from */
    zip_t *zip = nullptr;

    ZipWriter()
    {
        zip_error_init(&error);
    }
    ~ZipWriter()
    {
        if (zip)
            zip_discard(zip);
        if (target)
            zip_source_free(target);
        zip_error_fini(&error);
    }
    [[noreturn]] void give_up()
    {
        fail(KD_RESOURCE_EXHAUSTED, "cannot make a zip archive: %s",
            zip ? zip_strerror(zip) : zip_error_strerror(&error));
    }
    void open()
    {
        target = zip_source_buffer_create(nullptr, 0, 0, &error);
        if (!target)
            give_up();
        zip_source_keep(target); /* zip_close drops one reference */
        zip = zip_open_from_source(target, ZIP_CREATE | ZIP_TRUNCATE, &error);
        if (!zip) {
            zip_source_free(target);
            give_up();
        }
    }
    /* bytes are borrowed until finish. */
    void add(const std::string &name, const void *bytes, uint64_t size)
    {
        zip_source_t *const source = zip_source_buffer(zip, bytes, size, 0);
        if (!source)
            give_up();
        const zip_int64_t index = zip_file_add(zip, name.c_str(), source, 0);
        if (index < 0) {
            zip_source_free(source);
            give_up();
        }
        /* The earliest date a zip can tell: the bytes shall not depend on when they are written. */
        if (zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0) != 0 ||
            zip_file_set_dostime(zip, static_cast<zip_uint64_t>(index), 0, 0x21, 0) != 0)
            give_up();
    }
    std::string finish()
    {
        if (zip_close(zip) != 0)
            give_up();
        zip = nullptr;
        zip_stat_t info;
        zip_stat_init(&info);
        if (zip_source_open(target) != 0 || zip_source_stat(target, &info) != 0)
            give_up();
        std::string archive(info.size, '\0');
        const zip_int64_t got = zip_source_read(target, archive.data(), archive.size());
        (void)zip_source_close(target);
        if (got != static_cast<zip_int64_t>(info.size))
            give_up();
        return archive;
    }
};

} // namespace

void parse_pth(const char *path, TensorFile *out)
{
    Archive archive(path, out->bytes);
    const std::string bytes = archive.read("data.pkl", max_pickle);
    const Pickle pickle(path, bytes);
    StateDict(path, &archive, out).add_all(pickle.top());
}

std::string format_pth(std::vector<TensorToWrite> tensors)
{
    std::sort(tensors.begin(), tensors.end(),
        [](const TensorToWrite &a, const TensorToWrite &b) { return a.name < b.name; });
    const std::string pickle = format_pickle(tensors);
    static constexpr std::string_view version = "3\n";
    static constexpr std::string_view order = "little";
    ZipWriter writer;
    writer.open();
    writer.add("archive/data.pkl", pickle.data(), pickle.size());
    writer.add("archive/byteorder", order.data(), order.size());
    for (size_t i = 0; i < tensors.size(); i++) {
        uint64_t count = 0;
        (void)count_elements(tensors[i].shape, &count);
        writer.add("archive/data/" + std::to_string(i), tensors[i].data,
            count * dtype_size(tensors[i].dtype));
    }
    writer.add("archive/version", version.data(), version.size());
    return writer.finish();
}

} // namespace kd::nn
