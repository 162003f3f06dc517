#!/bin/sh
# build.sh ARCH: the program as OpenWrt's package has it, static with musl, built outside an SDK; its path on the last line.
#
# The standard library is built too, for size, which asks for the compiler's sources (rustup component add rust-src) and
# for RUSTC_BOOTSTRAP. ARCH is OpenWrt's name. MUSL is where musl for it is installed; without it that of Debian's
# musl-dev, which there is for the machine's own processor. For mips_24kc and mipsel_24kc musl is built from its source,
# soft-float as the routers are: CC="mips-linux-gnu-gcc -msoft-float" ./configure --disable-shared, make, make install.
set -eu
cd "$(dirname "$(readlink -f "$0")")/../.."

case ${1:?ARCH} in
x86_64) target=x86_64-unknown-linux-musl cc=gcc flags='' include=x86_64-linux-musl ;;
mips_24kc) target=mips-unknown-linux-musl cc=mips-linux-gnu-gcc flags='-msoft-float' include='' ;;
mipsel_24kc) target=mipsel-unknown-linux-musl cc=mipsel-linux-gnu-gcc flags='-msoft-float' include='' ;;
*) echo "build.sh: no settings for $1" >&2 && exit 1 ;;
esac
if [ -n "${MUSL:-}" ]; then
    headers=$MUSL/include lib=$MUSL/lib
elif [ -n "$include" ]; then
    headers=/usr/include/$include lib=/usr/lib/$include
else
    echo "build.sh: $1 needs MUSL, where musl for it is installed" >&2 && exit 1
fi
made=$(readlink -f "${CARGO_TARGET_DIR:-target}")/openwrt/$1
mkdir -p "$made"

# A C compiler that knows musl's headers, for ring, and a linker that takes musl's start files and nothing of glibc's.
gcc_lib=$(dirname "$($cc -print-libgcc-file-name)")
cat >"$made/cc" <<CC
#!/bin/sh
exec $cc $flags -nostdinc -isystem $headers -isystem $gcc_lib/include -fno-stack-protector -U_FORTIFY_SOURCE "\$@"
CC
cat >"$made/musl-gcc" <<LD
#!/bin/sh
exec $cc $flags -static -no-pie -nostdlib -nostartfiles -L$made -L$lib $lib/crt1.o $lib/crti.o "\$@" \\
    -Wl,--start-group $lib/libc.a $gcc_lib/libgcc.a -Wl,--end-group $lib/crtn.o
LD
chmod +x "$made/cc" "$made/musl-gcc"
# Nothing unwinds (profile size): what the standard library wants for backtraces is a stub, and they are empty.
RUSTC_BOOTSTRAP=1 rustc --edition 2021 --crate-type lib --emit obj --target "$target" -C panic=abort \
    -o "$made/unwind.o" packaging/openwrt/unwind.rs
rm -f "$made/libunwind.a"
ar crs "$made/libunwind.a" "$made/unwind.o"

name=$(echo "$target" | tr 'a-z-' 'A-Z_')
export RUSTC_BOOTSTRAP=1 "CC_$(echo "$target" | tr - _)=$made/cc" "CARGO_TARGET_${name}_LINKER=$made/musl-gcc"
export "CARGO_TARGET_${name}_RUSTFLAGS=-C target-feature=+crt-static -C relocation-model=static -C link-self-contained=no"
cargo build --quiet --locked --profile size --no-default-features --features openwrt --target "$target" \
    -Z build-std=std,panic_abort -Z build-std-features=optimize_for_size >&2
echo "${CARGO_TARGET_DIR:-target}/$target/size/wayleave"
