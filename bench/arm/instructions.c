// A QEMU plugin that counts the instructions a program executes and prints the number to standard error when it ends.
//
//   gcc -O2 -shared -fPIC -o instructions.so instructions.c
//   qemu-aarch64 -plugin ./instructions.so PROGRAM ...
//
// Debian has no package with qemu-plugin.h, so what is used of it (interface version 1, QEMU 7 and 8) is declared here.

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb * tb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb * tb, int op, void * value, uint64_t add);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, void *), void * user);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

// Programs are run on one thread, so no lock is needed.
static uint64_t executed;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb * tb) {
    (void) id;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(tb));
}

static void ended(qemu_plugin_id_t id, void * user) {
    (void) id;
    (void) user;
    fprintf(stderr, "\ninstructions %llu\n", (unsigned long long) executed);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void * info, int argc, char ** argv) {
    (void) info;
    (void) argc;
    (void) argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
