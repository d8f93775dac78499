/* volume NAME DISK [suspend]: a device-mapper volume that is all of DISK, as dmsetup makes it from a table "linear".
 *
 * With `suspend` the volume NAME, which is there already, is suspended: what is submitted from now on waits in it.
 */
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int control;
static const char *volume;

/* One command with `size` bytes behind its header; these begin with a struct dm_target_spec where there are any. */
static int command(unsigned long number, unsigned flags, const void *target, size_t size)
{
    char room[4096] = {0};
    struct dm_ioctl *words = (void *)room;

    words->version[0] = DM_VERSION_MAJOR;
    words->data_size = sizeof room;
    words->data_start = sizeof *words;
    words->flags = flags;
    strncpy(words->name, volume, sizeof words->name - 1);
    if (size) {
        words->target_count = 1;
        memcpy(room + sizeof *words, target, size);
    }
    return ioctl(control, number, words);
}

int main(int count, char **words)
{
    struct {
        struct dm_target_spec target;
        char parameters[256];
    } table = {{0}};
    int disk;

    if (count < 3)
        return 2;
    volume = words[1];
    control = open("/dev/mapper/control", O_RDWR);
    if (control < 0)
        return 3;
    if (count > 3)
        return command(DM_DEV_SUSPEND, DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG, NULL, 0) ? 4 : 0;
    disk = open(words[2], O_RDONLY);
    if (disk < 0)
        return 5;
    table.target.length = lseek(disk, 0, SEEK_END) / 512;
    strcpy(table.target.target_type, "linear");
    snprintf(table.parameters, sizeof table.parameters, "%s 0", words[2]);
    if (command(DM_DEV_CREATE, 0, NULL, 0) || command(DM_TABLE_LOAD, 0, &table, sizeof table))
        return 6;
    return command(DM_DEV_SUSPEND, 0, NULL, 0) ? 7 : 0;
}
