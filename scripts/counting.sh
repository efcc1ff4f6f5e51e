# shellcheck shell=bash
# Sourced by the scripts that run tests: adds up what test programs say, so that the last line can be
# "N passed, N failed, N skipped". An end-to-end test that fails is run once more, alone: on a busy machine a limit of time
# may be missed by chance. If it passes then, it is counted as passed and named as FLAKY; the line before the last counts
# those.

passed=0 failed=0 skipped=0 flaky=()

say() { printf '\n== %s ==\n' "$*"; }

fails() { # fails WHAT: a step or a test program that is no test and has failed
    echo "${0##*/}: failed: $*" >&2
    failed=$((failed + 1))
}

finish() { # the closing lines, and the end
    [ ${#flaky[@]} = 0 ] || echo "flaky: ${#flaky[@]} ($(printf '%s\n' "${flaky[@]}" | paste -sd, | sed 's/,/, /g'))"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ] || exit 1
    exit 0
}

# Of what libtest wrote: "passed failed skipped". A test that can't run where it is says SKIPPED, and libtest calls it ok.
sums_of() { # sums_of FILE
    awk '
        /^test result:/ {
            for (i = 2; i <= NF; i++) {
                if ($i ~ /^passed/) p += $(i - 1)
                if ($i ~ /^failed/) f += $(i - 1)
                if ($i ~ /^ignored/) s += $(i - 1)
            }
        }
        /^SKIPPED / { p--; s++ }
        END { print p + 0, f + 0, s + 0 }' "$1"
}

# The names of the tests that failed, a line each: of each test program the list before its result. A list that is not as
# long as the result says was broken by what a test wrote, and counts for nothing.
failures_of() { # failures_of FILE
    awk '
        /^failures:$/ { listed = 0; next }
        /^    [^ ]+$/ { names[listed++] = $1 }
        /^test result:/ {
            for (i = 2; i <= NF; i++) if ($i ~ /^failed/) count = $(i - 1)
            if (count == listed) for (i = 0; i < listed; i++) print names[i]
            listed = count = 0
        }' "$1"
}

# count COMMAND…: runs test programs and adds up what they say.
count() { tally "" "$@"; }

# count_again COMMAND…: the same; each test that fails is run again by the same command with its name added. The command
# ends with the arguments of libtest, and the number of threads comes from RUST_TEST_THREADS.
count_again() { tally again "$@"; }

tally() {
    local again=$1 log status p f s name dead
    shift
    log=$(mktemp)
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    read -r p f s < <(sums_of "$log")
    # A test program that does not build, or dies, leaves no result behind.
    dead=$(dead_of "$log" "$status")
    if [ -n "$again" ] && [ "$f" -gt 0 ]; then
        while read -r name; do
            if passes_alone "$name" "$@"; then
                echo "FLAKY $name: failed beside others, passed alone"
                flaky+=("$name")
                p=$((p + 1)) f=$((f - 1))
            fi
        done < <(failures_of "$log")
    fi
    rm -f "$log"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    while [ "$dead" -gt 0 ]; do
        fails "no result of" "$@"
        dead=$((dead - 1))
    done
}

# How many test programs failed without a result that says so: cargo names each one that failed.
dead_of() { # dead_of FILE STATUS
    awk -v status="$2" '
        /^error: (test|doctest) failed, to rerun pass/ { bad++ }
        /^test result: FAILED/ { told++ }
        END {
            if (status != 0 && !bad) bad = 1
            print (bad > told ? bad - told : 0)
        }' "$1"
}

passes_alone() { # passes_alone NAME COMMAND…
    local name=$1 log status p f s
    shift
    log=$(mktemp)
    say "$name once more, alone"
    RUST_TEST_THREADS=1 "$@" --exact "$name" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    read -r p f s < <(sums_of "$log")
    rm -f "$log"
    # A name that was not found is no success, and neither is a test that was skipped.
    [ "$status" = 0 ] && [ "$f" = 0 ] && [ "$p" -ge 1 ]
}
