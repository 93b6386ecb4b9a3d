/* JPEG, by libjpeg-turbo: through libjpeg's interface, as TurboJPEG's gives no row before it has
 * them all. */
#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

#include "lib/image/decode.h"

#define MOST_SCANS 500 /* of a progressive image, as TurboJPEG's limit: hundreds are an attack */

typedef struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    const char *what; /* begins the sentence about what failed */
    char complaint[JMSG_LENGTH_MAX];
} decoder;

static _Noreturn void fail(j_common_ptr jpeg)
{
    decoder *const d = jpeg->client_data;
    (*jpeg->err->format_message)(jpeg, d->complaint);
    longjmp(d->failed, 1);
}

/* A warning (the data ends early, a code is wrong) counts as failure: grey where the photograph
 * should be would make a plausible, wrong embedding. */
static void warn(j_common_ptr jpeg, int level)
{
    if (level < 0)
        fail(jpeg);
}

static void count_scans(j_common_ptr jpeg)
{
    decoder *const d = jpeg->client_data;
    if (d->jpeg.input_scan_number <= MOST_SCANS)
        return;
    (void)snprintf(d->complaint, sizeof d->complaint, "it has more than %d scans", MOST_SCANS);
    longjmp(d->failed, 1);
}

/* CMYK as Adobe's programs write it, inverted: 255 is no ink. Files that don't say so are rare and
 * Pillow reads them the same way. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint32_t width, uint8_t *rgb)
{
    for (size_t i = 0; i < width; i++) {
        for (size_t c = 0; c < 3; c++) {
            const unsigned product = (unsigned)cmyk[4 * i + c] * cmyk[4 * i + 3] + 128;
            rgb[3 * i + c] = (uint8_t)(((product >> 8) + product) >> 8); /* / 255 */
        }
    }
}

/* The divisor of the size to decode at. Rounding is up, as the library's. */
static uint32_t scale_for(uint32_t width, uint32_t height, uint32_t side)
{
    uint32_t by = 8;
    while (by > 1 &&
           (side == 0 || (width + by - 1) / by / 2 < side || (height + by - 1) / by / 2 < side))
        by /= 2;
    return by;
}

/* Pillow's defaults: accurate DCT, smooth upsampling. */
static bool choose(struct jpeg_decompress_struct *jpeg, uint32_t by)
{
    const bool cmyk = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    jpeg->scale_num = 1;
    jpeg->scale_denom = by;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg->do_fancy_upsampling = TRUE;
    jpeg->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    return cmyk;
}

static void read_strip(struct jpeg_decompress_struct *jpeg, uint8_t *ink, uint8_t *to, uint32_t n)
{
    const uint32_t width = jpeg->output_width;
    const size_t stride = (size_t)width * 3;
    JSAMPROW rows[IMAGE_STRIP];
    for (uint32_t i = 0; i < n; i++)
        rows[i] = to + i * stride;
    for (uint32_t done = 0; done < n;) {
        if (!ink) {
            done += jpeg_read_scanlines(jpeg, rows + done, n - done);
        } else if (jpeg_read_scanlines(jpeg, &ink, 1) == 1) {
            cmyk_to_rgb(ink, width, rows[done++]);
        }
    }
}

/* Everything that may jump; what the library holds, the caller destroys. */
static kd_status read_image(decoder *d, const image_sink *sink, const uint8_t *bytes, size_t len,
    uint32_t side, kd_error *err)
{
    struct jpeg_decompress_struct *const jpeg = &d->jpeg;
    if (setjmp(d->failed))
        return image_library_fault(KD_INVALID_ARGUMENT, d->what, d->complaint, err);
    jpeg_create_decompress(jpeg);
    jpeg->progress = &d->progress;
    jpeg_mem_src(jpeg, bytes, (unsigned long)len);
    (void)jpeg_read_header(jpeg, TRUE);
    kd_status status = image_check_size(jpeg->image_width, jpeg->image_height, err);
    if (status != KD_OK)
        return status;
    d->what = "the JPEG image is broken";
    const bool cmyk = choose(jpeg, scale_for(jpeg->image_width, jpeg->image_height, side));
    jpeg_calc_output_dimensions(jpeg);
    status = sink->begin(sink->arg, jpeg->output_width, jpeg->output_height, err);
    if (status != KD_OK)
        return status;
    (void)jpeg_start_decompress(jpeg);
    uint8_t *const ink = cmyk ? (*jpeg->mem->alloc_large)(
                                    (j_common_ptr)jpeg, JPOOL_IMAGE, (size_t)jpeg->output_width * 4)
                              : NULL;
    for (uint32_t y = 0; y < jpeg->output_height; y += IMAGE_STRIP) {
        const uint32_t left = jpeg->output_height - y;
        read_strip(jpeg, ink, sink->strip(sink->arg, y), left < IMAGE_STRIP ? left : IMAGE_STRIP);
    }
    (void)jpeg_finish_decompress(jpeg); /* what is missing behind the last row counts, too */
    return KD_OK;
}

kd_status image_read_jpeg(
    const image_sink *sink, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err)
{
    decoder d = {.what = "the JPEG image's header is broken"};
    d.jpeg.err = jpeg_std_error(&d.errors);
    d.errors.error_exit = fail;
    d.errors.emit_message = warn;
    d.jpeg.client_data = &d;
    d.progress.progress_monitor = count_scans;
    const kd_status status = read_image(&d, sink, bytes, len, side, err);
    jpeg_destroy_decompress(&d.jpeg);
    return status;
}

/* ---- The whole of it ---- */

static kd_status whole_begin(void *arg, uint32_t width, uint32_t height, kd_error *err)
{
    return image_make(arg, width, height, err);
}

static uint8_t *whole_strip(void *arg, uint32_t y)
{
    const kd_image *const image = arg;
    return image->pixels + (size_t)y * image->width * 3;
}

kd_status image_decode_jpeg(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err)
{
    const image_sink sink = {out, whole_begin, whole_strip};
    const kd_status status = image_read_jpeg(&sink, bytes, len, side, err);
    if (status != KD_OK)
        kd_image_free(out);
    return status;
}
