#include "services/gateway/cli/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "services/gateway/cli/cli.h"

kd_status cli_file_begin(cli_file *file, const char *path, kd_error *err)
{
    *file = (cli_file)CLI_FILE_INIT;
    file->path = cli_must(strdup(path));
    file->beside = cli_must(kd_format("%s.XXXXXX", path));
    const int fd = mkostemp(file->beside, O_CLOEXEC);
    if (fd >= 0)
        file->stream = fdopen(fd, "wb");
    if (file->stream)
        return KD_OK;
    const kd_status status = kd_error_errno(err, errno, "cannot write beside %s", path);
    if (fd >= 0) {
        (void)close(fd);
    } else { /* nothing to remove */
        free(file->beside);
        file->beside = NULL;
    }
    cli_file_drop(file);
    return status;
}

kd_status cli_file_commit(cli_file *file, kd_error *err)
{
    kd_status status = KD_OK;
    const int fd = fileno(file->stream);
    if (ferror(file->stream) || fflush(file->stream) != 0 || fchmod(fd, 0644) != 0 ||
        fsync(fd) != 0)
        status = kd_error_errno(err, errno, "cannot write %s", file->path);
    if (fclose(file->stream) != 0 && status == KD_OK)
        status = kd_error_errno(err, errno, "cannot write %s", file->path);
    file->stream = NULL;
    if (status == KD_OK && rename(file->beside, file->path) != 0)
        status = kd_error_errno(err, errno, "cannot replace %s", file->path);
    if (status == KD_OK) {
        free(file->beside);
        file->beside = NULL;
    }
    cli_file_drop(file);
    return status;
}

void cli_file_drop(cli_file *file)
{
    if (file->stream)
        (void)fclose(file->stream);
    if (file->beside)
        (void)unlink(file->beside);
    free(file->beside);
    free(file->path);
    *file = (cli_file)CLI_FILE_INIT;
}

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
