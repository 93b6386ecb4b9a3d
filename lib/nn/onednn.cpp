#include "lib/nn/onednn.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <new>
#include <unordered_map>

#include <omp.h>
#include <sys/mman.h>

#include "lib/nn/fault.hpp"
#include "lib/nn/onednn_describe.hpp"

namespace kd::nn
{

namespace
{

/* Runs work; what oneDNN throws becomes a Fault. */
template <class Work> void told(const char *doing, Work &&work)
{
    try {
        work();
    } catch (const dnnl::error &error) {
        fail(error.status == dnnl_out_of_memory ? KD_RESOURCE_EXHAUSTED : KD_INTERNAL,
            "%s: oneDNN says: %s", doing, error.message);
    }
}

/* Within its life oneDNN makes primitives for so many threads. */
class Threads
{
  public:
    explicit Threads(int threads) : were_(omp_get_max_threads())
    {
        omp_set_num_threads(threads);
    }
    ~Threads()
    {
        omp_set_num_threads(were_);
    }
    Threads(const Threads &) = delete;
    Threads &operator=(const Threads &) = delete;

  private:
    int were_;
};

/* Zeros in huge pages where the system gives them on advice. */
class Block
{
  public:
    Block() = default;
    explicit Block(size_t bytes)
    {
        constexpr size_t huge = size_t{2} << 20;
        size_ = std::max((bytes + huge - 1) / huge, size_t{1}) * huge;
        bytes_.reset(static_cast<char *>(std::aligned_alloc(huge, size_)));
        if (!bytes_)
            throw std::bad_alloc();
        (void)madvise(bytes_.get(), size_, MADV_HUGEPAGE);
        std::memset(bytes_.get(), 0, size_);
    }
    void *data() const
    {
        return bytes_.get();
    }
    size_t size() const
    {
        return size_;
    }

  private:
    struct Free {
        void operator()(void *bytes) const
        {
            std::free(bytes);
        }
    };
    std::unique_ptr<char, Free> bytes_;
    size_t size_ = 0;
};

/* Where activations lie. Block by block, `here` holds the input and, where the shape stays, the
 * output; `there` the output of a block that changes it, and then they change places. */
enum Slot : size_t { WIDE, HERE, THERE, SCRATCH, SLOTS };

using Arguments = std::unordered_map<int, memory>;

using Step = std::function<void(dnnl::stream &)>;

Step step_of(dnnl::primitive primitive, Arguments arguments)
{
    return [primitive = std::move(primitive), arguments = std::move(arguments)](
               dnnl::stream &stream) { primitive.execute(stream, arguments); };
}

/* An activation as it lies in its slot. */
struct Activation {
    memory values;
    int64_t channels, size;
};

} // namespace

struct OneDnnNet::Buffers {
    dnnl::stream stream{cpu()};
    std::vector<std::array<Block, SLOTS>> slots; /* of each lane */
    /* Weights as oneDNN wants them, which mostly is the same for every batch size. */
    std::vector<Block> kept;
};

/* The primitives for so many images, in order, and where they lie in the slots of one lane. */
class OneDnnNet::Plan
{
  public:
    int64_t batch = 0, image_floats = 0, channels = 0, area = 0;
    size_t lane = 0;
    dnnl::stream stream{cpu()};
    void run(const Buffers &buffers, const float *pixels, int64_t n, float *features);

    /* Pixels are brought into oneDNN's layout one by one, from wherever the caller has them. */
    dnnl::reorder bring;
    memory image, image_there;
    size_t image_there_bytes = 0;
    std::vector<Step> steps;
    memory last; /* N × H × W × channels floats */
};

void OneDnnNet::Plan::run(const Buffers &buffers, const float *pixels, int64_t n, float *features)
{
    char *const source = static_cast<char *>(buffers.slots[lane][THERE].data());
    for (int64_t i = 0; i < n; i++) {
        /* The source is only read; oneDNN's handles know no const. */
        image.set_data_handle(const_cast<float *>(pixels) + i * image_floats);
        image_there.set_data_handle(source + static_cast<size_t>(i) * image_there_bytes);
        bring.execute(stream, image, image_there);
    }
    for (const Step &step : steps)
        step(stream);
    stream.wait();
    const float *values = static_cast<const float *>(last.get_data_handle());
    const float share = 1.0f / static_cast<float>(area);
    for (int64_t i = 0; i < n; i++, features += channels) {
        std::fill_n(features, channels, 0.0f);
        for (int64_t k = 0; k < area; k++, values += channels)
            for (int64_t c = 0; c < channels; c++)
                features[c] += values[c];
        for (int64_t c = 0; c < channels; c++)
            features[c] *= share;
    }
}

/* A batch size: by one plan that all threads work on together, or, where it can be divided among
 * them, by one of each thread's own, which then never waits for another before its images are
 * through: the waits between twenty layers took up to half of the time. */
struct OneDnnNet::Room {
    int64_t batch;
    std::vector<std::unique_ptr<Plan>> lanes;
};

/* Makes the plans, and then the memory that all of them share. */
class OneDnnNet::Builder
{
  public:
    Builder(const NetWeights &weights, int64_t image_size, bool bfloat16, Buffers *buffers)
        : weights_(weights), image_size_(image_size), type_(bfloat16 ? Type::bf16 : Type::f32),
          buffers_(buffers)
    {
    }
    std::unique_ptr<Plan> plan(int64_t batch, size_t lane);
    void allocate();

  private:
    struct Kept {
        const float *from;
        memory values;
    };

    memory in_slot(const memory::desc &desc, Slot slot);
    memory keep(const float *from, const memory::desc &plain, const memory::desc &wanted);
    Activation begin(Plan *plan);
    float *keep_filtered(const ConvolutionWeights &conv);
    Activation convolve(Plan *plan, const ConvolutionWeights &conv, const Activation &source,
        Slot slot, bool relu, const memory *added);
    std::optional<Activation> filter(Plan *plan, const ConvolutionWeights &conv,
        const Activation &source, Slot slot, bool relu, const memory *added);
    Activation pool(Plan *plan, const Activation &source);
    void finish(Plan *plan, const Activation &source);

    const NetWeights &weights_;
    int64_t image_size_;
    Type type_;
    Buffers *buffers_;
    std::vector<Kept> kept_;
    std::vector<std::pair<const float *, float *>> filtered_; /* kd_winograd's weights of others */
    struct Placed {
        memory values;
        size_t lane;
        Slot slot;
    };
    size_t lane_ = 0; /* of the plan that is made */
    std::vector<std::array<size_t, SLOTS>> bytes_;
    std::vector<Placed> placed_;
};

memory OneDnnNet::Builder::in_slot(const memory::desc &desc, Slot slot)
{
    const memory values(desc, cpu(), DNNL_MEMORY_NONE);
    bytes_.resize(std::max(bytes_.size(), lane_ + 1));
    bytes_[lane_][slot] = std::max(bytes_[lane_][slot], desc.get_size());
    placed_.push_back({values, lane_, slot});
    return values;
}

/* The weights in the wanted layout, from an earlier plan where that has the same. */
memory OneDnnNet::Builder::keep(
    const float *from, const memory::desc &plain, const memory::desc &wanted)
{
    for (const Kept &kept : kept_)
        if (kept.from == from && kept.values.get_desc() == wanted)
            return kept.values;
    buffers_->kept.emplace_back(wanted.get_size());
    memory given(plain, cpu(), const_cast<float *>(from)); /* only read */
    memory values(wanted, cpu(), buffers_->kept.back().data());
    dnnl::reorder(given, values).execute(buffers_->stream, given, values);
    buffers_->stream.wait();
    kept_.push_back({from, values});
    return values;
}

/* The stem takes float32 channels first: then oneDNN's direct convolutions on blocked channels
 * follow, which are a fifth faster here than those on channels last that it would choose. For
 * bfloat16 the ones on channels last are the fast ones. */
Activation OneDnnNet::Builder::begin(Plan *plan)
{
    const Tag layout = type_ == Type::f32 ? Tag::nchw : Tag::nhwc;
    const memory::dims one = {1, 3, image_size_, image_size_};
    plan->image_floats = 3 * image_size_ * image_size_;
    plan->image = memory(memory::desc(one, Type::f32, Tag::nhwc), cpu(), DNNL_MEMORY_NONE);
    plan->image_there = memory(memory::desc(one, type_, layout), cpu(), DNNL_MEMORY_NONE);
    plan->image_there_bytes = plan->image_there.get_desc().get_size();
    plan->bring = dnnl::reorder(plan->image, plan->image_there);
    const memory::desc all({plan->batch, 3, image_size_, image_size_}, type_, layout);
    return {in_slot(all, THERE), 3, image_size_};
}

float *OneDnnNet::Builder::keep_filtered(const ConvolutionWeights &conv)
{
    for (const auto &[from, kept] : filtered_)
        if (from == conv.weight)
            return kept;
    buffers_->kept.emplace_back(kd_winograd_weight_floats(conv.in, conv.out) * sizeof(float));
    float *const kept = static_cast<float *>(buffers_->kept.back().data());
    kd_winograd_prepare(kept, conv.weight, conv.in, conv.out);
    filtered_.emplace_back(conv.weight, kept);
    return kept;
}

/* A convolution by kd_winograd, where that can take it. */
std::optional<Activation> OneDnnNet::Builder::filter(Plan *plan, const ConvolutionWeights &conv,
    const Activation &source, Slot slot, bool relu, const memory *added)
{
    if (type_ != Type::f32 || conv.kernel != 3 || conv.stride != 1 || conv.padding != 1 ||
        conv.in != conv.out || !kd_winograd_pays(conv.in, conv.out, plan->batch, source.size))
        return std::nullopt;
    const memory from = source.values;
    const auto from_layout = layout_of(from, plan->batch, conv.in, source.size);
    const auto to_layout =
        added ? layout_of(*added, plan->batch, conv.out, source.size) : from_layout;
    if (!from_layout || !to_layout)
        return std::nullopt;
    const memory to = added ? *added : in_slot(from.get_desc(), slot);
    const memory::desc bias({conv.out}, Type::f32, Tag::x);
    const kd_winograd all = {conv.in, conv.out, plan->batch, source.size, keep_filtered(conv),
        static_cast<float *>(keep(conv.bias, bias, bias).get_data_handle()), *from_layout,
        *to_layout, added != nullptr, relu};
    const int shares = omp_get_max_threads();
    const auto floats = static_cast<int64_t>(kd_winograd_scratch_floats(&all));
    const memory scratch = in_slot(memory::desc({floats * shares}, Type::f32, Tag::x), SCRATCH);
    plan->steps.emplace_back([=](dnnl::stream &) {
        const auto *const source_floats = static_cast<const float *>(from.get_data_handle());
        auto *const target_floats = static_cast<float *>(to.get_data_handle());
        auto *const own = static_cast<float *>(scratch.get_data_handle());
#pragma omp parallel for schedule(static, 1) num_threads(shares) if (shares > 1)
        for (int share = 0; share < shares; share++)
            kd_winograd_run(
                &all, source_floats, target_floats, share, shares, own + share * floats);
    });
    return Activation{to, conv.out, source.size};
}

/* With `added` the result is added to that and put in its place. Winograd's minimal filtering takes
 * a half or a quarter of the products of a 3 × 3 convolution; oneDNN has it for float32 with
 * AVX-512, and elsewhere it is ours. */
Activation OneDnnNet::Builder::convolve(Plan *plan, const ConvolutionWeights &conv,
    const Activation &source, Slot slot, bool relu, const memory *added)
{
    const int64_t size = (source.size + 2 * conv.padding - conv.kernel) / conv.stride + 1;
    const memory::desc any({plan->batch, conv.out, size, size}, type_, Tag::any);
    const auto describe = [&](dnnl::algorithm algorithm) {
        return describe_convolution(algorithm, conv, source.values.get_desc(),
            added ? added->get_desc() : any, type_, attributes(added != nullptr, relu));
    };
    auto made = describe(dnnl::algorithm::convolution_winograd);
    if (!made)
        if (const auto filtered = filter(plan, conv, source, slot, relu, added))
            return *filtered;
    if (!made)
        made = describe(dnnl::algorithm::convolution_direct);
    const memory::desc weights({conv.out, conv.in, conv.kernel, conv.kernel}, Type::f32, Tag::oihw);
    const memory::desc bias({conv.out}, Type::f32, Tag::x);
    const memory target = added ? *added : in_slot(made.dst_desc(), slot);
    plan->steps.push_back(step_of(dnnl::convolution_forward(made),
        {{DNNL_ARG_SRC, source.values},
            {DNNL_ARG_WEIGHTS, keep(conv.weight, weights, made.weights_desc())},
            {DNNL_ARG_BIAS, keep(conv.bias, bias, bias)}, {DNNL_ARG_DST, target},
            {DNNL_ARG_SCRATCHPAD, in_slot(made.scratchpad_desc(), SCRATCH)}}));
    return {target, conv.out, size};
}

Activation OneDnnNet::Builder::pool(Plan *plan, const Activation &source)
{
    const int64_t size = (source.size - 1) / 2 + 1;
    const memory::desc any({plan->batch, source.channels, size, size}, type_, Tag::any);
    const auto made = describe_pooling(source.values.get_desc(), any);
    const memory target = in_slot(made.dst_desc(), HERE);
    plan->steps.push_back(step_of(dnnl::pooling_forward(made),
        {{DNNL_ARG_SRC, source.values}, {DNNL_ARG_DST, target},
            {DNNL_ARG_SCRATCHPAD, in_slot(made.scratchpad_desc(), SCRATCH)}}));
    return {target, source.channels, size};
}

/* Means are taken of float32 values, also of a network in bfloat16. */
void OneDnnNet::Builder::finish(Plan *plan, const Activation &source)
{
    const memory::desc plain(
        {plan->batch, source.channels, source.size, source.size}, Type::f32, Tag::nhwc);
    plan->channels = source.channels;
    plan->area = source.size * source.size;
    plan->last = in_slot(plain, WIDE);
    plan->steps.push_back(step_of(dnnl::reorder(source.values, plan->last),
        {{DNNL_ARG_FROM, source.values}, {DNNL_ARG_TO, plan->last}}));
}

std::unique_ptr<OneDnnNet::Plan> OneDnnNet::Builder::plan(int64_t batch, size_t lane)
{
    auto made = std::make_unique<Plan>();
    Plan *const plan = made.get();
    plan->batch = batch;
    plan->lane = lane_ = lane;
    Activation x = convolve(plan, weights_.stem, begin(plan), WIDE, true, nullptr);
    x = pool(plan, x);
    Slot here = HERE, there = THERE;
    for (const BlockWeights &block : weights_.blocks) {
        const Activation y = convolve(plan, block.conv1, x, WIDE, true, nullptr);
        if (block.downsample) {
            x = convolve(plan, *block.downsample, x, there, false, nullptr);
            std::swap(here, there);
        }
        x = convolve(plan, block.conv2, y, here, true, &x.values);
    }
    finish(plan, x);
    return made;
}

void OneDnnNet::Builder::allocate()
{
    buffers_->slots.resize(bytes_.size());
    for (size_t lane = 0; lane < bytes_.size(); lane++)
        for (size_t slot = 0; slot < SLOTS; slot++)
            buffers_->slots[lane][slot] = Block(bytes_[lane][slot]);
    for (Placed &placed : placed_)
        placed.values.set_data_handle(buffers_->slots[placed.lane][placed.slot].data());
}

OneDnnNet::OneDnnNet(const NetWeights &weights, int64_t image_size,
    const std::vector<int64_t> &batches, bool bfloat16)
    : buffers_(std::make_unique<Buffers>())
{
    told("making a network", [&] {
        Builder builder(weights, image_size, bfloat16, buffers_.get());
        for (const int64_t batch : batches) {
            const int threads = omp_get_max_threads();
            const int lanes = batch % threads == 0 ? threads : 1;
            const Threads each(threads / lanes);
            Room &room = rooms_.emplace_back(Room{batch, {}});
            for (int lane = 0; lane < lanes; lane++)
                room.lanes.push_back(builder.plan(batch / lanes, static_cast<size_t>(lane)));
        }
        builder.allocate();
    });
}

OneDnnNet::~OneDnnNet() = default;

size_t OneDnnNet::bytes() const
{
    size_t all = 0;
    for (const Block &block : buffers_->kept)
        all += block.size();
    for (const auto &lane : buffers_->slots)
        for (const Block &block : lane)
            all += block.size();
    return all;
}

void OneDnnNet::run(const float *pixels, int64_t n, int64_t room_size, float *features)
{
    const auto room = std::find_if(
        rooms_.begin(), rooms_.end(), [&](const Room &one) { return one.batch == room_size; });
    if (room == rooms_.end())
        fail(KD_INTERNAL, "a batch of %lld images was not made ready",
            static_cast<long long>(room_size));
    const int lanes = static_cast<int>(room->lanes.size());
    std::exception_ptr thrown; /* none may leave a parallel region */
    const auto run_lane = [&](int lane) {
        try {
            Plan &plan = *room->lanes[static_cast<size_t>(lane)];
            const int64_t from = lane * plan.batch;
            if (from < n)
                plan.run(*buffers_, pixels + from * plan.image_floats,
                    std::min(n - from, plan.batch), features + from * plan.channels);
        } catch (...) {
#pragma omp critical
            thrown = std::current_exception();
        }
    };
    /* A region of one thread would not do: libgomp starts threads anew for each region inside. */
    if (lanes == 1) {
        run_lane(0);
    } else {
#pragma omp parallel for schedule(static, 1) num_threads(lanes)
        for (int lane = 0; lane < lanes; lane++)
            run_lane(lane);
    }
    told("running a network", [&] {
        if (thrown)
            std::rethrow_exception(thrown);
    });
}

bool onednn_has_bfloat16()
{
    /* A set of instructions has the bits of those that it contains. */
    const auto needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
    return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & needed) == needed;
}

const char *onednn_describe()
{
    struct Text {
        char bytes[32];
        Text()
        {
            const dnnl_version_t *const version = dnnl_version();
            (void)std::snprintf(bytes, sizeof bytes, "oneDNN %d.%d.%d", version->major,
                version->minor, version->patch);
        }
    };
    static const Text text;
    return text.bytes;
}

} // namespace kd::nn
