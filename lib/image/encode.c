#include <assert.h>
#include <png.h>
#include <turbojpeg.h>

#include "lib/image/decode.h"

/* What a library wrote into the room that kd_buf_reserve gave. */
static void buf_take(kd_buf *out, size_t len)
{
    out->len += len;
    out->data[out->len] = 0;
}

kd_status kd_image_encode_jpeg(const kd_image *image, int quality, kd_buf *out, kd_error *err)
{
    kd_status status = KD_OK;
    tjhandle jpeg = NULL;

    assert(image && image->pixels && out);
    assert(quality >= 1 && quality <= 100);
    const unsigned long most = tjBufSize((int)image->width, (int)image->height, TJSAMP_420);
    unsigned char *to = kd_buf_reserve(out, most);
    if (!to)
        return kd_error_memory(err, "a JPEG image");
    jpeg = tjInitCompress();
    if (!jpeg)
        return kd_error_memory(err, "a JPEG encoder");
    unsigned long len = most;
    if (tjCompress2(jpeg, image->pixels, (int)image->width, 0, (int)image->height, TJPF_RGB, &to,
            &len, TJSAMP_420, quality, TJFLAG_ACCURATEDCT | TJFLAG_NOREALLOC) != 0)
        status = image_library_fault(
            KD_INTERNAL, "can't write the JPEG image", tjGetErrorStr2(jpeg), err);
    else
        buf_take(out, len);
    tjDestroy(jpeg);
    return status;
}

kd_status kd_image_encode_png(const kd_image *image, kd_buf *out, kd_error *err)
{
    assert(image && image->pixels && out);
    png_image png = {.version = PNG_IMAGE_VERSION,
        .width = image->width,
        .height = image->height,
        .format = PNG_FORMAT_RGB};
    png_alloc_size_t len = PNG_IMAGE_PNG_SIZE_MAX(png);
    uint8_t *const to = kd_buf_reserve(out, len);
    if (!to)
        return kd_error_memory(err, "a PNG image");
    if (!png_image_write_to_memory(&png, to, &len, 0, image->pixels, 0, NULL))
        return image_library_fault(KD_INTERNAL, "can't write the PNG image", png.message, err);
    buf_take(out, len);
    return KD_OK;
}
