#!/usr/bin/env bash
# Which libraries are in the program, under which licences, and the text of each licence once.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
target=$(rustc -vV | sed -n 's/^host: //p')

# NAME VERSION LICENCE of everything that is linked in.
linked() {
    cargo tree --locked --target "$target" --edges normal --prefix none --format '{p}|{l}' |
        sed 's/ (proc-macro)//; s/ (\*)$//; s| (/.*)||; s/ v\([^ |]*\)/ \1/' | grep -v '^wayleave ' | sort -u
}

printf 'Libraries in the program wayleave:\n\n'
linked | while IFS='|' read -r crate licence; do printf '%-36s %s\n' "$crate" "$licence"; done

directories=$(cargo metadata --locked --format-version 1 --filter-platform "$target" |
    jq -r '.packages[] | "\(.name) \(.version)|\(.manifest_path | sub("/Cargo.toml$"; ""))"')
texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
# One file per text: the crates first, then the text.
while IFS='|' read -r crate _; do
    directory=$(sed -n "s/^$crate|//p" <<<"$directories")
    for file in "$directory"/{LICEN[CS]E,COPYING,COPYRIGHT,UNLICENSE,NOTICE}*; do
        [ -f "$file" ] || continue
        text=$texts/$(sha256sum <"$file" | cut -d' ' -f1)
        [ -e "$text" ] || cp "$file" "$text"
        echo "$crate" >>"$text.crates"
    done
done < <(linked)
for crates in "$texts"/*.crates; do
    printf '\n%s\n%s:\n\n' "$(printf '=%.0s' {1..100})" "$(sort -u "$crates" | paste -sd, | sed 's/,/, /g' | fold -s -w 100)"
    cat "${crates%.crates}"
done
