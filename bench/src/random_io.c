/* Reads and writes blocks of 4 KiB at random places of a disk, one after the other and past all caches of the guest.
   random_io DISK BYTES SECONDS: says how many. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096 };

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int count, char **args) {
    if (count != 4) return 2;
    int disk = open(args[1], O_RDWR | O_DIRECT);
    uint64_t blocks = strtoull(args[2], NULL, 10) / BLOCK, dice = 88172645463325252u;
    void *block;
    if (disk < 0 || blocks == 0 || posix_memalign(&block, BLOCK, BLOCK) != 0) {
        perror(args[1]);
        return 1;
    }
    memset(block, 0xa5, BLOCK);
    double end = now() + atof(args[3]);
    long done = 0;
    for (; now() < end; done++) {
        /* xorshift64 */
        dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
        off_t at = (off_t)(dice % blocks * BLOCK);
        ssize_t moved = dice >> 63 ? pwrite(disk, block, BLOCK, at) : pread(disk, block, BLOCK, at);
        if (moved != BLOCK) {
            perror(args[1]);
            return 1;
        }
    }
    printf("%ld\n", done);
    return 0;
}
