# shellcheck shell=bash
# Sourced by what fetches packages of Debian's: they come from the mirror that this machine uses, whatever its own release is,
# and nothing is installed.

# debian WORK LIST…: finds the mirror, and sets `options` for apt-get and apt-cache to the lists of this line, whose "MIRROR"
# stands for the mirror. All that apt keeps is below WORK.
debian() {
    local work=$1 mirror
    shift
    # Of the mirrors in this machine's own list the first of Debian's main archive, in either of the two formats.
    mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>/dev/null |
        sed -nE 's/^URIs:[[:space:]]*//p; s/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' | tr ' ' '\n' |
        grep -E '/debian/?$' | head -1) || true
    if [ -z "$mirror" ] || ! command -v apt-get >/dev/null; then
        echo "${0##*/}: no mirror of Debian is known here" >&2
        return 1
    fi
    mkdir -p "$work"/{lists,archives}/partial
    echo "${*//MIRROR/$mirror}" >"$work/sources.list"
    options=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work" -o APT::Architecture=amd64
        -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o Acquire::Retries=3)
    [ "$(id -u)" != 0 ] || options+=(-o APT::Sandbox::User=root)
    apt-get "${options[@]}" update >&2
}
