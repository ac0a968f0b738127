/* Moves the clocks of one process tree: GUARD_TEST_CLOCK names a file "<wall seconds> <monotonic seconds>". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *path = getenv("GUARD_TEST_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char text[64] = "";
    long wall = 0, monotonic = 0;
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) > 0) sscanf(text, "%ld %ld", &wall, &monotonic);
        close(fd);
    }
    if (clock == CLOCK_REALTIME) now->tv_sec += wall;
    if (clock == CLOCK_MONOTONIC) now->tv_sec += monotonic;
    return result;
}
