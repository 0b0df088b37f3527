using System.Text;

namespace WandbLaunch.Resources;

/// <summary>The batch script: one for a run or for all tasks of an array. What is each run's own is in files of its folder.</summary>
internal static class SlurmBatch
{
    /// <summary>The whole script.</summary>
    internal static string Text(string root, IReadOnlyList<string> ids, SlurmData data) =>
        $"""
            #!/bin/sh
            # The batch script of WandbLaunch. It holds no secrets: those are in the run's own folder, and go with its end.
            root={Quote(root)} requeue={(data.Requeue ? 1 : 0)} srun={(data.Srun ? 1 : 0)} array={(
                ids.Count > 1 ? 1 : 0
            )}
            set -- {string.Join(' ', ids)}
            {(ids.Count > 1 ? "shift \"$SLURM_ARRAY_TASK_ID\"" : "")}
            id=$1; set --

            """
        + SlurmScripts.Environments
        + Body;

    /// <summary>The file of one run that says what it runs: words and names of what it needs.</summary>
    internal static string Command(RunSpec spec, SlurmData data, IEnumerable<string> names)
    {
        var text = new StringBuilder();
        Set("code", data.Code);
        Set("image", spec.Image);
        Set("gpu", data.Gpu ? "1" : null);
        Set("hash", data.RequirementsHash);
        Set("frozen", data.Frozen ? "frozen" : "strict");
        Set("needs_python", data.NeedsPython ? "1" : null);
        Set("wanted", data.PythonVersion);
        Set("mounts", string.Join('\n', data.Volumes));
        Set("names", string.Join(' ', names));
        text.Append("set --");
        foreach (var word in spec.Command.Concat(spec.Arguments))
        {
            text.Append(' ').Append(Quote(word));
        }

        return text.Append('\n').ToString();

        void Set(string name, string? value) => text.Append(name).Append('=').Append(Quote(value ?? "")).Append('\n');
    }

    /// <summary>The file of one run's variables, secrets among them: private, and gone with the run.</summary>
    internal static string Variables(IEnumerable<KeyValuePair<string, string>> variables)
    {
        var text = new StringBuilder();
        foreach (var (name, value) in variables)
        {
            text.Append("export ").Append(name).Append('=').Append(Quote(value)).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>One word of a shell, whatever is in it.</summary>
    internal static string Quote(string text) => "'" + text.Replace("'", "'\\''", StringComparison.Ordinal) + "'";

    private const string Body = """
        run=$root/runs/$id
        cd "$run" || exit 1
        unset SLURM_JWT
        [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
        key=$SLURM_JOB_ID
        [ "$array" = 0 ] || key=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
        begin=$(date +%s)
        child= told=0 ending=0
        trap 'told=$((told + 1)); ending=1' TERM INT
        trap 'told=$((told + 1)); [ -z "$child" ] || kill -USR1 "$child" 2> /dev/null' USR1
        trap 'told=$((told + 1)); [ -z "$child" ] || kill -USR2 "$child" 2> /dev/null' USR2
        # A submission that timed out and was made again may have been taken twice: the run is whose job comes first.
        if ! (set -C; printf '%s\n%s\n%s\n' "$key" "$(hostname)" "$begin" > started) 2> /dev/null; then
          read -r other < started
          [ "$other" = "$key" ] || exit 0
        fi
        # The log of an array's task is its run's.
        if [ "$array" = 1 ]; then exec >> output.log 2>&1; fi
        rm -f exit missing

        # What is written last, by a rename: whoever sees it sees all of it, and Slurm may have forgotten the job by then.
        finish() {
          trap '' TERM INT USR1 USR2
          cd "$run" || exit "$1"
          if [ "$requeue" = 1 ] && [ "$ending" = 1 ]; then exit "$1"; fi
          # A node that is taken away signals the program before this shell: the run goes on elsewhere and needs its variables.
          # They go when the launcher forgets the run.
          [ "$requeue" = 1 ] && [ "$1" != 0 ] || rm -f env "$root/pip/$id"
          {
            printf 'code=%s\nbegin=%s\nend=%s\nhost=%s\nkey=%s\nrestarts=%s\n' "$1" "$begin" "$(date +%s)" "$(hostname)" "$key" "${SLURM_RESTART_COUNT:-0}"
            [ -z "$2" ] || printf 'reason=%s\n' "$2"
          } > .exit && mv -f .exit exit
          exit "$1"
        }

        # Waits for the program, whatever signal comes meanwhile.
        await() {
          while :; do
            before=$told
            wait "$child"; code=$?
            [ "$before" = "$told" ] && return
            kill -0 "$child" 2> /dev/null || { wait "$child"; c=$?; [ $c = 127 ] || code=$c; return; }
          done
        }

        [ -r env ] || finish 1 "the file with its variables is gone, so it cannot run again; launch it anew"
        . ./command
        if [ -n "$code" ] && [ ! -d code ]; then
          rm -rf .code; mkdir .code
          touch -c "$root/code/$code.tar"
          tar -xf "$root/code/$code.tar" -C .code && mv .code code || finish 1 "its code could not be unpacked on $(hostname): is $root on a file system that the nodes share?"
        fi
        [ -d code ] || mkdir code

        bin=
        if [ -z "$image" ] && [ -n "$hash" ]; then
          environment "$root" "$hash" "$wanted" "$root/pip/$hash.txt" "$frozen" "$root/pip/$id"
          case $? in
            0) bin=$venv/bin;;
            65) finish 1 "pip could not install the requirements on $(hostname); its words are in the log";;
            71) finish 1 "there is no Python on $(hostname); name a partition that has one, or an image";;
            72) if [ -s "$root/pip/$hash.txt" ]; then finish 1 "the Python of $(hostname) cannot make virtual environments; its words are in the log"; fi
              echo "The Python of $(hostname) cannot make virtual environments; it is used as it is.";;
            *) finish 1 "the virtual environment could not be made on $(hostname); the words are in the log";;
          esac
        fi
        if [ -z "$image$bin" ] && [ -n "$needs_python" ] && ! command -v python > /dev/null 2>&1; then
          python=$(find_python "$wanted") || finish 1 "there is no Python on $(hostname); name a partition that has one, or an image"
          mkdir -p .bin; ln -sf "$python" .bin/python; bin=$run/.bin
        fi

        # The words that run an image, by what is on this node, for login nodes differ. An image is fetched once, by whoever comes first.
        # What comes after the variables are read has names of its own, for theirs may be any.
        if [ -n "$image" ]; then
          # Pyxis and enroot write host#name.
          case ${image%%/*} in *.*|*:*|localhost) hashed=${image%%/*}#${image#*/};; *) hashed=$image;; esac
          file=$root/images/$(printf '%s' "$image" | tr -c 'A-Za-z0-9._-' _)
          fetch() {
            target=$1; shift
            (
              exec 8>> "$target.lock"; flock 8 2> /dev/null
              [ -s "$target" ] || { "$@" 8>&- && mv -f "$target.new" "$target"; }
            ) || finish 1 "the image $image could not be fetched on $(hostname); the words are in the log"
          }
          old=$IFS; line='
        '
          if command -v srun > /dev/null 2>&1 && srun --help 2> /dev/null | grep -q container-image; then
            [ $# -gt 0 ] || finish 1 "Pyxis runs no image without a command; say which with -EntryPoint"
            binds=$run:$run
            [ -z "$mounts" ] || binds=$binds,$(printf '%s' "$mounts" | tr '\n' ',')
            set -- srun "--container-image=$hashed" "--container-mounts=$binds" "--container-workdir=$run/code" --no-container-mount-home "--container-env=$(printf '%s' "$names" | tr ' ' ',')" "$@"
            srun=0
          elif engine=$(command -v apptainer || command -v singularity); then
            fetch "$file.sif" "$engine" pull --force "$file.sif.new" "docker://$image"
            verb=run; [ $# = 0 ] || verb=exec
            set -- "$file.sif" "$@"
            IFS=$line; for m in $mounts; do set -- --bind "$m" "$@"; done; IFS=$old
            set -- "$engine" "$verb" ${gpu:+--nv} --cleanenv --no-home --bind "$run:$run" --pwd "$run/code" "$@"
            wandblaunch_inside=$names
          elif engine=$(command -v enroot); then
            export ENROOT_DATA_PATH="$run/.enroot" ENROOT_CACHE_PATH="$root/images/enroot"; mkdir -p "$ENROOT_DATA_PATH" "$ENROOT_CACHE_PATH"
            fetch "$file.sqsh" "$engine" import -o "$file.sqsh.new" "docker://$hashed"
            "$engine" create --name run "$file.sqsh" || finish 1 "the image $image could not be unpacked on $(hostname); the words are in the log"
            set -- run "$@"
            IFS=$line; for m in $mounts; do set -- --mount "$m" "$@"; done; IFS=$old
            for n in $names; do set -- --env "$n" "$@"; done
            set -- "$engine" start --rw --mount "$run:$run" "$@"
          else
            finish 1 "the image $image needs Apptainer, Pyxis or enroot, and $(hostname) has none of them; name a partition that has, or launch code instead of an image"
          fi
          [ -n "$gpu" ] || export NVIDIA_VISIBLE_DEVICES=void
        fi
        [ "$srun" = 0 ] || set -- srun "$@"
        [ $# -gt 0 ] || finish 1 "there is no command to run"

        wandblaunch_run=$run wandblaunch_bin=$bin
        (
          cd "$wandblaunch_run/code" || exit 1
          . "$wandblaunch_run/env"
          for wandblaunch_name in ${wandblaunch_inside:-}; do
            eval "export APPTAINERENV_$wandblaunch_name=\"\$$wandblaunch_name\" SINGULARITYENV_$wandblaunch_name=\"\$$wandblaunch_name\""
          done
          if [ -n "$wandblaunch_bin" ]; then export PATH="$wandblaunch_bin:$PATH"; unset PYTHONHOME; fi
          [ ! -e "$wandblaunch_bin/../pyvenv.cfg" ] || export VIRTUAL_ENV="${wandblaunch_bin%/bin}"
          trap - TERM INT USR1 USR2
          exec "$@"
        ) &
        child=$!
        await
        case $code in
          127) finish 127 "its program was not found on $(hostname), or it ended with exit code 127";;
          *) finish "$code" "";;
        esac

        """;
}
