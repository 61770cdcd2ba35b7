// A QEMU plugin that counts the AArch64 instructions a program executes, prefetches apart from all others, and prints both
// numbers to standard error when it ends.
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

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb * tb);
struct qemu_plugin_insn * qemu_plugin_tb_get_insn(const struct qemu_plugin_tb * tb, size_t index);
const void * qemu_plugin_insn_data(const struct qemu_plugin_insn * insn);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb * tb, int op, void * value, uint64_t add);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void * user);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

// Programs are run on one thread, so no lock is needed.
static uint64_t executed, prefetches;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb * tb) {
    (void) id;
    size_t all = qemu_plugin_tb_n_insns(tb), prfm = 0;
    for (size_t i = 0; i < all; i++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof word);
        prfm += (word & 0xffc00000) == 0xf9800000  // PRFM (immediate)
             || (word & 0xffe00c00) == 0xf8a00800  // PRFM (register)
             || (word & 0xffe00c00) == 0xf8800000; // PRFUM
    }
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed, all - prfm);
    if (prfm) qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &prefetches, prfm);
}

static void ended(qemu_plugin_id_t id, void * user) {
    (void) id;
    (void) user;
    fprintf(stderr, "\ninstructions %llu\nprefetches %llu\n", (unsigned long long) executed, (unsigned long long) prefetches);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void * info, int argc, char ** argv) {
    (void) info;
    (void) argc;
    (void) argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
