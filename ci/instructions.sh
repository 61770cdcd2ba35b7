#!/usr/bin/env bash
# Disassembles the kinglet program and checks that the kernels of each tier hold the instruction they are named for, and
# that no other function does.
#
#   ci/instructions.sh [PROGRAM]
#
# PROGRAM: a release build for x86-64 or aarch64 (default: this machine's, built here).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

program=${1:-}
if [[ -z $program ]]; then
  heading "instructions: build"
  build_programs
  program=$TARGET_DIR/release/kinglet
fi
heading "instructions of the tiers in $program"

# One line per demand:
#   every MNEMONIC SYMBOLS   there are functions whose names match SYMBOLS, and MNEMONIC occurs in each
#   only  MNEMONIC SYMBOLS   MNEMONIC occurs in no function but these
# GEMV of i8mm is that of dotprod, so the linker may keep it under either name.
case $(LC_ALL=C objdump -f "$program" 2>/dev/null | sed -n 's/^architecture: \([^,]*\),.*/\1/p') in
i386:x86-64)
  objdump=objdump
  demands='
every vpdpbusd ::AvxVnni as .*::(gemv|multiply)::<
every vpdpbusd ::Avx512Vnni as .*::(gemv|multiply)::<
every vpdpbusd ::float::table::avx512::attention_page$
every tdpbssd  ::amx::kernel::(whole|halves)$
only  vpdpbusd ::(AvxVnni as |Avx512Vnni as |float::table::avx512::)
only  (tdp.*|tile.*|ldtilecfg|sttilecfg) ::amx::kernel::(whole|halves)$
'
  ;;
*)
  objdump=aarch64-linux-gnu-objdump
  command -v $objdump >/dev/null || objdump=objdump
  demands='
every sdot  ::run::<.*::DotProd,
every sdot  ::gemv::<.*::(DotProd|I8mm),
every smmla ::run::<.*::I8mm,
only  sdot  ::(DotProd|I8mm)[,>]
only  smmla ::I8mm[,>]
only  (udot|usdot|sudot|ummla|usmmla) ^$
'
  ;;
esac

# Several names can share an address, so names and instructions are joined by it.
awk -v demands="$demands" '
  FNR == NR {
    if ($2 ~ /^[tTwW]$/) {
      address = $1
      sub(/^0+/, "", address)
      $1 = $2 = ""
      names[address] = names[address] "\n" substr($0, 3)
    }
    next
  }
  /^[0-9a-f]+ <.*>:$/ { at = $1; sub(/^0+/, "", at); next }
  { mnemonic = $2 == "{vex}" ? $3 : $2 }
  mnemonic ~ /^(vpdp|tdp|tile|ldtilecfg$|sttilecfg$|[us]*dot$|[us]*mmla$)/ { seen[at, mnemonic]; found[mnemonic, at] }
  END {
    count = split(demands, lines, "\n")
    for (i = 1; i <= count; i++) {
      if (split(lines[i], field, " ") < 3) continue
      symbols = lines[i]; sub(/^[a-z]+ +[^ ]+ +/, "", symbols)
      matching = 0
      if (field[1] == "every") {
        for (address in names) {
          k = split(names[address], name, "\n")
          for (j = 2; j <= k; j++) if (name[j] ~ symbols) {
            matching++
            if (!((address, field[2]) in seen)) { print "no " field[2] " in " name[j]; bad = 1 }
          }
        }
        if (!matching) { print "no function matches " symbols; bad = 1 }
        print "every", field[2] ": " matching " functions match " symbols
      } else {
        for (key in found) {
          split(key, part, SUBSEP)
          if (part[1] !~ "^" field[2] "$") continue
          matching++
          if (names[part[2]] !~ symbols) { print part[1] " in" names[part[2]]; bad = 1 }
        }
        print "only", field[2] ": " matching " functions hold it"
      }
    }
    exit bad
  }' <(nm -C "$program") \
  <($objdump -d --no-show-raw-insn "$program") || die "the tiers of $program do not hold the instructions they should"
finish
