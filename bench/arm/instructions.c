// A QEMU plugin that counts the instructions a program executes. It prints to standard error
//   region N                    those between two markers, as soon as the second is reached (kernels/examples/count.rs)
//   instructions N, prefetches N   all others and AArch64's prefetches, when the program ends
// A marker is `hint #100` on AArch64 and `xchg r13, r13` on x86-64: neither does anything, and compilers use neither.
//
//   gcc -O2 -shared -fPIC -o instructions.so instructions.c
//   qemu-aarch64 -plugin ./instructions.so PROGRAM ...
//
// Debian has no package with qemu-plugin.h, so what is used of it (interface version 1, QEMU 7 and 8) is declared here.

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };
enum { QEMU_PLUGIN_CB_NO_REGS = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb * tb);
struct qemu_plugin_insn * qemu_plugin_tb_get_insn(const struct qemu_plugin_tb * tb, size_t index);
const void * qemu_plugin_insn_data(const struct qemu_plugin_insn * insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn * insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn * insn, void (*cb)(unsigned, void *), int flags, void * user);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb * tb, int op, void * value, uint64_t add);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void * user);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

// One thread runs at a time, so no lock is needed.
static uint64_t executed, prefetches, at_first_marker;
static int within, aarch64;

static int is_prefetch(uint32_t word) {
    return (word & 0xffc00000) == 0xf9800000  // PRFM (immediate)
        || (word & 0xffe00c00) == 0xf8a00800  // PRFM (register)
        || (word & 0xffe00c00) == 0xf8800000; // PRFUM
}

// A block was counted as a whole when it was entered: `user` is how many of its instructions come from the marker on.
static void marker(unsigned vcpu, void * user) {
    (void) vcpu;
    const uint64_t before = executed - (uintptr_t) user;
    if (within) fprintf(stderr, "\nregion %llu\n", (unsigned long long) (before - at_first_marker));
    at_first_marker = before;
    within = !within;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb * tb) {
    (void) id;
    const size_t all = qemu_plugin_tb_n_insns(tb);
    size_t prfm = 0;
    for (size_t i = 0; i < all; i++) {
        struct qemu_plugin_insn * insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word = 0;
        const size_t size = qemu_plugin_insn_size(insn);
        memcpy(&word, qemu_plugin_insn_data(insn), size < 4 ? size : 4);
        if (aarch64) prfm += is_prefetch(word);
        if (aarch64 ? word == 0xd5032c9f : size == 3 && word == 0xed874d) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, marker, QEMU_PLUGIN_CB_NO_REGS, (void *) (uintptr_t) (all - i));
        }
    }
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed, all);
    if (prfm) qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &prefetches, prfm);
}

static void ended(qemu_plugin_id_t id, void * user) {
    (void) id;
    (void) user;
    fprintf(stderr, "\ninstructions %llu\nprefetches %llu\n", (unsigned long long) (executed - prefetches), (unsigned long long) prefetches);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void * info, int argc, char ** argv) {
    // The first field of qemu_info_t is the name of what is emulated.
    aarch64 = strcmp(*(const char * const *) info, "aarch64") == 0;
    (void) argc;
    (void) argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
