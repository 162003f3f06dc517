/* Lies about CLOCK_REALTIME: seconds since 1970 are those in the file that CLOCK_FILE names, as they were when the
 * file was written, going on from there. All other clocks and all waiting are the kernel's. Loaded by LD_PRELOAD. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    const char *path = getenv("CLOCK_FILE");
    if (result != 0 || path == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return result;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return result;
    char text[32] = {0};
    struct stat written;
    if (read(file, text, sizeof text - 1) > 0 && fstat(file, &written) == 0)
        now->tv_sec += atoll(text) - written.st_mtim.tv_sec;
    close(file);
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0)
        return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (out != NULL)
        *out = precise.tv_sec;
    return precise.tv_sec;
}
