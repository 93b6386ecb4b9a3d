#include "services/gateway/cli/files.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "services/gateway/cli/cli.h"

kd_status cli_read_image(const char *path, kd_buf *out, kd_error *err)
{
    return kd_file_read(path, KD_IMAGE_MAX_BYTES, out, err);
}

char *cli_absolute(const char *path)
{
    char *const real = realpath(path, NULL);
    if (real)
        return real;
    if (path[0] == '/') /* may be there on the server's side */
        return cli_must(strdup(path));
    char *const here = cli_must(get_current_dir_name());
    char *const whole = cli_must(kd_format("%s/%s", here, path));
    free(here);
    return whole;
}
