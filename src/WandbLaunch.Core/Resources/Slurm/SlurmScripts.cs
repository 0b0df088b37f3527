namespace WandbLaunch.Resources;

/// <summary>
/// What runs on the cluster's side, in the shell that every node has. Words come as $1, $2 … and never within a text; larger
/// things by standard input. Nothing here holds a secret.
/// </summary>
internal static class SlurmScripts
{
    /// <summary>Before every script: files are the user's own, and Slurm's commands are found, also where only a login shell has them on its path.</summary>
    internal const string Preamble = """
        umask 077
        command -v sbatch > /dev/null 2>&1 || { [ -r /etc/profile ] && . /etc/profile; } > /dev/null 2>&1
        export LC_ALL=C SLURM_TIME_FORMAT=standard
        clean() {
          # The run's variables come from its own file; of this shell only what finds programs, the cluster and the account goes along.
          words=$(for n in PATH HOME USER LOGNAME SHELL LANG TZ SLURM_CONF SBATCH_ACCOUNT SBATCH_PARTITION SBATCH_QOS SBATCH_RESERVATION; do
            eval "v=\${$n-}"
            if [ -n "$v" ]; then printf "%s='%s' " "$n" "$(printf '%s' "$v" | sed "s/'/'\\\\''/g")"; fi
          done)
          q=; for w in "$@"; do q="$q '$(printf '%s' "$w" | sed "s/'/'\\\\''/g")'"; done
          eval "env -i $words $q"
        }
        away() { case $1 in *'Unable to contact'* | *'timed out'* | *'onnection refused'* | *'connect failure'* | *'onfiguration source'* | *'Zero Bytes'* | *'Slurm backup controller in standby'* | *'Unexpected message received'* | *'Transport endpoint'* | *'oo many requests'*) return 0;; esac; return 1; }

        """;

    /// <summary>Makes the folder $1 (or the usual one) and says where it is, and which Slurm is here.</summary>
    internal const string Open = """
        root=${1:-$HOME/.local/share/WandbLaunch/slurm}
        mkdir -p "$root/runs" "$root/code" "$root/venvs" "$root/images" "$root/pip" || exit 73
        chmod 700 "$root"
        cd "$root" && pwd -P || exit 73
        command -v sbatch > /dev/null 2>&1 || exit 69
        squeue --version || exit 70
        """;

    /// <summary>True when the code $2 is there already.</summary>
    internal const string HasCode = """
        [ -e "$1/code/$2.tar" ] && touch -c "$1/code/$2.tar"
        """;

    /// <summary>Takes the code $2 from standard input. What nobody used for months goes.</summary>
    internal const string TakeCode = """
        cat > "$1/code/.$2.$$" || { rm -f "$1/code/.$2.$$"; exit 74; }
        mv -f "$1/code/.$2.$$" "$1/code/$2.tar" || exit 74
        find "$1/code" -name '*.tar' -mtime +90 -exec rm -f {} + 2> /dev/null
        exit 0
        """;

    /// <summary>Writes the settings of pip of the run $2.</summary>
    internal const string TakePip = """
        cat > "$1/pip/$2"
        """;

    /// <summary>
    /// How a run that was handed over before is found: by what was written down then, by what it wrote when it began, by the
    /// name that its job has. 75: nobody can say now.
    /// </summary>
    private const string Lookup = """
        lookup() {
          k=; if [ -s "runs/$1/job" ] && read -r k < "runs/$1/job"; then printf '%s\n' "$k"; return 0; fi
          if [ -s "runs/$1/started" ] && read -r k < "runs/$1/started"; then printf '%s\n' "$k"; return 0; fi
          n=; if [ -s "runs/$1/batch" ]; then read -r n i d < "runs/$1/batch"; fi
          [ -n "$n" ] || return 1
          a=$(squeue -h -t all -u "$(id -un)" -n "$n" -o '%F|%Z' 2>&1) || { away "$a" && return 75; return 75; }
          a=$(printf '%s\n' "$a" | grep -F "|$root/runs/$d" | head -n 1)
          [ -n "$a" ] || return 1
          k=${a%%|*}; [ "$i" = - ] || k=${k}_$i
          printf '%s\n' "$k" > "runs/$1/job"; printf '%s\n' "$k"
        }

        """;

    /// <summary>Finds the run $2: its job, or nothing.</summary>
    internal const string Find =
        Lookup
        + """
            cd "$1" || exit 73
            root=$1
            lookup "$2" || [ $? = 1 ]
            """;

    /// <summary>
    /// Hands over runs: $1 folder, $2 name, $3 how many runs, their ids, then sbatch's words; their files come as an archive.
    /// One at a time, so that whoever comes after one that was killed finds what that one's sbatch still did; and the archive is
    /// sent when it is this one's turn, for one that was killed while it waited must not hand over what others have ended
    /// meanwhile. Where some are known already, nothing is handed over and these are said: 3.
    /// </summary>
    internal const string Submit =
        Lookup
        + """
            cd "$1" || exit 73
            root=$1 name=$2 count=$3; shift 3
            exec 9>> submit.lock
            flock -E 100 -w 200 9 2> /dev/null; [ $? != 100 ] || { echo 'another submission takes too long' >&2; exit 75; }
            ids=; n=0; known=
            while [ $n -lt "$count" ]; do
              if [ -e "runs/$1" ]; then
                k=$(lookup "$1"); r=$?
                case $r in
                  0) known=1; printf 'known %s %s\n' "$1" "$k";;
                  1) rm -rf "runs/$1";;
                  *) exit 75;;
                esac
              fi
              ids="$ids $1"; n=$((n + 1)); shift
            done
            [ -z "$known" ] || exit 3
            # Whoever asked may be gone since: then nothing comes, and nothing is made.
            echo ready
            forget() { for i in $ids; do rm -rf "runs/$i"; done; }
            tar -xf - || { forget; exit 74; }
            first=${ids# }; first=${first%% *}
            [ -s "runs/$first/job.sh" ] || { forget; exit 74; }
            out=$(clean sbatch --parsable "--job-name=$name" "--chdir=$root/runs/$first" "$@" "runs/$first/job.sh" 2> "runs/$first/.errors" 9>&-); r=$?
            err=$(cat "runs/$first/.errors"); rm -f "runs/$first/.errors"
            if [ $r != 0 ]; then
              if ! away "$err"; then forget; printf '%s\n' "$err" >&2; exit 4; fi
              # One that was never reached took nothing. Else it may have taken it all the same.
              case $err in *'connect failure'* | *'onnection refused'* | *'onfiguration source'*) forget; printf '%s\n' "$err" >&2; exit 75;; esac
              k=; for pause in 1 3 6; do
                sleep $pause
                if k=$(lookup "$first"); then break; fi
              done
              printf '%s\n' "$err" >&2
              [ -n "$k" ] || exit 75
              out=${k%%_*}
            fi
            key=$(printf '%s\n' "$out" | sed -n 's/^\([0-9][0-9]*\)\(;.*\)*$/\1/p' | tail -n 1)
            [ -n "$key" ] || { printf '%s\n' "$out" >&2; exit 75; }
            i=0
            for id in $ids; do
              if [ "$count" = 1 ]; then printf '%s\n' "$key" > "runs/$id/job"; else printf '%s\n' "${key}_$i" > "runs/$id/job"; fi
              i=$((i + 1))
            done
            printf 'job %s\n' "$key"
            """;

    /// <summary>What sbatch would do with the words.</summary>
    internal const string Test = """
        printf '#!/bin/sh\n' | clean sbatch --test-only "$@"
        """;

    /// <summary>squeue with words, each job that it knows.</summary>
    internal const string Queue = """
        out=$(squeue -t all "$@" 2>&1) && { printf '%s\n' "$out"; exit 0; }
        case $out in *'Invalid job id'*) exit 0;; esac
        printf '%s\n' "$out" >&2
        away "$out" && exit 75
        exit 1
        """;

    /// <summary>sacct with words; 71 where the cluster keeps no accounts.</summary>
    internal const string Accounting = """
        out=$(sacct "$@" 2>&1) && { printf '%s\n' "$out"; exit 0; }
        printf '%s\n' "$out" >&2
        case $out in *'is disabled'* | *'not found'* | *'o such file'*) exit 71;; esac
        exit 75
        """;

    /// <summary>What runs wrote at their end, and how long those that have no job any more and wrote nothing are missing: $1 folder, then ids, those that are missing with a - before them.</summary>
    internal const string Markers = """
        cd "$1/runs" || exit 73
        shift
        now=$(date +%s)
        for w in "$@"; do
          id=${w#-}
          if [ ! -d "$id" ]; then printf '=%s\ngone=1\n' "$id"; continue; fi
          if [ -f "$id/exit" ]; then printf '=%s\n' "$id"; cat "$id/exit"; continue; fi
          k=; if [ -s "$id/started" ]; then read -r k < "$id/started"; fi
          if [ "$id" = "$w" ]; then
            [ -z "$k" ] || printf '=%s\nkey=%s\n' "$id" "$k"
          else
            [ -s "$id/missing" ] || printf '%s\n' "$now" > "$id/missing"
            at=; read -r at < "$id/missing"
            printf '=%s\nkey=%s\nmissing=%s\n' "$id" "$k" "$((now - ${at:-$now}))"
          fi
        done
        """;

    /// <summary>New output of runs: $1 folder, $2 most bytes of each, then ids and how far each was read.</summary>
    internal const string Logs = """
        cd "$1/runs" || exit 73
        most=$2; shift 2
        while [ $# -gt 1 ]; do
          if [ -f "$1/output.log" ]; then
            size=$(wc -c < "$1/output.log")
            if [ "$size" -gt "$2" ]; then printf '=%s ' "$1"; tail -c "+$(($2 + 1))" "$1/output.log" | head -c "$most" | base64 | tr -d '\n'; printf '\n'; fi
          fi
          if [ -f "$1/exit" ]; then printf '.%s\n' "$1"; fi
          shift 2
        done
        """;

    /// <summary>Asks a job to end: out of the queue where it waits, by a signal to all its processes where it runs.</summary>
    internal const string Ask = """
        e=$(scancel --state=PENDING "$1" 2>&1; scancel --signal=TERM --full "$1" 2>&1)
        if away "$e"; then printf '%s\n' "$e" >&2; exit 75; fi
        exit 0
        """;

    /// <summary>Ends a job that did not end by itself.</summary>
    internal const string Cancel = """
        e=$(scancel "$1" 2>&1) || { away "$e" && { printf '%s\n' "$e" >&2; exit 75; }; }
        exit 0
        """;

    /// <summary>Takes a run's folder away, or its secrets alone where the rest was to be kept: $1 folder, $2 id.</summary>
    internal const string Forget = """
        cd "$1" || exit 73
        rm -f "runs/$2/env" "pip/$2"
        [ -e "runs/$2/keep" ] || rm -rf "runs/$2"
        """;

    /// <summary>
    /// Makes a virtual environment, once for each list of packages and each Python: root, the hash of the list, the version
    /// that is wanted, the list, whether it is frozen, and the settings of pip. Used on the login node and on the run's own.
    /// </summary>
    internal const string Environments = """
        find_python() {
          for p in ${1:+"python$1"} python3 python; do
            if command -v "$p" > /dev/null 2>&1; then command -v "$p"; return 0; fi
          done
          return 1
        }
        environment() {
          root=$1 hash=$2 wanted=$3 list=$4 frozen=$5 pip=$6
          python=$(find_python "$wanted") || return 71
          tag=$("$python" -c 'import sys, platform, hashlib, os
        p = os.path.realpath(sys.executable)
        print("%d.%d-%s-%s" % (sys.version_info[0], sys.version_info[1], platform.machine(), hashlib.sha1((p + sys.version).encode()).hexdigest()[:10]))') || return 71
          venv=$root/venvs/$hash-$tag
          if [ -e "$venv/wandblaunch-ready" ]; then touch -c "$venv"; return 0; fi
          (
            exec 8>> "$venv.lock"
            if ! flock 8 2> /dev/null; then
              # A file system without locks: nobody else may be met.
              venv=$root/venvs/$hash-$tag.${SLURM_JOB_ID:-login}.$$
            fi
            [ -e "$venv/wandblaunch-ready" ] && exit 0
            rm -rf "$venv"
            if ! "$python" -m venv "$venv" 8>&-; then rm -rf "$venv"; exit 72; fi
            if [ -n "$list" ] && [ -s "$list" ]; then
              cp "$list" "$venv/requirements.wandblaunch.txt"
              (
                if [ -n "$pip" ] && [ -f "$pip" ]; then . "$pip"; fi
                exec "$venv/bin/python" "$root/bootstrap.py" "$venv/requirements.wandblaunch.txt" "$frozen" 8>&-
              ) || { rm -rf "$venv"; exit 65; }
            fi
            : > "$venv/wandblaunch-ready"
          ) || return $?
          [ -e "$venv/wandblaunch-ready" ] || venv=$(ls -d "$root/venvs/$hash-$tag."*.$$ 2> /dev/null | head -n 1)
          [ -n "$venv" ]
        }

        """;

    /// <summary>Makes the environment on the login node: $1 folder, $2 hash, $3 version, $4 strict or frozen, $5 id of the run whose settings of pip count, $6 the program that installs. The list comes by standard input.</summary>
    internal const string Prepare =
        Environments
        + """
            cd "$1" || exit 73
            printf '%s\n' "$6" > ".bootstrap.$$" && mv -f ".bootstrap.$$" bootstrap.py
            cat > "pip/$2.txt.$$" && mv -f "pip/$2.txt.$$" "pip/$2.txt" || exit 74
            environment "$1" "$2" "$3" "$1/pip/$2.txt" "$4" "$1/pip/$5" 2>&1
            """;

    /// <summary>True when the environment of $2 is there for the login node's Python.</summary>
    internal const string IsPrepared = """
        ls -d "$1/venvs/$2"-*/wandblaunch-ready > /dev/null 2>&1
        """;
}
