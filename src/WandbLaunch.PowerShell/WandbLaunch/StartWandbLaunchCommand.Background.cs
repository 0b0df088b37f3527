using System.Collections.Concurrent;
using System.Management.Automation;
using System.Management.Automation.Host;
using System.Reflection;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

// Runs that nobody waits for in front: jobs of the session, live lines, and what is said of a stop.
public sealed partial class StartWandbLaunchCommand
{
    private const int MostNamed = 10;

    private readonly List<object> _forJob = [];
    private readonly ConcurrentBag<(int Number, LaunchedRun Run)> _stopped = [];
    private readonly ConcurrentBag<(int Number, string Name)> _unstarted = [];
    private readonly RunLines _lines;
    private string? _jobSource;
    private bool _jobTogether;
    private Task _renewing = Task.CompletedTask;

    /// <summary>Makes the cmdlet.</summary>
    public StartWandbLaunchCommand()
    {
        _lines = new RunLines(
            (activity, status, number) => ShowLine(activity, status ?? "", status is null ? 100 : null, number)
        );
    }

    // Built here, where scripts, drives and questions are; the job gets what is certain.
    private async Task AddToJobAsync(LaunchConfig config, bool together)
    {
        _jobTogether |= together;
        if (
            await ShouldProcessAsync(config.Source ?? "", $"Launch with {Runs.Resources.Of(config).Info.Name} as a job")
        )
        {
            _forJob.Add(ToObject(config));
            _launches++;
            _jobSource ??= RunLines.NameOf(config);
        }
    }

    private bool StartJob()
    {
        var given = MyInvocation.BoundParameters;
        var parameters = CommandJob.Common(this).ToDictionary(p => p.Key, p => p.Value);
        // What is about running; all that makes the config is in the config.
        var own = GetType()
            .GetProperties(BindingFlags.Instance | BindingFlags.Public | BindingFlags.DeclaredOnly)
            .Where(p => p.IsDefined(typeof(ParameterAttribute), false))
            .Select(p => p.Name)
            .Except([nameof(AsJob), nameof(Grid)])
            .Append(nameof(AllowUnknownKey));
        foreach (var name in own.Where(given.ContainsKey))
        {
            parameters[name] = given[name];
        }

        // A grid for a cluster goes there whole; here it is so many configs.
        if (_jobTogether)
        {
            parameters[nameof(ThrottleLimit)] = Math.Min(_forJob.Count, 1000);
        }

        // Drives of this session are not there.
        Put(nameof(Volume), _options.Volumes.ToArray());
        Put(nameof(PipFindLinks), _options.Pip.FindLinks.ToArray());
        Put(nameof(PipConfigFile), _options.Pip.ConfigFile);
        if ((Connection ?? WandbSession.Current) is { } server)
        {
            parameters[nameof(Connection)] = server;
        }

        // What was asked has been asked.
        parameters["Confirm"] = false;
        var more = _forJob.Count - 1;
        WriteObject(
            CommandJob.Start(
                this,
                _jobSource + (more > 0 ? $" and {more} more" : ""),
                null,
                parameters,
                _forJob,
                TimeSpan.FromSeconds(StopGracePeriod + 20)
            )
        );
        return true;

        void Put(string name, object? value)
        {
            if (given.ContainsKey(name))
            {
                parameters[name] = value;
            }
        }
    }

    // A terminal sends Ctrl+C to all that its shell started, whatever it was meant for: a process of a job has a host apart.
    private async Task<LaunchedRun> RunApartAsync(
        PreparedLaunch prepared,
        HostProcess? host,
        Action<ReadOnlyMemory<byte>>? show
    )
    {
        var id = prepared.Run.Id;
        await _supervision!.LeaveAsync(prepared.Folder, prepared.Spec, prepared.Secrets, CancellationToken.None, host);
        try
        {
            await using var log = new FileStream(
                prepared.Run.LogPath!,
                FileMode.Open,
                FileAccess.Read,
                FileShare.ReadWrite | FileShare.Delete
            );
            var pieces = new Utf8Pieces();
            for (var i = 0; ; i++)
            {
                // Asked before reading: what was written before the end is read before the loop ends.
                var run = await Runs.GetAsync(id, Token);
                await CopyAsync(log, pieces, show);
                if (run.IsDone)
                {
                    return run;
                }

                await Task.Delay(i < 50 ? 100 : 500, Token);
            }
        }
        catch (OperationCanceledException) when (Token.IsCancellationRequested)
        {
            return await Runs.StopAsync(id, CancellationToken.None);
        }
    }

    private async Task CopyAsync(FileStream log, Utf8Pieces pieces, Action<ReadOnlyMemory<byte>>? show)
    {
        var buffer = new byte[1 << 14];
        int read;
        while (show is not null && (read = await log.ReadAsync(buffer, Token)) > 0)
        {
            show(pieces.Add(buffer.AsSpan(0, read)));
        }
    }

    // A person who pressed Ctrl+C is told what that ended and how to go on. The pipeline takes nothing any more; the host does.
    private void TellStopped()
    {
        if (_stopped.IsEmpty && _unstarted.IsEmpty)
        {
            return;
        }

        var runs = _stopped.OrderBy(r => r.Number).Select(r => r.Run).ToList();
        if (InJob is not null)
        {
            runs.ForEach(InJob.Late);
            return;
        }

        try
        {
            foreach (
                var line in StoppedLines(
                    runs,
                    [.. _unstarted.OrderBy(u => u.Number).Select(u => u.Name)],
                    ThrottleLimit
                )
            )
            {
                Host.UI.WriteLine(line);
            }
        }
        catch (Exception e) when (e is HostException or NotImplementedException or InvalidOperationException)
        {
            // A host that shows nothing.
        }
    }

    internal static IEnumerable<string> StoppedLines(
        IReadOnlyList<LaunchedRun> runs,
        IReadOnlyList<string> unstarted,
        int throttle
    )
    {
        if (runs.Count > 0)
        {
            var named = runs.Take(MostNamed).Select(r => r.Id).ToList();
            var ids = string.Join(", ", named);
            var rest = runs.Count - named.Count;
            var together = throttle > 1 ? $" -ThrottleLimit {throttle}" : "";
            yield return runs.Count == 1
                ? $"Stopped the run {ids} of {runs[0].Source}. What it printed: Receive-WandbLaunchLog {ids}"
                : $"Stopped {runs.Count} runs: {ids}{(rest > 0 ? $" and {rest} more" : "")}";
            yield return rest > 0
                ? $"To launch them again, with the options of before: Get-WandbLaunch -State Stopped | Select-Object -First {runs.Count} | Start-WandbLaunch{together}"
                : $"To launch {(runs.Count == 1 ? "it" : "them")} again, with the options of before: Get-WandbLaunch {ids} | Start-WandbLaunch{together}";
        }

        if (unstarted.Count > 0)
        {
            yield return $"Not started yet: {string.Join("; ", unstarted.Take(MostNamed))}{(unstarted.Count > MostNamed ? $" and {unstarted.Count - MostNamed} more" : "")}";
        }
    }
}
