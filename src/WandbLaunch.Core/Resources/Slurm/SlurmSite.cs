using System.Text;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>
/// A Slurm that is spoken to: by its commands on this machine, or by the system's ssh, which knows the user's keys, agent, known
/// hosts and jump hosts, and keeps one connection. A script and its words go by standard input: nothing of them is in a
/// process list, and whatever shell the user has there reads none of it.
/// </summary>
#pragma warning disable CA1001 // It lives as long as the process; nobody asks the semaphore for its handle, which alone would be to be let go.
internal sealed class SlurmSite
#pragma warning restore CA1001
{
    /// <summary>Exit codes of <see cref="SlurmScripts"/>.</summary>
    internal const int Away = 75;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(90);
    private static readonly string[] Passed = ["PATH", "SLURM_CONF"];

    private readonly LaunchContext _context;
    private readonly object _lock = new();
    private Task<(string Root, int Release)>? _opened;
    private bool _jsonFailed;

    internal SlurmSite(LaunchContext context, SlurmPlace place)
    {
        _context = context;
        Place = place;
    }

    internal SlurmPlace Place { get; }

    /// <summary>Files of the cluster are files of this machine.</summary>
    internal bool IsHere => Place.Host is null;

    /// <summary>Makes its folders, and finds out where they are and which release answers.</summary>
    /// <exception cref="LaunchException"><c>SlurmNotFound</c>, <c>SlurmUnavailable</c>, <c>SlurmFolderFailed</c>, <c>SlurmHostUnreachable</c>.</exception>
    internal Task<(string Root, int Release)> OpenAsync(CancellationToken token)
    {
        Task<(string Root, int Release)> opened;
        lock (_lock)
        {
            // One that was away may be there now.
            opened = _opened = _opened is null or { IsFaulted: true } ? OpenAsync() : _opened;
        }

        return opened.WaitAsync(token);
    }

    private async Task<(string Root, int Release)> OpenAsync()
    {
        if (IsHere && OperatingSystem.IsWindows())
        {
            throw new LaunchException(
                "SlurmNotFound",
                LaunchErrorCategory.ResourceUnavailable,
                "There is no Slurm on Windows. Give the cluster's login node: -SlurmHost user@host.",
                "sbatch"
            );
        }

        var result = await RunAsync(SlurmScripts.Open, [Place.Folder ?? ""], CancellationToken.None);
        var lines = Lines(result.Output);
        switch (result.ExitCode)
        {
            case 0 when lines.Length >= 2:
                break;
            case 73:
                throw new LaunchException(
                    "SlurmFolderFailed",
                    LaunchErrorCategory.WriteError,
                    $"The folder for runs on {Name} cannot be made: {Last(result.Error)} Choose another with -SlurmFolder, on a file system that the nodes share.",
                    Place.Folder
                );
            case 69:
                throw new LaunchException(
                    "SlurmNotFound",
                    LaunchErrorCategory.ResourceUnavailable,
                    $"There is no sbatch on {Name}. Give the cluster's login node with -SlurmHost user@host, or put Slurm's commands on PATH.",
                    Place.Host ?? "sbatch"
                );
            default:
                throw Unavailable(result);
        }

        return (lines[0], SlurmReader.ReleaseOf(lines[^1]));
    }

    /// <summary>What it is called in messages.</summary>
    internal string Name => Place.Host is null ? "this machine" : Place.Target;

    /// <summary>Runs a script there.</summary>
    internal Task<ProgramResult> RunAsync(string script, IReadOnlyList<string> words, CancellationToken token) =>
        RunAsync(script, words, null, Limit, token);

    /// <summary>Runs a script there.</summary>
    /// <param name="script">The script.</param>
    /// <param name="words">Its $1, $2 …</param>
    /// <param name="feed">Writes what it reads.</param>
    /// <param name="limit">How long it may take.</param>
    /// <param name="token">Cancels.</param>
    /// <param name="whenReady">Nothing is written before it says that it is ready.</param>
    /// <exception cref="LaunchException"><c>SlurmHostUnreachable</c>, <c>ProgramTimeout</c>, <c>ProgramNotStarted</c>.</exception>
    internal async Task<ProgramResult> RunAsync(
        string script,
        IReadOnlyList<string> words,
        Func<Stream, CancellationToken, Task>? feed,
        TimeSpan limit,
        CancellationToken token,
        bool whenReady = false
    )
    {
        var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var heard = new StringBuilder();

        // What a profile prints comes before the boundary.
        var boundary = "wandblaunch-" + Guid.NewGuid().ToString("n");
        var text = Encoding.UTF8.GetBytes(
            $"set -- {string.Join(' ', words.Select(SlurmBatch.Quote))}\n{SlurmScripts.Preamble}echo {boundary}\n{script}\n"
        );
        var start = $"exec /bin/sh -c 'eval \"$(head -c {text.Length})\"'";
        var program = new ExternalProgram(
            Place.Host is null ? ["/bin/sh", "-c", start] : [.. SshWords(), Place.Target, start]
        )
        {
            TimeLimit = limit,
            Kept = 64 << 20,
            Environment = Variables(),
            Said = !whenReady
                ? null
                : piece =>
                {
                    lock (heard)
                    {
                        if (
                            heard.Length < 1 << 16
                            && heard.Append(piece).ToString().EndsWith("\nready\n", StringComparison.Ordinal)
                        )
                        {
                            ready.TrySetResult();
                        }
                    }
                },
            Feed = async (stream, t) =>
            {
                await stream.WriteAsync(text, t);
                if (feed is not null)
                {
                    if (whenReady)
                    {
                        await stream.FlushAsync(t);
                        await ready.Task.WaitAsync(t);
                    }

                    await feed(stream, t);
                }
            },
        };
        var result = await program.RunAsync(token);
        var at = result.Output.IndexOf(boundary, StringComparison.Ordinal);
        if (at >= 0)
        {
            return result with { Output = result.Output[(at + boundary.Length)..].TrimStart('\r', '\n') };
        }

        if (Place.Host is null)
        {
            return result;
        }

        throw new LaunchException(
            "SlurmHostUnreachable",
            LaunchErrorCategory.ConnectionError,
            $"ssh to {Place.Target} failed: {Last(result.Error)} Try 'ssh {(Place.Port is { } port ? $"-p {port} " : "")}{Place.Target}' by hand: it must work without a question (keys or an agent, and a known host).",
            Place.Host
        );
    }

    /// <summary>The jobs among some that squeue knows. Null: it cannot be asked now.</summary>
    /// <exception cref="LaunchException">It cannot be reached.</exception>
    internal async Task<IReadOnlyList<SlurmJob>?> QueueAsync(IReadOnlyCollection<long> ids, CancellationToken token)
    {
        var (_, release) = await OpenAsync(token);
        var json = _jsonFailed ? null : SlurmReader.JsonOption(release);
        var list = "--jobs=" + string.Join(',', ids);
        var result = await RunAsync(
            SlurmScripts.Queue,
            json is null ? ["-h", "-r", "-O", SlurmReader.SqueueFormat, list] : [json, list],
            token
        );
        if (json is null || result.ExitCode == Away)
        {
            return result.Succeeded ? SlurmReader.Text(result.Output) : null;
        }

        if (result.Succeeded && result.Output.Trim().Length == 0)
        {
            return [];
        }

        if (result.Succeeded && SlurmReader.Json(result.Output) is { } jobs)
        {
            return jobs;
        }

        // A release without this form, or one that was built without JSON: its fixed fields say the same.
        _jsonFailed = true;
        return await QueueAsync(ids, token);
    }

    /// <summary>A fault of Slurm's or of the way to it, for which the machine is to blame and not what was asked.</summary>
    internal LaunchException Unavailable(ProgramResult result) =>
        new(
            "SlurmUnavailable",
            LaunchErrorCategory.ResourceUnavailable,
            $"Slurm on {Name} does not answer: {Last(result.Error.Length > 0 ? result.Error : result.Output)} Is its controller up ('scontrol ping'), and is SLURM_CONF set where it is not in its usual place?",
            Place.Host
        );

    /// <summary>Lines with something in them.</summary>
    internal static string[] Lines(string text) =>
        text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    /// <summary>The last lines of what a command said, as a sentence.</summary>
    internal static string Last(string text)
    {
        var line = Secrets.Mask(string.Join(" | ", Lines(text).TakeLast(3)));
        return line.Length == 0 ? "it said nothing."
            : line.EndsWith('.') ? line
            : line + ".";
    }

    // The context's, which is not always the process's.
    private Dictionary<string, string?> Variables() =>
        Passed.Where(n => _context.Environment[n] is not null).ToDictionary(n => n, n => _context.Environment[n]);

    private List<string> SshWords()
    {
        var words = new List<string>
        {
            _context.Environment["WANDBLAUNCH_SSH"] ?? "ssh",
            "-T",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=20",
            "-o",
            "ServerAliveInterval=15",
            "-o",
            "ServerAliveCountMax=4",
        };
        if (Place.Port is { } port)
        {
            words.AddRange(["-p", port]);
        }

        if (Socket() is { } socket)
        {
            words.AddRange(["-o", "ControlMaster=auto", "-o", "ControlPersist=120", "-o", $"ControlPath={socket}"]);
        }

        words.Add("--");
        return words;
    }

    // One connection for all calls, also of several processes. Windows' ssh has none, and a socket's path has a limit.
    private string? Socket()
    {
        var session = _context.Environment["XDG_RUNTIME_DIR"];
        var own = Path.Combine(_context.DataFolder, "ssh");
        var folder =
            OperatingSystem.IsWindows() ? null
            : session is not null && Fits(session) && Directory.Exists(session) ? session
            : Fits(own) ? FileModes.CreatePrivateFolder(own)
            : null;
        return folder is null ? null : Path.Combine(folder, "wandblaunch-" + LaunchCache.Hash(Place.Host!)[..12]);

        static bool Fits(string path) => path.Length < 60 && !path.Contains('%', StringComparison.Ordinal);
    }
}
