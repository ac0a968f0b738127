/* Takes memory, 2 MiB a step: 40 MiB, then after each line of its input as many MiB as the second argument says; how is
   named by the first. gcc leaky.c -pthread */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP (2 << 20)

static char zeroed[512 << 20];
static int done;

static void keep_records(int i) { /* small ones: the heap grows */
    (void)i;
    for (int n = 0; n < STEP / 1024; n++) {
        char *record = malloc(1000);
        memset(record, 'r', 1000);
    }
}

static void keep_buffer(int i) { /* a large one: malloc maps it */
    (void)i;
    memset(malloc(STEP), 'b', STEP);
}

static void fill_table(int i) { memset(zeroed + (size_t)i * STEP, 't', STEP); }

static void share_pages(int i) {
    static int fd = -1;
    if (fd < 0) {
        fd = open("/dev/shm/guard-leaky", O_RDWR | O_CREAT | O_TRUNC, 0600);
        unlink("/dev/shm/guard-leaky");
    }
    if (ftruncate(fd, (off_t)(i + 1) * STEP)) exit(3);
    memset(mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)i * STEP), 's', STEP);
}

static const char *path;

static void map_file(int i) { /* what a database does: pages of the file cache, held by a mapping */
    static int fd = -1;
    static char page[STEP];
    if (fd < 0) fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (pwrite(fd, page, STEP, (off_t)i * STEP) != STEP) exit(3);
    char *mapped = mmap(NULL, STEP, PROT_READ, MAP_SHARED, fd, (off_t)i * STEP);
    for (int n = 0; n < STEP; n += 4096) done += mapped[n];
}

static void *wait_for_ever(void *unused) {
    char deep[1 << 20];
    memset(deep, 'd', sizeof deep);
    pause();
    return unused;
}

static void start_threads(int i) {
    (void)i;
    for (int n = 0; n < 2; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, wait_for_ever, NULL)) exit(3);
    }
}

static sem_t asked, taken;

static void *keep_in_thread(void *unused) { /* malloc gives threads arenas of their own */
    for (int i = 0;; i++) {
        sem_wait(&asked);
        keep_records(i);
        sem_post(&taken);
    }
    return unused;
}

static void keep_in_arenas(int i) {
    static pthread_t threads[2];
    for (int n = 0; i == 0 && n < 2; n++)
        if (pthread_create(&threads[n], NULL, keep_in_thread, NULL)) exit(3);
    sem_post(&asked);
    sem_wait(&taken);
}

int main(int argc, char **argv) {
    int more = argc > 2 ? atoi(argv[2]) / 2 : 50, line;
    struct { const char *name; void (*take)(int); } ways[] = {
        {"heap", keep_records}, {"buffer", keep_buffer}, {"bss", fill_table}, {"shm", share_pages},
        {"file", map_file}, {"threads", start_threads}, {"arenas", keep_in_arenas},
    };
    path = argc > 3 ? argv[3] : NULL;
    for (size_t n = 0; n < sizeof ways / sizeof *ways; n++) {
        if (argc < 2 || strcmp(argv[1], ways[n].name)) continue;
        int i = 0;
        for (int until = 20;; until = i + more) {
            for (; i < until; i++) {
                ways[n].take(i);
                usleep(10000);
            }
            while ((line = getchar()) != '\n')
                if (line == EOF) return 0;
        }
    }
    return 2;
}
