/* Which way up: EXIF's orientation and the turn. The one number is read where it lies: nothing is
 * allocated that could be missing, which would leave a photograph lying on its side. */
#include <string.h>

#include "lib/image/decode.h"

#define EXIF_HEAD "Exif\0"
#define EXIF_HEAD_LEN 6u
#define TAG_ORIENTATION 0x0112u
#define TYPE_SHORT 3u
#define TYPE_LONG 4u

typedef struct block {
    const uint8_t *bytes; /* a TIFF header and what follows; NULL: none */
    size_t len;
} block;

/* ---- Where the block is ---- */

static block without_head(const uint8_t *bytes, size_t len)
{
    if (len >= EXIF_HEAD_LEN && memcmp(bytes, EXIF_HEAD, EXIF_HEAD_LEN) == 0)
        return (block){bytes + EXIF_HEAD_LEN, len - EXIF_HEAD_LEN};
    return (block){bytes, len};
}

/* Segments up to the first scan: marker, length (its own two bytes in it), content. */
static block in_jpeg(const uint8_t *bytes, size_t len)
{
    size_t at = 2;
    while (at + 4 <= len && bytes[at] == 0xff) {
        const uint8_t marker = bytes[at + 1];
        const size_t size = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xda || size < 2 || size > len - at - 2)
            break;
        const uint8_t *const content = bytes + at + 4;
        if (marker == 0xe1 && size - 2 > EXIF_HEAD_LEN &&
            memcmp(content, EXIF_HEAD, EXIF_HEAD_LEN) == 0)
            return without_head(content, size - 2);
        at += 2 + size;
    }
    return (block){NULL, 0};
}

static uint32_t read_u16(const uint8_t *b, bool big)
{
    return big ? (uint32_t)b[0] << 8 | b[1] : (uint32_t)b[1] << 8 | b[0];
}

static uint32_t read_u32(const uint8_t *b, bool big)
{
    return big ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]
               : (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

/* PNG's chunks are length, name, content, checksum; RIFF's are name, length, content, padded to
 * even. */
static block in_chunks(const uint8_t *bytes, size_t len, bool png)
{
    const char *const name = png ? "eXIf" : "EXIF";
    size_t at = png ? 8 : 12;
    while (at + 8 <= len) {
        const size_t size = read_u32(bytes + at + (png ? 0 : 4), png);
        const uint8_t *const content = bytes + at + 8;
        if (size > len - at - 8)
            break;
        if (memcmp(bytes + at + (png ? 4 : 0), name, 4) == 0)
            return without_head(content, size);
        at += 8 + size + (png ? 4 : size & 1);
    }
    return (block){NULL, 0};
}

static block find_exif(const uint8_t *bytes, size_t len)
{
    if (len >= 4 && memcmp(bytes, "\xff\xd8", 2) == 0)
        return in_jpeg(bytes, len);
    return in_chunks(bytes, len, len >= 4 && memcmp(bytes, "\x89PNG", 4) == 0);
}

/* EXIF 2.3, 4.6.2: a byte order, 42, the place of the first directory; there a count, then entries
 * of 12 bytes: tag, type, count, value. 0: none. */
static uint32_t read_orientation(block tiff)
{
    const uint8_t *const bytes = tiff.bytes;
    const size_t len = tiff.len;
    if (len < 8)
        return 0;
    const bool big = memcmp(bytes, "MM\0*", 4) == 0;
    if (!big && memcmp(bytes, "II*\0", 4) != 0)
        return 0;
    const size_t start = read_u32(bytes + 4, big);
    if (start > len || len - start < 2)
        return 0;
    const size_t room = (len - start - 2) / 12, count = read_u16(bytes + start, big);
    for (size_t i = 0; i < count && i < room; i++) {
        const uint8_t *const entry = bytes + start + 2 + 12 * i;
        const uint32_t type = read_u16(entry + 2, big);
        if (read_u16(entry, big) != TAG_ORIENTATION)
            continue;
        if (read_u32(entry + 4, big) != 1)
            return 0;
        return type == TYPE_SHORT  ? read_u16(entry + 8, big)
               : type == TYPE_LONG ? read_u32(entry + 8, big)
                                   : 0;
    }
    return 0;
}

unsigned image_orientation(const uint8_t *bytes, size_t len)
{
    const block exif = find_exif(bytes, len);
    const uint32_t orientation = exif.bytes ? read_orientation(exif) : 0;
    return orientation >= 1 && orientation <= 8 ? orientation : 1;
}

/* ---- The turn ---- */

kd_status image_turn_upright(kd_image *image, unsigned orientation, kd_error *err)
{
    /* Where pixel (x, y) of the upright image comes from: the axes are swapped, the stored column
     * counts from the right, the stored row from the bottom (EXIF 2.3, 4.6.4). */
    static const struct {
        bool swapped, from_right, from_bottom;
    } turns[9] = {[2] = {false, true, false},
        [3] = {false, true, true},
        [4] = {false, false, true},
        [5] = {true, false, false},
        [6] = {true, false, true},
        [7] = {true, true, true},
        [8] = {true, true, false}};
    if (orientation < 2 || orientation > 8)
        return KD_OK;
    const bool swapped = turns[orientation].swapped;
    kd_image out;
    const kd_status status = image_make(
        &out, swapped ? image->height : image->width, swapped ? image->width : image->height, err);
    if (status != KD_OK)
        return status;
    uint8_t *to = out.pixels;
    for (uint32_t y = 0; y < out.height; y++) {
        for (uint32_t x = 0; x < out.width; x++, to += 3) {
            uint32_t column = swapped ? y : x, row = swapped ? x : y;
            if (turns[orientation].from_right)
                column = image->width - 1 - column;
            if (turns[orientation].from_bottom)
                row = image->height - 1 - row;
            memcpy(to, image->pixels + ((size_t)row * image->width + column) * 3, 3);
        }
    }
    kd_image_free(image);
    *image = out;
    return KD_OK;
}
